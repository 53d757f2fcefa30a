//! SQL of what changed lately. Both ways to a row are bounded by time, not by the size of the table or by how many listen:
//! `transactions_moved` (BRIN) and `transactions_noted`.

use std::time::Duration;

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;
use crate::platform::database::Db;

pub(super) struct Changed {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    version: i32,
    noted_at: Option<DateTime>,
}

impl Changed {
    pub(super) fn version_key(&self) -> (Uuid, i32, Option<DateTime>) {
        (self.id, self.version, self.noted_at)
    }
}

/// The customers come second: an index on them would read all that they ever had.
pub(super) async fn changed(db: impl PgExecutor<'_>, since: DateTime, users: &[Uuid]) -> sqlx::Result<Vec<Changed>> {
    let query = sqlx::query_as!(
        Changed,
        r#"with lately as materialized (
             select id, user_id, version, noted_at from transactions where updated_at >= $1
              union all
             select id, user_id, version, noted_at from transactions where noted_at >= $1 and updated_at < $1)
           select id as "id!", user_id as "user_id!", version as "version!", noted_at from lately where user_id = any($2)"#,
        since,
        users
    );
    query.fetch_all(db).await
}

/// Of one customer's rows those that changed since, up to a limit, within a deadline.
pub(super) async fn changed_of(
    db: &Db,
    user: Uuid,
    since: DateTime,
    (limit, deadline): (i64, Duration),
) -> sqlx::Result<Vec<Uuid>> {
    let mut tx = db.begin_reading(deadline).await?;
    let query = sqlx::query_scalar!(
        "select id from transactions where user_id = $1 and (updated_at >= $2 or noted_at >= $2) limit $3",
        user,
        since,
        limit
    );
    query.fetch_all(&mut *tx).await
}

/// Parts of the ledger's copy: of a currency, what came after one timestamp and up to another.
#[derive(Default)]
pub(super) struct Copied {
    currencies: Vec<String>,
    after: Vec<i64>,
    until: Vec<i64>,
}

impl Copied {
    pub(super) fn add(&mut self, currency: &str, after: i64, until: i64) {
        self.currencies.push(currency.to_owned());
        self.after.push(after);
        self.until.push(until);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.currencies.is_empty()
    }
}

/// Which of these customers have an account that was touched.
pub(super) async fn touched(db: impl PgExecutor<'_>, copied: &Copied, users: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        r#"select distinct a.user_id as "user_id!"
             from unnest($1::text[], $2::bigint[], $3::bigint[]) as copied (currency, after, until)
             join ledger_transfers t on t.timestamp > copied.after and t.timestamp <= copied.until and t.currency = copied.currency
            cross join lateral unnest(array[t.debit_account_id, t.credit_account_id]) as side (account)
             join ledger_accounts a on a.id = side.account
            where a.user_id = any($4)"#,
        &copied.currencies,
        &copied.after,
        &copied.until,
        users
    );
    query.fetch_all(db).await
}
