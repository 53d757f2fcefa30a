//! Revio's statement of each day, asked for by itself: the worker calls [`step`] every minute. A row a day is the job.
//!
//! ```text
//! (nothing) ─ the day is over by an hour ─> open ─ asked for ─ made ─ fetched, imported ─> imported
//!                                                               └─ cannot be made, read or settled, again and again ─> failed: by hand
//! ```
//!
//! Its times are asked for in UTC, the day is that of the accounts. What Revio makes of it has more than one day to come: a week is
//! caught up with after an outage.

pub(super) mod routes;
mod store;

use chrono::TimeDelta;
use uuid::Uuid;

use self::store::Claimed;
use super::{Import, Source};
use crate::app::App;
use crate::finance::days;
use crate::identity::audit::Actor;
use crate::platform::clock;
use crate::platform::error::{Error, Fault, Result};
use crate::platform::queue::{self, Lease, Next, RETRY_MINUTES, Work};
use crate::platform::text_enum::text_enum;
use crate::provider::revio::{StatementStatus, is_unauthorized};

const AFTER_THE_DAY: TimeDelta = TimeDelta::hours(1);
const CAUGHT_UP_DAYS: u64 = 7;
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(1);
/// A statement that is not made by then is asked for once more …
const MADE_WITHIN: TimeDelta = TimeDelta::hours(2);
/// … and so is one that is made and cannot be taken.
const TAKEN_WITHIN: TimeDelta = TimeDelta::hours(3);
/// From then on a day whose statement Revio does not let us have is one for a person.
const ASKED_FOR: TimeDelta = TimeDelta::days(3);
const TIMES_IN: &str = "UTC";
const AT_ONCE: i64 = 2;
const FAILURE_CHARS_MAX: usize = 300;

text_enum! {
    /// How far the statement of a day is.
    #[schema(as = StatementDayState)]
    pub(super) enum DayState {
        /// Revio is to be asked, or makes it.
        Open = "open",
        Imported = "imported",
        /// Given up: somebody must import it by hand.
        Failed = "failed",
    }
}

/// Asks for the days that were not asked for yet, then goes on with what was asked for. True when there may be more.
pub async fn step(app: &App) -> Result<bool> {
    let today = days::of(app, app.clock.now() - AFTER_THE_DAY).await?;
    for day in
        store::days_without(&app.db, days::zone(app), days::before(today, CAUGHT_UP_DAYS), days::before(today, 1))
            .await?
    {
        store::insert_once(&app.db, app.clock.row_id(), day, app.clock.now()).await?;
    }
    let claimed = queue::step_due(Requests(app), app.queue(), AT_ONCE).await?;
    Ok(queue::is_full(claimed, AT_ONCE))
}

struct Requests<'a>(&'a App);

impl Work for Requests<'_> {
    type Claimed = Claimed;

    fn label<'a>(&'a self, _: &'a Claimed) -> &'a str {
        "statements"
    }

    fn id(request: &Claimed) -> Uuid {
        request.id
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<Claimed>> {
        store::claim_due(&self.0.db, lease, limit).await
    }

    async fn step(&self, request: &Claimed) -> Result<&'static str> {
        let app = self.0;
        match request.provider_id {
            None => ask(app, request).await,
            Some(id) => look(app, request, id).await,
        }
    }

    async fn failed(&self, request: &Claimed, error: &Error) -> Result<()> {
        let app = self.0;
        let (now, is_an_outage) = (app.clock.now(), error.fault() == Fault::Surroundings);
        // Revio answers, and what it made cannot be had: that is no outage, and it is to make another.
        let cannot_be_had = is_an_outage && request.asked_at.is_some_and(|asked| now - asked > TAKEN_WITHIN);
        if cannot_be_had {
            store::forget(&app.db, request.id).await?;
        }
        // Nor is a key that may not ask for one, once that has lasted for days.
        let is_shut = is_unauthorized(error) && now - clock::time_of(request.id) > ASKED_FOR;
        let cause = Error::Unusable(error.chain().into());
        let error = if cannot_be_had || is_shut { &cause } else { error };
        match app.queue().after(request.id, request.attempts, error, RETRY_MINUTES) {
            Next::Again { due_at, attempts } => Ok(store::defer(&app.db, request.id, due_at, attempts).await?),
            Next::GiveUp { failures } => {
                tracing::error!(day = %request.day, error = error.chain(), "Revio's statement of a day is to be imported by hand");
                Ok(store::give_up(&app.db, request.id, failures, &reason(error)).await?)
            }
        }
    }
}

/// `open`, asked for. To ask twice makes one more file at Revio, and nothing else.
async fn ask(app: &App, request: &Claimed) -> Result<&'static str> {
    let (from, to) = (days::start(app, request.day).await?, days::end(app, request.day).await?);
    let id = app.revio.request_statement(from, to, TIMES_IN).await?;
    app.crash.at("statement_files.asked")?;
    let now = app.clock.now();
    store::set_asked(&app.db, request.id, id, (now, now + LOOK_AGAIN)).await?;
    Ok("asked")
}

async fn look(app: &App, request: &Claimed, id: Uuid) -> Result<&'static str> {
    let statement = app.revio.statement(id).await?;
    let now = app.clock.now();
    match (statement.status, statement.download_url) {
        (StatementStatus::Success, Some(address)) => take(app, request, (id, &address)).await,
        // A word that is not known is one more for that it is made, where Revio says when it was.
        (StatementStatus::Unknown(_), Some(address)) if statement.finished_on.is_some() => {
            take(app, request, (id, &address)).await
        }
        (StatementStatus::Failed(_), _) => {
            store::forget(&app.db, request.id).await?;
            Err(Error::Unusable("Revio could not make the statement".into()))
        }
        (StatementStatus::Open(_) | StatementStatus::Unknown(_) | StatementStatus::Success, _) => {
            if request.asked_at.is_some_and(|asked| now - asked > MADE_WITHIN) {
                store::forget(&app.db, request.id).await?;
                return Err(Error::Unusable("Revio did not make the statement in time".into()));
            }
            store::defer(&app.db, request.id, now + LOOK_AGAIN, request.attempts).await?;
            Ok("waiting")
        }
    }
}

/// `open → imported`. The same bytes are imported once.
async fn take(app: &App, request: &Claimed, (id, address): (Uuid, &str)) -> Result<&'static str> {
    let content = app.revio.download_statement(address).await?;
    let import = Import {
        from: Some(request.day),
        to: Some(request.day),
        fetched_as: Some(id),
        ..Import::new(Source::Revio, &content)
    };
    let file = super::import(app, &Actor::system(), &import).await?;
    app.crash.at("statement_files.imported")?;
    store::set_imported(&app.db, request.id, file.id).await?;
    Ok("imported")
}

/// For people, without anything of a file's cells: where it has no headings, a payer's words stand in their place.
fn reason(error: &Error) -> String {
    let reason = match error {
        Error::BadStatement(faults) => {
            let reason = faults.iter().map(|fault| match fault.field.as_str() {
                "columns" => "columns that it must have are not there".to_owned(),
                field => format!("{field} {}", fault.message),
            });
            reason.collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    };
    reason.chars().take(FAILURE_CHARS_MAX).collect()
}

/// Brings the gauges of what waits, and of what needs a person, up to date.
pub async fn measure(app: &App) -> Result<()> {
    app.queue().report(&store::depths(&app.db, days::zone(app), app.clock.now()).await?);
    Ok(())
}
