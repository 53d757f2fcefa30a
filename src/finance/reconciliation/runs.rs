//! One run at a time, by whoever has its lease, a bounded step at once: a process that dies leaves the checkpoint, and the next one goes on
//! from there. The worker calls [`step`]; `octoco reconcile` does so until the run is over.
//!
//! ```text
//! due ─> running ─> step: a page of rows, of transfers, some calls to Revio ─> checkpoint ─┬─> step …
//!           │                                                                              ├─> the second look, a minute later
//!           │                                                                              └─> healing ─> report ─> finished
//!           └─> too long, or the copy of the ledger does not come along ─> failed; the next one begins where the last finished one ended
//! ```
//!
//! | kind | when | what |
//! |---|---|---|
//! | `quarter_hour` | every 15 minutes | what changed since an hour before the last cut; open objects, the rest in turn; the balance |
//! | `daily` | after midnight in `REPORTING_TIME_ZONE` | everything; the copy line by line; position, D+1 |
//! | `statement` | a file was imported, and no finished run has compared it | the provider and the bank leg, since it was imported |
//! | `manual` | somebody asked | since when they say |

mod store;

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::found::ReconciliationLeg;
use super::report;
use super::run::{Run, RunKind, RunState};
use super::stages::{self, Checkpoint, OtherLeg, Outcome};
use crate::app::App;
use crate::finance::days;
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::clock::DateTime;
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result};
use crate::platform::queue::LEASE;

use self::store::{Finished, NewRun};

const PERIOD: TimeDelta = TimeDelta::minutes(15);
/// What is younger may still be under way.
const UNTIL: TimeDelta = TimeDelta::minutes(2);
/// How far a manual run looks back where nobody says.
pub const MANUAL: TimeDelta = TimeDelta::days(2);
/// A run of which no step goes well is given up: others wait behind it.
const FAILING_MAX: TimeDelta = TimeDelta::minutes(40);
/// Of a daily run that failed.
const TRIES_A_DAY: i64 = 24;

/// What became of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// No run is under way, or another process is at it.
    Idle,
    More,
    /// Nothing can be done at this moment: Revio's budget, or the time between two looks.
    Pause,
    Finished,
    Failed,
}

/// Starts what is due and goes one bounded step further with what is under way. `others` are the legs of other nouns.
pub async fn step(app: &App, others: &[OtherLeg]) -> Result<Step> {
    start_due(app).await?;
    work(app, others).await
}

/// One step of the run that is under way.
pub async fn work(app: &App, others: &[OtherLeg]) -> Result<Step> {
    let now = app.clock.now();
    let Some(mut run) = store::claim(&app.db, days::zone(app), now, now + LEASE).await? else {
        return Ok(Step::Idle);
    };
    app.crash.at("reconciliation.claimed")?;
    let read = serde_json::from_value(run.checkpoint.clone());
    let mut at: Checkpoint = read.map_err(|error| Error::internal(format!("a run's checkpoint: {error}")))?;
    if now - run.started_at > run.kind.longest() {
        let error = run.error.clone().unwrap_or_else(|| "it took too long".to_owned());
        return give_up(app, &run, &at, &error).await;
    }
    let before = at.place();
    let stepped = stages::advance(app, &mut run, &mut at, others).await;
    match stepped {
        Ok(Outcome::Over) => finish(app, &run, &at).await,
        Ok(outcome) => {
            at.failing_since = None;
            save(app, &run, &at, None).await?;
            app.crash.at("reconciliation.saved")?;
            Ok(if outcome == Outcome::Pause { Step::Pause } else { Step::More })
        }
        // Nobody records anything.
        Err(crashed @ Error::Crashed(_)) => Err(crashed),
        Err(error) => {
            tracing::warn!(run.id = %run.id, stage = ?at.stage, error = error.chain(), "a step of a reconciliation failed");
            // One that went on before it failed is none that stands.
            let since = at.failing_since.filter(|_| at.place() == before).unwrap_or(now);
            at.failing_since = Some(since);
            let error = error.chain().chars().take(500).collect::<String>();
            if now - since > FAILING_MAX {
                return give_up(app, &run, &at, &error).await;
            }
            save(app, &run, &at, Some(&error)).await?;
            Ok(Step::Pause)
        }
    }
}

async fn save(app: &App, run: &Run, at: &Checkpoint, error: Option<&str>) -> Result<()> {
    let checkpoint = serde_json::to_value(at).map_err(Error::internal)?;
    if store::save(&app.db, run, checkpoint, error).await? { Ok(()) } else { Err(Error::StaleState) }
}

async fn finish(app: &App, run: &Run, at: &Checkpoint) -> Result<Step> {
    let now = app.clock.now();
    let report = report::write(app, run, at, now).await?;
    app.crash.at("reconciliation.before_finish")?;
    let sha256 = sha256(&report);
    end(app, run, at, End::Finished { report: &report, sha256: &sha256 }).await?;
    tracing::info!(run.id = %run.id, kind = run.kind.name(), report_sha256 = hex::encode(sha256), "a reconciliation is finished");
    app.crash.at("reconciliation.finished")?;
    Ok(Step::Finished)
}

async fn give_up(app: &App, run: &Run, at: &Checkpoint, error: &str) -> Result<Step> {
    tracing::error!(run.id = %run.id, kind = run.kind.name(), error, "a reconciliation failed");
    end(app, run, at, End::Failed { error }).await?;
    Ok(Step::Failed)
}

#[derive(Clone, Copy)]
enum End<'a> {
    Finished { report: &'a [u8], sha256: &'a [u8; 32] },
    Failed { error: &'a str },
}

async fn end(app: &App, run: &Run, at: &Checkpoint, end: End<'_>) -> Result<()> {
    let now = app.clock.now();
    let (state, report, sha256, error) = match end {
        End::Finished { report, sha256 } => (RunState::Finished, Some(report), Some(sha256.as_slice()), None),
        End::Failed { error } => (RunState::Failed, None, None, Some(error)),
    };
    let json = |value: serde_json::Result<Value>| value.map_err(Error::internal);
    let finished = Finished {
        state,
        counts: json(serde_json::to_value(&at.counts))?,
        sums: json(serde_json::to_value(&at.sums))?,
        checkpoint: json(serde_json::to_value(at))?,
        report,
        sha256,
        error,
    };
    if !store::finish(&app.db, run, &finished, now).await? {
        return Err(Error::StaleState);
    }
    let found = at.counts.get("open").copied().unwrap_or(0) > 0;
    let outcome = match end {
        End::Finished { .. } if found => "breaks",
        End::Finished { .. } => "clean",
        End::Failed { .. } => "failed",
    };
    let kind = run.kind.name();
    app.metrics.reconciliation.runs.with_label_values(&[kind, outcome]).inc();
    let seconds = (now - run.started_at).as_seconds_f64();
    app.metrics.reconciliation.run_seconds.with_label_values(&[kind]).observe(seconds);
    Ok(())
}

async fn start_due(app: &App) -> Result<()> {
    let now = app.clock.now();
    let due = store::due(&app.db, days::zone(app), now).await?;
    if due.running {
        return Ok(());
    }
    let new = |kind, since| New { kind, legs: legs_of(kind), since, requested_by: "system".to_owned() };
    let quarter_is_due = due.last_quarter.is_none_or(|last| now - last >= PERIOD);
    let daily_is_due = !due.daily_done && due.failed_today < TRIES_A_DAY;
    // While Revio is away the daily run fails: what is inside is looked at between its tries.
    let has_looked = due.last_failed.is_none_or(|failed| due.last_quarter.is_some_and(|quarter| quarter > failed));
    // Of a quarter-hour and a statement run the one that began longer ago: neither many files nor a run that fails keeps the other from its
    // turn.
    let file_is_first = !quarter_is_due || due.last_statement <= due.last_quarter;
    if daily_is_due && (has_looked || !quarter_is_due) {
        start(app, new(RunKind::Daily, None)).await?;
    } else if let Some(since) = due.file_waits_since.filter(|_| file_is_first) {
        start(app, new(RunKind::Statement, Some(since))).await?;
    } else if quarter_is_due {
        start(app, new(RunKind::QuarterHour, None)).await?;
    }
    Ok(())
}

/// What the bank says comes once a day, in a file.
fn legs_of(kind: RunKind) -> Vec<ReconciliationLeg> {
    match kind {
        RunKind::QuarterHour => vec![ReconciliationLeg::Inside, ReconciliationLeg::Provider],
        RunKind::Statement => vec![ReconciliationLeg::Provider, ReconciliationLeg::Bank],
        RunKind::Daily | RunKind::Manual => {
            vec![ReconciliationLeg::Inside, ReconciliationLeg::Provider, ReconciliationLeg::Bank]
        }
    }
}

pub struct New {
    pub kind: RunKind,
    pub legs: Vec<ReconciliationLeg>,
    /// From then on; `None`: since an hour before the last cut.
    pub since: Option<DateTime>,
    /// A user's id, `system` or `operator`.
    pub requested_by: String,
}

/// Writes a run that the worker works on. `None`: one is under way already.
pub async fn start(app: &App, new: New) -> Result<Option<Run>> {
    start_as(app, app.clock.row_id(), new).await
}

async fn start_as(app: &App, id: Uuid, new: New) -> Result<Option<Run>> {
    let now = app.clock.now();
    let last = store::last_checkpoint(&app.db).await?;
    let last: Checkpoint = last.and_then(|last| serde_json::from_value(last).ok()).unwrap_or_default();
    let begin = Checkpoint { open_turn: last.open_turn, ended_turn: last.ended_turn, ..Checkpoint::default() };
    let legs: Vec<String> = new.legs.iter().map(|leg| leg.name().to_owned()).collect();
    let row = NewRun {
        id,
        kind: new.kind,
        legs: &legs,
        since: new.since,
        until: now - UNTIL,
        requested_by: &new.requested_by,
        checkpoint: serde_json::to_value(&begin).map_err(Error::internal)?,
    };
    if !store::insert(&app.db, &row, days::zone(app), now).await? {
        return Ok(None);
    }
    tracing::info!(run.id = %row.id, kind = new.kind.name(), "a reconciliation begins");
    find(app, row.id).await.map(Some)
}

/// A run that somebody asked for, on record; where the same call has begun it before, as it is.
///
/// # Errors
/// [`Error::StaleState`] when one is under way.
pub async fn start_by(app: &App, actor: &Actor, (id, kind): (Uuid, RunKind), since: Option<DateTime>) -> Result<Run> {
    if let Some(begun) = store::find(&app.db, days::zone(app), id).await? {
        return Ok(begun);
    }
    let since = since.or((kind == RunKind::Manual).then(|| app.clock.now() - MANUAL));
    let legs = legs_of(kind);
    let run = start_as(app, id, New { kind, legs, since, requested_by: actor.name().to_owned() }).await?;
    let run = run.ok_or(Error::StaleState)?;
    let what = json!({"kind": kind.name(), "since": run.since, "until": run.until});
    audit::record(app, &app.db, Entry::of(actor, "reconciliation.started", "run", run.id).with(what)).await?;
    Ok(run)
}

pub async fn find(app: &App, id: Uuid) -> Result<Run> {
    store::find(&app.db, days::zone(app), id).await?.ok_or(Error::NotFound("run"))
}

/// Newest first.
pub async fn list(app: &App, before: Option<Uuid>, limit: i64) -> Result<Vec<Run>> {
    Ok(store::list(&app.db, days::zone(app), before, limit).await?)
}

pub(super) async fn last_finished(app: &App) -> Result<Vec<(String, DateTime)>> {
    Ok(store::last_finished(&app.db).await?)
}

/// The report of a finished run to the byte; `None`: it has none.
///
/// # Errors
/// [`Error::Internal`] when it is not what was hashed.
pub async fn stored_report(app: &App, id: Uuid) -> Result<Option<Vec<u8>>> {
    let Some((report, hash)) = store::report(&app.db, id).await? else { return Ok(None) };
    if hash != sha256(&report) {
        return Err(Error::internal(format!("the report of run {id} is not what was hashed")));
    }
    Ok(Some(report))
}
