//! SQL of `mails`.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Holder;
use crate::platform::clock::DateTime;

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) kind: &'static str,
    pub(super) user_id: Option<Uuid>,
    pub(super) address: Option<&'a str>,
    pub(super) created_at: DateTime,
    pub(super) expires_at: DateTime,
}

pub(super) struct Claimed {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) attempts: i32,
    pub(super) expires_at: DateTime,
}

/// The user that a mail goes to, as it is now.
pub(super) struct Recipient {
    id: Uuid,
    email: String,
    password_hash: String,
    email_verified_at: Option<DateTime>,
}

impl Recipient {
    pub(super) fn holder(&self) -> Holder<'_> {
        Holder {
            user_id: self.id,
            email: &self.email,
            email_verified: self.email_verified_at.is_some(),
            password_hash: &self.password_hash,
        }
    }
}

pub(super) async fn insert(db: impl PgExecutor<'_>, new: &New<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into mails (id, kind, user_id, address, due_at, expires_at, created_at) values ($1, $2, $3, $4, $5, $6, $5)",
        new.id,
        new.kind,
        new.user_id,
        new.address,
        new.created_at,
        new.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes due mails, oldest first, and pushes them one lease ahead.
pub(super) async fn claim_due(
    db: impl PgExecutor<'_>,
    now: DateTime,
    leased_until: DateTime,
    limit: i64,
) -> sqlx::Result<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        "update mails set due_at = $2
          where id in (select id from mails where due_at <= $1 order by due_at limit $3 for update skip locked)
         returning id, kind, attempts, expires_at",
        now,
        leased_until,
        limit
    )
    .fetch_all(db)
    .await
}

/// Deletes a batch of what came to an end before `before`.
pub(super) async fn delete_done(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "delete from mails
          where id in (select id from mails where state in ('sent', 'dropped') and created_at < $1
                        limit $2 for update skip locked)",
        before,
        limit
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// `None` when nobody has the address.
pub(super) async fn recipient(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Recipient>> {
    sqlx::query_as!(
        Recipient,
        "select u.id, u.email, u.password_hash, u.email_verified_at
           from mails m
           join users u on u.id = coalesce(m.user_id, (select id from users where email = m.address))
          where m.id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// An address that is nobody's is not kept.
pub(super) async fn forget(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from mails where id = $1 and state = 'pending'", id).execute(db).await?;
    Ok(())
}

/// `state` is `sent` or `dropped`.
pub(super) async fn finish(
    db: impl PgExecutor<'_>,
    id: Uuid,
    user_id: Uuid,
    state: &str,
    now: DateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update mails set state = $3, user_id = $2, address = null, due_at = null, last_error = null,
                          attempts = attempts + 1, sent_at = case when $3 = 'sent' then $4::timestamptz end
          where id = $1 and state = 'pending'",
        id,
        user_id,
        state,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// `user_id` where it is known by now: the address is not needed any more.
pub(super) async fn defer(
    db: impl PgExecutor<'_>,
    id: Uuid,
    user_id: Option<Uuid>,
    due_at: DateTime,
    error: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update mails set user_id = coalesce($2, user_id), address = case when $2::uuid is null then address end,
                          due_at = $3, attempts = attempts + 1, last_error = $4
          where id = $1 and state = 'pending'",
        id,
        user_id,
        due_at,
        error
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn dead_letter(
    db: impl PgExecutor<'_>,
    id: Uuid,
    user_id: Option<Uuid>,
    error: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update mails set user_id = coalesce($2, user_id), address = case when $2::uuid is null then address end,
                          state = 'dead', due_at = null, attempts = attempts + 1, last_error = $3
          where id = $1 and state = 'pending'",
        id,
        user_id,
        error
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a page of the list shows; `None` = any.
pub struct Filter {
    pub state: Option<String>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MailView)]
pub struct Row {
    pub id: Uuid,
    /// `email_verification` or `password_reset`.
    #[schema(example = "email_verification")]
    pub kind: String,
    /// Whom it is for; null while nobody has looked whose address it is.
    pub user_id: Option<Uuid>,
    pub state: String,
    pub attempts: i32,
    #[serde(rename = "next_attempt_at")]
    pub due_at: Option<DateTime>,
    pub last_error: Option<String>,
    pub created_at: DateTime,
    /// When the link in it ends.
    pub expires_at: DateTime,
    pub sent_at: Option<DateTime>,
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "select id, kind, user_id, state, attempts, due_at, last_error, created_at, expires_at, sent_at
           from mails
          where ($1::text is null or state = $1) and ($2::uuid is null or id < $2)
          order by id desc limit $3",
        filter.state,
        filter.before,
        filter.limit,
    )
    .fetch_all(db)
    .await
}

pub(super) struct Waiting {
    pub(super) due: i64,
    pub(super) oldest_due: Option<DateTime>,
    pub(super) dead: i64,
    pub(super) oldest_dead: Option<DateTime>,
}

/// Of the dead only those that are not older than `since`.
pub(super) async fn waiting(db: impl PgExecutor<'_>, now: DateTime, since: DateTime) -> sqlx::Result<Waiting> {
    sqlx::query_as!(
        Waiting,
        r#"select count(*) filter (where due_at <= $1) as "due!", min(due_at) filter (where due_at <= $1) as oldest_due,
                  count(*) filter (where state = 'dead') as "dead!",
                  min(created_at) filter (where state = 'dead') as oldest_dead
             from mails where due_at is not null or (state = 'dead' and created_at > $2)"#,
        now,
        since
    )
    .fetch_one(db)
    .await
}
