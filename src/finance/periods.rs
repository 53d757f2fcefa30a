//! Closed months: what the books were at a month's end, checked, frozen and chained.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> awaiting_approval: close (the maker; every check holds, the pack is made)
//!     awaiting_approval --> awaiting_approval: close again (made anew, where something has changed since)
//!     awaiting_approval --> closed: approve (the checker; the pack made anew is the same to the byte)
//! ```
//!
//! Nothing in the ledger is locked: TigerBeetle cannot back-date, so that a month ends at a moment (the cut) and what is booked later is the
//! next month's. A closed month is never opened again; the database refuses it, and each pack holds the hash of the one before, which is
//! also in the audit log. Small reports are printed again from the stored bytes, the customers' list is made anew and must have its hash.

mod checks;
mod customers;
mod pack;
mod printing;
mod reports;
pub mod routes;
mod store;

use std::time::Duration;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgConnection;
use tokio::time::timeout;
use tracing::Instrument;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::finance::days;
use crate::identity::audit::{self, Entry};
use crate::identity::staff::StaffMember;
use crate::identity::users;
use crate::money::approvals::{self, SubjectHash};
use crate::platform::clock::{DateTime, last_nanosecond_before};
use crate::platform::error::{Error, FieldError, Reason, Result};
use crate::platform::http::fields;
use crate::platform::permissions::{PeriodsApprove, PeriodsClose, Permission};
use crate::platform::text_enum::text_enum;

pub use printing::{Report, customers, journal, printed};
pub use store::Period;

use store::Window;

/// How the reports are laid out: a new number with every change of theirs.
const LAYOUT: i32 = 8;
/// Of one try: a year's ledger takes minutes.
const CLOSING_MAX: Duration = Duration::from_mins(30);
const FREEING_MAX: Duration = Duration::from_secs(10);
/// Of the statements around it.
const SAYING_MAX: Duration = Duration::from_mins(1);

text_enum! {
    #[schema(as = PeriodState)]
    pub enum State {
        AwaitingApproval = "awaiting_approval",
        Closed = "closed",
    }
}

/// A month of the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

impl Month {
    /// `2026-03`
    pub fn parse(text: &str) -> Option<Self> {
        let first = fields::day(&format!("{text}-01"))?;
        (2000..=2100).contains(&first.year()).then_some(Self(first))
    }

    pub fn of(day: NaiveDate) -> Self {
        Self(day.with_day(1).unwrap_or(day))
    }

    pub fn first_day(self) -> NaiveDate {
        self.0
    }

    pub fn last_day(self) -> NaiveDate {
        days::before(self.next().0, 1)
    }

    pub fn next(self) -> Self {
        // 32 days after a first there is always the next month.
        Self::of(days::after(self.0, 31))
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m"))
    }
}

/// A month in the ledger's time.
struct Span {
    month: Month,
    /// The first moment that is not of it any more.
    end: DateTime,
    /// The last nanosecond before it, and its own last one.
    before: u64,
    cut: u64,
}

impl Span {
    async fn of(app: &App, month: Month) -> Result<Self> {
        let (start, end) =
            (days::start(app, month.first_day()).await?, days::start(app, month.next().first_day()).await?);
        Ok(Self { month, end, before: last_nanosecond_before(start), cut: last_nanosecond_before(end) })
    }

    fn window<'a>(&self, app: &'a App) -> Window<'a> {
        let (after, until) = (i64::try_from(self.before).unwrap_or(0), i64::try_from(self.cut).unwrap_or(i64::MAX));
        Window { zone: days::zone(app), after, until }
    }
}

/// Byte for byte as it is answered.
#[derive(Serialize, Deserialize)]
struct Printed {
    json: Box<RawValue>,
    csv: String,
}

/// A pack that was made, and what stands beside it.
struct Made {
    bytes: Vec<u8>,
    sha256: Vec<u8>,
    customers: serde_json::Value,
    customers_sha256: Vec<u8>,
    previous_sha256: Option<Vec<u8>>,
    cut: i64,
}

/// A month as its list tells it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PeriodView {
    #[schema(example = "2026-03")]
    pub month: String,
    pub state: State,
    /// Everything that the ledger booked before this moment belongs to it, or to an earlier month.
    pub cut: DateTime,
    /// Over all reports: the checker sends it back.
    pub pack_sha256: String,
    /// By currency: how many customers hold or owe something, and their sums.
    #[schema(value_type = Object)]
    pub customers: Value,
    pub customers_sha256: String,
    pub layout: i32,
    /// Of the month before; null of the first.
    pub previous_sha256: Option<String>,
    /// The maker.
    pub requested_by: Uuid,
    pub requested_at: DateTime,
    /// The checker.
    pub approved_by: Option<Uuid>,
    pub closed_at: Option<DateTime>,
}

impl From<Period> for PeriodView {
    fn from(period: Period) -> Self {
        Self {
            month: Month::of(period.month).to_string(),
            state: period.state,
            cut: chrono::DateTime::from_timestamp_nanos(period.cut.saturating_add(1)),
            pack_sha256: hex::encode(&period.pack_sha256),
            customers: period.customers,
            customers_sha256: hex::encode(&period.customers_sha256),
            layout: period.layout,
            previous_sha256: period.previous_sha256.map(hex::encode),
            requested_by: period.requested_by,
            requested_at: period.requested_at,
            approved_by: period.approved_by,
            closed_at: period.closed_at,
        }
    }
}

pub async fn find(app: &App, month: Month) -> Result<Period> {
    store::find(&app.db, month.0).await?.ok_or(Error::NotFound("period"))
}

/// All of them, the newest first, without their packs: twelve a year.
pub async fn list(app: &App) -> Result<Vec<Period>> {
    Ok(store::list(&app.db).await?)
}

/// `→ awaiting_approval`. `accepts`: open breaks that the maker says may stay open; the checker sees them in the pack.
///
/// A big ledger takes longer than a caller waits: the work goes on, and the same call again finds it done.
///
/// # Errors
/// [`Error::PeriodNotReady`] with everything that is missing.
pub async fn close(app: &App, maker: StaffMember, month: Month, accepts: Vec<Uuid>) -> Result<Period> {
    let going_on = app.clone();
    let work = async move { in_whole_time(close_now(&going_on, &maker, month, &accepts)).await };
    app.in_hand.spawn(work.in_current_span()).await.map_err(Error::internal)?
}

/// Nobody waits for it any more, so a connection that falls silent would be kept for ever.
async fn in_whole_time(work: impl Future<Output = Result<Period>>) -> Result<Period> {
    let whole = CLOSING_MAX + FREEING_MAX + SAYING_MAX;
    timeout(whole, work).await.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)))
}

async fn close_now(app: &App, maker: &StaffMember, month: Month, accepts: &[Uuid]) -> Result<Period> {
    let known = store::find(&app.db, month.0).await?;
    if let Some(closed) = known.as_ref().filter(|known| known.state == State::Closed) {
        return Ok(closed.clone());
    }
    let made = make_alone(app, month, accepts).await?;
    if let Some(same) = known.filter(|known| known.pack_sha256 == made.sha256 && known.requested_by == maker.id) {
        return Ok(same);
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    approvals::require_maker(app, &mut tx, maker.id, PeriodsClose::ROLES).await?;
    if !store::propose(&mut *tx, month.0, &made, (maker.id, now)).await? {
        return Err(Error::StaleState);
    }
    let entry = Entry::of(&maker.actor, "period.proposed", "period", month);
    audit::record(app, &mut *tx, entry.with(about(&made))).await?;
    app.crash.at("periods.proposed")?;
    tx.commit().await?;
    find(app, month).await
}

/// `awaiting_approval → closed`, by somebody else, who saw this very pack.
///
/// # Errors
/// [`Error::PeriodNotReady`] when the pack would be another one by now.
pub async fn approve(app: &App, checker: StaffMember, month: Month, seen: SubjectHash) -> Result<Period> {
    let going_on = app.clone();
    let work = async move { in_whole_time(approve_now(&going_on, &checker, month, seen)).await };
    app.in_hand.spawn(work.in_current_span()).await.map_err(Error::internal)?
}

async fn approve_now(app: &App, checker: &StaffMember, month: Month, seen: SubjectHash) -> Result<Period> {
    let period = find(app, month).await?;
    if checker.id == period.requested_by {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    if hex::encode(&period.pack_sha256) != seen.hex() {
        return Err(Error::StaleState);
    }
    if period.state == State::Closed {
        return if period.approved_by == Some(checker.id) { Ok(period) } else { Err(Error::StaleState) };
    }
    let made = make_alone(app, month, &pack::accepted(&period.pack)?).await?;
    if made.sha256 != period.pack_sha256 {
        let message = "is another one by now: something came after it was asked for; ask for the closing again";
        return Err(missing("pack", message));
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    users::lock_shared(&mut *tx, &[checker.id, period.requested_by]).await?;
    approvals::require_approver(app, &mut tx, checker.id, PeriodsApprove::ROLES).await?;
    if !approvals::may_still(&mut tx, period.requested_by, PeriodsClose::ROLES, period.requested_at).await? {
        return Err(Error::StaleState);
    }
    if !store::close(&mut *tx, (month.0, &period.pack_sha256), (checker.id, now)).await? {
        return Err(Error::StaleState);
    }
    let entry = Entry::of(&checker.actor, "period.closed", "period", month);
    audit::record(app, &mut *tx, entry.with(about(&made))).await?;
    app.crash.at("periods.closed")?;
    tx.commit().await?;
    find(app, month).await
}

fn about(made: &Made) -> Value {
    json!({"pack_sha256": hex::encode(&made.sha256), "previous_sha256": made.previous_sha256.as_ref().map(hex::encode),
        "customers_sha256": hex::encode(&made.customers_sha256), "layout": LAYOUT})
}

fn missing(field: &str, message: impl Into<String>) -> Error {
    Error::PeriodNotReady(vec![FieldError::outside(field, message.into())])
}

/// A connection of its own for as long as it takes, and nobody else closes a month meanwhile: the lock ends with it.
async fn alone(app: &App) -> Result<PgConnection> {
    let mut db = app.db.acquire().await?.detach();
    store::be_patient(&mut db).await?;
    if store::try_lock(&mut db).await? {
        return Ok(db);
    }
    Err(Error::TurnedAway("a month is being closed at this moment"))
}

/// Whoever comes next finds the lock free, also where nothing came of it: the connection itself ends some time later.
async fn free(mut db: PgConnection) {
    use sqlx::Connection;
    // It ends with the connection either way.
    store::unlock(&mut db).await.unwrap_or_default();
    db.close().await.unwrap_or_default();
}

/// A connection that falls silent is left, and its lock ends with the server's side of it.
async fn make_alone(app: &App, month: Month, accepts: &[Uuid]) -> Result<Made> {
    let mut db = alone(app).await?;
    let made = timeout(CLOSING_MAX, make(app, &mut db, month, accepts)).await.map_err(Error::unavailable)?;
    if timeout(FREEING_MAX, free(db)).await.is_err() {
        tracing::warn!("the connection that closed a month does not answer; it is left");
    }
    made
}

/// All checks, then all reports. What comes out is a function of the ledger, of the rows of the month, and of what is accepted.
async fn make(app: &App, db: &mut PgConnection, month: Month, accepts: &[Uuid]) -> Result<Made> {
    let span = Span::of(app, month).await?;
    let previous = checks::pass(app, db, &span, accepts).await?;
    pack::make(app, db, &span, (previous, accepts)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_written_as_one_and_has_its_days() {
        let month = Month::parse("2026-02").expect("a month");
        assert_eq!(
            (month.first_day(), month.last_day()),
            ("2026-02-01".parse().expect("a day"), "2026-02-28".parse().expect("a day"))
        );
        assert_eq!(Month::parse("2026-12").expect("a month").next().to_string(), "2027-01");
        for wrong in ["", "2026", "2026-13", "2026-1", "2026-02-01", "26-02", "2026/02", "12026-1", "1999-12", "2026é0"]
        {
            assert_eq!(Month::parse(wrong), None, "{wrong}");
        }
    }
}
