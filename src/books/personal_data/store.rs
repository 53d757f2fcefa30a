//! SQL over all that is about one person.

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::platform::clock::DateTime;

#[derive(Debug, Serialize, ToSchema)]
pub struct Erasure {
    pub user_id: Uuid,
    pub requested_by: Uuid,
    pub requested_at: DateTime,
    /// Null while it waits for a second person.
    pub erased_by: Option<Uuid>,
    pub erased_at: Option<DateTime>,
}

/// Every row in the clear, as of one moment, but for transactions and acts. What others did is not the person's; what is encrypted is opened elsewhere.
pub(super) async fn rows(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Value> {
    let rows = sqlx::query_scalar!(
        r#"select jsonb_build_object(
             'user', (select to_jsonb(x) from (
                 select id, email, full_name, role, created_at, email_verified_at, mail_deposits, mail_withdrawals, erased_at
                   from users where id = $1) x),
             'second_factor_since', (select enrolled_at from totp_secrets where user_id = $1),
             'email_change', (select to_jsonb(x) from (
                 select new_email, asked_at from email_changes where user_id = $1) x),
             'sessions', (select coalesce(jsonb_agg(x), '[]') from (
                 select id, user_agent, address, created_at, expires_at, revoked_at, revoked_reason
                   from sessions where user_id = $1 order by created_at) x),
             'mails', (select coalesce(jsonb_agg(x), '[]') from (
                 select id, kind, coalesce(address, '') as address, state, created_at, sent_at
                   from mails where user_id = $1 order by id) x),
             'restrictions', (select coalesce(jsonb_agg(x), '[]') from (
                 select id, kind, currency, state, created_at, updated_at from restrictions where user_id = $1 order by id) x),
             'journals', (select coalesce(jsonb_agg(x), '[]') from (
                 select id, kind, state, amount_minor, currency, created_at, ended_at
                   from journals where user_id = $1 order by id) x)
           ) as "rows!""#,
        user_id
    );
    rows.fetch_one(db).await
}

/// One of a list that may be long.
pub(super) struct Listed {
    pub(super) id: Uuid,
    pub(super) told: Value,
}

/// What the person did, as far as it is on record: those after one, the oldest first.
pub(super) async fn acts_after(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Listed>> {
    let rows = sqlx::query_as!(
        Listed,
        r#"select x.id, to_jsonb(x) as "told!"
             from (select id, at, action, object_kind, object_id, address from audit_log
                    where actor = $1 and id > $2 order by id limit $3) x
            order by x.id"#,
        user_id.to_string(),
        after,
        limit
    );
    rows.fetch_all(db).await
}

/// What the person is told of their transactions: those after one, the oldest first.
pub(super) async fn transactions_after(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Listed>> {
    let rows = sqlx::query_as!(
        Listed,
        r#"select x.id, to_jsonb(x) as "told!"
             from (select id, kind, state, amount_minor, currency, direction, description, metadata, idempotency_key, parent_id,
                          bank_account_id, destination_bank, destination_last_four, provider_id, failure_reason, refunded_minor,
                          charged_back_minor, repaid_minor, owed_minor, created_at, completed_at
                     from transactions where user_id = $1) x
            where x.id > $2 order by x.id limit $3"#,
        user_id,
        after,
        limit
    );
    rows.fetch_all(db).await
}

/// Another one as soon as a transaction, a delivery about one of these objects, or what is on record of the person says something else. Of none the
/// words are read: a row that says something else has another version.
pub(super) async fn fingerprint(db: impl PgExecutor<'_>, user_id: Uuid, objects: &[Uuid]) -> sqlx::Result<String> {
    sqlx::query_scalar!(
        r#"select concat((select md5(string_agg(concat(id, version, updated_at, noted_at, refunded_minor, charged_back_minor, repaid_minor), ' ' order by id)) from transactions where user_id = $1),
                         (select md5(string_agg(concat(id, state, attempts, repeats, finished_at), ' ' order by id)) from webhook_logs
                           where object_id = any($2)),
                         (select id from audit_log where actor = $1::text order by id desc limit 1)) as "fingerprint!""#,
        user_id,
        objects
    )
    .fetch_one(db)
    .await
}

/// Revio's objects that are about the person's money.
pub(super) async fn provider_ids(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        r#"select provider_id as "id!" from transactions where user_id = $1 and provider_id is not null
           union
           select o.id from provider_objects o join transactions t on t.id = o.transaction_id where t.user_id = $1"#,
        user_id
    );
    ids.fetch_all(db).await
}

/// Objects of people who were erased, of which an event that ended since still says who they were.
pub(super) async fn told_of_erased(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        r#"with objects as (
               select t.provider_id as id from erasures e join transactions t on t.user_id = e.user_id
                where e.erased_at is not null and t.provider_id is not null
               union
               select o.id from erasures e join transactions t on t.user_id = e.user_id join provider_objects o on o.transaction_id = t.id
                where e.erased_at is not null)
           select distinct w.object_id as "id!" from objects o join webhook_logs w on w.object_id = o.id
            where w.content is not null and w.state not in ('pending', 'dead') limit $1"#,
        limit
    );
    ids.fetch_all(db).await
}

/// Whether a person has still to decide about something of theirs: a held row, money in suspense, a journal, a dead letter
/// about one of these objects of Revio's; or something is owed in one of these accounts, as far as the ledger is copied.
pub(super) async fn is_open(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    receivables: &[Uuid],
    objects: &[Uuid],
) -> sqlx::Result<bool> {
    let open = sqlx::query_scalar!(
        r#"select exists (select from transactions where user_id = $1 and held_reason is not null)
               or exists (select from suspense_items i join transactions t on t.id = i.transaction_id
                           where t.user_id = $1 and i.taken_minor < i.amount_minor)
               or exists (select from journals where user_id = $1 and ended_at is null)
               or exists (select from webhook_logs where state = 'dead' and object_id = any($3))
               or exists (select from ledger_accounts where id = any($2) and debits_posted <> credits_posted) as "open!""#,
        user_id,
        receivables,
        objects
    );
    open.fetch_one(db).await
}

pub(super) async fn find(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Option<Erasure>> {
    let row = sqlx::query_as!(
        Erasure,
        "select user_id, requested_by, requested_at, erased_by, erased_at from erasures where user_id = $1",
        user_id
    );
    row.fetch_optional(db).await
}

/// In the place of what was asked for long ago.
pub(super) async fn ask(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    by: Uuid,
    note: &str,
    now: DateTime,
) -> sqlx::Result<()> {
    let asked = sqlx::query!(
        "insert into erasures (user_id, requested_by, note, requested_at) values ($1, $2, $3, $4)
         on conflict (user_id) do update
            set requested_by = excluded.requested_by, note = excluded.note, requested_at = excluded.requested_at",
        user_id,
        by,
        note,
        now
    );
    asked.execute(db).await.map(drop)
}

pub(super) async fn finish(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    by: Uuid,
    now: DateTime,
) -> sqlx::Result<Option<Erasure>> {
    let done = sqlx::query_as!(
        Erasure,
        "update erasures set erased_by = $2, erased_at = $3 where user_id = $1 and erased_at is null
         returning user_id, requested_by, requested_at, erased_by, erased_at",
        user_id,
        by,
        now
    );
    done.fetch_optional(db).await
}

/// A pseudonym in the place of whoever it was. No password is that hash's.
pub(super) async fn erase(tx: &mut PgConnection, user_id: Uuid, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!("delete from mails where user_id = $1 or address = (select email from users where id = $1)", user_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("delete from email_changes where user_id = $1", user_id).execute(&mut *tx).await?;
    sqlx::query!("update sessions set user_agent = null, address = null where user_id = $1", user_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "update transactions
            set description = null, metadata = '{}', checkout_url = null, execution_url = null, destination_bank = null, destination_last_four = null
          where user_id = $1 and (description is not null or metadata <> '{}' or checkout_url is not null or execution_url is not null
                                  or destination_bank is not null)",
        user_id
    )
    .execute(&mut *tx)
    .await?;
    // At random: an address that could be foretold could be taken before, and then nobody could be erased.
    let query = sqlx::query!(
        "update users
            set email = 'erased-' || replace(gen_random_uuid()::text, '-', '') || '@erased.invalid', full_name = 'erased', password_hash = 'erased',
                email_verified_at = null, erased_at = $2
          where id = $1",
        user_id,
        now
    );
    query.execute(&mut *tx).await.map(drop)
}
