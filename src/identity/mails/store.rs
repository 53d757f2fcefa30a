//! SQL of `mails`, and of `email_changes` where a mail hangs on it.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Holder, Kind, Notices, State};
use crate::platform::clock::DateTime;
use crate::platform::queue::{COUNTED_MAX, Depth, Lease};

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
    /// Whether it did not go out before.
    pub(super) was_tried: bool,
}

/// The user that a mail goes to, as it is now.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) mail_id: Uuid,
    id: Uuid,
    email: String,
    password_hash: String,
    email_verified_at: Option<DateTime>,
    pub(super) has_moved_money: bool,
    new_email: Option<String>,
    /// Where the mail goes, if not to the e-mail of the user.
    elsewhere: Option<String>,
    /// Whether somebody has that address.
    pub(super) taken: bool,
}

impl Recipient {
    pub(super) fn address(&self) -> &str {
        self.elsewhere.as_deref().unwrap_or(&self.email)
    }

    pub(super) fn holder(&self) -> Holder<'_> {
        Holder {
            user_id: self.id,
            email: &self.email,
            email_verified: self.email_verified_at.is_some(),
            password_hash: &self.password_hash,
            new_email: self.new_email.as_deref(),
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

/// Those that the person wants.
pub(super) async fn insert_notices(db: impl PgExecutor<'_>, user_id: Uuid, notices: &Notices) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into mails (id, kind, user_id, due_at, expires_at, created_at)
         select n.id, n.kind, n.user_id, $4, $5, $4
           from wanted_notices($1, $2, array_fill($3::uuid, array[cardinality($1::uuid[])]), $6, $7) n",
        &notices.ids as _,
        &notices.kinds as _,
        user_id,
        notices.now,
        notices.expires_at,
        notices.since,
        notices.most,
    );
    query.execute(db).await.map(drop)
}

/// Takes due mails, oldest first, and pushes them one lease ahead.
pub(super) async fn claim_due(db: impl PgExecutor<'_>, lease: Lease, limit: i64) -> sqlx::Result<Vec<Claimed>> {
    let query = sqlx::query_as!(
        Claimed,
        r#"update mails set due_at = $2
            where id = any(array(select id from mails where due_at <= $1 order by due_at limit $3 for update skip locked))
           returning id, kind, attempts, expires_at, last_error is not null as "was_tried!""#,
        lease.now,
        lease.until,
        limit
    );
    query.fetch_all(db).await
}

/// Deletes a batch of what came to an end, of those before the id.
pub(super) async fn delete_done(db: impl PgExecutor<'_>, before: Uuid, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "delete from mails
          where id in (select id from mails where state <> 'pending' and id < $1
                        order by id limit $2 for update skip locked)",
        before,
        limit
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Not of those whose address nobody has, or that were dropped meanwhile.
pub(super) async fn recipients(db: impl PgExecutor<'_>, mails: &[Uuid]) -> sqlx::Result<Vec<Recipient>> {
    let query = sqlx::query_as!(
        Recipient,
        r#"select m.id as mail_id, u.id, u.email, u.password_hash, u.email_verified_at, c.new_email as "new_email?",
                  exists (select from transactions t where t.user_id = u.id and t.state = 'completed') as "has_moved_money!",
                  case when m.user_id is not null then m.address end as elsewhere,
                  exists (select from users owner where owner.email = m.address) as "taken!"
             from mails m
             join users u on u.id = coalesce(m.user_id, (select id from users where email = m.address))
             left join email_changes c on c.user_id = u.id
            where m.id = any($1) and m.state = 'pending'"#,
        mails
    );
    query.fetch_all(db).await
}

pub(super) async fn has_moved_money(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<bool> {
    let query = sqlx::query_scalar!(
        r#"select exists (select from transactions where user_id = $1 and state = 'completed') as "has!""#,
        user_id
    );
    query.fetch_one(db).await
}

/// An address that is nobody's is not kept.
pub(super) async fn forget(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from mails where id = $1 and state = 'pending'", id).execute(db).await?;
    Ok(())
}

/// Drops mails of these kinds to somebody that did not go out, and the e-mail that was to be changed. The kinds of those that were dropped.
pub(super) async fn withdraw(
    db: impl PgExecutor<'_>,
    (user_id, email): (Uuid, &str),
    kinds: &[String],
) -> sqlx::Result<Vec<String>> {
    let dropped = sqlx::query_scalar!(
        "with unasked as (delete from email_changes where user_id = $1)
         update mails set state = 'dropped', due_at = null, address = null, user_id = $1
          where due_at is not null and kind = any($3) and (user_id = $1 or user_id is null and address = $2)
         returning kind",
        user_id,
        email,
        kinds,
    );
    dropped.fetch_all(db).await
}

/// What became of a try.
pub(super) struct Outcome {
    pub(super) id: Uuid,
    pub(super) state: State,
    pub(super) due_at: Option<DateTime>,
    pub(super) attempts: i32,
    pub(super) error: Option<String>,
    pub(super) sent_at: Option<DateTime>,
}

/// Where it is known by now whose address it is, or nothing more is sent there, the address is not needed any more. Nobody waits for the disk.
pub(super) async fn record(db: impl PgExecutor<'_>, outcomes: &[&Outcome]) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update mails m
            set user_id = coalesce(m.user_id, tried.owner_id),
                address = case when m.user_id is not null and to_state = 'pending' or coalesce(m.user_id, tried.owner_id) is null
                               then m.address end,
                state = to_state, due_at = to_due, attempts = tries, last_error = error, sent_at = sent
           from (select n.*, (select u.id from mails a join users u on u.email = a.address where a.id = n.of_mail) as owner_id
                   from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::integer[], $5::text[], $6::timestamptz[])
                        as n (of_mail, to_state, to_due, tries, error, sent)) as tried
          where m.id = of_mail and m.state = 'pending' and (select unawaited())",
        &outcomes.iter().map(|outcome| outcome.id).collect::<Vec<Uuid>>(),
        &outcomes.iter().map(|outcome| outcome.state.name().to_owned()).collect::<Vec<String>>(),
        &outcomes.iter().map(|outcome| outcome.due_at).collect::<Vec<Option<DateTime>>>() as _,
        &outcomes.iter().map(|outcome| outcome.attempts).collect::<Vec<i32>>(),
        &outcomes.iter().map(|outcome| outcome.error.clone()).collect::<Vec<Option<String>>>() as _,
        &outcomes.iter().map(|outcome| outcome.sent_at).collect::<Vec<Option<DateTime>>>() as _,
    );
    query.execute(db).await.map(drop)
}

/// What a page of the list shows; `None` = any.
pub struct Filter {
    pub state: Option<State>,
    pub user_id: Option<Uuid>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// A mail, as staff see it; never its text.
#[derive(Serialize, ToSchema)]
#[schema(as = Mail)]
pub struct Row {
    pub(super) id: Uuid,
    kind: Kind,
    /// Whom it is for; null while nobody has looked whose address it is.
    user_id: Option<Uuid>,
    state: State,
    attempts: i32,
    #[serde(rename = "next_attempt_at")]
    due_at: Option<DateTime>,
    last_error: Option<String>,
    created_at: DateTime,
    /// When the link in it ends.
    expires_at: DateTime,
    sent_at: Option<DateTime>,
    /// Why a dismissed one was.
    note: Option<String>,
}

/// The columns of a [`Row`], once.
macro_rules! rows {
    ($before:literal, $after:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            $before
                + r#"id, kind as "kind: Kind", user_id, state as "state: State", attempts, due_at, last_error, created_at,
                     expires_at, sent_at, note "#
                + $after
            $(, $argument)*
        )
    };
}

/// `None` when there is no such dead mail.
pub(super) async fn dismiss(db: impl PgExecutor<'_>, id: Uuid, note: &str) -> sqlx::Result<Option<Row>> {
    rows!("update mails set state = 'dismissed', note = $2 where id = $1 and state = 'dead' returning ", "", id, note)
        .fetch_optional(db)
        .await
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    rows!(
        "select ",
        "from mails
          where ($1::text is null or state = $1) and ($2::uuid is null or id < $2) and ($4::uuid is null or user_id = $4)
          order by id desc limit $3",
        filter.state.map(State::name),
        filter.before,
        filter.limit,
        filter.user_id,
    )
    .fetch_all(db)
    .await
}

/// What waits: due mails, those that did not go out yet, and dead letters whose time was not over before `since`.
pub(super) async fn depths(db: impl PgExecutor<'_>, now: DateTime, since: DateTime) -> sqlx::Result<Vec<Depth>> {
    let query = sqlx::query_as!(
        Depth,
        r#"select 'mails' as "queue!", 'due' as "what!", count(*) as "rows!", min(due_at) as oldest
             from (select due_at from mails where due_at <= $1 order by due_at limit $3) as due
           union all
           select 'mails', 'failing', count(*), min(created_at)
             from (select created_at from mails where due_at is not null and last_error is not null limit $3) as failing
           union all
           select 'mails', 'dead', count(*), min(created_at)
             from (select created_at from mails where state = 'dead' and expires_at > $2 order by created_at limit $3) as dead"#,
        now,
        since,
        COUNTED_MAX,
    );
    query.fetch_all(db).await
}
