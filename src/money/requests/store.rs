//! SQL of `requests`.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Kind, State};
use crate::money::approvals::ApprovalDecision;
use crate::platform::queue::{COUNTED_MAX, Depth};
use crate::platform::{clock::DateTime, permissions::Role};

#[derive(Debug, Clone)]
pub struct Request {
    pub id: Uuid,
    pub kind: Kind,
    pub user_id: Uuid,
    pub role_before: Option<Role>,
    pub role: Option<Role>,
    pub requested_by: Uuid,
    pub state: State,
    pub created_at: DateTime,
    pub expires_at: DateTime,
    pub decided_by: Option<Uuid>,
    pub decided_at: Option<DateTime>,
    pub note: Option<String>,
}

/// Which are listed; `None` does not narrow.
#[derive(Debug)]
pub struct Filter {
    pub state: Option<State>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// The requests that a statement gives, as they are at `$1`: nobody has to look at one that is too old for it to be expired.
macro_rules! requests {
    ($before:literal, $after:literal, $now:expr $(, $value:expr)* $(,)?) => {
        sqlx::query_as!(
            Request,
            $before
                + r#"id, kind as "kind: Kind", user_id, old_role as "role_before: Role", new_role as "role: Role", requested_by,
                     case when state = 'pending' and expires_at <= $1 then 'expired' else state end as "state!: State",
                     created_at, expires_at, decided_by, decided_at, note"#
                + $after,
            $now
            $(, $value)*
        )
    };
}

/// False when the same is asked for already.
pub(super) async fn insert_once(db: impl PgExecutor<'_>, request: &Request) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into requests (id, kind, user_id, old_role, new_role, requested_by, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        request.id,
        request.kind.name(),
        request.user_id,
        request.role_before.map(Role::name),
        request.role.map(Role::name),
        request.requested_by,
        request.created_at,
        request.expires_at,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// The one that asks for the same.
pub(super) async fn find_pending(db: impl PgExecutor<'_>, request: &Request) -> sqlx::Result<Option<Request>> {
    let found = requests!(
        "select ",
        " from requests
          where user_id = $2 and kind = $3 and old_role is not distinct from $4 and new_role is not distinct from $5
            and state = 'pending'",
        request.created_at,
        request.user_id,
        request.kind.name(),
        request.role_before.map(Role::name),
        request.role.map(Role::name),
    );
    found.fetch_optional(db).await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<Option<Request>> {
    requests!("select ", " from requests where id = $2", now, id).fetch_optional(db).await
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter, now: DateTime) -> sqlx::Result<Vec<Request>> {
    let page = requests!(
        "select ",
        " from requests
          where ($2::text is null or $2 = case when state = 'pending' and expires_at <= $1 then 'expired' else state end)
            and ($3::uuid is null or id < $3)
          order by id desc limit $4",
        now,
        filter.state.map(State::name),
        filter.before,
        filter.limit,
    );
    page.fetch_all(db).await
}

/// False when somebody decided before, or it is too late.
pub(super) async fn decide(
    db: impl PgExecutor<'_>,
    (id, to): (Uuid, State),
    decision: &ApprovalDecision,
    now: DateTime,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update requests set state = $2, decided_by = $3, decided_at = $4, note = $5
          where id = $1 and state = 'pending' and expires_at > $4",
        id,
        to.name(),
        decision.by,
        now,
        decision.note,
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn expire(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Vec<Request>> {
    requests!("update requests set state = 'expired' where state = 'pending' and expires_at <= $1 returning ", "", now)
        .fetch_all(db)
        .await
}

/// How many wait for a second person, and since when the oldest.
pub(super) async fn depth(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Depth> {
    let depth = sqlx::query_as!(
        Depth,
        r#"select 'request' as "queue!", 'awaiting_approval' as "what!", count(*) as "rows!", min(created_at) as oldest
             from (select created_at from requests where state = 'pending' and expires_at > $1 order by id limit $2) as waiting"#,
        now,
        COUNTED_MAX
    );
    depth.fetch_one(db).await
}
