//! SQL of `webhook_logs`.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::event::Event;
use super::{Endpoint, State, Verdict};
use crate::identity::rotation::{KeyUse, encrypted};
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;
use crate::platform::queue::{COUNTED_MAX, Depth, Lease};

/// One call, as it is stored.
#[derive(Clone)]
pub struct Delivery {
    pub(super) id: Uuid,
    pub(super) endpoint: Endpoint,
    pub(super) received_at: DateTime,
    pub(super) source_address: String,
    pub(super) body_hash: Vec<u8>,
    pub(super) content: Encrypted,
    pub(super) verdict: Verdict,
    pub(super) due_at: Option<DateTime>,
    pub(super) event: Option<Event>,
    pub(super) last_error: Option<String>,
}

/// An event that is acted on now.
pub(super) struct Claimed {
    pub(super) id: Uuid,
    pub(super) content: Encrypted,
    pub(super) event_type: Option<String>,
    pub(super) attempts: i32,
    pub(super) received_at: DateTime,
    /// It had ended before, or was not to be acted on: a person lets it run.
    pub(super) is_replayed: bool,
    /// Until when it is leased. Whoever takes it over, or replays it, makes it another.
    pub(super) due_at: DateTime,
}

/// Those that are stored as they came. Of the others the same bytes are here already, or this run is repeated.
pub(super) async fn insert(db: impl PgExecutor<'_>, deliveries: &[&Delivery]) -> sqlx::Result<Vec<Uuid>> {
    let events: Vec<_> = deliveries.iter().map(|delivery| delivery.event.as_ref()).collect();
    let state = |delivery: &&Delivery| if delivery.due_at.is_some() { "pending" } else { "ignored" }.to_owned();
    let stored = sqlx::query_scalar!(
        r#"with deliveries as (
             select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
                                  $9::text[], $10::uuid[], $11::text[], $12::text[], $13::timestamptz[], $14::text[])
                 as d (id, endpoint, received_at, source_address, body_hash, content, key_id, verdict, event_type, object_id, reference,
                       state, due_at, last_error)
         )
         insert into webhook_logs (id, endpoint, received_at, source_address, body_hash, content, key_id, verdict, event_type,
                                   object_id, reference, state, due_at, last_error)
         select * from deliveries d
          -- Of what is not acted on, too, the bytes are kept once; of what nobody signed they may be anybody's.
          where verdict in ('accepted', 'bad_signature')
             -- One by one, by its index: `exists` may be planned as a look through all of them.
             or (select w.id from webhook_logs w
                  where w.endpoint = d.endpoint and w.body_hash = d.body_hash and w.verdict = 'accepted') is null
            and (select w.id from webhook_logs w
                  where w.endpoint = d.endpoint and w.body_hash = d.body_hash and w.verdict in ('stale', 'foreign') limit 1) is null
         on conflict do nothing returning id"#,
        &deliveries.iter().map(|delivery| delivery.id).collect::<Vec<Uuid>>(),
        &deliveries.iter().map(|delivery| delivery.endpoint.name().to_owned()).collect::<Vec<String>>(),
        &deliveries.iter().map(|delivery| delivery.received_at).collect::<Vec<DateTime>>(),
        &deliveries.iter().map(|delivery| delivery.source_address.clone()).collect::<Vec<String>>(),
        &deliveries.iter().map(|delivery| delivery.body_hash.clone()).collect::<Vec<Vec<u8>>>(),
        &deliveries.iter().map(|delivery| delivery.content.bytes.clone()).collect::<Vec<Vec<u8>>>(),
        &deliveries.iter().map(|delivery| delivery.content.key_id.clone()).collect::<Vec<String>>(),
        &deliveries.iter().map(|delivery| delivery.verdict.name().to_owned()).collect::<Vec<String>>(),
        &events.iter().map(|event| event.map(|event| event.event_type.clone())).collect::<Vec<Option<String>>>() as _,
        &events.iter().map(|event| event.and_then(Event::object_id)).collect::<Vec<Option<Uuid>>>() as _,
        &events
            .iter()
            .map(|event| event.and_then(|event| event.reference).map(|id| id.to_string()))
            .collect::<Vec<Option<String>>>() as _,
        &deliveries.iter().map(state).collect::<Vec<String>>(),
        &deliveries.iter().map(|delivery| delivery.due_at).collect::<Vec<Option<DateTime>>>() as _,
        &deliveries.iter().map(|delivery| delivery.last_error.clone()).collect::<Vec<Option<String>>>() as _,
    );
    stored.fetch_all(db).await
}

/// A call whose bytes are here already.
pub(super) struct Repeat {
    pub(super) id: Uuid,
    pub(super) endpoint: Endpoint,
    pub(super) received_at: DateTime,
    pub(super) source_address: String,
    pub(super) body_hash: Vec<u8>,
    pub(super) verdict: Verdict,
    pub(super) event: Option<Event>,
}

/// Counts them with the call that brought the bytes. Up to `kept` of the same bytes are calls in the log, too, and hold nothing.
pub(super) async fn insert_repeats(db: impl PgExecutor<'_>, repeats: &[Repeat], kept: i64) -> sqlx::Result<()> {
    let events: Vec<_> = repeats.iter().map(|repeat| repeat.event.as_ref()).collect();
    let stored = sqlx::query!(
        "with again as (
             select d.*, row_number() over (partition by endpoint, body_hash order by id) as nth,
                    (select count(*) from (select from webhook_logs w where w.endpoint = d.endpoint and w.body_hash = d.body_hash
                                              and w.verdict in ('duplicate', 'stale', 'foreign') limit $10) k) as before
               from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::uuid[], $9::text[])
                   as d (id, endpoint, received_at, source_address, body_hash, verdict, event_type, object_id, reference)
              -- This run, or the one that stored the bytes, is repeated.
              where (select w.id from webhook_logs w where w.id = d.id) is null
         ), counted as (
             update webhook_logs w set repeats = w.repeats + n.calls
               from (select endpoint, body_hash, count(*) as calls from again group by 1, 2) n
              where w.id = coalesce((select a.id from webhook_logs a where a.endpoint = n.endpoint and a.body_hash = n.body_hash
                                        and a.verdict = 'accepted'),
                                    (select s.id from webhook_logs s where s.endpoint = n.endpoint and s.body_hash = n.body_hash
                                        and s.verdict in ('stale', 'foreign') order by s.id limit 1))
         )
         insert into webhook_logs (id, endpoint, received_at, source_address, body_hash, verdict, event_type, object_id, reference, state)
         select id, endpoint, received_at, source_address, body_hash, verdict, event_type, object_id, reference, 'ignored'
           from again where before + nth <= $10
         on conflict (id) do nothing",
        &repeats.iter().map(|repeat| repeat.id).collect::<Vec<Uuid>>(),
        &repeats.iter().map(|repeat| repeat.endpoint.name().to_owned()).collect::<Vec<String>>(),
        &repeats.iter().map(|repeat| repeat.received_at).collect::<Vec<DateTime>>(),
        &repeats.iter().map(|repeat| repeat.source_address.clone()).collect::<Vec<String>>(),
        &repeats.iter().map(|repeat| repeat.body_hash.clone()).collect::<Vec<Vec<u8>>>(),
        &repeats.iter().map(|repeat| repeat.verdict.name().to_owned()).collect::<Vec<String>>(),
        &events.iter().map(|event| event.map(|event| event.event_type.clone())).collect::<Vec<Option<String>>>() as _,
        &events.iter().map(|event| event.and_then(Event::object_id)).collect::<Vec<Option<Uuid>>>() as _,
        &events
            .iter()
            .map(|event| event.and_then(|event| event.reference).map(|id| id.to_string()))
            .collect::<Vec<Option<String>>>() as _,
        kept
    );
    stored.execute(db).await.map(drop)
}

/// Takes due events, oldest first, and pushes them one lease ahead.
pub(super) async fn claim_due(db: impl PgExecutor<'_>, lease: Lease, limit: i64) -> sqlx::Result<Vec<Claimed>> {
    let claimed = sqlx::query!(
        r#"update webhook_logs set due_at = $2
          where id = any(array(select id from webhook_logs where due_at <= $1 order by due_at limit $3 for update skip locked))
         returning id, content as "content!", key_id as "key_id!", event_type, attempts, received_at, due_at as "due_at!",
                   finished_at is not null or verdict <> 'accepted' as "is_replayed!""#,
        lease.now,
        lease.until,
        limit
    );
    let rows = claimed.fetch_all(db).await?.into_iter();
    Ok(rows
        .map(|row| Claimed {
            id: row.id,
            content: Encrypted { key_id: row.key_id, bytes: row.content },
            event_type: row.event_type,
            attempts: row.attempts,
            received_at: row.received_at,
            is_replayed: row.is_replayed,
            due_at: row.due_at,
        })
        .collect())
}

/// An event that was acted on, and by whose lease.
pub(super) struct Ended {
    pub(super) id: Uuid,
    pub(super) leased_until: DateTime,
    pub(super) state: State,
    pub(super) at: DateTime,
}

/// Nobody waits for the disk. This and the two below change nothing for whoever does not hold the lease any more.
pub(super) async fn finish(db: impl PgExecutor<'_>, events: &[&Ended]) -> sqlx::Result<()> {
    let finished = sqlx::query!(
        "update webhook_logs set state = to_state, due_at = null, last_error = null, finished_at = ended_at
           from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::timestamptz[]) as ended (of_row, leased_until, to_state, ended_at)
          -- Found by the id: of one lease there are many.
          where id = of_row and state = 'pending' and due_at is not distinct from leased_until and (select unawaited())",
        &events.iter().map(|event| event.id).collect::<Vec<Uuid>>(),
        &events.iter().map(|event| event.leased_until).collect::<Vec<DateTime>>(),
        &events.iter().map(|event| event.state.name().to_owned()).collect::<Vec<String>>(),
        &events.iter().map(|event| event.at).collect::<Vec<DateTime>>(),
    );
    finished.execute(db).await.map(drop)
}

pub(super) async fn defer(
    db: impl PgExecutor<'_>,
    row: &Claimed,
    due_at: DateTime,
    attempts: i32,
    error: Option<&str>,
) -> sqlx::Result<()> {
    let deferred = sqlx::query!(
        "update webhook_logs set due_at = $3, attempts = $4, last_error = coalesce($5, last_error)
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        due_at,
        attempts,
        error
    );
    deferred.execute(db).await.map(drop)
}

/// Nobody comes again by himself: the event is listed until a person replays it.
pub(super) async fn dead_letter(
    db: impl PgExecutor<'_>,
    row: &Claimed,
    error: &str,
    now: DateTime,
) -> sqlx::Result<()> {
    let dead = sqlx::query!(
        "update webhook_logs set state = 'dead', due_at = null, attempts = attempts + 1, last_error = $3, finished_at = $4
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        error,
        now
    );
    dead.execute(db).await.map(drop)
}

/// Those of `ids` that are genuine. When one last ended stays there: by that it is known for a replay.
pub(super) async fn replay(db: impl PgExecutor<'_>, ids: &[Uuid], now: DateTime) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "update webhook_logs set state = 'pending', due_at = $2, attempts = 0, note = null
          where id = any($1) and verdict in ('accepted', 'stale', 'foreign') and content is not null returning id",
        ids,
        now
    );
    query.fetch_all(db).await
}

/// Those of `ids` that are dead letters.
pub(super) async fn dismiss(db: impl PgExecutor<'_>, ids: &[Uuid], note: &str) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "update webhook_logs set state = 'dismissed', note = $2 where id = any($1) and state = 'dead' returning id",
        ids,
        note
    );
    query.fetch_all(db).await
}

/// Which dead letters; `None` = any.
#[derive(Debug, Default)]
pub struct DeadFilter {
    /// The error holds this.
    pub error: Option<String>,
    /// They became dead at this time or later …
    pub from: Option<DateTime>,
    /// … and before this one.
    pub to: Option<DateTime>,
    pub limit: i64,
}

/// The oldest first.
pub(super) async fn dead(db: impl PgExecutor<'_>, filter: &DeadFilter) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "select id from webhook_logs
          where state = 'dead' and ($1::text is null or position($1 in last_error) > 0)
            and ($2::timestamptz is null or finished_at >= $2) and ($3::timestamptz is null or finished_at < $3)
          order by received_at limit $4",
        filter.error,
        filter.from,
        filter.to,
        filter.limit
    );
    query.fetch_all(db).await
}

/// What a page of the log shows; `None` = any.
pub struct LogFilter {
    pub state: Option<State>,
    pub verdict: Option<Verdict>,
    pub event_type: Option<String>,
    /// Revio's purchase or payout.
    pub object_id: Option<Uuid>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// One call, as staff see it.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookLog)]
pub struct LogRow {
    pub(super) id: Uuid,
    endpoint: Endpoint,
    received_at: DateTime,
    source_address: Option<String>,
    verdict: Verdict,
    #[schema(example = "purchase.paid")]
    event_type: Option<String>,
    /// Revio's purchase or payout.
    object_id: Option<Uuid>,
    /// Our id, as the event names it.
    reference: Option<String>,
    state: State,
    /// How often acting on it failed.
    attempts: i32,
    #[serde(rename = "next_attempt_at")]
    due_at: Option<DateTime>,
    last_error: Option<String>,
    /// When it last ended, also where it waits once more.
    finished_at: Option<DateTime>,
    /// Why a dismissed one was; gone when it is replayed.
    note: Option<String>,
    /// How often the same bytes came again. The first few of these are calls of their own, without a body.
    repeats: i64,
    /// What the call held, encrypted: only where one call is read.
    #[serde(skip)]
    content: Option<Vec<u8>>,
    #[serde(skip)]
    key_id: Option<String>,
}

/// The columns of a [`LogRow`], once; what calls held as the caller says.
macro_rules! log_rows {
    ($content:tt, $after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            LogRow,
            r#"select id, endpoint as "endpoint: Endpoint", received_at, source_address, verdict as "verdict: Verdict", event_type,
                      object_id, reference, state as "state: State", attempts, due_at, last_error, finished_at, note, repeats, "#
                + $content
                + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &LogFilter) -> sqlx::Result<Vec<LogRow>> {
    log_rows!(
        "null::bytea as content, null::text as key_id ",
        "from webhook_logs
          where ($1::text is null or state = $1) and ($2::text is null or verdict = $2)
            and ($3::text is null or event_type = $3) and ($4::uuid is null or object_id = $4)
            and ($5::uuid is null or id < $5)
          order by id desc limit $6",
        filter.state.map(State::name),
        filter.verdict.map(Verdict::name),
        filter.event_type,
        filter.object_id,
        filter.before,
        filter.limit,
    )
    .fetch_all(db)
    .await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<(LogRow, Option<Encrypted>)>> {
    let found = log_rows!("content, key_id ", "from webhook_logs where id = $1", id).fetch_optional(db).await?;
    Ok(found.map(|mut row| {
        let kept = row.content.take().zip(row.key_id.take());
        (row, kept.map(|(bytes, key_id)| Encrypted { key_id, bytes }))
    }))
}

/// Deliveries about these objects, the oldest first.
pub(super) async fn about(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("select id from webhook_logs where object_id = any($1) order by id", ids).fetch_all(db).await
}

/// Takes out what all deliveries about these objects held. What still waits for a step, or for a person, keeps what it needs for it.
pub async fn empty_about(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update webhook_logs set content = null, key_id = null
          where object_id = any($1) and content is not null and state not in ('pending', 'dead')",
        ids
    );
    query.execute(db).await.map(drop)
}

/// Takes out what those before `before` held; of all but those that somebody still needs it for.
pub(super) async fn empty(db: impl PgExecutor<'_>, before: Uuid, limit: i64) -> sqlx::Result<u64> {
    let emptied = sqlx::query!(
        "update webhook_logs set content = null, key_id = null
          where id in (select id from webhook_logs where content is not null and id < $1 and state not in ('pending', 'dead')
                        order by id limit $2 for update skip locked)",
        before,
        limit
    );
    Ok(emptied.execute(db).await?.rows_affected())
}

encrypted!(Webhooks, "webhook", 100 of "webhook_logs", "id", "content", where "content is not null");

/// What waits: due events, and dead letters.
pub(super) async fn depths(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Vec<Depth>> {
    let query = sqlx::query_as!(
        Depth,
        r#"select 'inbox' as "queue!", 'due' as "what!", count(*) as "rows!", min(due_at) as oldest
             from (select due_at from webhook_logs where due_at <= $1 order by due_at limit $2) as due
           union all
           select 'inbox', 'dead', count(*), min(received_at)
             from (select received_at from webhook_logs where state = 'dead' order by received_at limit $2) as dead"#,
        now,
        COUNTED_MAX,
    );
    query.fetch_all(db).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use sqlx::PgPool;

    #[sqlx::test]
    async fn an_event_is_ended_only_by_whoever_holds_its_lease(db: PgPool) {
        let now = sqlx::query_scalar("select now()").fetch_one(&db).await.expect("a time");
        let id = Uuid::now_v7();
        let delivery = Delivery {
            id,
            endpoint: Endpoint::Callback,
            received_at: now,
            source_address: "127.0.0.1".to_owned(),
            body_hash: vec![7; 32],
            content: Encrypted { key_id: "k".to_owned(), bytes: b"{}".to_vec() },
            verdict: Verdict::Accepted,
            due_at: Some(now),
            event: None,
            last_error: None,
        };
        assert_eq!(insert(&db, &[&delivery]).await.expect("stored"), [id]);
        let leased =
            claim_due(&db, Lease { now, until: now + TimeDelta::minutes(1) }, 1).await.expect("claimed").remove(0);
        replay(&db, &[id], now).await.expect("replayed");
        let done = |row: &Claimed| Ended { id, leased_until: row.due_at, state: State::Done, at: now };
        finish(&db, &[&done(&leased)]).await.expect("an answer");
        dead_letter(&db, &leased, "too late", now).await.expect("an answer");
        defer(&db, &leased, now + TimeDelta::hours(1), 3, None).await.expect("an answer");
        let again = claim_due(&db, Lease { now, until: now + TimeDelta::minutes(2) }, 1).await.expect("claimed");
        assert_eq!(again.len(), 1, "what was replayed comes again, whatever became of the attempt before");
        assert!(!again[0].is_replayed, "it had not ended");
        finish(&db, &[&done(&again[0])]).await.expect("an answer");
        let state: String = sqlx::query_scalar("select state from webhook_logs").fetch_one(&db).await.expect("one");
        assert_eq!(state, "done");
        replay(&db, &[id], now).await.expect("replayed");
        let once_more = claim_due(&db, Lease { now, until: now + TimeDelta::minutes(3) }, 1).await.expect("claimed");
        assert!(once_more[0].is_replayed, "a person lets it run again");
    }
}
