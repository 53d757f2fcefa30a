//! Lists of transactions: one total order, two ways through it, and what each of them promises while rows come and change.

mod told;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use octoco::platform::clock::DateTime;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer, Customer, TestApp};

/// SplitMix64: a failing seed fails again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (z >> 31)) % limit
    }
}

/// A row that ended without moving money, created `millis` after the test's beginning.
async fn insert(t: &TestApp, customer: &Customer, dice: &mut Dice, millis: u64) -> Uuid {
    let begun = u64::try_from(t.app.clock.now().timestamp_millis()).expect("after 1970");
    let id = ledger::row_id(begun + millis, dice.0.to_be_bytes().repeat(2)[..10].try_into().expect("ten"));
    let (kind, state, account) = match dice.below(4) {
        0 => ("deposit", "expired", None),
        1 => ("deposit", "failed", None),
        2 => ("withdrawal", "rejected", Some(customer.bank_account_id)),
        _ => ("withdrawal", "failed", Some(customer.bank_account_id)),
    };
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, bank_account_id, updated_at)
         values ($1, $2, $3, $4, $4, $5, 'ZAR', $6, $7)",
    )
    .bind(id)
    .bind(customer.id)
    .bind(kind)
    .bind(state)
    .bind(i64::try_from(100 + dice.below(5)).expect("small"))
    .bind(account)
    .bind(t.app.clock.now() + TimeDelta::milliseconds(i64::try_from(dice.below(1000)).expect("small")))
    .execute(&t.app.db)
    .await
    .expect("a row");
    id
}

/// Many rows of seven amounts, a millisecond apart from the first of 1970 on.
pub(crate) async fn fill(t: &TestApp, customer: &Customer, count: i32) {
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, updated_at)
         select (lpad(to_hex(n), 12, '0') || '7000800000000000ff00')::uuid, $1, 'deposit', 'expired', 'expired', 1 + n % 7,
                'ZAR', now() from generate_series(1, $2) n",
    )
    .bind(customer.id)
    .bind(count)
    .execute(&t.app.db)
    .await
    .expect("rows");
}

pub(crate) async fn history(t: &TestApp, customer: &Customer, rows: u64, dice: &mut Dice) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..rows {
        let millis = dice.below(50);
        ids.insert(insert(t, customer, dice, millis).await.to_string());
    }
    ids
}

/// A row moves: the columns that may change do.
async fn change(t: &TestApp, dice: &mut Dice) {
    sqlx::query(
        "update transactions set state = moved.to, states = states || ' ' || moved.to, moved_at = moved_at || $1, updated_at = $1,
                version = version + 1
           from (select id as moving, case kind when 'deposit' then 'cancelled' else 'failed' end as to
                   from transactions order by md5(id::text || $2) limit 1) moved
          where id = moving",
    )
    .bind(t.app.clock.now() + TimeDelta::seconds(5))
    .bind(dice.below(u64::MAX).to_string())
    .execute(&t.app.db)
    .await
    .expect("a change");
}

pub(crate) async fn page(t: &TestApp, customer: &Customer, query: &str) -> Value {
    let answer = t.get(customer, &format!("/v1/transactions?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
    answer.body
}

pub(crate) fn rows(page: &Value) -> Vec<Value> {
    page["data"].as_array().expect("a list").clone()
}

pub(crate) fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

/// Every row from the first page to the last, by cursor; `between` happens between two pages.
async fn walk(t: &TestApp, customer: &Customer, query: &str, mut between: impl AsyncFnMut()) -> Vec<Value> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(t, customer, &format!("{query}&limit=7{cursor}")).await;
        seen.extend(rows(&page));
        let Some(next) = page["page"]["next_cursor"].as_str() else { return seen };
        cursor = format!("&cursor={next}");
        between().await;
    }
}

/// Whether each row stands behind the one before it.
fn assert_order(sort: &str, rows: &[Value]) {
    for pair in rows.windows(2) {
        let mut order = std::cmp::Ordering::Equal;
        let last = sort.rsplit(',').next().unwrap_or_default();
        let id = if last.starts_with('-') { "-id" } else { "id" };
        for column in sort.split(',').chain([id]) {
            let name = column.trim_start_matches('-');
            let (a, b) = (&pair[0][name], &pair[1][name]);
            let by = match name {
                "amount" => a.as_i64().cmp(&b.as_i64()),
                "updated_at" | "created_at" => time(a).cmp(&time(b)),
                _ => a.as_str().cmp(&b.as_str()),
            };
            order = order.then(if column.starts_with('-') { by.reverse() } else { by });
        }
        assert_eq!(order, std::cmp::Ordering::Less, "{sort}: {} before {}", pair[0], pair[1]);
    }
}

fn time(value: &Value) -> DateTime {
    value.as_str().and_then(|text| text.parse().ok()).expect("a time")
}

fn once(rows: &[Value]) -> BTreeSet<String> {
    let all = ids(rows);
    let unique: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(unique.len(), all.len(), "a row came twice");
    unique
}

const FIXED: [&str; 7] =
    ["created_at", "-created_at", "amount", "-amount", "kind,-amount", "-amount,created_at", "-created_at,amount"];
const MOVING: [&str; 5] = ["updated_at", "-updated_at,created_at", "state,amount", "-state", "state,-created_at"];

#[sqlx::test]
async fn while_rows_come_and_change_a_cursor_repeats_nothing_and_misses_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    for (seed, sort) in (1..).zip(FIXED) {
        let customer = t.customer().await;
        let mut dice = Dice(seed);
        let there = history(&t, &customer, 40, &mut dice).await;
        let seen = walk(&t, &customer, &format!("sort={sort}"), async || {
            for _ in 0..dice.below(4) {
                let millis = dice.below(50);
                insert(&t, &customer, &mut dice, millis).await;
                change(&t, &mut dice).await;
            }
        })
        .await;
        assert!(once(&seen).is_superset(&there), "{sort}: a row was missed");
        assert_order(sort.strip_suffix(",amount").filter(|s| s.ends_with("created_at")).unwrap_or(sort), &seen);
    }
    t.finish().await;
}

#[sqlx::test]
async fn in_an_order_that_changes_the_rows_that_stay_come_exactly_once(db: PgPool) {
    let t = TestApp::new(db).await;
    for (seed, sort) in (100..).zip(MOVING) {
        let customer = t.customer().await;
        let mut dice = Dice(seed);
        let there = history(&t, &customer, 40, &mut dice).await;
        let seen = walk(&t, &customer, &format!("sort={sort}"), async || change(&t, &mut dice).await).await;
        let moved: Vec<Uuid> = sqlx::query_scalar("select id from transactions where version > 0")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
        let moved: BTreeSet<String> = moved.into_iter().map(|id| id.to_string()).collect();
        let stayed: BTreeSet<String> = there.difference(&moved).cloned().collect();
        assert!(stayed.len() > 20, "most rows stay");
        let came = ids(&seen);
        for id in &stayed {
            assert_eq!(came.iter().filter(|came| *came == id).count(), 1, "{sort}: {id}");
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn both_ways_of_paging_and_the_way_back_tell_the_same_order(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let there = history(&t, &customer, 31, &mut Dice(7)).await;
    for sort in FIXED.iter().chain(&MOVING).chain(&["completed_at", "-completed_at,kind"]) {
        let by_cursor = walk(&t, &customer, &format!("sort={sort}"), async || {}).await;
        assert_eq!(once(&by_cursor), there);
        let mut by_page = Vec::new();
        for number in 1..=6 {
            let page = page(&t, &customer, &format!("sort={sort}&page={number}&page_size=7")).await;
            assert_eq!((&page["page"]["total"], &page["page"]["total_is"]), (&json!(31), &json!("exact")));
            by_page.extend(rows(&page));
        }
        assert_eq!(ids(&by_page), ids(&by_cursor), "{sort}");
        // From the last page back to the first.
        let mut back = Vec::new();
        let mut at = page(&t, &customer, &format!("sort={sort}&page=5&page_size=7")).await;
        loop {
            back.splice(0..0, rows(&at));
            let Some(prev) = at["page"]["prev_cursor"].as_str() else { break };
            at = page(&t, &customer, &format!("sort={sort}&limit=7&cursor={prev}")).await;
        }
        assert_eq!(ids(&back), ids(&by_cursor), "{sort}, backwards");
        assert!(!at["page"]["next_cursor"].is_null(), "the first page leads on");
    }
    t.finish().await;
}

#[sqlx::test]
async fn rows_that_come_in_push_others_onto_the_next_page_and_hide_none(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut dice = Dice(3);
    let there = history(&t, &customer, 30, &mut dice).await;
    let mut seen = BTreeSet::new();
    for number in 1..=8 {
        seen.extend(ids(&rows(&page(&t, &customer, &format!("page={number}&page_size=7")).await)));
        insert(&t, &customer, &mut dice, 60).await;
    }
    assert!(seen.is_superset(&there));
    assert!(rows(&page(&t, &customer, "page=900&page_size=100").await).is_empty(), "beyond the end");
    t.finish().await;
}

#[sqlx::test]
async fn a_cursor_of_another_list_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    history(&t, &customer, 9, &mut Dice(1)).await;
    let first = page(&t, &customer, "limit=2&kind=deposit,withdrawal").await;
    let cursor = first["page"]["next_cursor"].as_str().expect("more");
    let refused = async |customer: &Customer, query: String| {
        let answer = t.get(customer, &format!("/v1/transactions?{query}")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{query}");
        assert_eq!(answer.body["errors"][0]["field"], "cursor", "{query}");
    };
    let kinds = "kind=deposit,withdrawal";
    page(&t, &customer, &format!("{kinds}&limit=9&cursor={cursor}")).await;
    refused(&other, format!("{kinds}&cursor={cursor}")).await;
    refused(&customer, format!("cursor={cursor}")).await;
    refused(&customer, format!("{kinds}&sort=amount&cursor={cursor}")).await;
    refused(&customer, format!("{kinds}&page=1&cursor={cursor}")).await;
    refused(&customer, format!("{kinds}&cursor={}", cursor.to_uppercase())).await;
    for junk in ["", "x", "AAAA", "%00", "%FF", &"A".repeat(9000)] {
        refused(&customer, format!("{kinds}&cursor={junk}")).await;
    }
    let staff = t.staff(Role::Support).await;
    let answer = t.get(&staff, &format!("/v1/admin/transactions?{kinds}&cursor={cursor}")).await;
    assert_eq!(answer.body["errors"][0]["field"], "cursor", "a customer's cursor is not for staff's list");
    t.finish().await;
}

#[sqlx::test]
async fn each_parameter_that_is_wrong_is_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (query, field) in [
        ("page=0", "page"),
        ("page=1001", "page"),
        ("page=99999999999999999999", "page"),
        ("page_size=101", "page_size"),
        ("limit=-1", "limit"),
        ("limit=5&page_size=5", "limit"),
        ("kind=gift", "kind"),
        ("kind=deposit&kind=refund", "kind"),
        ("state=deposit", "state"),
        ("currency=zar", "currency"),
        ("amount_min=1.5", "amount_min"),
        ("amount_max=99999999999999999999", "amount_max"),
        ("amount_min=5&amount_max=4", "amount_max"),
        ("from=2026-13-01", "from"),
        ("to=now", "to"),
        ("from=2026-02-02&to=2026-02-01", "to"),
        ("sort=amount%20desc", "sort"),
        ("sort=id%3Bdrop%20table%20users", "sort"),
        ("reference=%00", "reference"),
        ("provider_id=7", "provider_id"),
        ("q=a%00b", "q"),
        ("q=", "q"),
        ("q=1%202%203%204%205%206%207%208%209", "q"),
        ("user_id=01900000-0000-7000-8000-000000000000", "user_id"),
        ("held=true", "held"),
        ("format=csv", "format"),
    ] {
        let answer = t.get(&customer, &format!("/v1/transactions?{query}")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{query}");
        assert_eq!(answer.body["errors"][0]["field"], field, "{query}: {}", answer.body);
    }
    for times in ["from=0001-01-01&to=9999-12-31", "from=1969-12-31", "to=1900-01-01T00:00:00Z"] {
        page(&t, &customer, times).await;
    }
    t.finish().await;
}

#[sqlx::test]
async fn each_filter_shows_exactly_the_rows_that_fit(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let mut dice = Dice(11);
    history(&t, &customer, 40, &mut dice).await;
    history(&t, &other, 10, &mut dice).await;
    let all = rows(&page(&t, &customer, "limit=100").await);
    assert_eq!(all.len(), 40);
    let moment = all[20]["created_at"].as_str().expect("a time");
    type Fits<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let cases: Vec<(String, Fits<'_>)> = vec![
        ("kind=deposit".to_owned(), Box::new(|row| row["kind"] == "deposit")),
        ("kind=deposit,withdrawal".to_owned(), Box::new(|_| true)),
        ("state=failed,expired".to_owned(), Box::new(|row| row["state"] == "failed" || row["state"] == "expired")),
        (
            "currency=ZAR&amount_min=101&amount_max=102".to_owned(),
            Box::new(|row| row["amount"].as_i64().is_some_and(|amount| (101..=102).contains(&amount))),
        ),
        ("currency=USD".to_owned(), Box::new(|_| false)),
        (format!("from={moment}"), Box::new(|row| time(&row["created_at"]) >= time(&json!(moment)))),
        (format!("to={moment}"), Box::new(|row| time(&row["created_at"]) < time(&json!(moment)))),
        (format!("from={moment}&to={moment}"), Box::new(|_| false)),
        (format!("reference={}", ids(&all)[3]), Box::new(|row| row["id"] == all[3]["id"])),
    ];
    for (query, fits) in cases {
        let expected: Vec<Value> = all.iter().filter(|row| fits(row)).cloned().collect();
        let shown = page(&t, &customer, &format!("{query}&limit=100")).await;
        assert_eq!(ids(&rows(&shown)), ids(&expected), "{query}");
        assert_eq!(shown["page"]["total"], expected.len(), "{query}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn what_is_not_counted_is_not_called_exact(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    fill(&t, &customer, 12_000).await;
    let told = page(&t, &customer, "limit=1").await["page"].clone();
    assert_eq!((&told["total"], &told["total_is"]), (&json!(10_001), &json!("at_least")));
    let deep = page(&t, &customer, "page=105&page_size=100").await["page"].clone();
    assert_eq!((&deep["total"], &deep["total_is"]), (&json!(10_501), &json!("at_least")), "what was shown is there");
    let first = rows(&page(&t, &customer, "sort=created_at&limit=1").await);
    assert_eq!(first[0]["created_at"], "1970-01-01T00:00:00.001Z", "the time in the id");
    t.finish().await;
}

#[sqlx::test]
async fn a_walk_by_cursor_counts_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, mut dice) = (t.customer().await, Dice(31));
    history(&t, &customer, 20, &mut dice).await;
    let first = page(&t, &customer, "limit=7").await;
    insert(&t, &customer, &mut dice, 60).await;
    let by =
        async |cursor: &Value| page(&t, &customer, &format!("limit=7&cursor={}", cursor.as_str().expect("more"))).await;
    let second = by(&first["page"]["next_cursor"]).await;
    let back = by(&second["page"]["prev_cursor"]).await;
    for told in [&first, &second, &back] {
        assert_eq!((&told["page"]["total"], &told["page"]["total_is"]), (&json!(20), &json!("exact")));
    }
    assert_eq!(page(&t, &customer, "limit=7").await["page"]["total"], 21);
    t.finish().await;
}

#[sqlx::test]
async fn a_deep_page_of_an_order_that_goes_both_ways_continues_the_one_before_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    fill(&t, &customer, 1_300).await;
    let mut all = Vec::new();
    for number in 1..=14 {
        all.extend(rows(&page(&t, &customer, &format!("sort=-amount,created_at&page={number}&page_size=100")).await));
    }
    assert_eq!(once(&all).len(), 1300, "shallow ones and deep ones");
    assert_order("-amount,created_at", &all);
    t.finish().await;
}

#[sqlx::test]
async fn a_list_that_takes_too_long_is_told_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    // A statement that waits is as slow as one that works.
    let mut lock = t.app.db.begin().await.expect("PostgreSQL answers");
    sqlx::query("lock table transactions in access exclusive mode").execute(&mut *lock).await.expect("the lock");
    let answer = t.get(&customer, "/v1/transactions").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNPROCESSABLE_ENTITY, "query_too_broad"));
    lock.rollback().await.expect("PostgreSQL answers");
    t.finish().await;
}

fn links(answer: &Answer) -> Vec<(String, String)> {
    let header = answer.headers["link"].to_str().expect("text");
    let link = |part: &str| {
        let (target, rel) = part.trim_start_matches('<').split_once(">; rel=\"").expect("a link");
        (rel.trim_end_matches('"').to_owned(), target.to_owned())
    };
    header.split(", ").map(link).collect()
}

#[sqlx::test]
async fn the_links_lead_through_the_list(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    history(&t, &customer, 9, &mut Dice(5)).await;
    for start in
        ["/v1/transactions?page=2&page_size=3&amount_min=1", "/v1/transactions?limit=3&sort=-amount&amount_min=1"]
    {
        let all = ids(&rows(
            &t.get(
                &customer,
                &format!("{start}&page_size=100").replace("page=2&page_size=3&", "").replace("limit=3&", ""),
            )
            .await
            .body,
        ));
        let mut path = links(&t.get(&customer, start).await)[0].1.clone();
        let mut seen = Vec::new();
        loop {
            let answer = t.get(&customer, &path).await;
            seen.extend(ids(&rows(&answer.body)));
            match links(&answer).into_iter().find(|(rel, _)| rel == "next") {
                Some((_, next)) => path = next,
                None => break,
            }
        }
        assert_eq!(seen, all, "{start}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn staff_see_everybodys_rows_and_may_narrow_to_one_customer(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let staff = t.staff(Role::Support).await;
    let mut dice = Dice(2);
    let mine = history(&t, &customer, 5, &mut dice).await;
    history(&t, &other, 4, &mut dice).await;
    let list = async |query: &str| t.get(&staff, &format!("/v1/admin/transactions?{query}")).await.body;
    assert_eq!(list("").await["page"]["total"], 9);
    let one = list(&format!("user_id={}", customer.id)).await;
    assert_eq!(once(&rows(&one)), mine);
    assert_eq!(one["data"][0]["user_id"], json!(customer.id));
    let hold =
        "update transactions set held_code = 'gave_up', held_reason = 'look', held_at = now() where id = $1::uuid";
    sqlx::query(hold).bind(mine.first()).execute(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(list("held=true").await["page"]["total"], 1);
    assert_eq!(list("held=false").await["page"]["total"], 8);
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_row_tells_its_life(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let staff = t.staff(Role::Finance).await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.advance(TimeDelta::seconds(90));
    t.pay(&deposit).await;
    let path = format!("/v1/transactions/{}", deposit.id());
    let own = t.get(&customer, &path).await;
    let states: Vec<&str> =
        own.body["states"].as_array().expect("states").iter().filter_map(|s| s["state"].as_str()).collect();
    assert_eq!(states, ["initiated", "awaiting_payment", "completed"]);
    assert_eq!(own.body["states"][0]["at"], own.body["created_at"]);
    assert_eq!(own.body["states"][2]["at"], own.body["completed_at"]);
    let main = &own.body["transfers"][0];
    assert_eq!((&main["debit"], &main["credit"]), (&json!("provider_balance"), &json!("customer_wallet")));
    assert_eq!((&main["amount"], &main["leg"], &main["kind"]), (&json!(5_000), &json!("main"), &json!("posted")));
    let any = t.get(&staff, &format!("/v1/admin/transactions/{}", deposit.id())).await;
    assert_eq!(any.body["transfers"], own.body["transfers"]);
    assert_eq!(any.body["events"][0]["state"], "done", "{}", any.body);
    assert!(own.body.get("events").is_none(), "not for customers");
    let tag = own.headers["etag"].to_str().expect("text").to_owned();
    let token = t.token(&customer);
    let again = async |known: &str| t.send(Method::GET, &path, Some(&token), &[("If-None-Match", known)], None).await;
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let answer = again(&known).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::NOT_MODIFIED, &json!("")), "{known}");
        assert_eq!(answer.headers["etag"], tag.as_str());
    }
    assert_eq!(again("\"x\"").await.status, StatusCode::OK);
    t.finish().await;
}
