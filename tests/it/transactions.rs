//! Reading transactions back: own ones only, page by page; and what the database refuses of a row, whoever writes it.

use octoco::money::transactions::{Kind, State};
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::harness::TestApp;

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().expect("a list").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

#[sqlx::test]
async fn somebody_elses_transaction_is_not_there(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    let path = format!("/v1/transactions/{}", deposit.id());
    assert_eq!(t.get(&customer, &path).await.status, StatusCode::OK);
    let foreign = t.get(&other, &path).await;
    let missing = t.get(&other, "/v1/transactions/01900000-0000-7000-8000-000000000000").await;
    assert_eq!((foreign.status, foreign.code()), (StatusCode::NOT_FOUND, "not_found"));
    assert_eq!(foreign.body["detail"], missing.body["detail"], "not to be told from one that does not exist");
    assert_eq!(t.get(&other, "/v1/transactions").await.body["page"]["total"], 0);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn both_ways_of_paging_show_every_row_once_newest_first(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut made = Vec::new();
    for index in 0..7 {
        t.app.clock.advance(chrono::TimeDelta::milliseconds(1));
        made.push(t.deposit(&customer, 1_000 + index, &format!("k{index}")).await.id().to_string());
    }
    made.reverse();
    let mut by_page = Vec::new();
    for page in 1..=4 {
        let answer = t.get(&customer, &format!("/v1/transactions?page={page}&page_size=2")).await;
        assert_eq!(answer.body["page"]["total"], 7);
        by_page.extend(ids(&answer.body));
    }
    assert_eq!(by_page, made);
    let (mut by_cursor, mut path) = (Vec::new(), "/v1/transactions?limit=3".to_owned());
    loop {
        let answer = t.get(&customer, &path).await;
        by_cursor.extend(ids(&answer.body));
        let Some(cursor) = answer.body["page"]["next_cursor"].as_str() else { break };
        path = format!("/v1/transactions?limit=3&cursor={cursor}");
    }
    assert_eq!(by_cursor, made);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn filters_narrow_the_list(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.withdraw(&customer, 1_000, "w1").await;
    t.drive().await;
    let total =
        async |query: &str| t.get(&customer, &format!("/v1/transactions?{query}")).await.body["page"]["total"].clone();
    assert_eq!(total("kind=deposit").await, 1);
    assert_eq!(total("kind=withdrawal&state=completed").await, 1);
    assert_eq!(total("state=failed").await, 0);
    assert_eq!(total("currency=ZAR").await, 2);
    t.finish().await;
}

#[sqlx::test]
async fn the_states_of_a_kind_are_those_of_the_constraint(db: PgPool) {
    for kind in Kind::ALL {
        for state in State::ALL {
            let allowed: bool = sqlx::query_scalar("select transaction_can_be($1, $2)")
                .bind(kind.name())
                .bind(state.name())
                .fetch_one(&db)
                .await
                .expect("the rule");
            assert_eq!(kind.states().contains(state), allowed, "{kind:?} {state:?}");
        }
    }
}

#[sqlx::test]
async fn the_database_refuses_a_row_that_belongs_to_two_customers_or_forgets_its_life(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let deposit = t.deposit(&customer, 5_000, "k1").await.id();
    let columns =
        "id, user_id, kind, state, states, moved_at, amount_minor, currency, parent_id, bank_account_id, updated_at";
    let insert = async |kind: &str, state: &str, user: Uuid, currency: &str, account: Option<Uuid>| {
        let parent = (kind == "refund").then_some(deposit);
        let done = sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into transactions ({columns}) values ($1, $2, $3, 'initiated', $4, '{{}}', 1, $5, $6, $7, now())"
        )));
        let done =
            done.bind(t.app.clock.row_id()).bind(user).bind(kind).bind(state).bind(currency).bind(parent).bind(account);
        let refused = done.execute(&t.app.db).await.expect_err("such a row");
        refused.as_database_error().and_then(|error| error.constraint().map(str::to_owned))
    };
    for (kind, state, user, currency, account, constraint) in [
        ("withdrawal", "initiated", customer.id, "ZAR", Some(other.bank_account_id), "transactions_bank_account"),
        ("refund", "initiated", other.id, "ZAR", None, "transactions_follows"),
        ("refund", "initiated", customer.id, "USD", None, "transactions_follows"),
        ("deposit", "completed", customer.id, "ZAR", None, "transactions_states"),
    ] {
        assert_eq!(
            insert(kind, state, user, currency, account).await.as_deref(),
            Some(constraint),
            "{kind} {currency}"
        );
    }
    let moved =
        sqlx::query("update transactions set state = 'failed' where id = $1").bind(deposit).execute(&t.app.db).await;
    let moved = moved.expect_err("a move that nobody noted");
    assert_eq!(moved.as_database_error().and_then(|error| error.constraint()), Some("transactions_states"));
    let created: i64 =
        sqlx::query_scalar("select (extract(epoch from created_at) * 1000)::bigint from transactions where id = $1")
            .bind(deposit)
            .fetch_one(&t.app.db)
            .await
            .expect("the row");
    assert_eq!(u128::try_from(created), Ok(deposit.as_u128() >> 80), "the time in the id, to the millisecond");
    t.drive().await;
    t.finish().await;
}

/// A backup holds each function as PostgreSQL writes it out, which is not how it was made.
#[sqlx::test]
async fn every_function_can_be_made_again_from_what_a_backup_holds(db: PgPool) {
    let own = "select pg_get_functiondef(p.oid) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname not in ('pg_catalog', 'information_schema') and p.prokind = 'f'
          and not exists (select 1 from pg_depend d where d.objid = p.oid and d.deptype = 'e')";
    let functions: Vec<String> = sqlx::query_scalar(own).fetch_all(&db).await.expect("PostgreSQL answers");
    assert!(functions.iter().any(|function| function.contains("search_query")), "{functions:?}");
    for function in functions {
        let made = sqlx::raw_sql(AssertSqlSafe(function.clone())).execute(&db).await;
        assert!(made.is_ok(), "{made:?}: {function}");
    }
}

#[sqlx::test]
async fn a_row_that_breaks_a_rule_is_refused_by_the_name_of_the_rule(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let deposit = t.deposit(&customer, 5_000, "k1").await.id();
    let account = format!("bank_account_id = '{}'", other.bank_account_id);
    let orphan = "kind = 'refund', state = 'failed', states = 'failed', moved_at = '{}', parent_id = null";
    let spent = "approved_hash = decode('00', 'hex'), approved_until = now()";
    for (change, rule) in [
        ("id = overlay(id::text placing '01' from 35)::uuid", "id_shape"),
        ("amount_minor = 0", "amount"),
        ("currency = 'zar'", "currency"),
        ("kind = 'gift'", "state"),
        ("state = 'submitted', states = states || ' submitted', moved_at = moved_at || now()", "state"),
        ("moved_at = moved_at || now()", "states"),
        (orphan, "parent"),
        ("refunded_minor = -1", "reversed"),
        ("owed_minor = amount_minor + 1", "reversed"),
        ("request_hash = null", "key"),
        ("idempotency_key = ''", "key_len"),
        ("idempotency_key = repeat('k', 256)", "key_len"),
        (account.as_str(), "bank"),
        ("completed_at = now()", "done"),
        ("held_code = 'undecided', held_reason = 'why', held_at = now(), due_at = now()", "held"),
        ("held_reason = 'why', due_at = null", "hold"),
        ("held_code = 'undecided', held_at = now()", "hold"),
        ("outcome = 'lost'", "outcome"),
        ("approved_until = now()", "approved"),
        (spent, "approved"),
        ("description = ''", "description"),
        ("description = repeat('d', 141)", "description"),
        ("direction = 'credit'", "direction"),
    ] {
        let changed = format!("update transactions set {change} where id = $1");
        let changed = sqlx::query(AssertSqlSafe(changed)).bind(deposit).execute(&t.app.db).await;
        let refused = changed.expect_err(change);
        let named = refused.as_database_error().and_then(|error| error.constraint());
        assert_eq!(named, Some(format!("transactions_{rule}").as_str()), "{change}: {refused}");
    }
    t.drive().await;
    t.finish().await;
}
