//! Freezing and closing a customer, by staff. The ledger decides: a freeze shuts the gate that every withdrawal passes, a
//! closure closes the wallet itself. One row an account, written before the ledger is asked.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: freeze, close (row written)
//!     initiated --> in_force: enforce (the gate is shut, the wallet closed)
//!     initiated --> lifting: a wallet that is not empty is not closed
//!     in_force --> lifting: unfreeze, reopen (asked for)
//!     lifting --> lifted: lift (open again)
//! ```
//!
//! A freeze stops withdrawals and nothing else: what comes in is credited. A payout that is not on its way yet is held
//! (`withdrawals` asks [`is_frozen`] before money may leave) and goes on when the freeze is lifted.
//!
//! A wallet is closed first and looked into then: once closed, nothing moves in it, so what is found stays true. Money that
//! comes for a closed wallet goes to `suspense` and the deposit is held (`deposits`).

pub mod routes;
mod store;

use chrono::TimeDelta;
use ledger::{Account, Currency};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::error::{Error, Result};
use crate::{transactions, users};

pub use store::Restriction;

/// As the held rows of frozen customers say it: lifting the freeze lets just these go on.
pub const HELD_REASON: &str = "the customer is frozen";
/// The call itself takes the first step; the worker looks after those that could not take it.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// Minutes after each failure. After the last one nothing is due: the row stays `initiated` or `lifting`, is counted
/// (`octoco_queue_rows`) and listed, and a repeat of the call tries again.
const RETRY_MINUTES: [i64; 6] = [0, 1, 5, 15, 60, 240];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Freeze,
    Closure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Initiated,
    InForce,
    Lifting,
    Lifted,
}

impl Kind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Closure => "closure",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Freeze, Self::Closure].into_iter().find(|kind| kind.name() == name)
    }

    fn imposed(self) -> &'static str {
        match self {
            Self::Freeze => "user.frozen",
            Self::Closure => "user.closed",
        }
    }

    fn lifted(self) -> &'static str {
        match self {
            Self::Freeze => "user.unfrozen",
            Self::Closure => "user.reopened",
        }
    }
}

impl State {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::InForce => "in_force",
            Self::Lifting => "lifting",
            Self::Lifted => "lifted",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Initiated, Self::InForce, Self::Lifting, Self::Lifted].into_iter().find(|state| state.name() == name)
    }
}

/// Freezes or closes every account of a customer. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] for oneself; [`Error::AccountNotEmpty`] when there is money or something under
/// way on an account that is to be closed.
pub async fn impose(app: &App, actor: &Actor, user_id: Uuid, kind: Kind, reason: &str) -> Result<Vec<Restriction>> {
    users::find(app, user_id).await?;
    if actor.is_user(user_id) {
        return Err(Error::Forbidden);
    }
    if kind == Kind::Closure {
        refuse_what_is_not_empty(app, user_id).await?;
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    for currency in &app.config.currencies {
        let row = store::New { id: app.clock.row_id(), user_id, kind: kind.name(), currency: currency.code(), reason };
        if store::insert_once(&mut *tx, &row, now, now + LEASE).await? {
            let entry = Entry::of(actor, kind.imposed(), "user", user_id);
            audit::record(app, &mut *tx, entry.with(json!({"restriction": row.id, "currency": row.currency}))).await?;
        }
    }
    tx.commit().await?;
    app.crash.at("restriction.inserted")?;
    let stepped = step_all(app, user_id, kind).await?;
    let refused = stepped.iter().any(|row| row.kind == Kind::Closure && row.state == State::Lifted);
    if refused {
        // Of several currencies, none is closed alone.
        lift(app, actor, user_id, kind).await.or_else(|error| match error {
            Error::NotFound(_) => Ok(Vec::new()),
            other => Err(other),
        })?;
        return Err(Error::AccountNotEmpty);
    }
    Ok(stepped)
}

/// So that a wallet in use is not closed for a moment. What decides is what [`close`] finds.
async fn refuse_what_is_not_empty(app: &App, user_id: Uuid) -> Result<()> {
    if transactions::has_open(app, user_id).await? {
        return Err(Error::AccountNotEmpty);
    }
    for currency in &app.config.currencies {
        if !is_empty(app, user_id, *currency).await? {
            return Err(Error::AccountNotEmpty);
        }
    }
    Ok(())
}

/// Unfreezes or reopens every account of a customer.
///
/// # Errors
/// [`Error::NotFound`] when nothing of the kind is in force.
pub async fn lift(app: &App, actor: &Actor, user_id: Uuid, kind: Kind) -> Result<Vec<Restriction>> {
    if actor.is_user(user_id) {
        return Err(Error::Forbidden);
    }
    // What is only half imposed is imposed first: the ledger undoes just what it has done.
    step_all(app, user_id, kind).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let lifting = store::begin_lifting(&mut *tx, user_id, kind.name(), now, now + LEASE).await?;
    for id in &lifting {
        let entry = Entry::of(actor, kind.lifted(), "user", user_id).with(json!({"restriction": id}));
        audit::record(app, &mut *tx, entry).await?;
    }
    tx.commit().await?;
    app.crash.at("restriction.lifting")?;
    let lifted = step_all(app, user_id, kind).await?;
    if lifting.is_empty() && lifted.is_empty() { Err(Error::NotFound("restriction")) } else { Ok(lifted) }
}

/// Every restriction that a customer has or had, newest first.
///
/// # Errors
/// [`Error::NotFound`] when there is no such customer.
pub async fn list(app: &App, user_id: Uuid) -> Result<Vec<Restriction>> {
    users::find(app, user_id).await?;
    store::list_for(&app.db, user_id).await?.into_iter().map(Restriction::try_from).collect()
}

/// Whether nothing of the customer's may be paid out now.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn is_frozen(app: &App, user_id: Uuid) -> Result<bool> {
    Ok(store::is_imposed(&app.db, user_id, Kind::Freeze.name()).await?)
}

/// # Errors
/// When PostgreSQL does not answer.
pub async fn is_closed(app: &App, user_id: Uuid) -> Result<bool> {
    Ok(store::is_imposed(&app.db, user_id, Kind::Closure.name()).await?)
}

/// Steps what a call could not finish; the worker calls it.
///
/// # Errors
/// When the rows cannot be claimed.
pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    let now = app.clock.now();
    let claimed = store::claim_due(&app.db, now, now + LEASE, limit).await?;
    let count = claimed.len();
    for row in claimed {
        let row = Restriction::try_from(row)?;
        if let Err(error) = step(app, &row).await {
            failed(app, &row, &error).await?;
        }
    }
    Ok(count)
}

/// What has to be done on a customer's restrictions of a kind, and how they are then.
async fn step_all(app: &App, user_id: Uuid, kind: Kind) -> Result<Vec<Restriction>> {
    let mut stepped = Vec::new();
    for row in store::live(&app.db, user_id, kind.name()).await? {
        stepped.push(step(app, &Restriction::try_from(row)?).await?);
    }
    Ok(stepped)
}

/// One step of one restriction. Safe to repeat: the ledger's ids are the row's.
async fn step(app: &App, row: &Restriction) -> Result<Restriction> {
    match (row.state, row.kind) {
        (State::Initiated, Kind::Freeze) => shut(app, row).await,
        (State::Initiated, Kind::Closure) => close(app, row).await,
        (State::Lifting, _) => open_again(app, row).await,
        (State::InForce | State::Lifted, _) => Ok(row.clone()),
    }
}

/// `initiated → in_force`: no withdrawal passes the gate from now on.
async fn shut(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.shut_gate(row.id, row.user_id, row.currency).await?;
    app.crash.at("restriction.shut")?;
    advance(app, row, State::InForce).await
}

/// `initiated → in_force | lifting`: closed, and looked into only then.
async fn close(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.close_wallet(row.id, row.user_id, row.currency).await?;
    app.crash.at("restriction.closed")?;
    if is_empty(app, row.user_id, row.currency).await? {
        return advance(app, row, State::InForce).await;
    }
    let lifting = advance(app, row, State::Lifting).await?;
    open_again(app, &lifting).await
}

/// `lifting → lifted`. Payouts that were held for the freeze go on.
async fn open_again(app: &App, row: &Restriction) -> Result<Restriction> {
    app.ledger.open_again(row.id).await?;
    app.crash.at("restriction.opened")?;
    let lifted = advance(app, row, State::Lifted).await?;
    if row.kind == Kind::Freeze && !is_frozen(app, row.user_id).await? {
        transactions::release_all(app, row.user_id, HELD_REASON).await?;
    }
    Ok(lifted)
}

/// Nothing in the wallet, nothing reserved, nothing owed.
async fn is_empty(app: &App, user_id: Uuid, currency: Currency) -> Result<bool> {
    let accounts = [Account::wallet(user_id, currency), Account::receivable(user_id, currency)];
    let balances = app.ledger.balances(&accounts).await?;
    Ok(balances.iter().all(|balance| balance.posted() == 0 && balance.pending() == 0))
}

async fn advance(app: &App, row: &Restriction, to: State) -> Result<Restriction> {
    let due_at = (to == State::Lifting).then(|| app.clock.now() + LEASE);
    let moved = store::advance(&app.db, row.id, row.state.name(), to.name(), (app.clock.now(), due_at)).await?;
    tracing::info!(restriction.id = %row.id, kind = row.kind.name(), from = row.state.name(), to = to.name(), "restriction moved");
    moved.ok_or(Error::StaleState)?.try_into()
}

async fn failed(app: &App, row: &Restriction, error: &Error) -> Result<()> {
    if matches!(error, Error::StaleState | Error::Crashed(_)) {
        return Ok(());
    }
    tracing::error!(restriction.id = %row.id, state = row.state.name(), error = error.chain(), "a restriction could not be stepped");
    let minutes = usize::try_from(row.attempts).ok().and_then(|failures| RETRY_MINUTES.get(failures));
    let due_at = minutes.map(|minutes| app.clock.now() + TimeDelta::minutes(*minutes));
    store::defer(&app.db, row.id, due_at, row.attempts.saturating_add(1)).await?;
    Ok(())
}

/// Brings the gauge of those that are neither in force nor lifted up to date.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn measure(app: &App) -> Result<()> {
    let (rows, oldest) = store::unfinished(&app.db).await?;
    app.metrics.waiting("restriction", "unfinished", rows, oldest.map(|at| app.clock.now() - at));
    Ok(())
}
