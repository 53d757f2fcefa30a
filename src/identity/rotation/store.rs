//! SQL of a table with something encrypted, as `octoco keys rotate` needs it. The table's own `store.rs` says which it is:
//! `encrypted!(CustomerNotes, "customer note", 100 of "customer_notes", "id", "content", where "true")`; each has its statements checked as any
//! other.

/// A [`Table`](super::Table): its name, what a row is for people, how many rows are one transaction, by which column a row is known, which
/// one is encrypted, and where it holds anything. Beside it stands `key_id`.
macro_rules! encrypted {
    ($name:ident, $noun:literal, $batch:literal of $table:tt, $id:tt, $bytes:tt, where $there:tt) => {
        #[doc = concat!("Of `", $table, "`, for `octoco keys rotate`.")]
        pub struct $name;

        impl $crate::identity::rotation::Table for $name {
            const NOUN: &'static str = $noun;
            const BATCH: i64 = $batch;

            async fn encrypted_by_others(
                &self,
                db: &mut sqlx::PgConnection,
                key: &str,
                after: uuid::Uuid,
                limit: i64,
            ) -> sqlx::Result<Vec<(uuid::Uuid, Encrypted)>> {
                let rows = sqlx::query!(
                    "select "
                        + $id
                        + r#" as "id!", "#
                        + $bytes
                        + r#" as "bytes!", key_id as "key_id!" from "#
                        + $table
                        + " where "
                        + $there
                        + " and key_id <> $1 and "
                        + $id
                        + " > $2 order by 1 limit $3",
                    key,
                    after,
                    limit
                );
                let rows = rows.fetch_all(db).await?.into_iter();
                Ok(rows.map(|row| (row.id, Encrypted { key_id: row.key_id, bytes: row.bytes })).collect())
            }

            async fn replace(
                &self,
                db: &mut sqlx::PgConnection,
                id: uuid::Uuid,
                old: &Encrypted,
                new: &Encrypted,
            ) -> sqlx::Result<bool> {
                let update = sqlx::query!(
                    "update "
                        + $table
                        + " set "
                        + $bytes
                        + " = $4, key_id = $5 where "
                        + $id
                        + " = $1 and key_id = $2 and "
                        + $bytes
                        + " = $3",
                    id,
                    old.key_id,
                    old.bytes,
                    new.bytes,
                    new.key_id
                );
                Ok(update.execute(db).await?.rows_affected() == 1)
            }

            async fn uses(&self, db: &mut sqlx::PgConnection) -> sqlx::Result<Vec<KeyUse>> {
                let rows = sqlx::query_as!(
                    KeyUse,
                    r#"select key_id as "id!", count(*) as "rows!" from "#
                        + $table
                        + " where "
                        + $there
                        + " group by key_id order by 1"
                );
                rows.fetch_all(db).await
            }
        }
    };
}

pub(crate) use encrypted;
