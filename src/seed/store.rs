//! SQL of the seeding. It takes the database's own indexes and foreign keys away and puts the same ones back: what it measures
//! is what the migrations say.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Transaction};
use uuid::Uuid;

pub(super) const USERS: &str = "copy users (id, email, full_name, password_hash, created_at) from stdin";
pub(super) const BANK_ACCOUNTS: &str =
    "copy bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at) from stdin";
pub(super) const TRANSACTIONS: &str = "copy transactions (id, user_id, kind, state, amount_minor, currency, \
    idempotency_key, request_hash, parent_id, bank_account_id, provider_id, failure_reason, description, version, \
    updated_at, completed_at, direction, states, moved_at) from stdin";

pub(super) async fn has_transactions(db: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from transactions) as "has!""#).fetch_one(db).await
}

/// A connection whose statements may take as long as they need.
pub(super) async fn connect(db: &PgPool) -> sqlx::Result<PoolConnection<Postgres>> {
    let mut connection = db.acquire().await?;
    sqlx::raw_sql(
        "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set maintenance_work_mem = '512MB'",
    )
    .execute(&mut *connection)
    .await?;
    Ok(connection)
}

/// Everything or nothing: a seeding that is broken off leaves the database as it was, with its indexes.
pub(super) struct Seeding<'c> {
    tx: Transaction<'c, Postgres>,
    indexes: Vec<String>,
    foreign_keys: Vec<String>,
}

impl<'c> Seeding<'c> {
    pub(super) async fn begin(connection: &'c mut PgConnection) -> sqlx::Result<Self> {
        let mut tx = connection.begin().await?;
        let indexes = sqlx::query!(
            r#"select indexrelid::regclass::text as "name!", pg_get_indexdef(indexrelid) as "definition!"
                 from pg_index
                where indrelid = 'transactions'::regclass and not indisprimary"#
        )
        .fetch_all(&mut *tx)
        .await?;
        for index in &indexes {
            sqlx::raw_sql(AssertSqlSafe(format!("drop index {}", index.name))).execute(&mut *tx).await?;
        }
        let keys = sqlx::query!(
            r#"select conname::text as "name!", pg_get_constraintdef(oid) as "definition!" from pg_constraint
                where conrelid = 'transactions'::regclass and contype = 'f'"#
        )
        .fetch_all(&mut *tx)
        .await?;
        for key in &keys {
            let drop = format!("alter table transactions drop constraint {}", key.name);
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *tx).await?;
        }
        let add = |key: &str, definition: &str| format!("alter table transactions add constraint {key} {definition}");
        Ok(Self {
            tx,
            indexes: indexes.into_iter().map(|index| index.definition).collect(),
            foreign_keys: keys.iter().map(|key| add(&key.name, &key.definition)).collect(),
        })
    }

    pub(super) async fn copy(&mut self, statement: &'static str, lines: String) -> sqlx::Result<()> {
        let mut copy = self.tx.copy_in_raw(statement).await?;
        copy.send(lines.into_bytes()).await?;
        copy.finish().await?;
        Ok(())
    }

    pub(super) async fn finish(mut self) -> sqlx::Result<()> {
        for definition in self.indexes.into_iter().chain(self.foreign_keys) {
            sqlx::raw_sql(AssertSqlSafe(definition)).execute(&mut *self.tx).await?;
        }
        self.tx.commit().await
    }
}

pub(super) async fn vacuum(connection: &mut PgConnection) -> sqlx::Result<()> {
    for table in ["users", "transactions"] {
        sqlx::raw_sql(AssertSqlSafe(format!("vacuum (analyze) {table}"))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Customers, those with the most rows first.
pub(super) async fn customers(db: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("select user_id from transactions group by user_id order by count(*) desc, user_id")
        .fetch_all(db)
        .await
}

/// The processes that serve the pool's connections, of which all are opened for it.
pub(super) async fn backends(db: &PgPool, connections: u32) -> sqlx::Result<Vec<i32>> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(db.acquire().await?);
    }
    let mut pids = Vec::new();
    for connection in &mut open {
        pids.push(sqlx::query_scalar!(r#"select pg_backend_pid() as "pid!""#).fetch_one(&mut **connection).await?);
    }
    Ok(pids)
}
