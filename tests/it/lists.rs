//! Lists at their edges: filters that no row can fit, pages beyond the end, totals that know less than they show.

use futures_util::future::join_all;
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::TestApp;
use crate::history::{Dice, fill, history, page, rows};

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
        for from in ["0000-01-01", "0001-01-01", "9999-12-31"] {
            page(&t, &customer, &format!("from={from}&sort={sort}")).await;
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn nobody_counts_where_nobody_wants_to_know(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    fill(&t, &customer, 30).await;
    for query in ["limit=10", "limit=7", "limit=100", "page=2&page_size=10", "sort=-amount&limit=10"] {
        let answer = t.get(&customer, &format!("/v1/transactions?{query}&total=false")).await;
        let told = &answer.body["page"];
        assert_eq!((&told["total"], &told["total_is"]), (&json!(null), &json!(null)), "{query}");
        let counted = page(&t, &customer, query).await;
        assert_eq!(rows(&counted), rows(&answer.body), "{query}");
        assert_eq!(counted["page"]["total"], 30, "{query}");
        let links = answer.headers["link"].to_str().expect("text");
        assert!(links.split(", ").all(|link| link.contains("total=false")), "{links}");
        if let Some(cursor) = told["next_cursor"].as_str() {
            let next =
                page(&t, &customer, &format!("{query}&cursor={cursor}").replace("page=2&page_size", "limit")).await;
            assert_eq!(next["page"]["total"], json!(null), "the first page was not counted: {query}");
        }
    }
    let wrong = t.get(&customer, "/v1/transactions?total=perhaps").await;
    assert_eq!((wrong.status, &wrong.body["errors"][0]["parameter"]), (StatusCode::BAD_REQUEST, &json!("total")));
    t.finish().await;
}

/// Sizes that are kept prepared and sizes that are not, forwards and backwards.
#[sqlx::test]
async fn what_is_asked_all_the_time_is_answered_as_anything_else(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other, staff) = (t.customer().await, t.customer().await, t.staff(Role::Finance).await);
    let mut dice = Dice(7);
    history(&t, &customer, 60, &mut dice).await;
    history(&t, &other, 60, &mut dice).await;
    let own = [
        "", "kind=deposit", "kind=withdrawal", "kind=adjustment", "state=completed", "state=rejected", "state=failed",
        "kind=withdrawal&state=completed", "currency=ZAR", "currency=USD", "sort=created_at",
        "kind=withdrawal&sort=created_at", "from=1970-01-01&to=1970-01-02", "from=2026-03-01&kind=deposit",
    ];
    let by_id = format!("user_id={}", other.id);
    let others = ["kind=refund", "state=expired", "state=submitted", by_id.as_str()];
    let of_one = own.iter().map(|query| (&customer, "/v1/transactions", *query));
    let of_all = own.iter().chain(&others).map(|query| (&staff, "/v1/admin/transactions", *query));
    for (caller, path, query) in of_one.chain(of_all) {
        let all = t.get(caller, &format!("{path}?{query}&page=1&page_size=99")).await.body;
        let (mut seen, mut next, mut back) = (Vec::new(), String::new(), None);
        loop {
            let shown = t.get(caller, &format!("{path}?{query}&limit=10{next}")).await;
            assert_eq!(shown.status, StatusCode::OK, "{path}?{query}: {}", shown.body);
            assert_eq!(shown.body["page"]["total"], all["page"]["total"], "{path}?{query}");
            if let Some(cursor) = shown.body["page"]["prev_cursor"].as_str() {
                back.get_or_insert_with(|| cursor.to_owned());
            }
            seen.extend(rows(&shown.body));
            let Some(cursor) = shown.body["page"]["next_cursor"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        seen.truncate(99);
        assert_eq!(seen, rows(&all), "{path}?{query}");
        if let Some(cursor) = back {
            let first = t.get(caller, &format!("{path}?{query}&limit=10&cursor={cursor}")).await.body;
            assert_eq!(rows(&first), seen[..10], "{path}?{query}, backwards");
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_page_is_one_statement_that_was_planned_before_and_walks_an_index(db: PgPool) {
    // One connection for lists.
    let t = TestApp::with(db, &[("DATABASE_CONNECTIONS_MAX", "4")]).await;
    let customer = t.customer().await;
    fill(&t, &customer, 30).await;
    sqlx::query("analyze transactions").execute(&t.app.db).await.expect("PostgreSQL answers");
    let own = format!("'{}'", customer.id);
    // By itself, and shared with whoever asks at the same time.
    for (query, like, of_one, of_all) in
        [("limit=25", "%as counted%", format!("{own}::uuid"), ""), ("limit=20", "%asked%", String::new(), own.as_str())]
    {
        for _ in 0..3 {
            assert_eq!(page(&t, &customer, query).await["page"]["total"], 30);
        }
        let mut db = t.app.lists.acquire().await.expect("a connection");
        let prepared = "select statement, generic_plans, custom_plans from pg_prepared_statements
                         where statement like 'select t.id%' and statement like $1";
        let prepared: Vec<(String, i64, i64)> =
            sqlx::query_as(prepared).bind(like).fetch_all(&mut *db).await.expect("PostgreSQL answers");
        let [(statement, 3, 0)] = prepared.as_slice() else { panic!("{prepared:?}") };
        let statement = statement.replace("unnest($1)", &format!("unnest(array[{of_all}]::uuid[])"));
        let statement = statement.replace("$1", &of_one).replace("$2", &of_one);
        let plan = sqlx::AssertSqlSafe(format!("explain {statement}"));
        let plan: Vec<String> = sqlx::query_scalar(plan).persistent(false).fetch_all(&mut *db).await.expect("a plan");
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan Backward using transactions_user") && !plan.contains("Seq Scan"), "{plan}");
    }
    t.finish().await;
}

/// They share a statement; one asks twice, one has nothing, and a correction that is not booked is nobody's to see.
#[sqlx::test]
async fn of_many_who_begin_at_once_each_sees_what_is_his(db: PgPool) {
    let t = TestApp::new(db).await;
    let (one, two, none) = (t.customer().await, t.customer().await, t.customer().await);
    fill(&t, &one, 25).await;
    history(&t, &two, 22, &mut Dice(11)).await;
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, direction, updated_at)
         values ($1, $2, 'adjustment', 'awaiting_approval', 'awaiting_approval', 100, 'ZAR', 'credit', now())",
    )
    .bind(t.app.clock.row_id())
    .bind(one.id)
    .execute(&t.app.db)
    .await
    .expect("a row");
    let all = [&one, &two, &none, &one, &two, &two];
    let alone = join_all(all.map(|customer| page(&t, customer, "limit=25"))).await;
    let shared = join_all((0..8).flat_map(|_| all).map(|customer| page(&t, customer, "limit=20"))).await;
    for (number, told) in shared.iter().enumerate() {
        let expected = &alone[number % all.len()];
        let wanted = rows(expected);
        assert_eq!(rows(told), wanted[..wanted.len().min(20)], "{number}");
        assert_eq!(told["page"]["total"], expected["page"]["total"], "{number}");
        assert_eq!(told["page"]["next_cursor"].is_string(), wanted.len() > 20, "{number}");
    }
    let totals: Vec<_> = alone[..3].iter().map(|told| &told["page"]["total"]).collect();
    assert_eq!(totals, [25, 22, 0]);
    t.finish().await;
}
