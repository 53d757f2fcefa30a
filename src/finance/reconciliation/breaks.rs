//! The life of a break: a difference that two looks have seen, at the same version of its row and the same facts of the ledger.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> timing: seen once, or within its window
//!     timing --> open: seen twice, at least a minute apart, and its window is over
//!     open --> healing: the step that Revio's event would have run, three tries
//!     healing --> healed: looked at again, and gone
//!     healing --> open: still there
//!     open --> healed: gone, after we have tried
//!     timing --> cleared: gone by itself
//!     open --> cleared: gone by itself
//!     open --> resolved: a person says what became of it
//!     timing --> resolved: likewise, but no critical one
//!     healing --> resolved: likewise
//!     healed --> timing: seen again
//!     cleared --> timing: seen again
//!     resolved --> timing: seen again with other facts, though Revio was to correct it, or of what is computed again
//! ```
//!
//! None is ever deleted. `stages` tells here what a run saw and what it did not see any more; `routes` what people do. To accept a break that
//! stays takes two people.

mod fitting;
mod store;

use std::collections::HashSet;

use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::found::{BreakType, Found, Heals, Owner, ReconciliationLeg, Severity, Window};
use super::run::{Run, RunKind};
use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::staff::StaffMember;
use crate::identity::users;
use crate::money::{adjustments, approvals, journals};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, FieldError, Reason, Result, Wrong};
use crate::platform::permissions::{Permission, ReconciliationResolve};
use crate::platform::text_enum::text_enum;

pub use store::{Filter, NewNote, Note, Waiting};

use self::fitting::Named;
use self::store::{Resolved, Seen};

/// Two looks that are closer are one.
pub const LOOKS_APART: TimeDelta = TimeDelta::seconds(60);
/// Then what is medium is high.
const MEDIUM_MAX: TimeDelta = TimeDelta::days(7);
/// What heals by itself within minutes, and has not for so long, is no lost webhook: it is a customer's money.
const INFO_MAX: TimeDelta = TimeDelta::days(1);
pub(super) const TRIES: i32 = 3;
const NOTES_MAX: i64 = 100;

text_enum! {
    pub enum BreakState {
        /// Seen once, or within the time that being under way takes.
        Timing = "timing",
        Open = "open",
        Healing = "healing",
        Healed = "healed",
        /// Gone by itself.
        Cleared = "cleared",
        Resolved = "resolved",
    }
}

impl BreakState {
    pub fn is_live(self) -> bool {
        matches!(self, Self::Timing | Self::Open | Self::Healing)
    }
}

text_enum! {
    /// What a person says became of a break.
    #[schema(as = BreakResolution)]
    pub enum Code {
        /// A journal or a correction has booked it.
        Booked = "booked",
        ProviderError = "provider_error",
        OurError = "our_error",
        /// It stays as it is; a second person must say so, too.
        Accepted = "accepted",
    }
}

#[derive(Debug, Clone)]
pub struct Break {
    pub id: Uuid,
    pub fingerprint: String,
    pub kind: BreakType,
    pub severity: Severity,
    pub leg: ReconciliationLeg,
    pub state: BreakState,
    pub currency: Option<String>,
    pub expected_minor: Option<i64>,
    pub actual_minor: Option<i64>,
    pub transaction_id: Option<Uuid>,
    pub journal_id: Option<Uuid>,
    pub transfer_id: Option<Uuid>,
    pub provider_id: Option<Uuid>,
    pub line_id: Option<Uuid>,
    pub account_code: Option<i32>,
    pub since: DateTime,
    pub observed: String,
    pub first_seen_at: DateTime,
    pub last_seen_at: DateTime,
    pub sightings: i32,
    pub opened_at: Option<DateTime>,
    pub ended_at: Option<DateTime>,
    pub reopened: i32,
    pub heal_attempts: i32,
    pub owner: Owner,
    pub assigned_to: Option<Uuid>,
    pub evidence: Value,
    pub last_run_id: Uuid,
    pub acceptance_by: Option<Uuid>,
    pub acceptance_note: Option<String>,
    /// When that was asked for last.
    pub acceptance_at: Option<DateTime>,
    pub resolution: Option<Code>,
    pub resolution_note: Option<String>,
    pub resolved_by: Option<Uuid>,
    pub accepted_by: Option<Uuid>,
    pub resolving_journal_id: Option<Uuid>,
    pub resolving_adjustment_id: Option<Uuid>,
    /// When a run did not find any more what people had resolved.
    pub gone_at: Option<DateTime>,
}

impl Break {
    /// Actual less expected. A side that is not there at all counts as nothing: of a bank's line without a journal all of it differs.
    pub fn difference(&self) -> Option<i64> {
        let either = self.expected_minor.or(self.actual_minor);
        either.map(|_| self.actual_minor.unwrap_or(0).saturating_sub(self.expected_minor.unwrap_or(0)))
    }

    /// Whether money is somewhere else than the books say. Where only one side is known it is, whatever that side says: of what Revio
    /// gave back it need not say how much. The same number in two currencies is two sums, and what was paid twice is more than it tells.
    fn is_about_money(&self) -> bool {
        self.expected_minor != self.actual_minor
            || matches!(self.kind, BreakType::CurrencyProvider | BreakType::DuplicateProvider)
    }
}

/// A run has seen it. Its state then.
pub(super) async fn see(app: &App, run: Uuid, found: &Found) -> Result<BreakState> {
    let now = app.clock.now();
    let fingerprint = found.fingerprint();
    let mut tx = app.db.begin().await?;
    let Some(known) = store::lock_by_fingerprint(&mut *tx, &fingerprint).await? else {
        store::insert(&mut *tx, (app.clock.row_id(), run), found, severity(found.kind, found.since, now), now).await?;
        tx.commit().await?;
        return Ok(BreakState::Timing);
    };
    let seen = again(&known, run, found, now);
    if seen.anew {
        let word = known.resolution.map_or_else(|| known.state.name(), Code::name);
        let text = &format!("seen again; it was {word}");
        let note = NewNote { id: app.clock.row_id(), break_id: known.id, author: "system", text };
        store::insert_note(&mut *tx, &note, now).await?;
    }
    store::set_seen(&mut *tx, (known.id, run), found, &seen).await?;
    tx.commit().await?;
    if seen.state == BreakState::Open && known.state != BreakState::Open {
        tracing::error!(
            break.id = %known.id, kind = found.kind.name(), severity = seen.severity.name(), transaction.id = found.transaction_id.map(display),
            journal.id = found.journal_id.map(display), expected = found.expected, actual = found.actual, "a break is open"
        );
    }
    Ok(seen.state)
}

fn severity(kind: BreakType, since: DateTime, now: DateTime) -> Severity {
    match kind.rule().severity {
        Severity::Medium if now - since > MEDIUM_MAX => Severity::High,
        Severity::Info if now - since > INFO_MAX => Severity::High,
        severity => severity,
    }
}

/// What one more look makes of a break that is known.
fn again(known: &Break, run: Uuid, found: &Found, now: DateTime) -> Seen {
    let other_facts = known.observed != found.observed;
    let anew = match known.state {
        BreakState::Healed | BreakState::Cleared => true,
        // Whoever resolved it knew these facts; but what had gone since is there again, what Revio was to correct and did not in its time is there as
        // before, and what is computed anew is right afterwards or wrong once more.
        BreakState::Resolved => {
            let is_recomputed = found.kind.rule().heals == Heals::Recompute;
            other_facts || known.gone_at.is_some() || is_uncorrected(known, now) || is_recomputed
        }
        BreakState::Timing | BreakState::Open | BreakState::Healing => false,
    };
    let since = if anew { found.since } else { known.since.min(found.since) };
    let in_another_run = found.kind.rule().window != Window::TwoRuns || known.last_run_id != run;
    let apart = now - known.last_seen_at >= LOOKS_APART && in_another_run;
    let (sightings, last_seen_at) = if known.state == BreakState::Resolved && !anew {
        (known.sightings, now)
    } else if anew || (other_facts && known.state == BreakState::Timing) {
        (1, now)
    } else if apart {
        (known.sightings.saturating_add(1), now)
    } else {
        (known.sightings, known.last_seen_at)
    };
    let state = match known.state {
        // Whoever was healing it has died.
        BreakState::Healing => BreakState::Open,
        state => state,
    };
    let mut seen = Seen {
        state: if anew { BreakState::Timing } else { state },
        severity: severity(found.kind, since, now),
        since,
        sightings,
        last_seen_at,
        opened_at: known.opened_at,
        reopened: known.reopened,
        heal_attempts: if anew { 0 } else { known.heal_attempts },
        anew,
        other_facts,
    };
    if seen.state == BreakState::Timing && sightings >= 2 && found.kind.rule().window.is_over(since, now) {
        seen.reopened = seen.reopened.saturating_add(i32::from(known.opened_at.is_some()));
        (seen.state, seen.opened_at) = (BreakState::Open, Some(now));
    }
    seen
}

/// Whether Revio was to correct it, and has had a day for that; in SQL it is `is_looked_at_again`. After 90 days nobody waits for it any more.
fn is_uncorrected(known: &Break, now: DateTime) -> bool {
    let (soonest, latest) = (TimeDelta::days(1), TimeDelta::days(90));
    known.resolution == Some(Code::ProviderError)
        && known.ended_at.is_some_and(|ended| (soonest..=latest).contains(&(now - ended)))
}

/// A run has looked, and it is not there any more: what we have tried to heal is healed, the rest has gone by itself.
pub(super) async fn gone(app: &App, run: Uuid, known: &Break) -> Result<()> {
    if known.state == BreakState::Resolved {
        return Ok(store::set_gone(&app.db, (known.id, run), app.clock.now()).await?);
    }
    let healed = known.heal_attempts > 0 || known.state == BreakState::Healing;
    let state = if healed { BreakState::Healed } else { BreakState::Cleared };
    if store::end(&app.db, (known.id, run), state, app.clock.now()).await? {
        tracing::info!(break.id = %known.id, kind = known.kind.name(), state = state.name(), "a break is over");
        if healed {
            app.metrics
                .reconciliation
                .breaks_healed
                .with_label_values(&[known.kind.name(), known.severity.name()])
                .inc();
        }
    }
    Ok(())
}

/// Nobody could look: it stays as it is.
pub(super) async fn skip(app: &App, run: Uuid, known: &Break) -> Result<()> {
    Ok(store::set_skipped(&app.db, known.id, run).await?)
}

/// What differs since before then, is not under way any more, and was found by one run alone, in which nothing opens. The critical and the high
/// ones, without Revio's balance: another sum each time keeps it from being seen twice while money moves.
pub async fn seen_once(app: &App, before: DateTime) -> Result<Vec<Uuid>> {
    let now = app.clock.now();
    let of_weight = |found: &Break| matches!(found.severity, Severity::Critical | Severity::High);
    let found = store::seen_once(&app.db, before).await?.into_iter();
    let over = found.filter(|found| {
        let is_over = found.kind.rule().window.is_over(found.since, now);
        of_weight(found) && found.kind != BreakType::ProviderBalance && is_over
    });
    Ok(over.map(|found| found.id).collect())
}

/// The fingerprints of what it has seen so far.
pub(super) async fn seen_in(app: &App, run: Uuid) -> Result<HashSet<String>> {
    Ok(store::seen_in(&app.db, run).await?.into_iter().collect())
}

/// What it has not looked at: what is live, sums that people have resolved, and once a day what Revio was to correct.
pub(super) async fn unseen(app: &App, run: &Run, after: Uuid, limit: i64) -> Result<Vec<Break>> {
    let daily = (run.kind == RunKind::Daily).then(|| app.clock.now());
    Ok(store::unseen_after(&app.db, (run.id, daily), after, limit).await?)
}

pub(super) async fn suspects(app: &App, run: Uuid, after: Uuid, limit: i64) -> Result<Vec<Break>> {
    Ok(store::suspects_after(&app.db, run, after, limit).await?)
}

pub(super) async fn healable(app: &App, run: Uuid, after: Uuid, limit: i64) -> Result<Vec<Break>> {
    let heals = |kind: &&BreakType| !matches!(kind.rule().heals, Heals::Never | Heals::Proposes);
    let types: Vec<String> = BreakType::ALL.iter().filter(heals).map(|kind| kind.name().to_owned()).collect();
    Ok(store::healable_after(&app.db, run, after, (&types, TRIES), limit).await?)
}

pub(super) async fn begin_healing(app: &App, known: &Break) -> Result<bool> {
    Ok(store::begin_healing(&app.db, known.id, TRIES).await?)
}

pub(super) async fn end_healing(app: &App, known: &Break) -> Result<()> {
    Ok(store::end_healing(&app.db, known.id).await?)
}

pub(super) async fn of_run(app: &App, run: Uuid, limit: i64) -> Result<Vec<Break>> {
    Ok(store::of_run(&app.db, run, limit).await?)
}

pub(super) async fn count(app: &App, run: Uuid, state: BreakState) -> Result<i64> {
    Ok(store::count(&app.db, run, state).await?)
}

/// What the run leaves open is of its day for good, whatever becomes of it later.
pub(super) async fn note_open(app: &App, run: &Run) -> Result<()> {
    Ok(store::note_open(&app.db, run).await?)
}

pub(super) async fn waiting(app: &App) -> Result<Vec<Waiting>> {
    Ok(store::waiting(&app.db).await?)
}

pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Break>> {
    Ok(store::list(&app.db, filter).await?)
}

pub async fn find(app: &App, id: Uuid) -> Result<Break> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("break"))
}

/// The latest, newest first.
pub async fn notes(app: &App, id: Uuid) -> Result<Vec<Note>> {
    Ok(store::notes(&app.db, id, NOTES_MAX).await?)
}

fn entry(actor: &Actor, action: &'static str, known: &Break, what: Value) -> Entry {
    Entry::of(actor, action, "break", known.id)
        .change(json!({"type": known.kind.name(), "state": known.state.name(), "owner": known.owner.name()}), what)
}

pub async fn assign(app: &App, actor: &Actor, id: Uuid, owner: Owner, to: Option<Uuid>) -> Result<Break> {
    if let Some(person) = to
        && !store::is_staff(&app.db, person).await?
    {
        return Err(Error::field("assigned_to", "must be somebody of staff"));
    }
    let mut tx = app.db.begin().await?;
    let known = store::lock(&mut *tx, id).await?.ok_or(Error::NotFound("break"))?;
    store::assign(&mut *tx, id, owner, to).await?;
    let what = json!({"owner": owner.name(), "assigned_to": to});
    audit::record(app, &mut *tx, entry(actor, "break.assigned", &known, what)).await?;
    tx.commit().await?;
    find(app, id).await
}

/// A note, once for each id.
pub async fn note(app: &App, actor: &Actor, note: &NewNote<'_>) -> Result<Break> {
    let mut tx = app.db.begin().await?;
    let known = store::lock(&mut *tx, note.break_id).await?.ok_or(Error::NotFound("break"))?;
    if store::insert_note(&mut *tx, note, app.clock.now()).await? {
        audit::record(app, &mut *tx, entry(actor, "break.noted", &known, json!({"note": note.text}))).await?;
    }
    tx.commit().await?;
    Ok(known)
}

/// What a person says of a break.
pub struct Resolution {
    pub code: Code,
    pub note: String,
    pub journal_id: Option<Uuid>,
    pub adjustment_id: Option<Uuid>,
}

/// Ends a break; to accept it only says who wants that, and somebody else [`accept`]s. A critical one is not ended before it is open: then
/// others have heard of it.
///
/// # Errors
/// [`Error::StaleState`] when it has ended already, or is critical and not open yet; [`Error::Forbidden`] for whoever is frozen.
pub async fn resolve(app: &App, by: &StaffMember, id: Uuid, resolution: &Resolution) -> Result<Break> {
    let Resolution { code, note, journal_id, adjustment_id } = resolution;
    // Before, for whoever holds a connection asks for no other one: of many at once each would wait for the others.
    let entries = Named::read(app, id, resolution).await?;
    let mut tx = app.db.begin().await?;
    let known = store::lock(&mut *tx, id).await?.ok_or(Error::NotFound("break"))?;
    let is_unheard = known.severity == Severity::Critical && known.state == BreakState::Timing;
    if !known.state.is_live() || is_unheard {
        return Err(Error::StaleState);
    }
    users::lock_shared(&mut *tx, &[by.id, known.acceptance_by.unwrap_or(by.id)]).await?;
    approvals::require_maker(app, &mut tx, by.id, ReconciliationResolve::ROLES).await?;
    if *code == Code::ProviderError && !known.kind.may_be_anothers() {
        return Err(Error::field("code", "is for what Revio or the bank can correct, which this is not"));
    }
    let named = journal_id.is_some() || adjustment_id.is_some();
    let must_be_booked = *code == Code::Booked || (*code == Code::OurError && known.is_about_money());
    if must_be_booked && !named {
        let message = "must name the finished journal, or adjustment_id the finished correction";
        return Err(Error::Invalid(vec![FieldError::new("journal_id", Wrong::Required).saying(message)]));
    }
    if named {
        fitting::require(&mut tx, &known, resolution, &entries).await?;
    }
    let what = json!({"code": code.name(), "note": note, "journal_id": journal_id, "adjustment_id": adjustment_id});
    if *code == Code::Accepted {
        if known.acceptance_by.is_some_and(|first| first != by.id) && is_still_wanted(app, &mut tx, &known).await? {
            return Err(Error::field("code", "is asked for by somebody else already: agree with accept"));
        }
        // Whoever agrees does so to what stood there when it was read.
        if known.acceptance_by == Some(by.id) && known.acceptance_note.as_deref() != Some(note.as_str()) {
            return Err(Error::field(
                "note",
                "is another one than it was asked for with, which somebody may be agreeing to",
            ));
        }
        store::set_acceptance(&mut *tx, id, (by.id, app.clock.now()), note).await?;
        audit::record(app, &mut *tx, entry(&by.actor, "break.acceptance_proposed", &known, what)).await?;
    } else {
        let (journal_id, adjustment_id) = (*journal_id, *adjustment_id);
        let resolved = Resolved { code: *code, note, by: by.id, accepted_by: None, journal_id, adjustment_id };
        store::resolve(&mut *tx, id, &resolved, app.clock.now()).await?;
        if let Some((correction, row)) = adjustment_id.zip(known.transaction_id) {
            adjustments::settle(&mut *tx, correction, row).await?;
        }
        if let Some((journal, row)) = entries.journal.as_ref().zip(known.transaction_id) {
            match known.kind {
                // Fees are booked beside the row, not by it.
                BreakType::FeeProvider => journals::settle_fee(&mut tx, journal, row).await?,
                _ => journals::settle(&mut tx, journal, row).await?,
            }
        }
        audit::record(app, &mut *tx, entry(&by.actor, "break.resolved", &known, what)).await?;
    }
    tx.commit().await?;
    find(app, id).await
}

/// Whether who asked for it to be accepted has been somebody who may ever since, so that a second person's word counts (docs/decisions/030).
async fn is_still_wanted(app: &App, tx: &mut PgConnection, known: &Break) -> Result<bool> {
    let Some(first) = known.acceptance_by else { return Ok(false) };
    let since = known.acceptance_at.unwrap_or_else(|| app.clock.now());
    approvals::may_still(tx, first, ReconciliationResolve::ROLES, since).await
}

/// The second person agrees that it stays as it is.
///
/// # Errors
/// [`Error::StaleState`] when nobody has asked for that who still may, [`Error::Forbidden`] for whoever did, and for whoever is frozen or has
/// the role for less than a day.
pub async fn accept(app: &App, by: &StaffMember, id: Uuid) -> Result<Break> {
    let mut tx = app.db.begin().await?;
    let known = store::lock(&mut *tx, id).await?.ok_or(Error::NotFound("break"))?;
    let (first, note) = known.acceptance_by.zip(known.acceptance_note.as_deref()).ok_or(Error::StaleState)?;
    if first == by.id {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    users::lock_shared(&mut *tx, &[by.id, first]).await?;
    approvals::require_approver(app, &mut tx, by.id, ReconciliationResolve::ROLES).await?;
    if !is_still_wanted(app, &mut tx, &known).await? {
        return Err(Error::StaleState);
    }
    let (journal_id, adjustment_id) = (None, None);
    let resolved =
        Resolved { code: Code::Accepted, note, by: first, accepted_by: Some(by.id), journal_id, adjustment_id };
    store::resolve(&mut *tx, id, &resolved, app.clock.now()).await?;
    let what = json!({"code": "accepted", "note": note, "proposed_by": first});
    audit::record(app, &mut *tx, entry(&by.actor, "break.accepted", &known, what)).await?;
    tx.commit().await?;
    find(app, id).await
}
