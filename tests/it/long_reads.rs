//! Reads that take long have their part of the connections: whoever signs in or asks whether we are ready finds one.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::harness::{Answer, PASSWORD, PATIENCE, TestApp};
use crate::health::ready;

/// Beside the service's connections. A statement that waits for its lock is as slow as one that works.
struct Slow(PgConnection, PgConnection);

impl Slow {
    async fn begin(db: &PgPool) -> Self {
        let connect = async || PgConnection::connect_with(&db.connect_options()).await.expect("PostgreSQL answers");
        let (mut holder, watcher) = (connect().await, connect().await);
        for statement in ["begin", "lock table transactions in access exclusive mode"] {
            sqlx::query(statement).execute(&mut holder).await.expect("PostgreSQL answers");
        }
        Self(holder, watcher)
    }

    async fn reads(&mut self) -> i64 {
        let reads =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query_scalar(reads).fetch_one(&mut self.1).await.expect("a number")
    }

    async fn until(&mut self, reads: i64) {
        let enough = async {
            while self.reads().await < reads {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, enough).await.expect("they have begun");
    }

    async fn end(mut self) {
        sqlx::query("rollback").execute(&mut self.0).await.expect("PostgreSQL answers");
    }
}

fn is_turned_away(answer: &Answer) -> bool {
    let told = (answer.status, answer.headers.contains_key("retry-after"));
    told == (StatusCode::SERVICE_UNAVAILABLE, true) && answer.code() == "unavailable"
}

#[sqlx::test]
async fn lists_that_take_long_leave_connections_for_signing_in_and_for_probes(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customers = [t.customer().await, t.customer().await, t.customer().await];
    ready(&t).await;
    let mut slow = Slow::begin(&db).await;
    let queries = ["sort=amount", "page_size=13", "sort=state,kind&q=rent", "sort=-updated_at"];
    let paths = queries.map(|query| format!("/v1/transactions?{query}"));
    let asked = customers.iter().flat_map(|customer| paths.iter().map(|path| t.get(customer, path)));
    let lists = async {
        let mut lists: FuturesUnordered<_> = asked.collect();
        let mut told = Vec::new();
        while let Some(answer) = lists.next().await {
            told.push(answer);
        }
        told
    };
    let beside = async {
        slow.until(1).await;
        let at_once = async {
            assert_eq!(t.login(&customers[0].email, PASSWORD).await.status, StatusCode::OK);
            ready(&t).await;
        };
        let in_time = timeout(Duration::from_secs(6), at_once);
        let (in_time, turned_away) = tokio::join!(in_time, t.get(&customers[1], &paths[0]));
        in_time.expect("they find a connection");
        let reads = slow.reads().await;
        slow.end().await;
        (reads, turned_away)
    };
    let (told, (reads, turned_away)) = tokio::join!(lists, beside);
    assert!(reads <= 1, "{reads} connections of two");
    assert!(is_turned_away(&turned_away), "{} {}", turned_away.status, turned_away.body);
    let refused = told.iter().filter(|answer| is_turned_away(answer)).count();
    assert!(refused >= told.len() / 2, "{refused} of {}", told.len());
    assert_eq!(t.get(&customers[1], &paths[0]).await.status, StatusCode::OK);
    t.finish().await;
}

/// A file has a turn of its own beside its caller's lists, and a second one waits for it.
#[sqlx::test]
async fn exports_and_lists_of_one_caller_take_turns(db: PgPool) {
    // Eight turns, two of a caller.
    let t = TestApp::with(db.clone(), &[("DATABASE_CONNECTIONS_MAX", "40")]).await;
    let (one, other) = (t.customer().await, t.customer().await);
    let mut slow = Slow::begin(&db).await;
    let (list, export) = ("/v1/transactions?sort=amount", "/v1/transactions/export?format=csv");
    let beside = async {
        slow.until(4).await;
        let (list, export) = tokio::join!(t.get(&one, list), t.get(&one, export));
        let reads = slow.reads().await;
        slow.end().await;
        (list, export, reads)
    };
    let (first, second, of_other, file, (third, another, reads)) =
        tokio::join!(t.get(&one, list), t.get(&one, list), t.get(&other, list), t.get(&one, export), beside);
    for answer in [third, another] {
        assert!(is_turned_away(&answer), "{} {}", answer.status, answer.body);
    }
    assert_eq!(reads, 4);
    for answer in [first, second, of_other, file] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    t.finish().await;
}

/// Of millions only few may be in a state, or nobody has a role; the way there is the caller's affair, and no outage.
#[sqlx::test]
async fn a_list_of_staffs_that_would_look_through_too_much_is_refused(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two) = (t.staff(Role::Support).await, t.staff(Role::Support).await);
    for table in ["webhook_logs", "mails"] {
        let slow = format!(
            "alter table {table} rename to {table}_of_years;
             create function look_through_{table}() returns setof {table}_of_years language plpgsql as
                 $$ begin perform pg_sleep(60); return; end $$;
             create view {table} as select * from look_through_{table}()"
        );
        sqlx::raw_sql(AssertSqlSafe(slow)).execute(&db).await.expect("as if it were millions");
    }
    for (staff, path) in [(one, "/v1/admin/webhooks?verdict=foreign"), (two, "/v1/admin/mails?state=dismissed")] {
        let answer = t.get(&staff, path).await;
        let told = (answer.status, answer.code());
        assert_eq!(told, (StatusCode::UNPROCESSABLE_ENTITY, "query_too_broad"), "{}", answer.body);
    }
}
