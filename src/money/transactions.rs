//! The row behind every movement of money, and how it moves from state to state. What happens *between* two states is the
//! business of `deposits`, `withdrawals`, `reversals` and `adjustments`; lists of rows are in `history`.
//!
//! The row is the job: `due_at` is queue, schedule, lease and retry in one column (`platform::queue`).
//!
//! ```text
//! insert_once, insert_without_code,
//! insert_deposit              ─> due in one lease, the handler runs the first step ─┐
//! insert_child, insert_lost   ─> due now, for the worker ─┐                         │
//! claim_due <─────────────────────────────────────────────┘                         │
//!   └─> due in one lease, the worker runs a step ───────────────────────────────────┴─> advance  next state, due as the state wants
//!                                                                                       defer    nothing new, look again later
//!                                                                                       rest     nothing is left to do; nothing is due
//!                                                                                       failed   again later, or on hold after the last try
//!                                                                                       hold     a person must look; nothing is due
//! ```

pub mod examples;
mod holds;
pub mod metadata;
pub mod routes;
mod states;
mod store;
mod transaction;
mod writes;

use std::collections::HashMap;
use std::future::Future;

use chrono::TimeDelta;
use sqlx::{PgConnection, PgExecutor};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::app::App;
use crate::identity::mails;
use crate::platform::batcher::LockWait;
use crate::platform::error::{Error, Result};
use crate::platform::queue::{self, LEASE, Lease, Next, RETRY_MINUTES, Work};

pub use holds::{HeldFilter, close_hold, end_hold_of, hold, list_held, resume};
pub use metadata::{KEY_CHARS_MAX, KEYS_MAX, Metadata, NewMetadata, VALUE_CHARS_MAX};
pub use store::{COLUMNS, OlderSiblings, Row, count_moves, has_open};
use transaction::Condition;
use writes::{Advance, Advances, Deferral, Deferrals, Insert, Inserts, RepeatableAdvances};

pub use states::{Direction, FailureReason, Hold, Kind, Outcome, ShownState, State, shown_state};
pub use transaction::{
    Approved, Child, Destination, Due, Held, LostWithdrawal, Move, NewTransaction, Provider, RequestMark, Reversed,
    Transaction,
};

/// A row that was asked for with a key: written now, or before.
pub enum Inserted {
    New(Transaction),
    Repeat(Transaction),
}

/// A row that was asked for, and whether it was before.
pub struct Asked {
    pub row: Transaction,
    pub replayed: bool,
}

/// Writes the row unless the user's key made one before. Nothing has moved yet.
///
/// # Errors
/// [`Error::KeyReused`] when the key belongs to another request; [`Error::StaffAccount`] when the user is staff, in the same statement:
/// nobody is both, whatever happens at once.
pub async fn insert_once(app: &App, new: &NewTransaction) -> Result<Inserted> {
    // The row is never deleted: if the key stood in the way, it is there.
    let inserted = insert_if(app, new, Condition::Always).await?;
    inserted.ok_or_else(|| Error::internal("the row of an idempotency key is gone"))
}

/// Like [`insert_once`], and only while fewer than `open_max` deposits of the customer's wait for their payment, however many come at once;
/// `None` when there are as many already.
///
/// # Errors
/// [`Error::KeyReused`] when the key belongs to another request.
pub async fn insert_deposit(app: &App, new: &NewTransaction, open_max: i64) -> Result<Option<Inserted>> {
    insert_if(app, new, Condition::OpenDepositsBelow(open_max)).await
}

/// Writes a withdrawal at once if no code of a second factor is needed and the bank account is the customer's and there. `None`: one of these is
/// not so, or the key was used before.
pub async fn insert_without_code(app: &App, new: &NewTransaction) -> Result<Option<Transaction>> {
    insert(app, new, Condition::NoCodeNeeded).await
}

async fn insert_if(app: &App, new: &NewTransaction, condition: Condition) -> Result<Option<Inserted>> {
    if let Some(row) = insert(app, new, condition).await? {
        return Ok(Some(Inserted::New(row)));
    }
    if let Some(repeat) = find_repeat(app, new).await? {
        return Ok(Some(Inserted::Repeat(repeat)));
    }
    if store::is_staff(&app.db, new.user_id).await? { Err(Error::StaffAccount) } else { Ok(None) }
}

async fn insert(app: &App, new: &NewTransaction, condition: Condition) -> Result<Option<Transaction>> {
    let (id, now) = (app.clock.row_id(), app.clock.now());
    let lease = Lease { now, until: now + LEASE };
    let row = Insert { id, new: new.clone(), lease, condition };
    let Some(written) = app.batchers.join::<Inserts>(app, row).await? else { return Ok(None) };
    begin_trace(Span::current().id(), id, new.kind);
    app.crash.at("transaction.inserted")?;
    Ok(Some(new.initiated(id, written, lease)))
}

/// The row that the user's key made before, if it was the same request.
///
/// # Errors
/// [`Error::KeyReused`] when the key belongs to another request.
pub async fn find_repeat(app: &App, new: &NewTransaction) -> Result<Option<Transaction>> {
    let Some(row) = store::find_by_key(&app.db, new.user_id, new.key.as_str()).await? else { return Ok(None) };
    new.request_hash.require_same(row.request_hash.as_deref().unwrap_or_default())?;
    row.try_into().map(Some)
}

/// Around whatever is done with a row: all that is logged and called in it has the row's id, which is also its trace's.
pub fn span(row: &Transaction) -> Span {
    tracing::info_span!("transaction", transaction.id = %row.id, kind = row.kind.name())
}

/// A row is born: its trace begins with what is under way, or by itself where `parent` is none.
fn begin_trace(parent: Option<tracing::Id>, id: Uuid, kind: Kind) {
    tracing::debug_span!(parent: parent, "begin", transaction.id = %id, kind = kind.name(), begins = true);
}

/// Runs a row's step inside the request ([`queue::step_inline`]). The caller boxes it: else each request's future is as large as any step's
/// (40 kB).
///
/// # Errors
/// When even the row cannot be read back.
pub async fn step_inline(
    app: &App,
    row: &Transaction,
    step: impl Future<Output = Result<Transaction>>,
) -> Result<Transaction> {
    let failed = |error: Error| async move { failed(app, row.id, &error).await };
    queue::step_inline(&app.notifier, step.instrument(span(row)), failed, find(app, row.id)).await
}

/// Steps due rows of some kinds, all at once. How many were claimed.
pub async fn step_due<F, Fut>(app: &App, kinds: &[Kind], limit: i64, step: F) -> Result<usize>
where
    F: Fn(App, Transaction) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Transaction>> + Send,
{
    let kinds = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    queue::step_due(Steps { app, kinds, step }, app.queue(), limit).await
}

/// Claims due rows of one kind and gives a step for each, which whoever asked runs.
pub async fn claim_due<'a, F, Fut>(app: &'a App, kind: Kind, limit: i64, step: F) -> Result<Vec<queue::Step<'a>>>
where
    F: Fn(App, Transaction) -> Fut + Send + Sync + 'a,
    Fut: Future<Output = Result<Transaction>> + Send + 'a,
{
    let kinds = vec![kind.name().to_owned()];
    queue::claim_due(Steps { app, kinds, step }, app.queue(), limit).await
}

/// The rows of some kinds, and what a step of one is.
struct Steps<'a, F> {
    app: &'a App,
    kinds: Vec<String>,
    step: F,
}

impl<F, Fut> Work for Steps<'_, F>
where
    F: Fn(App, Transaction) -> Fut + Sync,
    Fut: Future<Output = Result<Transaction>> + Send,
{
    type Claimed = Row;

    fn label<'a>(&'a self, row: &'a Row) -> &'a str {
        &row.kind
    }

    fn id(row: &Row) -> Uuid {
        row.id
    }

    fn span(&self, row: &Row) -> Span {
        tracing::info_span!(parent: None, "step", queue = row.kind, transaction.id = %row.id)
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<Row>> {
        store::claim_due(self.app.batch_db.in_line(), &self.kinds, lease, limit).await
    }

    async fn step(&self, row: &Row) -> Result<&'static str> {
        (self.step)(self.app.clone(), Transaction::try_from(row.clone())?).await?;
        Ok("done")
    }

    async fn failed(&self, row: &Row, error: &Error) -> Result<()> {
        failed(self.app, row.id, error).await
    }
}

/// A step failed. It may have moved the row before it failed, and somebody else may have brought it to its end: it is read again.
async fn failed(app: &App, id: Uuid, error: &Error) -> Result<()> {
    let row = store::find(&app.db, id).await?.ok_or(Error::NotFound("transaction"))?;
    if row.due_at.is_none() {
        return Ok(());
    }
    match app.queue().after(id, row.attempts, error, RETRY_MINUTES) {
        Next::Again { due_at, attempts } => {
            app.batchers.join::<Deferrals>(app, Deferral { id, version: row.version, due_at, attempts }).await
        }
        Next::GiveUp { failures } => {
            let reason = format!("gave up after {failures} failures: {}", error.chain());
            holds::put_on_hold(app, &row.try_into()?, Hold::GaveUp, &reason).await
        }
    }
}

/// Moves the row on, if it is still as it was read.
///
/// # Errors
/// [`Error::StaleState`] when somebody else moved it first.
pub async fn advance(app: &App, row: &Transaction, to: Move) -> Result<Transaction> {
    app.crash.at("transaction.before_move")?;
    let (id, version, now) = (row.id, row.version, app.clock.now());
    let step = Advance { id, version, to: to.clone(), now, news: news_of(row, &to) };
    let moved = match is_repeatable(row, &to) {
        true => app.batchers.join::<RepeatableAdvances>(app, step).await?,
        false => app.batchers.join::<Advances>(app, step).await?,
    };
    let moved = moved.ok_or(Error::StaleState)?.try_into()?;
    announce(app, row, &to);
    app.crash.at("transaction.moved")?;
    Ok(moved)
}

/// What of a move the customer is mailed.
fn news_of(row: &Transaction, to: &Move) -> Option<mails::Kind> {
    match (row.kind, row.state, to.state) {
        (Kind::Deposit, before, State::Completed) if before != State::Completed => Some(mails::Kind::Deposit),
        (Kind::Withdrawal, State::Initiated, State::Reserved) if !row.is_called_off() => Some(mails::Kind::Withdrawal),
        _ => None,
    }
}

/// A reservation is in the ledger before its row says so: a row that forgets it reserves again, by the same id.
fn is_repeatable(row: &Transaction, to: &Move) -> bool {
    (row.kind, row.state, to.state) == (Kind::Withdrawal, State::Initiated, State::Reserved)
}

/// The same inside an SQL transaction of the caller's, who says so with [`announce`] once it is committed.
///
/// # Errors
/// [`Error::StaleState`] when somebody else moved it first.
pub async fn advance_within(app: &App, db: impl PgExecutor<'_>, row: &Transaction, to: &Move) -> Result<Transaction> {
    writes::advance_within(app, db, &[unannounced(app, row, to)]).await?.pop().ok_or(Error::StaleState)?.try_into()
}

/// The same of many rows; those that somebody else moved first are left out.
pub async fn advance_all_within(
    app: &App,
    tx: &mut PgConnection,
    rows: &[(&Transaction, &Move)],
) -> Result<HashMap<Uuid, Transaction>> {
    let steps: Vec<Advance> = rows.iter().map(|(row, to)| unannounced(app, row, to)).collect();
    let moved = writes::advance_within(app, &mut *tx, &steps).await?.into_iter();
    moved.map(|row| Ok((row.id, row.try_into()?))).collect()
}

/// A move of which the customer is not mailed.
fn unannounced(app: &App, row: &Transaction, to: &Move) -> Advance {
    Advance { id: row.id, version: row.version, to: to.clone(), now: app.clock.now(), news: None }
}

/// Tells metrics, log and worker of a move that is in the database.
pub fn announce(app: &App, row: &Transaction, to: &Move) {
    let (kind, from, state) = (row.kind.name(), row.state.name(), to.state.name());
    app.metrics.transaction_states.with_label_values(&[kind, state]).inc();
    if to.state == State::Completed && row.state != State::Completed {
        let took = (app.clock.now() - row.created_at).as_seconds_f64();
        app.metrics.transaction_completion_seconds.with_label_values(&[kind]).observe(took);
    }
    let provider = to.provider.as_ref().unwrap_or(&row.provider).id.map(tracing::field::display);
    tracing::info!(transaction.id = %row.id, kind, provider.id = provider, from, to = state, "transaction moved");
    app.waiting.moved(row.id);
    if to.due == Due::Now {
        app.notifier.wake();
    }
}

/// Locks the row for the rest of the SQL transaction, if it is still as it was read.
///
/// # Errors
/// [`Error::StaleState`] when somebody else moved it first.
pub async fn lock(db: impl PgExecutor<'_>, row: &Transaction) -> Result<()> {
    if store::lock(db, row.id, row.version).await? { Ok(()) } else { Err(Error::StaleState) }
}

/// Nothing is wrong and nothing is new: look again after `pause`.
pub async fn defer(app: &App, row: &Transaction, pause: TimeDelta) -> Result<Transaction> {
    let due_at = app.clock.now() + pause;
    app.batchers.join::<Deferrals>(app, Deferral { id: row.id, version: row.version, due_at, attempts: 0 }).await?;
    Ok(row.clone())
}

/// A row that has ended, for as long as somebody may say something else of it: at each of these ages, then never.
pub async fn look_again(app: &App, row: &Transaction, ages: &[TimeDelta]) -> Result<Transaction> {
    let age = app.clock.now() - row.updated_at;
    match ages.iter().find(|next| **next > age) {
        Some(next) => defer(app, row, *next - age).await,
        None => rest(app, row).await,
    }
}

/// Nothing is left to do on the row.
pub async fn rest(app: &App, row: &Transaction) -> Result<Transaction> {
    store::rest(&app.db, row.id, row.version).await?;
    Ok(row.clone())
}

/// The rows that follow from this one and are about these objects of Revio's.
pub async fn children_of(app: &App, parent: Uuid, objects: &[Uuid]) -> Result<Vec<Transaction>> {
    store::children_of(&app.db, parent, objects).await?.into_iter().map(Transaction::try_from).collect()
}

/// What became of the money that came for a deposit and did not fit.
pub async fn set_outcome(app: &App, id: Uuid, outcome: Outcome) -> Result<()> {
    Ok(store::set_outcome(&app.db, id, outcome, app.clock.now()).await?)
}

pub async fn find(app: &App, id: Uuid) -> Result<Transaction> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("transaction"))?.try_into()
}

/// True if it was ever awaiting approval or submitting. A reserved row below version 3 cannot have been, so no query.
pub async fn has_waited(app: &App, row: &Transaction) -> Result<bool> {
    Ok(row.version > 2 && store::has_waited(&app.db, row.id).await?)
}

/// Those of them that there are, newest first.
pub async fn find_all(app: &App, ids: &[Uuid]) -> Result<Vec<Transaction>> {
    store::find_all(&app.db, ids).await?.into_iter().map(Transaction::try_from).collect()
}

/// Writes a row that follows from another one; a repeat for the same object of Revio's changes nothing.
pub async fn insert_child(app: &App, child: &Child<'_>) -> Result<()> {
    if store::insert_child(&app.db, child, app.clock.now()).await? {
        begin_trace(None, child.id, child.kind);
    }
    app.notifier.wake();
    Ok(())
}

/// Writes the row of a withdrawal again, which was lost with an older database: it is reserved.
pub async fn insert_lost(app: &App, lost: &LostWithdrawal) -> Result<()> {
    if store::insert_lost(&app.db, lost, app.clock.now()).await? {
        begin_trace(None, lost.id, Kind::Withdrawal);
    }
    app.notifier.wake();
    Ok(())
}

/// Notes how much of a deposit was given back, together with the rows that say so one by one: all or nothing.
///
/// # Errors
/// [`Error::StaleState`] when somebody else noted something first.
pub async fn reverse(app: &App, deposit: &Transaction, reversed: Reversed, rows: &[Child<'_>]) -> Result<Transaction> {
    let mut tx = app.db.begin().await?;
    if !store::set_reversed(&mut *tx, deposit, reversed, app.clock.now()).await? {
        return Err(Error::StaleState);
    }
    let mut born = Vec::new();
    for row in rows {
        if store::insert_child(&mut *tx, row, app.clock.now()).await? {
            born.push(row);
        }
    }
    tx.commit().await?;
    born.into_iter().for_each(|row| begin_trace(None, row.id, row.kind));
    app.notifier.wake();
    app.crash.at("transaction.reversed")?;
    find(app, deposit.id).await
}

/// Older rows that follow from the same deposit and are not booked yet: they are booked in the order of their ids.
pub async fn older_siblings(app: &App, row: &Transaction) -> Result<OlderSiblings> {
    Ok(store::older_siblings(&app.db, row, app.clock.now() + LEASE * 2).await?)
}

/// The user's own row; somebody else's does not exist, nor does one that is not shown.
pub async fn find_own(app: &App, user_id: Uuid, id: Uuid) -> Result<Transaction> {
    let row = find(app, id).await?;
    if row.is_shown_to(user_id) { Ok(row) } else { Err(Error::NotFound("transaction")) }
}

/// The row that an object of Revio's belongs to: by the object's id, or, while our own answer is still on its way, by the
/// reference that we gave it.
pub async fn find_for_provider(
    app: &App,
    kind: Kind,
    provider_id: Uuid,
    reference: Option<Uuid>,
) -> Result<Option<Transaction>> {
    let found = app.batchers.look_up(app, (kind, provider_id, reference), by_provider).await?;
    found.map(Transaction::try_from).transpose()
}

type OfProvider = (Kind, Uuid, Option<Uuid>);

async fn by_provider(app: App, lock_wait: LockWait, objects: Vec<OfProvider>) -> Result<Vec<(OfProvider, Row)>> {
    let rows = store::find_for_provider(app.batch_db.of(lock_wait), &objects).await?;
    let of = |object: OfProvider| {
        let (kind, id, reference) = object;
        let mut of_kind = rows.iter().filter(|row| row.kind == kind.name());
        let own = of_kind.clone().find(|row| row.provider_id == Some(id));
        // The object's own row comes before the row that its reference names.
        own.or_else(|| of_kind.find(|row| Some(row.id) == reference)).map(|row| (object, row.clone()))
    };
    Ok(objects.into_iter().filter_map(of).collect())
}

/// Brings the gauges of what waits up to date.
pub async fn measure(app: &App) -> Result<()> {
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
    let times = (app.clock.now(), app.config.bank_account_cooling);
    app.queue().report(&store::depths(&app.db, &kinds, times).await?);
    Ok(())
}
