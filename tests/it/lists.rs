//! Lists at their edges: filters that no row can fit, pages beyond the end, totals that know less than they show.

use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::TestApp;
use crate::history::{fill, page, rows};

#[sqlx::test]
async fn what_no_row_can_be_is_an_empty_list_in_any_order_and_on_any_page(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let staff = t.staff(Role::Finance).await;
    fill(&t, &customer, 30).await;
    for more in
        ["", "&sort=kind", "&sort=-amount,created_at", "&sort=amount", "&page=2", "&sort=state&page=3", "&q=rent"]
    {
        for path in
            ["/v1/transactions?kind=adjustment&state=rejected", "/v1/admin/transactions?kind=deposit&state=rejected"]
        {
            let caller = if path.contains("admin") { &staff } else { &customer };
            let answer = t.get(caller, &format!("{path}{more}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}{more}: {}", answer.body);
            let page = &answer.body["page"];
            assert_eq!((rows(&answer.body).len(), &page["total"], &page["total_is"]), (0, &json!(0), &json!("exact")));
        }
    }
    let file = t.get(&staff, "/v1/admin/transactions/export?format=jsonl&kind=deposit&state=rejected&sort=kind").await;
    assert_eq!(file.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn a_page_beyond_the_end_does_not_say_that_there_are_so_many(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    fill(&t, &customer, 14_000).await;
    let told = page(&t, &customer, "page=1000&page_size=100").await["page"].clone();
    assert_eq!((&told["total"], &told["total_is"]), (&json!(10_001), &json!("at_least")));
    t.finish().await;
}

#[sqlx::test]
async fn a_search_is_counted_as_any_other_list(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    fill(&t, &customer, 400).await;
    sqlx::query("update transactions set description = 'rent'").execute(&t.app.db).await.expect("a word");
    for (query, count) in
        [("q=rent&limit=20", 20), ("q=rent&page=3&page_size=100", 100), ("q=ren&page=4&page_size=100", 100)]
    {
        let told = page(&t, &customer, query).await;
        let total = (&told["page"]["total"], &told["page"]["total_is"]);
        assert_eq!((rows(&told).len(), total), (count, (&json!(400), &json!("exact"))), "{query}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_period_may_begin_before_there_was_time(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    fill(&t, &customer, 30).await;
    for sort in ["updated_at", "-completed_at", "updated_at,-kind"] {
        for from in ["-5000-01-01", "0001-01-01", "9999-12-31"] {
            page(&t, &customer, &format!("from={from}&sort={sort}")).await;
        }
    }
    t.finish().await;
}
