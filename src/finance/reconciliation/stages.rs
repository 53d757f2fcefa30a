//! What a run does, stage by stage; a stage is called until it says that it is done. Called by `runs`, which saves the checkpoint after each
//! call, whatever came of it: what a stage did is in the checkpoint or harmless to do again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use ledger::Currency;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::breaks::{self, BreakState, LOOKS_APART};
use super::found::{BreakType, Compared, Found, ReconciliationLeg};
use super::provider::{self, Asked, Which};
use super::run::{Run, RunKind};
use super::subjects::{self, Look};
use super::{balances, healing, inside, summaries};
use crate::app::App;
use crate::books::projector;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;
use crate::provider::revio::{self, Errand};

/// Rows that Revio is asked about in one step.
const CALLS: i64 = 10;
/// Breaks that are looked at again in one step.
const AGAIN: i64 = 20;
const ACCOUNTS: i64 = 1_000;
/// So often a look that fails is tried, a step each.
const LOOK_TRIES: i64 = 5;
/// How long a step goes on to the next look: what it has looked at is written down long before the task is cut off.
const STEP_MAX: Duration = Duration::from_secs(30);
/// The copy may be so far behind.
const LAG_MAX: TimeDelta = TimeDelta::seconds(60);
/// What is compared line by line with all balances at once; what takes longer is left to `octoco rebuild-read-model --verify`.
const VERIFY_MAX: Duration = Duration::from_secs(20);

/// Counted where a leg found more than it tells.
const CUT: &str = "legs_cut";

/// A leg, or a part of one, that another noun compares: what files of Revio's and the bank's say.
pub struct OtherLeg {
    pub leg: ReconciliationLeg,
    /// What it finds, and nobody else does.
    pub types: &'static [BreakType],
    pub compare: for<'a> fn(&'a App, &'a Run) -> BoxFuture<'a, Result<Compared>>,
}

/// Where a run goes on after a death, and what it has counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint {
    pub(super) stage: Stage,
    pub(super) after: Uuid,
    pub(super) after_transfer: i64,
    pub(super) currency: usize,
    /// Of days, and of what other nouns compare.
    pub(super) index: usize,
    pub(super) calls: i64,
    /// How far the turn of open rows is, and that of ended ones: over many runs.
    pub(super) open_turn: Uuid,
    pub(super) ended_turn: Uuid,
    pub(super) resume_at: Option<DateTime>,
    /// The row or break that could not be looked at, and how often in a row.
    pub(super) failed: Uuid,
    pub(super) failures: i64,
    /// Since when no step has gone well.
    pub(super) failing_since: Option<DateTime>,
    pub(super) counts: BTreeMap<String, i64>,
    pub(super) sums: balances::Sums,
}

/// How far a run is.
#[derive(PartialEq)]
pub(super) struct Place {
    stage: Stage,
    after: Uuid,
    after_transfer: i64,
    currency: usize,
    index: usize,
    calls: i64,
}

impl Checkpoint {
    pub(super) fn place(&self) -> Place {
        let Self { stage, after, after_transfer, currency, index, calls, .. } = *self;
        Place { stage, after, after_transfer, currency, index, calls }
    }

    pub(super) fn count(&mut self, what: &str, more: usize) {
        let count = self.counts.entry(what.to_owned()).or_default();
        *count = count.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
    }
}

text_enum! {
    /// In this order.
    #[derive(Default)]
    pub(super) enum Stage {
        /// The ledger's copy is as far as the run looks.
        #[default]
        Copied = "copied",
        Rows = "rows",
        Journals = "journals",
        Transfers = "transfers",
        Lines = "lines",
        Accounts = "accounts",
        Balances = "balances",
        Sums = "sums",
        Summaries = "summaries",
        Duplicates = "duplicates",
        Open = "open",
        JustEnded = "just_ended",
        InTurn = "in_turn",
        ProviderBalance = "provider_balance",
        Position = "position",
        Others = "others",
        /// Breaks that nobody has seen in this run: are they gone?
        Unseen = "unseen",
        /// The time between two looks.
        Apart = "apart",
        /// What was seen for the first time, once more.
        Again = "again",
        Healing = "healing",
        Over = "over",
    }
}

use Stage as S;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Again,
    Done,
    Pause,
    Over,
}

impl Stage {
    fn next(self) -> Self {
        Self::ALL.iter().copied().find(|stage| *stage > self).unwrap_or(S::Over)
    }

    /// Which leg it belongs to, and whether only a run over everything has it.
    fn wanted(self, run: &Run) -> bool {
        match self {
            S::Rows | S::Journals | S::Transfers | S::Lines | S::Sums => run.has(ReconciliationLeg::Inside),
            S::Accounts | S::Balances | S::Summaries => {
                run.has(ReconciliationLeg::Inside) && run.kind != RunKind::QuarterHour
            }
            S::Duplicates | S::Open | S::JustEnded | S::InTurn | S::ProviderBalance => {
                run.has(ReconciliationLeg::Provider)
            }
            S::Position => run.has(ReconciliationLeg::Provider) && run.kind == RunKind::Daily,
            S::Copied | S::Others | S::Unseen | S::Apart | S::Again | S::Healing | S::Over => true,
        }
    }
}

pub(super) async fn advance(app: &App, run: &mut Run, at: &mut Checkpoint, others: &[OtherLeg]) -> Result<Outcome> {
    let outcome = if at.stage.wanted(run) { stage(app, run, at, others).await? } else { Outcome::Done };
    if outcome == Outcome::Done {
        (at.stage, at.after, at.after_transfer) = (at.stage.next(), Uuid::nil(), 0);
        (at.currency, at.index) = (0, 0);
        return Ok(Outcome::Again);
    }
    Ok(outcome)
}

async fn stage(app: &App, run: &mut Run, at: &mut Checkpoint, others: &[OtherLeg]) -> Result<Outcome> {
    match at.stage {
        S::Copied => copied(app, run).await,
        S::Rows => {
            let page = inside::rows(app, run, at.after).await?;
            at.count("rows", page.looked_at);
            see(app, run, at, &page.found).await?;
            Ok(go_on(&mut at.after, page.next))
        }
        S::Journals => {
            let page = inside::journals(app, run, at.after).await?;
            at.count("journals", page.looked_at);
            see(app, run, at, &page.found).await?;
            Ok(go_on(&mut at.after, page.next))
        }
        S::Transfers => {
            let page = inside::transfers(app, run, at.after_transfer.max(run.ledger_since)).await?;
            at.count("transfers", page.looked_at);
            see(app, run, at, &page.found).await?;
            Ok(go_on(&mut at.after_transfer, page.next))
        }
        S::Lines => lines(app, run, at).await,
        S::Accounts => accounts(app, run, at).await,
        S::Balances => verify(app, run, at).await,
        S::Sums => see_all(app, run, at, inside::sums(app, run).await?.found).await,
        S::Summaries => days(app, run, at).await,
        S::Duplicates => see_all(app, run, at, provider::duplicates(app, run, None).await?).await,
        S::Open => ask(app, run, at, Which::Open).await,
        S::JustEnded => ask(app, run, at, Which::JustEnded).await,
        S::InTurn => ask(app, run, at, Which::InTurn).await,
        S::ProviderBalance => provider_balance(app, run, at).await,
        S::Position => {
            let (found, sums) = balances::position(app, run).await?;
            merge(at, sums);
            see_all(app, run, at, found).await
        }
        S::Others => other_legs(app, run, at, others).await,
        S::Unseen => unseen(app, run, at, others).await,
        S::Apart => apart(app, run, at).await,
        S::Again => look_again(app, run, at).await,
        S::Healing => heal(app, run, at).await,
        S::Over => Ok(Outcome::Over),
    }
}

/// Where Revio serves no balance, or none that can be read, the rest of the run goes on without it; where it is away, nothing does.
async fn provider_balance(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    match balances::provider(app, run).await {
        Ok((found, sums)) => {
            merge(at, sums);
            see_all(app, run, at, found).await
        }
        Err(error) if balances::is_untold(&error) => {
            tracing::error!(run.id = %run.id, error = error.chain(), "Revio's balance cannot be compared");
            at.count("balance_untold", 1);
            Ok(Outcome::Done)
        }
        Err(error) => Err(error),
    }
}

async fn see(app: &App, run: &Run, at: &mut Checkpoint, found: &[Found]) -> Result<()> {
    for one in found {
        breaks::see(app, run.id, one).await?;
        app.crash.at("reconciliation.seen")?;
    }
    at.count("differences", found.len());
    Ok(())
}

async fn see_all(app: &App, run: &Run, at: &mut Checkpoint, found: Vec<Found>) -> Result<Outcome> {
    see(app, run, at, &found).await?;
    Ok(Outcome::Done)
}

fn go_on<T>(after: &mut T, next: Option<T>) -> Outcome {
    match next {
        None => Outcome::Done,
        Some(next) => {
            *after = next;
            Outcome::Again
        }
    }
}

fn merge(at: &mut Checkpoint, sums: balances::Sums) {
    for (currency, sums) in sums {
        at.sums.entry(currency).or_default().extend(sums);
    }
}

/// The run looks no further than the copy has come, and no less far than two minutes ago.
async fn copied(app: &App, run: &mut Run) -> Result<Outcome> {
    if projector::lag(app).await?.iter().any(|lag| lag.transfers > 0 && lag.age > LAG_MAX) {
        return Err(Error::unavailable("the copy of the ledger is behind"));
    }
    // Timestamps are of one clock for all currencies; where one is further than another, that one has nothing between.
    let cursors = projector::cursors(app).await?;
    run.ledger_cut = cursors.into_iter().map(|(_, cursor)| cursor).max().unwrap_or(0);
    Ok(Outcome::Done)
}

fn currency_at(app: &App, at: &Checkpoint) -> Option<Currency> {
    app.config.currencies.get(at.currency).copied()
}

/// The ledger's transfers of the window against the lines of the copy, currency by currency.
async fn lines(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    let Some(currency) = currency_at(app, at) else { return Ok(Outcome::Done) };
    let page = inside::copy(app, run, currency, at.after_transfer.max(run.ledger_since)).await?;
    at.count("lines", page.looked_at);
    see(app, run, at, &page.found).await?;
    if go_on(&mut at.after_transfer, page.next) == Outcome::Done {
        (at.currency, at.after_transfer) = (at.currency.saturating_add(1), 0);
    }
    Ok(Outcome::Again)
}

async fn accounts(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    let Some(currency) = currency_at(app, at) else { return Ok(Outcome::Done) };
    let page = projector::compare_accounts(app, currency, at.after, ACCOUNTS).await?;
    at.count("accounts", page.accounts);
    let found: Vec<Found> =
        page.different.into_iter().map(|id| inside::wrong_account(run, id, Some(currency))).collect();
    see(app, run, at, &found).await?;
    if go_on(&mut at.after, page.last) == Outcome::Done {
        (at.currency, at.after) = (at.currency.saturating_add(1), Uuid::nil());
    }
    Ok(Outcome::Again)
}

/// The sums of one day a step.
async fn days(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    let Some(currency) = currency_at(app, at) else { return Ok(Outcome::Done) };
    let days = projector::all_days(app, currency).await?;
    let Some(day) = days.get(at.index) else {
        (at.currency, at.index) = (at.currency.saturating_add(1), 0);
        return Ok(Outcome::Again);
    };
    let found = summaries::check(app, run, currency, *day).await?;
    see(app, run, at, &found).await?;
    at.count("days", 1);
    at.index = at.index.saturating_add(1);
    Ok(Outcome::Again)
}

/// With the balances on every line, where that is soon done.
async fn verify(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    match tokio::time::timeout(VERIFY_MAX, inside::verify(app, run)).await {
        Ok(found) => see_all(app, run, at, found?).await,
        Err(_) => {
            at.count("verify_too_long", 1);
            Ok(Outcome::Done)
        }
    }
}

/// Asks Revio about some rows, as long as the run has calls left for such: two thirds for open ones, a sixth for those that have just
/// ended, the rest in turn.
async fn ask(app: &App, run: &Run, at: &mut Checkpoint, which: Which) -> Result<Outcome> {
    let max = run.kind.calls_max();
    let (until, after) = match which {
        Which::Open => (max / 3 * 2, at.after.max(at.open_turn)),
        Which::JustEnded => (max / 6 * 5, at.after),
        Which::InTurn => (max, at.after.max(at.ended_turn)),
    };
    let ids = provider::rows_after(app, run, which, after, CALLS).await?;
    let turn_is_over = ids.is_empty();
    let began = Instant::now();
    for id in &ids {
        if at.calls >= until {
            break;
        }
        match provider::ask(app, run, *id).await {
            Ok(Asked::Found(found) | Asked::FoundWithoutFee(found)) => see(app, run, at, &found).await?,
            Ok(Asked::Skipped) => at.count("skipped", 1),
            Err(error) => pass_over(app, at, *id, error).await?,
        }
        at.count("asked", 1);
        (at.calls, at.after) = (at.calls.saturating_add(1), *id);
        app.crash.at("reconciliation.asked")?;
        if began.elapsed() > STEP_MAX {
            break;
        }
    }
    if !turn_is_over && at.calls < until {
        return Ok(Outcome::Again);
    }
    let turn = if turn_is_over { Uuid::nil() } else { after.max(at.after) };
    match which {
        Which::Open => at.open_turn = turn,
        Which::JustEnded => {}
        Which::InTurn => at.ended_turn = turn,
    }
    Ok(Outcome::Done)
}

/// Revio may fail for one object and answer for every other: after some tries that one waits for another run, and the rest has its turn.
/// While Revio is away as a whole, which its balance tells, nothing is passed over.
async fn pass_over(app: &App, at: &mut Checkpoint, id: Uuid, error: Error) -> Result<()> {
    if matches!(error, Error::Crashed(_) | Error::ProviderPaused { .. }) {
        return Err(error);
    }
    at.failures = if at.failed == id { at.failures.saturating_add(1) } else { 1 };
    at.failed = id;
    if at.failures < LOOK_TRIES {
        return Err(error);
    }
    at.failures = 0;
    match revio::on(Errand::Reconciliation, app.revio.balance()).await.map_err(Error::from) {
        Err(error) if !balances::is_untold(&error) => return Err(error),
        // It answers, whatever it says.
        Ok(_) | Err(_) => {}
    }
    tracing::warn!(%id, error = error.chain(), "what cannot be looked at is passed over");
    at.count("passed_over", 1);
    Ok(())
}

async fn look(app: &App, run: &Run, at: &mut Checkpoint, known: &breaks::Break) -> Result<Look> {
    match subjects::look(app, run, known).await {
        Err(error) => pass_over(app, at, known.id, error).await.map(|()| Look::Unknown),
        looked => looked,
    }
}

/// One leg of another noun a step, or as much of what it finds as there is time for: it is compared anew in the next, and what the run has seen is passed.
async fn other_legs(app: &App, run: &Run, at: &mut Checkpoint, others: &[OtherLeg]) -> Result<Outcome> {
    let Some(other) = others.get(at.index) else { return Ok(Outcome::Done) };
    if run.has(other.leg) {
        let compared = (other.compare)(app, run).await?;
        let (began, seen) = (Instant::now(), breaks::seen_in(app, run.id).await?);
        for one in compared.found.iter().filter(|found| !seen.contains(&found.fingerprint())) {
            if began.elapsed() > STEP_MAX {
                return Ok(Outcome::Again);
            }
            breaks::see(app, run.id, one).await?;
            app.crash.at("reconciliation.seen")?;
        }
        at.count("differences", compared.found.len());
        if !compared.is_whole {
            tracing::error!(run.id = %run.id, leg = other.leg.name(), "more differs than one look takes");
            at.count(CUT, 1);
        }
    }
    at.index = at.index.saturating_add(1);
    Ok(Outcome::Again)
}

/// Each break that is known and was not seen in this run is looked at by itself.
async fn unseen(app: &App, run: &Run, at: &mut Checkpoint, others: &[OtherLeg]) -> Result<Outcome> {
    let known = breaks::unseen(app, run, at.after, AGAIN).await?;
    let began = Instant::now();
    for one in known.iter().take_while(|_| began.elapsed() <= STEP_MAX) {
        let by_statement = Found::is_by_statement(&one.fingerprint) && run.has(one.kind.rule().leg);
        let looked_at = |other: &OtherLeg| run.has(other.leg) && other.types.contains(&one.kind);
        // What such a leg does not find any more is gone, if it has told all.
        let look = match by_statement || others.iter().any(looked_at) {
            true if at.counts.contains_key(CUT) => Look::Unknown,
            true => Look::Gone,
            false => look(app, run, at, one).await?,
        };
        tell(app, run, one, look).await?;
        at.after = one.id;
    }
    Ok(if known.is_empty() { Outcome::Done } else { Outcome::Again })
}

async fn tell(app: &App, run: &Run, known: &breaks::Break, look: Look) -> Result<()> {
    match look {
        Look::There(found) => breaks::see(app, run.id, &found).await.map(drop),
        Look::Gone => breaks::gone(app, run.id, known).await,
        Look::Unknown => breaks::skip(app, run.id, known).await,
    }
}

async fn apart(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    let now = app.clock.now();
    match at.resume_at {
        Some(resume_at) if now < resume_at => Ok(Outcome::Pause),
        Some(_) => Ok(Outcome::Done),
        None if breaks::suspects(app, run.id, Uuid::nil(), 1).await?.is_empty() => Ok(Outcome::Done),
        None => {
            at.resume_at = Some(now + LOOKS_APART);
            Ok(Outcome::Pause)
        }
    }
}

async fn look_again(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    let suspects = breaks::suspects(app, run.id, at.after, AGAIN).await?;
    let began = Instant::now();
    for suspect in suspects.iter().take_while(|_| began.elapsed() <= STEP_MAX) {
        match look(app, run, at, suspect).await? {
            Look::Unknown => {}
            look => tell(app, run, suspect, look).await?,
        }
        at.after = suspect.id;
        at.count("looked_at_again", 1);
        app.crash.at("reconciliation.looked_again")?;
    }
    Ok(if suspects.is_empty() { Outcome::Done } else { Outcome::Again })
}

async fn heal(app: &App, run: &Run, at: &mut Checkpoint) -> Result<Outcome> {
    let healable = breaks::healable(app, run.id, at.after, CALLS).await?;
    let began = Instant::now();
    for one in healable.iter().take_while(|_| began.elapsed() <= STEP_MAX) {
        // Whatever comes of it, the next one has its turn.
        at.after = one.id;
        healing::heal(app, run, one).await?;
        app.crash.at("reconciliation.healed")?;
    }
    if !healable.is_empty() {
        return Ok(Outcome::Again);
    }
    for state in [BreakState::Open, BreakState::Timing, BreakState::Healed, BreakState::Cleared] {
        at.counts.insert(state.name().to_owned(), breaks::count(app, run.id, state).await?);
    }
    breaks::note_open(app, run).await?;
    Ok(Outcome::Done)
}
