//! The company's own entries: proposed by one, approved by another, booked once, each kind between its two accounts.

mod deaths;
mod known;
mod lives;
mod overlaps;
mod own_funds;

use std::collections::BTreeMap;

use ledger::{AccountCode, Currency, JournalStanding, Side};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::Pay;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer, Customer, TestApp};

/// Kind, what proves it, which account it names, its two sides, and the state that it comes to when it is approved.
pub(crate) type Row = (&'static str, &'static str, Option<&'static str>, &'static str, &'static str, &'static str);

pub(crate) const KINDS: [Row; 16] = [
    ("settlement", "provider_statement", None, "bank", "provider_balance", "in_transit"),
    ("float_top_up", "bank_statement", None, "provider_balance", "bank", "in_transit"),
    ("provider_invoice", "invoice", Some("bank"), "provider_fees", "bank", "completed"),
    ("provider_invoice", "invoice", Some("provider_balance"), "provider_fees", "provider_balance", "completed"),
    ("suspense_in", "bank_statement", Some("bank"), "bank", "suspense", "completed"),
    ("suspense_in", "provider_statement", Some("provider_balance"), "provider_balance", "suspense", "completed"),
    ("suspense_return", "bank_statement", Some("bank"), "suspense", "bank", "completed"),
    ("suspense_return", "provider_statement", Some("provider_balance"), "suspense", "provider_balance", "completed"),
    ("suspense_release", "legal_note", None, "suspense", "equity", "completed"),
    ("write_off", "note", None, "chargeback_losses", "customer_receivable", "completed"),
    ("chargeback_loss", "provider_statement", None, "chargeback_losses", "provider_balance", "completed"),
    ("own_funds_in", "bank_statement", None, "bank", "equity", "completed"),
    ("own_funds_out", "note", None, "equity", "bank", "completed"),
    ("result", "period_pack", Some("fee_income"), "fee_income", "equity", "completed"),
    ("result", "period_pack", Some("provider_fees"), "equity", "provider_fees", "completed"),
    ("result", "period_pack", Some("chargeback_losses"), "equity", "chargeback_losses", "completed"),
];

pub(crate) const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A body of a kind as in [`KINDS`], without what only some kinds name.
pub(crate) fn entry(kind: &str, amount: i64) -> Value {
    let (_, evidence, account, ..) = KINDS.iter().find(|row| row.0 == kind).expect("a kind");
    json!({"kind": kind, "amount": amount, "currency": "ZAR", "account": account, "reason": "as the line says",
        "evidence": {"kind": evidence, "reference": "2026-03 line 17", "sha256": SHA, "date": "2026-03-02"}})
}

pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// A maker and two checkers, and what the kinds need: an item in suspense, a debt, own funds.
pub(crate) struct Company {
    pub(crate) maker: Customer,
    pub(crate) checker: Customer,
    pub(crate) second: Customer,
    pub(crate) debtor: Customer,
    pub(crate) item: Uuid,
}

pub(crate) async fn company(t: &TestApp) -> Company {
    let (maker, checker, second) =
        (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let debtor = debtor(t, 100_000).await;
    let funded = booked(t, &maker, &checker, entry("own_funds_in", 1_000_000), "funds").await;
    assert_eq!(funded.body["state"], "completed", "{}", funded.body);
    let item = booked(t, &maker, &checker, entry("suspense_in", 500_000), "item").await.id();
    Company { maker, checker, second, debtor, item }
}

/// Somebody whose deposit was charged back after it had been withdrawn.
pub(crate) async fn debtor(t: &TestApp, amount: i64) -> Customer {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, amount, "d").await;
    t.pay(&deposit).await;
    let withdrawal = t.withdraw(&customer, amount, "w").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("it was paid");
    t.drive().await;
    assert_eq!(t.owed(customer.id).await, amount);
    customer
}

pub(crate) async fn post(t: &TestApp, by: &Customer, path: &str, key: &str, body: Value) -> Answer {
    let headers: &[(&str, &str)] = if key.is_empty() { &[] } else { &[("Idempotency-Key", key)] };
    t.send(Method::POST, path, Some(&t.token(by)), headers, Some(body)).await
}

pub(crate) async fn propose(t: &TestApp, maker: &Customer, body: Value, key: &str) -> Answer {
    post(t, maker, "/v1/admin/journals", key, body).await
}

pub(crate) async fn proposed(t: &TestApp, maker: &Customer, body: Value, key: &str) -> Answer {
    let answer = propose(t, maker, body, key).await;
    let waits = (StatusCode::CREATED, &json!("awaiting_approval"));
    assert_eq!((answer.status, &answer.body["state"]), waits, "{}", answer.body);
    answer
}

pub(crate) async fn approve(t: &TestApp, checker: &Customer, journal: &Answer) -> Answer {
    let body = json!({"journal_hash": journal.body["journal_hash"]});
    post(t, checker, &format!("/v1/admin/journals/{}/approve", journal.id()), "", body).await
}

pub(crate) async fn booked(t: &TestApp, maker: &Customer, checker: &Customer, body: Value, key: &str) -> Answer {
    let journal = proposed(t, maker, body, key).await;
    let answer = approve(t, checker, &journal).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer
}

pub(crate) async fn land(t: &TestApp, by: &Customer, journal: Uuid, how: &str, line: &str) -> Answer {
    let body = json!({"reference": line, "sha256": SHA, "date": "2026-03-02"});
    post(t, by, &format!("/v1/admin/journals/{journal}/{how}"), "", body).await
}

pub(crate) async fn shown(t: &TestApp, by: &Customer, journal: Uuid) -> Value {
    t.get(by, &format!("/v1/admin/journals/{journal}")).await.body
}

fn fields(answer: &Answer) -> Vec<String> {
    let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
}

/// What each account of the company holds, and all debts; on its normal side.
pub(crate) async fn balances(t: &TestApp, debtor: &Customer) -> BTreeMap<&'static str, i64> {
    let mut all = BTreeMap::new();
    for code in AccountCode::ALL.into_iter().filter(|code| !code.is_customers()) {
        all.insert(code.name(), t.system_balance(code).await.posted());
    }
    all.insert("customer_receivable", t.owed(debtor.id).await);
    all
}

/// What a journal between two accounts adds to each of them, on its normal side.
pub(crate) fn moved(debit: &str, credit: &str, amount: i64) -> Vec<(&'static str, i64)> {
    let sign = |code: AccountCode| match (code.name() == debit, code.normal_side()) {
        (true, Side::Debit) | (false, Side::Credit) => amount,
        (true, Side::Credit) | (false, Side::Debit) => -amount,
    };
    let touched = |code: &AccountCode| [debit, credit].contains(&code.name());
    AccountCode::ALL.into_iter().filter(touched).map(|code| (code.name(), sign(code))).collect()
}

/// Fills in what only some kinds name.
pub(crate) fn named(company: &Company, row: &Row, amount: i64) -> Value {
    let (kind, evidence, account, ..) = *row;
    let mut body = with(entry(kind, amount), json!({"account": account}));
    body["evidence"]["kind"] = json!(evidence);
    match kind {
        "write_off" => with(body, json!({"user_id": company.debtor.id})),
        "suspense_return" | "suspense_release" => with(body, json!({"item_id": company.item})),
        _ => body,
    }
}

/// Every row says what the ledger says: what is completed is posted, what is on its way is held, and the rest is not there.
pub(crate) async fn assert_rows_and_ledger_agree(t: &TestApp) {
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as("select id, kind, state from journals order by id")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    for (id, kind, state) in rows {
        let standing = t.app.ledger.journal_standing(id).await.expect("the ledger answers");
        let expected: &[JournalStanding] = match state.as_str() {
            "completed" => &[JournalStanding::Posted],
            "in_transit" => &[JournalStanding::Held],
            "returned" => &[JournalStanding::Voided],
            "rejected" if kind == "own_funds_out" => &[JournalStanding::Voided],
            "initiated" => &[JournalStanding::None, JournalStanding::Held],
            _ => &[JournalStanding::None],
        };
        assert!(expected.contains(&standing), "{kind} {id} is {state}, and {standing:?} in the ledger");
    }
}

/// What is left of all items is what the account holds.
pub(crate) async fn assert_items_are_the_account(t: &TestApp) {
    let left: i64 = sqlx::query_scalar(
        "select coalesce(sum(amount_minor - taken_minor), 0)::bigint from suspense_items where booked_at is not null",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), left, "suspense, item by item");
}

#[sqlx::test]
async fn each_kind_moves_its_amount_between_its_two_accounts_once_it_is_approved(db: PgPool) {
    let t = TestApp::new(db).await;
    let company = company(&t).await;
    for (number, row) in KINDS.iter().enumerate() {
        let (kind, _, _, debit, credit, state) = *row;
        let before = balances(&t, &company.debtor).await;
        let journal = proposed(&t, &company.maker, named(&company, row, 100), &format!("k{number}")).await;
        assert_eq!((&journal.body["debit"], &journal.body["credit"]), (&json!(debit), &json!(credit)), "{kind}");
        t.drive().await;
        assert_eq!(balances(&t, &company.debtor).await, before, "{kind}: nothing moves yet");
        let mut answer = approve(&t, &company.checker, &journal).await;
        if kind == "suspense_release" {
            assert_eq!(answer.body["state"], "awaiting_approval", "one is not enough");
            answer = approve(&t, &company.second, &journal).await;
        }
        assert_eq!(answer.body["state"], state, "{kind}: {}", answer.body);
        if state == "in_transit" {
            assert_eq!(balances(&t, &company.debtor).await, before, "{kind}: on its way");
            let arrived = land(&t, &company.checker, journal.id(), "arrived", "line 3").await;
            assert_eq!(arrived.body["state"], "completed", "{}", arrived.body);
        }
        let mut expected = before;
        for (name, change) in moved(debit, credit, 100) {
            *expected.get_mut(name).expect("an account") += change;
        }
        assert_eq!(balances(&t, &company.debtor).await, expected, "{kind}");
        assert_items_are_the_account(&t).await;
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_journal_needs_somebody_else_with_the_role_for_a_day_and_two_above_the_second_threshold(db: PgPool) {
    let t = TestApp::with(db, &[("APPROVAL_THRESHOLDS", "ZAR:1000:5000")]).await;
    let (maker, checker, second) =
        (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let small = proposed(&t, &maker, entry("own_funds_in", 3_000), "k1").await;
    assert_eq!(small.body["approvals_needed"], 1);
    let own = approve(&t, &maker, &small).await;
    assert_eq!((own.status, own.code()), (StatusCode::FORBIDDEN, "forbidden"), "never one's own");
    let support = t.staff(Role::Support).await;
    assert_eq!(approve(&t, &support, &small).await.status, StatusCode::FORBIDDEN);
    let changed = json!({"journal_hash": SHA});
    let other = post(&t, &checker, &format!("/v1/admin/journals/{}/approve", small.id()), "", changed).await;
    assert_eq!(other.code(), "stale_state", "not what was seen");
    // Whoever splits a sum is asked as for the whole.
    let rest = proposed(&t, &maker, entry("own_funds_in", 2_001), "k2").await;
    assert_eq!(rest.body["approvals_needed"], 2);
    let another = proposed(&t, &maker, entry("settlement", 5_000), "k3").await;
    assert_eq!(another.body["approvals_needed"], 1, "of its own kind");
    for again in 0..2 {
        let once = approve(&t, &checker, &rest).await;
        assert_eq!((&once.body["state"], again), (&json!("awaiting_approval"), again), "{}", once.body);
    }
    let done = approve(&t, &second, &rest).await;
    assert_eq!((&done.body["state"], done.body["approvals"].as_array().map(Vec::len)), (&json!("completed"), Some(2)));
    assert_eq!(approve(&t, &second, &rest).await.code(), "stale_state");
    let actions: Vec<String> =
        sqlx::query_scalar("select action from audit_log where action like 'journal.%' and object_id = $1 order by id")
            .bind(rest.id().to_string())
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    let proposals = actions.iter().filter(|action| *action == "journal.proposed").count();
    assert_eq!((proposals, actions.len()), (1, 3), "{actions:?}");
    t.finish().await;
}

#[sqlx::test]
async fn what_a_journal_lacks_or_names_in_vain_is_told_field_by_field(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, item) = (t.staff(Role::Finance).await, Uuid::now_v7());
    let evidence = |change: Value| {
        let body = entry("settlement", 100);
        json!({"evidence": with(body["evidence"].clone(), change)})
    };
    let missing = |field: &str| {
        let mut body = entry("settlement", 100);
        body["evidence"].as_object_mut().expect("an object").remove(field);
        body
    };
    let settlement = |change: Value| with(entry("settlement", 100), change);
    let mut without_evidence = entry("settlement", 100);
    without_evidence.as_object_mut().expect("an object").remove("evidence");
    let cases = [
        (settlement(json!({"kind": "gift"})), "kind choice"),
        (settlement(json!({"amount": 0})), "amount"),
        (settlement(json!({"amount": "100"})), "amount"),
        (settlement(json!({"currency": "XXX"})), "currency"),
        (settlement(json!({"account": "bank"})), "account conflict"),
        (settlement(json!({"user_id": maker.id})), "user_id conflict"),
        (settlement(json!({"item_id": item})), "item_id conflict"),
        (settlement(json!({"reason": " "})), "reason"),
        (settlement(json!({"evidence": null})), "evidence type"),
        (settlement(json!({"evidence": ["note", "x", SHA, "2026-03-02"]})), "evidence type"),
        (without_evidence, "evidence required"),
        (settlement(evidence(json!({"reference": 7}))), "evidence.reference type"),
        (settlement(evidence(json!({"pages": 7}))), "evidence.pages unknown"),
        (settlement(evidence(json!({"kind": "invoice"}))), "evidence.kind choice"),
        (settlement(evidence(json!({"reference": ""}))), "evidence.reference"),
        (settlement(evidence(json!({"reference": "x", "kind": "provider_object"}))), "evidence.reference"),
        (settlement(evidence(json!({"sha256": "12"}))), "evidence.sha256"),
        (settlement(evidence(json!({"date": "2026-03-04"}))), "evidence.date"),
        (settlement(evidence(json!({"date": "+262141-12-31"}))), "evidence.date"),
        (settlement(evidence(json!({"date": "2026-3-2"}))), "evidence.date format"),
        (missing("reference"), "evidence.reference required"),
        (missing("sha256"), "evidence.sha256 required"),
        (with(entry("provider_invoice", 100), json!({"account": null})), "account required"),
        (with(entry("result", 100), json!({"account": "bank"})), "account choice"),
        (entry("write_off", 100), "user_id required"),
        (entry("suspense_return", 100), "item_id required"),
        (with(entry("suspense_release", 100), json!({"item_id": item})), "item_id"),
    ];
    for (body, told) in cases {
        let answer = propose(&t, &maker, body.clone(), "k").await;
        let (field, code) = told.split_once(' ').map_or((told, None), |(field, code)| (field, Some(code)));
        let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
        let error =
            errors.iter().find(|error| error["field"] == field && code.is_none_or(|code| error["code"] == code));
        assert!(answer.status == StatusCode::BAD_REQUEST && error.is_some(), "{told}: {body} {}", answer.body);
    }
    let nobody = with(entry("write_off", 100), json!({"user_id": Uuid::now_v7()}));
    assert_eq!(propose(&t, &maker, nobody, "k").await.status, StatusCode::NOT_FOUND);
    let own = with(entry("write_off", 100), json!({"user_id": maker.id}));
    assert_eq!(propose(&t, &maker, own, "k").await.status, StatusCode::FORBIDDEN, "what one owes oneself");
    let without_key = post(&t, &maker, "/v1/admin/journals", "", entry("settlement", 100)).await;
    assert_eq!(fields(&without_key), ["Idempotency-Key"]);
    let rows: i64 = sqlx::query_scalar("select count(*) from journals").fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(rows, 0);
    t.finish().await;
}

#[sqlx::test]
async fn a_repeated_proposal_is_the_same_journal(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, other) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let first = proposed(&t, &maker, entry("own_funds_in", 100), "k").await;
    let calls = (0..10).map(|_| propose(&t, &maker, entry("own_funds_in", 100), "k"));
    for again in futures_util::future::join_all(calls).await {
        assert_eq!((again.status, again.id(), again.replayed()), (StatusCode::CREATED, first.id(), true));
    }
    let reused = propose(&t, &maker, entry("own_funds_in", 101), "k").await;
    assert_eq!((reused.status, reused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"));
    let mut body = entry("own_funds_in", 100);
    body["evidence"]["reference"] = json!("line 18");
    assert_eq!(propose(&t, &maker, body, "k").await.code(), "idempotency_key_reused", "other evidence");
    assert_ne!(proposed(&t, &other, entry("own_funds_in", 100), "k").await.id(), first.id(), "the key is the maker's");
    t.finish().await;
}

#[sqlx::test]
async fn no_more_is_written_off_than_is_owed_and_books_and_statements_tie_out(db: PgPool) {
    let t = TestApp::new(db).await;
    let company = company(&t).await;
    let Company { maker, checker, debtor, .. } = &company;
    let write_off = |amount| with(entry("write_off", amount), json!({"user_id": debtor.id}));
    let refused = booked(&t, maker, checker, write_off(100_001), "k1").await;
    assert_eq!(
        (&refused.body["state"], &refused.body["failure_reason"]),
        (&json!("rejected"), &json!("more_than_owed"))
    );
    let (one, other) =
        (proposed(&t, maker, write_off(60_000), "k2").await, proposed(&t, maker, write_off(60_000), "k3").await);
    let (one, other) = tokio::join!(approve(&t, checker, &one), approve(&t, checker, &other));
    let mut states = [one.body["state"].as_str(), other.body["state"].as_str()];
    states.sort_unstable();
    assert_eq!(states, [Some("completed"), Some("rejected")], "both see one debt");
    assert_eq!(t.owed(debtor.id).await, 40_000);
    assert_eq!(t.system_balance(AccountCode::ChargebackLosses).await.posted(), 60_000);
    // What is left of the debt is repaid by the next deposit, and no more than that.
    let deposit = t.deposit(debtor, 50_000, "d2").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!((t.owed(debtor.id).await, t.balance(debtor).await), (0, (10_000, 0, 10_000)));
    // The ledger's clock is the machine's.
    crate::statements::pass_the_ledgers_present(&t).await;
    let finance = t.staff(Role::Finance).await;
    let path = format!("/v1/admin/users/{}/statements?from=2026-01-01&currency=ZAR", debtor.id);
    let statement = t.get(&finance, &path).await;
    assert_eq!((statement.status, &statement.body["closing_balance"]), (StatusCode::OK, &json!(10_000)));
    let kinds: Vec<&str> =
        statement.body["lines"].as_array().expect("lines").iter().filter_map(|line| line["kind"].as_str()).collect();
    assert!(!kinds.contains(&"write_off") && kinds.contains(&"receivable_repayment"), "a wallet's: {kinds:?}");
    t.drive().await;
    assert_eq!(t.app.ledger.position(Currency::ZAR).await.expect("an answer"), 1_000_000 - 60_000);
    t.finish().await;
}

#[sqlx::test]
async fn who_approves_is_told_of_the_other_journals_of_the_same_line(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let first = proposed(&t, &maker, entry("own_funds_in", 1_000), "k1").await;
    let other = with(
        entry("own_funds_in", 1_000),
        json!({"evidence": {"kind": "bank_statement", "reference": "2026-03 line 18",
        "sha256": SHA, "date": "2026-03-02"}}),
    );
    assert_eq!(proposed(&t, &maker, other, "k2").await.body["same_evidence"], json!([]));
    let twice = proposed(&t, &maker, entry("own_funds_in", 1_000), "k3").await;
    assert_eq!(shown(&t, &checker, twice.id()).await["same_evidence"], json!([first.id()]));
    let body = json!({"journal_hash": first.body["journal_hash"], "note": "it is booked already"});
    let declined = post(&t, &checker, &format!("/v1/admin/journals/{}/decline", first.id()), "", body).await;
    assert_eq!(declined.status, StatusCode::OK, "{}", declined.body);
    assert_eq!(shown(&t, &checker, twice.id()).await["same_evidence"], json!([]), "that one is none any more");
    t.finish().await;
}
