//! SQL of `totp_secrets`, `totp_enrolments`, `totp_recovery_codes`, `totp_invitations` and `totp_allowances`, and of what a session has shown.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::identity::rotation::{KeyUse, encrypted};
use crate::platform::{clock::DateTime, encryption::Encrypted};

/// A second factor, without its secret.
pub struct Factor {
    /// Who let staff enrol it; `None` where the person did alone.
    pub vouched_by: Option<String>,
    pub enrolled_at: DateTime,
    pub recovery_codes_left: i64,
}

/// A secret as it is stored.
pub(super) struct Row {
    secret: Vec<u8>,
    key_id: String,
    pub(super) vouched_by: Option<String>,
}

impl Row {
    pub(super) fn encrypted(&self) -> Encrypted {
        Encrypted { key_id: self.key_id.clone(), bytes: self.secret.clone() }
    }
}

pub async fn find(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Option<Factor>> {
    let factor = sqlx::query_as!(
        Factor,
        r#"select vouched_by, enrolled_at,
                  (select count(*) from totp_recovery_codes c where c.user_id = $1 and used_at is null)
                      as "recovery_codes_left!"
             from totp_secrets where user_id = $1"#,
        user_id
    );
    factor.fetch_optional(db).await
}

pub(super) async fn secret(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Option<Encrypted>> {
    let row = sqlx::query!("select secret, key_id from totp_secrets where user_id = $1", user_id);
    Ok(row.fetch_optional(db).await?.map(|row| Encrypted { key_id: row.key_id, bytes: row.secret }))
}

/// Whether the code of this step is later than any that counted before. Of two calls with one code only one is told so.
pub(super) async fn move_on(db: impl PgExecutor<'_>, user_id: Uuid, step: i64) -> sqlx::Result<bool> {
    let update =
        sqlx::query!("update totp_secrets set last_step = $2 where user_id = $1 and last_step < $2", user_id, step);
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// Whether there was such a code and nobody had used it.
pub(super) async fn use_recovery_code(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    hash: &[u8],
    now: DateTime,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update totp_recovery_codes set used_at = $3 where user_id = $1 and code_hash = $2 and used_at is null",
        user_id,
        hash,
        now
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// In the place of an earlier one.
pub(super) async fn put_enrolment(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    encrypted: &Encrypted,
    (vouched_by, expires_at): (Option<&str>, DateTime),
) -> sqlx::Result<()> {
    let put = sqlx::query!(
        "insert into totp_enrolments (user_id, secret, key_id, vouched_by, expires_at) values ($1, $2, $3, $4, $5)
         on conflict (user_id) do update set secret = excluded.secret, key_id = excluded.key_id,
            vouched_by = excluded.vouched_by, expires_at = excluded.expires_at",
        user_id,
        encrypted.bytes,
        encrypted.key_id,
        vouched_by,
        expires_at,
    );
    put.execute(db).await.map(drop)
}

/// Until the end of the transaction nobody else confirms it.
pub(super) async fn enrolment(db: impl PgExecutor<'_>, user_id: Uuid, now: DateTime) -> sqlx::Result<Option<Row>> {
    let row = sqlx::query_as!(
        Row,
        "select secret, key_id, vouched_by from totp_enrolments where user_id = $1 and expires_at > $2 for update",
        user_id,
        now
    );
    row.fetch_optional(db).await
}

/// What was begun comes to nothing.
pub async fn forget_begun(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from totp_enrolments where user_id = $1", user_id).execute(db).await.map(drop)
}

pub(super) async fn put(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    (encrypted, vouched_by): (&Encrypted, Option<&str>),
    (step, now): (i64, DateTime),
) -> sqlx::Result<()> {
    let put = sqlx::query!(
        "insert into totp_secrets (user_id, secret, key_id, vouched_by, enrolled_at, last_step) values ($1, $2, $3, $4, $5, $6)
         on conflict (user_id) do update set secret = excluded.secret, key_id = excluded.key_id,
            vouched_by = excluded.vouched_by, enrolled_at = excluded.enrolled_at, last_step = excluded.last_step",
        user_id,
        encrypted.bytes,
        encrypted.key_id,
        vouched_by,
        now,
        step,
    );
    put.execute(db).await.map(drop)
}

pub(super) async fn delete(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<bool> {
    let delete = sqlx::query!("delete from totp_secrets where user_id = $1", user_id);
    Ok(delete.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn insert_recovery_codes(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    hashes: &[Vec<u8>],
) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into totp_recovery_codes (user_id, code_hash) select $1, hash from unnest($2::bytea[]) as hash",
        user_id,
        hashes
    );
    insert.execute(db).await.map(drop)
}

pub(super) async fn delete_recovery_codes(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from totp_recovery_codes where user_id = $1", user_id).execute(db).await.map(drop)
}

/// Notes that the session has shown a password or a code, and whether it was a code.
pub async fn mark(db: impl PgExecutor<'_>, session_id: Uuid, with_code: bool, now: DateTime) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update sessions set stepped_up_at = $3, second_factor_at = case when $2 then $3 else second_factor_at end
          where id = $1",
        session_id,
        with_code,
        now
    );
    update.execute(db).await.map(drop)
}

pub(super) struct Allowance<'a> {
    pub(super) user_id: Uuid,
    pub(super) key: &'a str,
    pub(super) currency: &'a str,
    pub(super) minor: i64,
}

pub(super) async fn forget_allowances(db: impl PgExecutor<'_>, user_id: Uuid, before: DateTime) -> sqlx::Result<()> {
    sqlx::query!("delete from totp_allowances where user_id = $1 and created_at <= $2", user_id, before)
        .execute(db)
        .await
        .map(drop)
}

/// Deletes a batch of those of before `before`, whosever they are.
pub(super) async fn delete_allowances(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let delete = sqlx::query!(
        "delete from totp_allowances
          where (user_id, idempotency_key) in (select user_id, idempotency_key from totp_allowances
                                                where created_at <= $1 limit $2 for update skip locked)",
        before,
        limit
    );
    Ok(delete.execute(db).await?.rows_affected())
}

/// Whether the amount fits under the threshold with those that are there.
pub(super) async fn allow(
    db: impl PgExecutor<'_>,
    of: &Allowance<'_>,
    threshold: i64,
    now: DateTime,
) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into totp_allowances (user_id, idempotency_key, currency, amount_minor, created_at)
         select $1, $2, $3, $4::bigint, $6
          where (select coalesce(sum(amount_minor), 0) from totp_allowances
                  where user_id = $1 and currency = $3 and idempotency_key <> $2) + $4::bigint <= $5::bigint
         on conflict (user_id, idempotency_key)
         do update set amount_minor = greatest(totp_allowances.amount_minor, excluded.amount_minor), created_at = excluded.created_at
                 where totp_allowances.currency = excluded.currency",
        of.user_id,
        of.key,
        of.currency,
        of.minor,
        threshold,
        now,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

encrypted!(SecondFactors, "second factor", 100 of "totp_secrets", "user_id", "secret", where "true");

pub async fn delete_invitation(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from totp_invitations where user_id = $1", user_id).execute(db).await.map(drop)
}

pub(super) async fn delete_allowance(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<()> {
    let delete = sqlx::query!(
        "delete from totp_allowances a using transactions t
          where t.id = $1 and a.user_id = t.user_id and a.idempotency_key = t.idempotency_key",
        row
    );
    delete.execute(db).await.map(drop)
}

pub(super) async fn delete_allowances_of(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from totp_allowances where user_id = $1", user_id).execute(db).await.map(drop)
}
