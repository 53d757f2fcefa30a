//! SQL of `audit_log` and its chain.

use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Head;
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;
use crate::platform::permissions::Role;

/// A row of the log. `before` and `after` are the text of the `jsonb`: the chain is over what is stored.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AuditView)]
pub struct Row {
    pub id: Uuid,
    pub at: DateTime,
    /// A user's id, `service:` and a service account's, `system`, `operator` or `nobody`.
    pub actor: String,
    /// The role that the actor had then.
    #[schema(value_type = Option<Role>)]
    pub actor_role: Option<String>,
    #[schema(example = "user.role_changed")]
    pub action: String,
    #[schema(example = "user")]
    pub object_kind: String,
    pub object_id: String,
    /// What was.
    #[serde(serialize_with = "json")]
    #[schema(value_type = Option<Value>)]
    pub before: Option<String>,
    /// What is.
    #[serde(serialize_with = "json")]
    #[schema(value_type = Option<Value>)]
    pub after: Option<String>,
    pub request_id: Option<String>,
    pub address: Option<String>,
    /// Of a read of long ago: who read what is gone.
    #[serde(serialize_with = "is_some")]
    #[schema(value_type = bool)]
    pub pruned: Option<Vec<u8>>,
}

fn is_some<S: Serializer>(pruned: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(pruned.is_some())
}

fn json<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let value = text.as_deref().map(serde_json::from_str::<Value>).transpose();
    value.map_err(S::Error::custom)?.serialize(serializer)
}

#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) position: i64,
    pub(super) entry_id: Uuid,
    pub(super) previous_hash: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

/// What is looked for; `None` does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub object_kind: Option<String>,
    pub object_id: Option<String>,
    /// Exactly; of whoever has it now.
    pub actor_email: Option<String>,
    pub request_id: Option<String>,
    pub from: Option<DateTime>,
    pub to: Option<DateTime>,
    /// Older than this row.
    pub before: Option<Uuid>,
    pub limit: i64,
}

impl Filter {
    /// Whether it asks for some rows only: these may be few, and far apart.
    pub(super) fn is_narrow(&self) -> bool {
        let Self { actor, action, object_kind, object_id, actor_email, request_id, from, to, before: _, limit: _ } =
            self;
        let words = [actor, action, object_kind, object_id, actor_email, request_id];
        words.iter().any(|word| word.is_some()) || from.is_some() || to.is_some()
    }
}

pub(super) async fn insert(db: impl PgExecutor<'_>, row: &Row) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into audit_log
             (id, at, actor, actor_role, action, object_kind, object_id, before, after, request_id, address)
         values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9::text::jsonb, $10, $11)",
        row.id,
        row.at,
        row.actor,
        row.actor_role,
        row.action,
        row.object_kind,
        row.object_id,
        row.before,
        row.after,
        row.request_id,
        row.address,
    );
    insert.execute(db).await.map(drop)
}

/// The rows that what follows `from` picks; after `by`, with a page of those that a filter lets through between the parts.
macro_rules! rows {
    (by $filter:expr, [$first:tt $(, $next:tt)+] $(, $value:expr)?) => {
        rows!(
            $first
            $("($1::text is null or actor = $1) and ($2::text is null or action = $2)
               and ($3::text is null or object_kind = $3) and ($4::text is null or object_id = $4)
               and ($5::timestamptz is null or at >= $5) and ($6::timestamptz is null or at < $6)
               and ($7::uuid is null or id < $7) and ($9::text is null or request_id = $9)
               and ($10::text is null or actor = (select u.id::text from users u where u.email = $10))
             order by id desc limit $8" $next)+,
            $filter.actor,
            $filter.action,
            $filter.object_kind,
            $filter.object_id,
            $filter.from,
            $filter.to,
            $filter.before,
            $filter.limit,
            $filter.request_id,
            $filter.actor_email
            $(, $value)?
        )
    };
    ($($from:literal)+, $($value:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            "select id, at, actor, actor_role, action, object_kind, object_id, before::text, after::text, request_id, address,
                    pruned
               from " $(+ $from)+,
            $($value),+
        )
    };
}

/// Until the end of the transaction; false when another process holds it.
pub(super) async fn lock(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    let locked =
        sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, AdvisoryLock::Audit.number());
    locked.fetch_one(db).await
}

pub(super) async fn unsealed(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Row>> {
    rows!("audit_unsealed join audit_log on id = entry_id order by id limit $1", limit).fetch_all(db).await
}

pub(super) async fn head(db: impl PgExecutor<'_>) -> sqlx::Result<Head> {
    sqlx::query_as!(Head, "select position, hash from audit_head").fetch_one(db).await
}

pub(super) async fn insert_links(db: impl PgExecutor<'_>, links: &[Link]) -> sqlx::Result<()> {
    let positions: Vec<i64> = links.iter().map(|link| link.position).collect();
    let entries: Vec<Uuid> = links.iter().map(|link| link.entry_id).collect();
    let previous: Vec<Vec<u8>> = links.iter().map(|link| link.previous_hash.clone()).collect();
    let hashes: Vec<Vec<u8>> = links.iter().map(|link| link.hash.clone()).collect();
    let insert = sqlx::query!(
        "insert into audit_chain (position, entry_id, previous_hash, hash)
         select * from unnest($1::bigint[], $2::uuid[], $3::bytea[], $4::bytea[])",
        &positions,
        &entries,
        &previous,
        &hashes,
    );
    insert.execute(db).await.map(drop)
}

pub(super) async fn dequeue(db: impl PgExecutor<'_>, links: &[Link]) -> sqlx::Result<()> {
    let entries: Vec<Uuid> = links.iter().map(|link| link.entry_id).collect();
    sqlx::query!("delete from audit_unsealed where entry_id = any($1)", &entries).execute(db).await.map(drop)
}

pub(super) async fn move_head(db: impl PgExecutor<'_>, head: &Head) -> sqlx::Result<()> {
    sqlx::query!("update audit_head set position = $1, hash = $2", head.position, head.hash).execute(db).await.map(drop)
}

pub(super) async fn links_after(db: impl PgExecutor<'_>, position: i64, limit: i64) -> sqlx::Result<Vec<Link>> {
    let rows = sqlx::query_as!(
        Link,
        "select position, entry_id, previous_hash, hash from audit_chain where position > $1 order by position limit $2",
        position,
        limit
    );
    rows.fetch_all(db).await
}

pub(super) async fn link_at(db: impl PgExecutor<'_>, position: i64) -> sqlx::Result<Option<Link>> {
    let row = sqlx::query_as!(
        Link,
        "select position, entry_id, previous_hash, hash from audit_chain where position = $1",
        position
    );
    row.fetch_optional(db).await
}

pub(super) async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Row>> {
    rows!("audit_log where id = any($1)", ids).fetch_all(db).await
}

pub(super) struct Counts {
    pub(super) rows: i64,
    pub(super) links: i64,
    pub(super) unsealed: i64,
}

/// One statement, so that the three belong to one moment.
pub(super) async fn counts(db: impl PgExecutor<'_>) -> sqlx::Result<Counts> {
    let row = sqlx::query_as!(
        Counts,
        r#"select (select count(*) from audit_log) as "rows!", (select count(*) from audit_chain) as "links!",
                  (select count(*) from audit_unsealed) as "unsealed!""#
    );
    row.fetch_one(db).await
}

pub(super) struct Waiting {
    pub(super) rows: i64,
    pub(super) oldest: Option<DateTime>,
}

pub(super) async fn waiting(db: impl PgExecutor<'_>) -> sqlx::Result<Waiting> {
    let row = sqlx::query_as!(
        Waiting,
        r#"select count(*) as "rows!", min(at) as oldest from audit_unsealed join audit_log on id = entry_id"#
    );
    row.fetch_one(db).await
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    rows!(by filter, ["audit_log where ", ""]).fetch_all(db).await
}

/// All of it, or what is about a customer.
pub(super) async fn search(db: impl PgExecutor<'_>, about: Option<Uuid>, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    match about {
        Some(customer) => list_about(db, customer, filter).await,
        None => list(db, filter).await,
    }
}

/// The same of what was done to a customer, and of staff's calls that concerned that customer: each half is read in the order of its index.
async fn list_about(db: impl PgExecutor<'_>, customer: Uuid, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    let page = rows!(
        by filter,
        [
            "audit_log where id in (
               (select id from audit_log where object_kind = 'user' and object_id = $11::uuid::text and ",
            ") union all (select id from audit_log where after->>'customer' = $11::uuid::text and ",
            ")) order by id desc limit $8"
        ],
        customer
    );
    page.fetch_all(db).await
}

/// The first and the last link of rows of this time.
pub(super) async fn span(
    db: impl PgExecutor<'_>,
    (from, to): (DateTime, DateTime),
) -> sqlx::Result<Option<(i64, i64)>> {
    let span = sqlx::query!(
        "select min(position) as first, max(position) as last
           from audit_log join audit_chain on entry_id = id where at >= $1 and at < $2",
        from,
        to
    );
    let span = span.fetch_one(db).await?;
    Ok(span.first.zip(span.last))
}

/// Whether a row of before this time waits to be chained.
pub(super) async fn is_unsealed_before(db: impl PgExecutor<'_>, to: DateTime) -> sqlx::Result<bool> {
    let waits = sqlx::query_scalar!(
        r#"select exists (select from audit_unsealed join audit_log on id = entry_id where at < $1) as "waits!""#,
        to
    );
    waits.fetch_one(db).await
}

/// Reads by staff from before `before` that still say who read what and are chained, the oldest first.
pub(super) async fn old_reads(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<Vec<Row>> {
    rows!(
        "audit_log
          where action = 'staff.called' and pruned is null and after->>'method' in ('GET', 'HEAD') and at < $1
            and at < least((select max(at) from audit_log), now()) - interval '30 days'
            and exists (select from audit_chain where entry_id = id)
          order by at limit $2",
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// Puts these hashes in the place of who read what.
pub(super) async fn prune(db: impl PgExecutor<'_>, ids: &[Uuid], contents: &[Vec<u8>]) -> sqlx::Result<i64> {
    let pruned = sqlx::query_scalar!(r#"select audit_prune($1, $2) as "rows!""#, ids, contents);
    pruned.fetch_one(db).await
}

/// How many calls of the caller were refused in this minute, this one counted.
pub(super) async fn count_refusal(
    db: impl PgExecutor<'_>,
    actor: &str,
    address: &str,
    minute: DateTime,
) -> sqlx::Result<i64> {
    let counted = sqlx::query_scalar!(
        "insert into audit_refusals (actor, address, minute, refusals) values ($1, $2, $3, 1)
         on conflict (actor, address, minute) do update set refusals = audit_refusals.refusals + 1 returning refusals",
        actor,
        address,
        minute
    );
    counted.fetch_one(db).await
}

pub(super) struct Refused {
    pub(super) actor: String,
    pub(super) address: String,
    pub(super) minute: DateTime,
    pub(super) refusals: i64,
}

/// Takes out the counts of minutes before `before`.
pub(super) async fn take_refusals(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<Vec<Refused>> {
    let taken = sqlx::query_as!(
        Refused,
        "delete from audit_refusals
          where (actor, address, minute) in (select actor, address, minute from audit_refusals where minute < $1
                                              order by minute limit $2 for update skip locked)
         returning actor, address, minute, refusals",
        before,
        limit
    );
    taken.fetch_all(db).await
}

/// Takes the watch over the chain, unless somebody took it since `since` and it is not `due` all the same. How far old rows were looked at.
pub(super) async fn claim_watch(
    db: impl PgExecutor<'_>,
    now: DateTime,
    since: DateTime,
    due: bool,
) -> sqlx::Result<Option<i64>> {
    let claimed = sqlx::query_scalar!(
        "update audit_watch set looked_at = $1
          where $3 or looked_at is null or looked_at <= $2 or looked_at > $1 returning position",
        now,
        since,
        due
    );
    claimed.fetch_optional(db).await
}

/// What a look found. The next one is due at once where there is `more`.
pub(super) async fn note_watch(
    db: impl PgExecutor<'_>,
    now: DateTime,
    position: i64,
    broken: Option<&str>,
    more: bool,
) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update audit_watch set position = $2, broken = $3, verified_at = case when $3::text is null then $1 else verified_at end,
                looked_at = case when $4 then null else looked_at end",
        now,
        position,
        broken,
        more
    );
    query.execute(db).await.map(drop)
}

/// What was last seen to be wrong.
pub(super) async fn broken(db: impl PgExecutor<'_>) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select broken from audit_watch").fetch_one(db).await
}

/// A link behind `position` of a row that says to be of later than `time`.
pub(super) async fn ahead(db: impl PgExecutor<'_>, position: i64, time: DateTime) -> sqlx::Result<Option<Link>> {
    let link = sqlx::query_as!(
        Link,
        "select position, entry_id, previous_hash, hash from audit_chain join audit_log on id = entry_id
          where at > $2 and position > $1 order by position limit 1",
        position,
        time
    );
    link.fetch_optional(db).await
}

/// A row of that time that is neither chained nor waiting for it.
pub(super) async fn unchained(db: impl PgExecutor<'_>, since: DateTime) -> sqlx::Result<Option<Uuid>> {
    let found = sqlx::query_scalar!(
        "select id from audit_log
          where at >= $1 and not exists (select from audit_chain where entry_id = id)
            and not exists (select from audit_unsealed where entry_id = id) limit 1",
        since
    );
    found.fetch_optional(db).await
}

/// Whether the role that we are signed in as owns the log, and so may do with it what it likes.
pub(super) async fn is_owned(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    let owned = sqlx::query_scalar!(
        r#"select pg_has_role(relowner, 'usage') as "owned!" from pg_class where oid = 'audit_log'::regclass"#
    );
    owned.fetch_one(db).await
}
