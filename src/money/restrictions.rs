//! Freezing and closing a customer, by one of the staff; undoing it takes two (`requests`). The ledger decides: a freeze shuts the velocity
//! limit that every withdrawal passes, a closure closes the wallet itself. One row an account, written before the ledger is asked; a call's
//! rows, one a currency, come into force together or not at all.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: impose (row written)
//!     initiated --> in_force: shut (the velocity limit), close (the wallet too)
//!     initiated --> lifting: refuse (a wallet that is not empty is not closed), or another currency was refused
//!     in_force --> lifting: begin_lifting (two people want it), or another currency is refused
//!     lifting --> lifted: open_again
//! ```
//!
//! Whoever freezes or closes again changes nothing of that and is heard all the same: the reason is kept (`repeats`), and what was asked for to
//! undo it ends, because it was about something else (`requests`, docs/decisions/030). So does what was asked for to undo an earlier one.
//!
//! A freeze stops withdrawals and nothing else: what comes in is credited. A payout that is not on its way yet is held
//! (`withdrawals` asks [`frozen_until_commit`] before money may leave) and goes on when the freeze is lifted.
//!
//! A wallet is closed behind a shut velocity limit: nothing new is reserved in it then, and that it is empty TigerBeetle decides in the
//! closing transfer itself. Money that comes for a closed wallet goes to `suspense` and the deposit is held (`deposits`).

pub mod routes;
mod store;

use chrono::TimeDelta;
use ledger::{Account, Currency, LedgerError};
use serde_json::json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::users;
use crate::money::approvals;
use crate::money::transactions::{self, Hold};
use crate::platform::error::{Decline, Error, Reason, Result};
use crate::platform::permissions::{Permission, Role, UsersFreeze, UsersProtect};
use crate::platform::queue::{self, LEASE, Lease, Next, Work};
use crate::platform::text_enum::text_enum;

pub use store::{Filter, Repeat, Restriction};

/// As the held rows of frozen customers say it.
pub const HELD_REASON: &str = "the customer is frozen";
/// Customers whom one person may freeze for protection in 24 hours.
pub const PROTECTIVE_MAX: i64 = 20;
const DAY: TimeDelta = TimeDelta::hours(24);
/// Of a request that waited to undo what is imposed now.
const OVERTAKEN: &str = "frozen or closed again since: ask anew";
/// Minutes after each failure. After the last one nothing is due: the row stays `initiated` or `lifting`, is counted
/// (`octoco_queue_rows`) and listed, and a repeat of the call tries again.
const RETRY_MINUTES: [i64; 6] = [0, 1, 5, 15, 60, 240];

text_enum! {
    #[schema(as = RestrictionKind)]
    pub enum Kind {
        Freeze = "freeze",
        Closure = "closure",
    }
}

text_enum! {
    #[schema(as = RestrictionState)]
    pub enum State {
        Initiated = "initiated",
        InForce = "in_force",
        Lifting = "lifting",
        Lifted = "lifted",
    }
}

impl Restriction {
    fn wallet(&self) -> Account {
        Account::wallet(self.user_id, self.currency)
    }
}

impl Kind {
    /// The kind of request that undoes it.
    fn undone_by(self) -> &'static str {
        match self {
            Self::Freeze => "unfreeze",
            Self::Closure => "reopen",
        }
    }

    /// What another restriction of the same account is refused with.
    fn decline(self) -> Error {
        let why = match self {
            Self::Freeze => Decline::AccountFrozen,
            Self::Closure => Decline::AccountClosed,
        };
        Error::declined(why)
    }
}

/// Freezes or closes every account of a customer. Repeating it changes nothing; for another reason, or by somebody else, it is kept beside
/// the first and ends what waits to undo it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] for oneself, and to whoever is frozen; [`Error::Declined`] when the other kind is in force;
/// [`Error::AccountNotEmpty`] when there is money or something under way on an account that is to be closed;
/// [`Error::StaleState`] when somebody lifts it at the same time.
pub async fn impose(app: &App, actor: &Actor, user_id: Uuid, kind: Kind, reason: &str) -> Result<Vec<Restriction>> {
    impose_by(app, &Imposing { actor, user_id, kind, reason, protects: false }).await
}

/// Freezes a customer until somebody who may lift it has looked: by whoever may not. So many new ones in a day, so that nobody alone shuts
/// out everybody; it counts as a freeze in everything else. Whoever may freeze confirms it by freezing the customer too ([`impose`]).
///
/// # Errors
/// As [`impose`]; [`Error::Forbidden`] for staff; [`Error::TooMany`] after [`PROTECTIVE_MAX`].
pub async fn protect(app: &App, actor: &Actor, user_id: Uuid, reason: &str) -> Result<Vec<Restriction>> {
    if users::find(app, user_id).await?.role.is_staff() {
        return Err(Error::Forbidden(Reason::StaffAccount));
    }
    impose_by(app, &Imposing { actor, user_id, kind: Kind::Freeze, reason, protects: true }).await
}

/// Who imposes what on whom, and whether only until somebody else has looked.
struct Imposing<'a> {
    actor: &'a Actor,
    user_id: Uuid,
    kind: Kind,
    reason: &'a str,
    protects: bool,
}

/// With the rows of a new one in the transaction. The customer is locked already; of two calls by one person one waits here.
async fn limit_protective_freezes(app: &App, tx: &mut PgConnection, by: Uuid) -> Result<()> {
    users::lock(&mut *tx, by).await?;
    let since = app.clock.now() - DAY;
    let protected = store::protected_since(&mut *tx, by, since).await?;
    if protected.calls <= PROTECTIVE_MAX {
        return Ok(());
    }
    let wait = protected.oldest.map_or(DAY, |oldest| oldest - since).num_seconds();
    Err(Error::TooMany { retry_after_secs: u64::try_from(wait).unwrap_or(0).saturating_add(1) })
}

async fn impose_by(app: &App, by: &Imposing<'_>) -> Result<Vec<Restriction>> {
    let Imposing { actor, user_id, kind, .. } = *by;
    users::find(app, user_id).await?;
    if actor.is_user(user_id) {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    if kind == Kind::Closure {
        require_unused(app, user_id).await?;
    }
    // What is being lifted stands in the way of anything new: it is brought to its end first.
    step_all(app, user_id).await?;
    let mut tx = app.db.begin().await?;
    // Of two who freeze each other one comes first, and the other one is frozen by then.
    let people: Vec<Uuid> = actor.user_id().into_iter().chain([user_id]).collect();
    users::lock_in_order(&mut tx, &people, &[]).await?;
    // Staff are stopped by a freeze, which a closed wallet does not take any more (decision 030).
    if kind == Kind::Closure && users::lock(&mut *tx, user_id).await?.is_some_and(Role::is_staff) {
        return Err(Error::Forbidden(Reason::StaffAccount));
    }
    if let Some(person) = actor.user_id() {
        let roles = if by.protects { UsersProtect::ROLES } else { UsersFreeze::ROLES };
        approvals::require_maker(app, &mut tx, person, roles).await?;
    }
    if !write_rows(app, &mut tx, by).await? {
        return Err(Error::StaleState);
    }
    tx.commit().await?;
    app.crash.at("restriction.inserted")?;
    step_all(app, user_id).await?;
    let live = live(&app.db, user_id).await?;
    match is_whole(app, &live, kind)? {
        true => Ok(live),
        false if kind == Kind::Closure => Err(Error::AccountNotEmpty),
        // Lifted again by somebody else, at the same time.
        false => Err(Error::StaleState),
    }
}

/// A row for each currency, or beside those that are there who says so again, and why. Whether it is whole then.
async fn write_rows(app: &App, tx: &mut PgConnection, by: &Imposing<'_>) -> Result<bool> {
    let Imposing { actor, user_id, kind, reason, protects: protective } = *by;
    let (now, call_id, imposed_by, mut inserted) = (app.clock.now(), app.clock.row_id(), actor.user_id(), false);
    let said = Repeat { reason: reason.to_owned(), imposed_by, at: now };
    let is_news = is_news(app, &live(&mut *tx, user_id).await?, kind, &said);
    if is_news {
        // Before the rows, as an approval locks them.
        overtake_requests(app, tx, by).await?;
    }
    for currency in &app.config.currencies {
        let (id, currency) = (app.clock.row_id(), currency.code());
        let row = store::New { id, user_id, kind: kind.name(), currency, call_id, reason, imposed_by, protective };
        if store::insert_once(&mut *tx, &row, now, now + LEASE).await? {
            let entry = Entry::of(actor, "restriction.requested", "user", user_id);
            let about = json!({"restriction": id, "kind": kind.name(), "currency": currency, "protective": protective});
            audit::record(app, &mut *tx, entry.with(about)).await?;
            inserted = true;
        }
    }
    if is_news && store::repeat(&mut *tx, (user_id, kind.name(), call_id), &said).await? > 0 {
        let entry = Entry::of(actor, "restriction.repeated", "user", user_id);
        audit::record(app, &mut *tx, entry.with(json!({"kind": kind.name(), "reason": reason}))).await?;
    }
    if let Some(person) = imposed_by.filter(|_| protective && inserted) {
        limit_protective_freezes(app, tx, person).await?;
        tracing::warn!(restriction.call = %call_id, "a customer was frozen for protection");
    }
    if !protective && store::confirm(&mut *tx, user_id).await? {
        audit::record(app, &mut *tx, Entry::of(actor, "restriction.confirmed", "user", user_id)).await?;
    }
    is_whole(app, &live(&mut *tx, user_id).await?, kind)
}

/// Whether an account has nothing of the kind yet, or was last restricted by somebody else or for another reason.
fn is_news(app: &App, live: &[Restriction], kind: Kind, said: &Repeat) -> bool {
    let same = |by: Option<Uuid>, reason: &str| by == said.imposed_by && reason == said.reason;
    let says = |row: &Restriction| match row.repeats.last() {
        Some(last) => same(last.imposed_by, &last.reason),
        None => same(row.imposed_by, &row.reason),
    };
    let known = |currency| live.iter().any(|row| row.kind == kind && row.currency == currency && says(row));
    !app.config.currencies.iter().all(|currency| known(*currency))
}

async fn overtake_requests(app: &App, tx: &mut PgConnection, by: &Imposing<'_>) -> Result<()> {
    let undone_by = by.kind.undone_by();
    for id in store::overtake_requests(&mut *tx, (by.user_id, undone_by), OVERTAKEN).await? {
        let entry = Entry::of(by.actor, "request.overtaken", "user", by.user_id);
        audit::record(app, &mut *tx, entry.with(json!({"request": id, "kind": undone_by}))).await?;
    }
    Ok(())
}

/// Whether every account has a restriction of this kind that is not being lifted. The error is what another kind declines with.
fn is_whole(app: &App, live: &[Restriction], kind: Kind) -> Result<bool> {
    if let Some(other) = live.iter().find(|row| row.kind != kind) {
        return Err(other.kind.decline());
    }
    let stands = |currency| live.iter().any(|row| row.currency == currency && row.state != State::Lifting);
    Ok(app.config.currencies.iter().all(|currency| stands(*currency)))
}

/// So that a wallet in use is not touched at all. What decides is what `close` is told by the ledger.
pub async fn require_unused(app: &App, user_id: Uuid) -> Result<()> {
    if transactions::has_open(&app.db, user_id).await? {
        return Err(Error::AccountNotEmpty);
    }
    for currency in &app.config.currencies {
        let accounts = [Account::wallet(user_id, *currency), Account::receivable(user_id, *currency)];
        let balances = app.ledger.balances(&accounts).await?;
        if balances.iter().any(|balance| balance.posted() != 0 || balance.pending() != 0) {
            return Err(Error::AccountNotEmpty);
        }
    }
    Ok(())
}

/// `in_force → lifting`, inside an SQL transaction of the caller's, who goes on with [`finish_lifting`].
pub async fn begin_lifting(
    app: &App,
    tx: &mut PgConnection,
    actor: &Actor,
    (user_id, kind): (Uuid, Kind),
) -> Result<()> {
    let now = app.clock.now();
    for id in store::begin_lifting(&mut *tx, user_id, kind.name(), now, now + LEASE).await? {
        let entry = Entry::of(actor, "restriction.lifting_requested", "user", user_id);
        audit::record(app, &mut *tx, entry.with(json!({"restriction": id, "kind": kind.name()}))).await?;
    }
    Ok(())
}

/// What has begun to be lifted is lifted, and payouts that were held for it go on.
pub async fn finish_lifting(app: &App, user_id: Uuid) -> Result<()> {
    app.crash.at("restriction.lifting")?;
    step_all(app, user_id).await?;
    resume_unfrozen(app).await
}

/// Restrictions of all customers, newest first: those of a state, or all.
pub async fn list_all(app: &App, filter: &Filter) -> Result<Vec<Restriction>> {
    store::list(&app.db, filter).await?.into_iter().map(Restriction::try_from).collect()
}

/// Every restriction that a customer has or had, newest first.
///
/// # Errors
/// [`Error::NotFound`] when there is no such customer.
pub async fn list(app: &App, user_id: Uuid) -> Result<Vec<Restriction>> {
    users::find(app, user_id).await?;
    list_of(&app.db, user_id).await
}

/// The same of a customer who is known to be there.
pub async fn list_of(db: impl PgExecutor<'_>, user_id: Uuid) -> Result<Vec<Restriction>> {
    store::list_for(db, user_id).await?.into_iter().map(Restriction::try_from).collect()
}

/// What restricts a customer now: those that are not lifted, oldest first.
pub async fn live(db: impl PgExecutor<'_>, user_id: Uuid) -> Result<Vec<Restriction>> {
    store::live(db, user_id).await?.into_iter().map(Restriction::try_from).collect()
}

/// The frozen ones among the customers: nothing may be paid out to them, and it stays so until the transaction ends. What begins to leave a customer
/// who is not frozen is written in the same one: a freeze that somebody was told of is not overtaken.
pub async fn frozen_until_commit(tx: &mut PgConnection, customers: &[Uuid]) -> Result<Vec<Uuid>> {
    users::lock_shared(&mut *tx, customers).await?;
    Ok(store::frozen(&mut *tx, customers).await?)
}

/// Whether the ledger lets nothing leave the customer's wallet and no row says why: a restore made us forget it.
pub async fn is_frozen_in_ledger_only(app: &App, user_id: Uuid, currency: Currency) -> Result<bool> {
    if !app.ledger.is_blocked(user_id, currency).await? || !store::frozen(&app.db, &[user_id]).await?.is_empty() {
        return Ok(false);
    }
    // One that was lifted meanwhile opens the ledger first.
    Ok(app.ledger.is_blocked(user_id, currency).await?)
}

pub async fn is_closed(app: &App, user_id: Uuid) -> Result<bool> {
    is_imposed(&app.db, user_id, Kind::Closure).await
}

/// Whether there is one of the kind that is not lifted.
pub async fn is_imposed(db: impl PgExecutor<'_>, user_id: Uuid, kind: Kind) -> Result<bool> {
    Ok(store::is_imposed(db, user_id, kind.name()).await?)
}

/// Steps what a call could not finish, and lets payouts go on that waited for the end of a freeze; the worker calls it.
pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    resume_unfrozen(app).await?;
    queue::step_due(Restrictions(app), app.queue(), limit).await
}

struct Restrictions<'a>(&'a App);

impl Work for Restrictions<'_> {
    type Claimed = store::Row;

    fn label<'a>(&'a self, _: &'a store::Row) -> &'a str {
        "restrictions"
    }

    fn id(row: &store::Row) -> Uuid {
        row.id
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<store::Row>> {
        store::claim_due(&self.0.db, lease, limit).await
    }

    async fn step(&self, row: &store::Row) -> Result<&'static str> {
        step(self.0, &row.clone().try_into()?).await?;
        Ok("done")
    }

    async fn failed(&self, row: &store::Row, error: &Error) -> Result<()> {
        let (due_at, attempts) = match self.0.queue().after(row.id, row.attempts, error, &RETRY_MINUTES) {
            Next::Again { due_at, attempts } => (Some(due_at), attempts),
            Next::GiveUp { failures } => (None, failures),
        };
        Ok(store::defer(&self.0.db, row, due_at, attempts).await?)
    }
}

/// Payouts that were held for a freeze that is over. Looked for by what is held, not told by the lifting: nothing is missed,
/// whatever happens between the two.
async fn resume_unfrozen(app: &App) -> Result<()> {
    let released = store::resume_unfrozen(&app.db, Hold::Frozen.name(), app.clock.now()).await?;
    if released > 0 {
        tracing::info!(released, "payouts that were held for a freeze go on");
        app.notifier.wake();
    }
    Ok(())
}

/// What has to be done on a customer's restrictions; not on those that somebody else steps meanwhile.
pub async fn step_all(app: &App, user_id: Uuid) -> Result<()> {
    for row in live(&app.db, user_id).await? {
        match step(app, &row).await {
            Ok(_) | Err(Error::StaleState) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One step of one restriction. Safe to repeat: the ledger's ids are the row's.
async fn step(app: &App, row: &Restriction) -> Result<Restriction> {
    match (row.state, row.kind) {
        (State::Initiated, Kind::Freeze) => shut(app, row).await,
        (State::Initiated, Kind::Closure) => close(app, row).await,
        (State::Lifting, _) => open_again(app, row).await,
        (State::InForce, _) => keep(app, row).await,
        (State::Lifted, _) => Ok(row.clone()),
    }
}

/// Stays `in_force`: a ledger that was put back to an earlier moment has forgotten it, and what it has in the wallet again does not leave. A
/// wallet that was closed is not closed again: it may not be empty any more.
async fn keep(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.block_withdrawals(row.id, row.wallet()).await?;
    store::settle(&app.db, row.id).await?;
    Ok(row.clone())
}

/// Everything in force is imposed once more, by the worker: the ledger has lost what came last.
pub async fn impose_again(app: &App) -> Result<()> {
    Ok(store::make_due(&app.db, app.clock.now()).await?)
}

/// `initiated → in_force`: no withdrawal passes the velocity limit from now on.
async fn shut(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.block_withdrawals(row.id, row.wallet()).await?;
    app.crash.at("restriction.shut")?;
    advance(app, row, State::InForce).await
}

/// `initiated → in_force | lifting`: first the velocity limit. From then on nothing new is reserved, so a wallet in which nothing is
/// reserved stays one, and can be closed: what is reserved in a closed wallet could never be paid.
async fn close(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.block_withdrawals(row.id, row.wallet()).await?;
    app.crash.at("restriction.shut")?;
    if app.ledger.balance(row.wallet()).await?.pending() != 0 {
        return refuse(app, row).await;
    }
    let closed = app.ledger.close_wallet(row.id, row.wallet()).await;
    app.crash.at("restriction.closed")?;
    match closed {
        Ok(()) => match closed_with_its_call(app, row).await {
            Ok(row) if row.state == State::Lifting => open_again(app, &row).await,
            closed => closed,
        },
        // Not empty; or somebody else stepped the row at the same time and has opened it again, which `refuse` finds.
        Err(LedgerError::Refused(_)) => refuse(app, row).await,
        Err(error) => Err(error.into()),
    }
}

/// `initiated → in_force`, or `lifting` where another currency of the call was refused.
async fn closed_with_its_call(app: &App, row: &Restriction) -> Result<Restriction> {
    let mut tx = app.db.begin().await?;
    store::lock_call(&mut *tx, row.call_id).await?;
    let refused = store::was_refused(&mut *tx, row.call_id).await?;
    let moved = advance_within(app, &mut tx, row, if refused { State::Lifting } else { State::InForce }).await?;
    tx.commit().await?;
    Ok(moved)
}

/// `→ lifting`: not empty, in one currency; the others of the call are opened again with it.
async fn refuse(app: &App, row: &Restriction) -> Result<Restriction> {
    let mut tx = app.db.begin().await?;
    store::lock_call(&mut *tx, row.call_id).await?;
    let lifting = advance_within(app, &mut tx, row, State::Lifting).await?;
    for id in store::lift_call(&mut *tx, row.call_id, app.clock.now()).await? {
        let entry = Entry::of(&Actor::system(), "restriction.moved", "user", row.user_id);
        let about = |state: State| json!({"restriction": id, "kind": row.kind.name(), "state": state.name()});
        audit::record(app, &mut *tx, entry.change(about(State::InForce), about(State::Lifting))).await?;
    }
    tx.commit().await?;
    app.crash.at("restriction.refused")?;
    open_again(app, &lifting).await
}

/// `lifting → lifted`.
async fn open_again(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.open_again(row.id, row.wallet()).await?;
    app.crash.at("restriction.opened")?;
    advance(app, row, State::Lifted).await
}

/// Moves the row on, if it is still as it was read, with what came of it on the record.
async fn advance(app: &App, row: &Restriction, to: State) -> Result<Restriction> {
    let mut tx = app.db.begin().await?;
    let moved = advance_within(app, &mut tx, row, to).await?;
    tx.commit().await?;
    Ok(moved)
}

async fn advance_within(app: &App, tx: &mut PgConnection, row: &Restriction, to: State) -> Result<Restriction> {
    let now = app.clock.now();
    let due_at = (to == State::Lifting).then(|| now + LEASE);
    let moved = store::advance(&mut *tx, row.id, row.state.name(), to.name(), (now, due_at)).await?;
    let moved = moved.ok_or(Error::StaleState)?;
    let entry = Entry::of(&Actor::system(), "restriction.moved", "user", row.user_id);
    let about = |state: State| json!({"restriction": row.id, "kind": row.kind.name(), "state": state.name()});
    audit::record(app, &mut *tx, entry.change(about(row.state), about(to))).await?;
    tracing::info!(restriction.id = %row.id, kind = row.kind.name(), from = row.state.name(), to = to.name(), "restriction moved");
    moved.try_into()
}

/// Brings the gauges up to date: of those that are neither in force nor lifted, and of protective freezes that wait for somebody.
pub async fn measure(app: &App) -> Result<()> {
    app.queue().report(&store::depths(&app.db).await?);
    Ok(())
}
