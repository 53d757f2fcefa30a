//! SQL of `webhook_logs`.

use serde::Serialize;
use serde_json::Value;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::event::Event;
use crate::platform::clock::DateTime;

/// One call, as it is stored.
pub struct Delivery {
    pub(super) id: Uuid,
    pub(super) endpoint: &'static str,
    pub(super) received_at: DateTime,
    pub(super) source_address: String,
    pub(super) body: Vec<u8>,
    pub(super) body_hash: Vec<u8>,
    pub(super) headers: Value,
    pub(super) verdict: &'static str,
    pub(super) due_at: Option<DateTime>,
    pub(super) event: Option<Event>,
    pub(super) last_error: Option<String>,
}

pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) body: Vec<u8>,
    pub(super) event_type: Option<String>,
    pub(super) attempts: i32,
    pub(super) received_at: DateTime,
    /// Until when it is leased. Whoever takes it over, or replays it, makes it another.
    pub(super) due_at: DateTime,
}

/// False when the same bytes were accepted before.
pub(super) async fn insert(db: impl PgExecutor<'_>, delivery: &Delivery) -> sqlx::Result<bool> {
    let event = delivery.event.as_ref();
    let state = if delivery.due_at.is_some() { "pending" } else { "ignored" };
    let done = sqlx::query!(
        "insert into webhook_logs (id, endpoint, received_at, source_address, body, body_hash, headers, payload, verdict,
                                   event_type, object_id, reference, state, due_at, last_error)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         on conflict (endpoint, body_hash) where verdict = 'accepted' do nothing",
        delivery.id,
        delivery.endpoint,
        delivery.received_at,
        delivery.source_address,
        delivery.body,
        delivery.body_hash,
        delivery.headers,
        event.and_then(|event| event.payload.as_ref()),
        delivery.verdict,
        event.map(|event| event.event_type.as_str()),
        event.and_then(Event::object_id),
        event.and_then(|event| event.reference).map(|reference| reference.to_string()),
        state,
        delivery.due_at,
        delivery.last_error,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes due events, oldest first, and pushes them one lease ahead.
pub(super) async fn claim_due(
    db: impl PgExecutor<'_>,
    now: DateTime,
    leased_until: DateTime,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"update webhook_logs set due_at = $2
          where id in (select id from webhook_logs where due_at <= $1 order by due_at limit $3 for update skip locked)
         returning id, body, event_type, attempts, received_at, due_at as "due_at!""#,
        now,
        leased_until,
        limit
    )
    .fetch_all(db)
    .await
}

/// This and the two below change nothing for whoever does not hold the lease any more.
pub(super) async fn finish(db: impl PgExecutor<'_>, row: &Row, state: &str, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_logs set state = $3, due_at = null, last_error = null, finished_at = $4
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        state,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn defer(
    db: impl PgExecutor<'_>,
    row: &Row,
    due_at: DateTime,
    attempts: i32,
    error: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_logs set due_at = $3, attempts = $4, last_error = coalesce($5, last_error)
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        due_at,
        attempts,
        error
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Nobody comes again by himself: the event is listed until a person replays it.
pub(super) async fn dead_letter(db: impl PgExecutor<'_>, row: &Row, error: &str, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_logs set state = 'dead', due_at = null, attempts = attempts + 1, last_error = $3, finished_at = $4
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        error,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Those of `ids` that are genuine.
pub(super) async fn replay(db: impl PgExecutor<'_>, ids: &[Uuid], now: DateTime) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "update webhook_logs set state = 'pending', due_at = $2, attempts = 0, finished_at = null
          where id = any($1) and verdict in ('accepted', 'stale', 'foreign') returning id",
        ids,
        now
    )
    .fetch_all(db)
    .await
}

/// What a page of the log shows; `None` = any.
pub struct LogFilter {
    pub state: Option<String>,
    pub verdict: Option<String>,
    pub event_type: Option<String>,
    /// Revio's purchase or payout.
    pub object_id: Option<Uuid>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LogView)]
pub struct LogRow {
    pub id: Uuid,
    /// `revio` (the webhook) or `revio_callback`.
    pub endpoint: String,
    pub received_at: DateTime,
    pub source_address: Option<String>,
    pub verdict: String,
    pub event_type: Option<String>,
    pub object_id: Option<Uuid>,
    pub reference: Option<String>,
    pub state: String,
    pub attempts: i32,
    #[serde(rename = "next_attempt_at")]
    pub due_at: Option<DateTime>,
    pub last_error: Option<String>,
    pub finished_at: Option<DateTime>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LogDetailView)]
pub struct LogDetail {
    #[serde(flatten)]
    pub row: LogRow,
    pub headers: Value,
    /// As it was received; of a body that nobody signed only the beginning.
    pub body: String,
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &LogFilter) -> sqlx::Result<Vec<LogRow>> {
    sqlx::query_as!(
        LogRow,
        "select id, endpoint, received_at, source_address, verdict, event_type, object_id, reference, state, attempts,
                due_at, last_error, finished_at
           from webhook_logs
          where ($1::text is null or state = $1) and ($2::text is null or verdict = $2)
            and ($3::text is null or event_type = $3) and ($4::uuid is null or object_id = $4)
            and ($5::uuid is null or id < $5)
          order by id desc limit $6",
        filter.state,
        filter.verdict,
        filter.event_type,
        filter.object_id,
        filter.before,
        filter.limit,
    )
    .fetch_all(db)
    .await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<LogDetail>> {
    let found = sqlx::query!(
        "select id, endpoint, received_at, source_address, verdict, event_type, object_id, reference, state, attempts,
                due_at, last_error, finished_at, headers, body
           from webhook_logs where id = $1",
        id
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|found| LogDetail {
        row: LogRow {
            id: found.id,
            endpoint: found.endpoint,
            received_at: found.received_at,
            source_address: found.source_address,
            verdict: found.verdict,
            event_type: found.event_type,
            object_id: found.object_id,
            reference: found.reference,
            state: found.state,
            attempts: found.attempts,
            due_at: found.due_at,
            last_error: found.last_error,
            finished_at: found.finished_at,
        },
        headers: found.headers,
        body: String::from_utf8_lossy(&found.body).into_owned(),
    }))
}

pub(super) struct Waiting {
    pub(super) due: i64,
    pub(super) oldest_due: Option<DateTime>,
    pub(super) dead: i64,
    pub(super) oldest_dead: Option<DateTime>,
}

pub(super) async fn waiting(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Waiting> {
    sqlx::query_as!(
        Waiting,
        r#"select count(*) filter (where due_at <= $1) as "due!", min(due_at) filter (where due_at <= $1) as oldest_due,
                  count(*) filter (where state = 'dead') as "dead!",
                  min(received_at) filter (where state = 'dead') as oldest_dead
             from webhook_logs where due_at is not null or state = 'dead'"#,
        now
    )
    .fetch_one(db)
    .await
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use sqlx::PgPool;

    use super::*;

    #[sqlx::test]
    async fn an_event_is_ended_only_by_whoever_holds_its_lease(db: PgPool) {
        let now = sqlx::query_scalar("select now()").fetch_one(&db).await.expect("a time");
        let id = Uuid::now_v7();
        let delivery = Delivery {
            id,
            endpoint: "company",
            received_at: now,
            source_address: "127.0.0.1".to_owned(),
            body: b"{}".to_vec(),
            body_hash: vec![7; 32],
            headers: Value::Null,
            verdict: "accepted",
            due_at: Some(now),
            event: None,
            last_error: None,
        };
        assert!(insert(&db, &delivery).await.expect("stored"));
        let leased = claim_due(&db, now, now + TimeDelta::minutes(1), 1).await.expect("claimed").remove(0);
        replay(&db, &[id], now).await.expect("replayed");
        finish(&db, &leased, "done", now).await.expect("an answer");
        dead_letter(&db, &leased, "too late", now).await.expect("an answer");
        defer(&db, &leased, now + TimeDelta::hours(1), 3, None).await.expect("an answer");
        let again = claim_due(&db, now, now + TimeDelta::minutes(2), 1).await.expect("claimed");
        assert_eq!(again.len(), 1, "what was replayed comes again, whatever became of the attempt before");
        finish(&db, &again[0], "done", now).await.expect("an answer");
        let state: String = sqlx::query_scalar("select state from webhook_logs").fetch_one(&db).await.expect("one");
        assert_eq!(state, "done");
    }
}
