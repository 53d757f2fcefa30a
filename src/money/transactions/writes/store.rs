//! SQL of what is written together: an array for each column, an item for each row.

use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Advance, Deferral, Durability, Insert};
use crate::identity::mails::Notices;
use crate::money::transactions::states::{FailureReason, Hold};
use crate::money::transactions::store::{Row, rows};
use crate::money::transactions::transaction::{Condition, Destination, Due, WrittenRow};
use crate::platform::clock::DateTime;

/// Those that are new; of the others something stands in the way.
pub(super) async fn insert(db: impl PgExecutor<'_>, rows: &[&Insert]) -> sqlx::Result<Vec<(Uuid, WrittenRow)>> {
    let open_max = |row: &&Insert| match row.condition {
        Condition::OpenDepositsBelow(most) => Some(most),
        Condition::Always | Condition::NoCodeNeeded => None,
    };
    let new: Vec<_> = rows.iter().map(|row| &row.new).collect();
    let inserted = sqlx::query!(
        r#"insert into transactions (id, user_id, kind, state, amount_minor, currency, idempotency_key, request_hash,
                                     bank_account_id, destination_bank, destination_last_four, description, due_at, updated_at,
                                     states, request_id, request_word, metadata)
           select n.id, u.id, n.kind, 'initiated', n.amount_minor, n.currency, n.key, n.request_hash,
                  n.bank_account_id, b.bank_name, b.last_four, n.description, n.due_at, n.now, 'initiated',
                  n.request_id, n.request_word, n.metadata
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bytea[], $8::uuid[],
                         $9::text[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::boolean[], $14::uuid[], $15::text[], $16::jsonb[])
                  as n (id, user_id, kind, amount_minor, currency, key, request_hash, bank_account_id, description, due_at, now,
                        open_max, unasked, request_id, request_word, metadata)
             -- The lock that the foreign key takes anyway. Whoever is being made staff at this moment is waited for.
             join users u on u.id = n.user_id and u.role = 'user'
             left join bank_accounts b on b.id = n.bank_account_id and b.user_id = n.user_id
            where (n.open_max is null or has_room_for_deposit(n.user_id, n.open_max))
              and (not n.unasked
                   or b.id is not null and b.deleted_at is null
                      and not exists (select from totp_secrets s where s.user_id = n.user_id))
              for key share of u
           on conflict (user_id, idempotency_key) where idempotency_key is not null do nothing
           returning id, created_at as "created_at!", destination_bank, destination_last_four"#,
        &rows.iter().map(|row| row.id).collect::<Vec<Uuid>>(),
        &new.iter().map(|new| new.user_id).collect::<Vec<Uuid>>(),
        &new.iter().map(|new| new.kind.name().to_owned()).collect::<Vec<String>>(),
        &new.iter().map(|new| new.amount.minor()).collect::<Vec<i64>>(),
        &new.iter().map(|new| new.amount.currency().code().to_owned()).collect::<Vec<String>>(),
        &new.iter().map(|new| new.key.as_str().to_owned()).collect::<Vec<String>>(),
        &new.iter().map(|new| new.request_hash.as_bytes().to_vec()).collect::<Vec<Vec<u8>>>(),
        &new.iter().map(|new| new.bank_account_id).collect::<Vec<Option<Uuid>>>() as _,
        &new.iter().map(|new| new.description.clone()).collect::<Vec<Option<String>>>() as _,
        &rows.iter().map(|row| row.lease.until).collect::<Vec<DateTime>>(),
        &rows.iter().map(|row| row.lease.now).collect::<Vec<DateTime>>(),
        &rows.iter().map(open_max).collect::<Vec<Option<i64>>>() as _,
        &rows.iter().map(|row| row.condition == Condition::NoCodeNeeded).collect::<Vec<bool>>(),
        &new.iter().map(|new| new.request.id).collect::<Vec<Option<Uuid>>>() as _,
        &new.iter().map(|new| new.request.word.clone()).collect::<Vec<Option<String>>>() as _,
        &new.iter().map(|new| new.metadata.to_json()).collect::<Vec<Value>>(),
    );
    let inserted = inserted.fetch_all(db).await?.into_iter().map(|row| {
        let destination = row.destination_bank.zip(row.destination_last_four);
        let destination = destination.map(|(bank_name, last_four)| Destination { bank_name, last_four });
        (row.id, WrittenRow { created_at: row.created_at, destination })
    });
    Ok(inserted.collect())
}

/// Nobody waits for the disk. The row keeps its version: nothing moved. One that moved meanwhile, or has nothing to do, is left alone.
pub(super) async fn defer(db: impl PgExecutor<'_>, rows: &[&Deferral]) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update transactions set due_at = to_due, attempts = failures
           from unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::integer[]) as wait (of_row, of_version, to_due, failures)
          where id = of_row and version = of_version and due_at is not null and (select unawaited())",
        &rows.iter().map(|row| row.id).collect::<Vec<Uuid>>(),
        &rows.iter().map(|row| row.version).collect::<Vec<i32>>(),
        &rows.iter().map(|row| row.due_at).collect::<Vec<DateTime>>(),
        &rows.iter().map(|row| row.attempts).collect::<Vec<i32>>(),
    );
    query.execute(db).await.map(drop)
}

/// Those that were at their version, as they are now; what their customers are to be told is written with them. A hold stays until a
/// person ends it, and nothing is due by itself; but one that only lacked a word ends with the row.
#[expect(clippy::too_many_lines, reason = "one statement, a line for each of its values")]
pub(super) async fn advance(
    db: impl PgExecutor<'_>,
    steps: &[&Advance],
    notices: &Notices,
    durability: Durability,
) -> sqlx::Result<Vec<Row>> {
    let due_at = |step: &Advance| match step.to.due {
        Due::Never => None,
        Due::Now => Some(step.now),
        Due::In(pause) => Some(step.now + pause),
    };
    let lacks_a_word: Vec<String> = Hold::LACKS_A_WORD.map(|hold| hold.name().to_owned()).to_vec();
    rows!(
        "with moved as (
         update transactions
            set state = to_state, attempts = 0,
                due_at = case when held_code is null or held_code = any($1) and to_state in ('completed', 'failed', 'expired', 'cancelled') then to_due end,
                held_code = case when held_code = any($1) and to_state in ('completed', 'failed', 'expired', 'cancelled') then null else held_code end,
                held_reason = case when held_code = any($1) and to_state in ('completed', 'failed', 'expired', 'cancelled') then null else held_reason end,
                held_at = case when held_code = any($1) and to_state in ('completed', 'failed', 'expired', 'cancelled') then null else held_at end,
                version = version + 1, updated_at = now_at,
                states = case when state = to_state then states else states || ' ' || to_state end,
                moved_at = case when state = to_state then moved_at else moved_at || now_at end,
                failure_reason = case when to_state <> 'completed' then coalesce(because, failure_reason) end,
                outflow_minor = coalesce(outflow, outflow_minor),
                repaid_minor = coalesce(repaid, repaid_minor), owed_minor = coalesce(owed, owed_minor),
                completed_at = case when to_state = 'completed' then coalesce(completed_at, now_at) end,
                provider_id = case when has_provider then to_provider else provider_id end,
                provider_status = case when has_provider then to_status else provider_status end,
                checkout_url = case when has_provider then to_checkout else checkout_url end,
                execution_url = case when has_provider then to_execution else execution_url end,
                provider_created_at = case when has_provider then registered_at else provider_created_at end,
                expires_at = case when has_provider then until else expires_at end,
                -- Single use: whatever leaves the state that was approved leaves the approval behind.
                approved_hash = case when to_hash is not null then to_hash when state = to_state then approved_hash end,
                approved_until = case when to_hash is not null then to_until when state = to_state then approved_until end
           from unnest($2::uuid[], $3::integer[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::boolean[],
                       $9::uuid[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::bigint[], $15::bigint[],
                       $16::bigint[], $17::bytea[], $18::timestamptz[], $19::timestamptz[], $20::uuid[], $21::text[])
                as step (of_row, of_version, to_state, to_due, now_at, because, has_provider, to_provider, to_status, to_checkout,
                         to_execution, registered_at, repaid, owed, outflow, to_hash, to_until, until, notice, notice_kind)
          -- Within the sub-select: where a row was changed meanwhile, PostgreSQL evaluates it, needed or not.
          where id = of_row and version = of_version and (select case when $22 then unawaited() else true end)
         returning transactions.*, notice, notice_kind
         ), told as (
         insert into mails (id, kind, user_id, due_at, expires_at, created_at)
         select n.id, n.kind, n.user_id, $23, $24, $23
           from (select array_agg(notice) as ids, array_agg(notice_kind) as kinds, array_agg(user_id) as users from moved) m,
                wanted_notices(m.ids, m.kinds, m.users, $25, $26) n
         )
         select ",
        " from moved",
        &lacks_a_word,
        &column(steps, |step| step.id),
        &column(steps, |step| step.version),
        &column(steps, |step| step.to.state.name().to_owned()),
        &column(steps, due_at) as _,
        &column(steps, |step| step.now),
        &column(steps, |step| step.to.failure_reason.map(|reason| FailureReason::name(reason).to_owned())) as _,
        &column(steps, |step| step.to.provider.is_some()),
        &column(steps, |step| step.to.provider.as_ref().and_then(|provider| provider.id)) as _,
        &column(steps, |step| step.to.provider.as_ref().and_then(|provider| provider.status.clone())) as _,
        &column(steps, |step| step.to.provider.as_ref().and_then(|provider| provider.checkout_url.clone())) as _,
        &column(steps, |step| step.to.provider.as_ref().and_then(|provider| provider.execution_url.clone())) as _,
        &column(steps, |step| step.to.provider.as_ref().and_then(|provider| provider.created_at)) as _,
        &column(steps, |step| step.to.repaid_minor) as _,
        &column(steps, |step| step.to.owed_minor) as _,
        &column(steps, |step| step.to.outflow_minor) as _,
        &column(steps, |step| step.to.approved.as_ref().map(|approved| approved.hash.to_vec())) as _,
        &column(steps, |step| step.to.approved.as_ref().map(|approved| approved.until)) as _,
        &column(steps, |step| step.to.provider.as_ref().and_then(|provider| provider.expires_at)) as _,
        &notices.ids as _,
        &notices.kinds as _,
        durability == Durability::Repeatable,
        notices.now,
        notices.expires_at,
        notices.since,
        notices.most,
    )
    .fetch_all(db)
    .await
}

fn column<T>(steps: &[&Advance], of: impl Fn(&Advance) -> T) -> Vec<T> {
    steps.iter().map(|step| of(step)).collect()
}
