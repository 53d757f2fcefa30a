//! The background tasks: `QUEUES` keep many rows in hand at once, `TASKS` work batch by batch; and the loop that runs each of them.
//!
//! A loop works while there is a full batch, then sleeps until it is woken or its period is over. While the schema is older than this
//! release (`footing.rs`) it claims nothing. On a stop it claims nothing more and finishes what it has in hand. A loop that ends for any other
//! reason ends the process: the orchestrator starts a new one, and every row that was in hand comes due again.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, LedgerCopy};
use crate::books::{personal_data, projector, slots};
use crate::finance::reconciliation::{self, OtherLeg, ReconciliationLeg};
use crate::finance::statement_files;
use crate::identity::{audit, mails, repeats, sessions, totp};
use crate::money::{
    adjustments, deposits, journals, requests, restrictions, reversals, safe_mode, transactions, withdrawals,
};
use crate::platform::error::{Error, Result};
use crate::platform::queue::{self, Step};
use crate::webhooks::outgoing::{deliveries, deliveries::Lane, sources};
use crate::webhooks::{inbox, refused};

/// As many as are stepped at once.
const BATCH: i64 = 16;
/// Rows claimed at once from a queue that waits for Revio; four times as many may be in hand, so that a slow one holds up no other.
const CLAIM: u32 = 64;
/// Of messages to endpoints, whose steps share the connections of all else.
const CLAIM_OUTGOING: u32 = 16;
/// How long a loop that has just looked lets come what comes, when it is woken: each look is a statement. Those of the queues take what
/// came together.
const GATHER: Duration = Duration::from_millis(100);
const GATHER_ROWS: Duration = Duration::from_millis(20);
/// Longer than any batch takes: its steps have a deadline of 60 s and run at once. What hangs beyond that is PostgreSQL.
const BATCH_DEADLINE: Duration = Duration::from_secs(80);
/// How long a loop waits after a failure of its own (PostgreSQL away).
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Of the queues, and of most others: how often they look without being woken.
const PERIOD: Duration = Duration::from_secs(1);
/// A wake-up says that money can move on. A task that looks less often than this has nothing to do with that, and one that
/// looks more often does so to gather what comes.
const WOKEN_PERIOD_MIN: Duration = Duration::from_millis(500);
const WOKEN_PERIOD_MAX: Duration = Duration::from_secs(1);

const COUNTS_PERIOD: Duration = Duration::from_secs(10);

/// What a reconciliation compares besides what it knows by itself: the parts that other nouns of `finance` bring.
pub static OTHER_LEGS: &[OtherLeg] = &[
    OtherLeg {
        leg: ReconciliationLeg::Provider,
        types: statement_files::OF_REVIO,
        compare: |app, run| Box::pin(statement_files::compare_leg(app, run, ReconciliationLeg::Provider)),
    },
    OtherLeg {
        leg: ReconciliationLeg::Bank,
        types: statement_files::OF_BANK,
        compare: |app, run| Box::pin(statement_files::compare_leg(app, run, ReconciliationLeg::Bank)),
    },
];

struct Task {
    name: &'static str,
    /// The safety net: how often it looks without being woken.
    period: Duration,
    /// Loops of this kind in one process: a batch that waits for Revio does not keep the next one waiting.
    loops: usize,
    /// True when there may be more to do at once.
    step: fn(&App) -> BoxFuture<'_, Result<bool>>,
}

/// Rows whose steps wait for others, many at once.
struct Queue {
    name: &'static str,
    /// As soon as there is room for so many, as many are claimed; four times as many are in hand at most.
    claimed_at_once: u32,
    claim: fn(&App, i64) -> BoxFuture<'_, Result<Vec<Step<'_>>>>,
    /// Each end of a step makes room that a claim may want: not all that is due may be in hand at once.
    woken_by_ended_steps: bool,
}

static QUEUES: [Queue; 4] = [
    waits_for_revio("inbox", |app, limit| Box::pin(inbox::claim_due(app, limit))),
    waits_for_revio("deposits", |app, limit| Box::pin(deposits::claim_due(app, limit))),
    waits_for_revio("withdrawals", |app, limit| Box::pin(withdrawals::claim_due(app, limit))),
    // How many of one endpoint are in hand at once: `deliveries::Lane`.
    Queue {
        name: "outgoing",
        claimed_at_once: CLAIM_OUTGOING,
        claim: |app, limit| Box::pin(deliveries::claim_due(app, Lane::Fast, limit)),
        woken_by_ended_steps: true,
    },
];

const fn waits_for_revio(name: &'static str, claim: fn(&App, i64) -> BoxFuture<'_, Result<Vec<Step<'_>>>>) -> Queue {
    Queue { name, claimed_at_once: CLAIM, claim, woken_by_ended_steps: false }
}

static TASKS: [Task; 18] = [
    task("reversals", PERIOD, |app| Box::pin(is_full_batch(reversals::step_due(app, BATCH)))),
    task("adjustments", PERIOD, |app| Box::pin(is_full_batch(adjustments::step_due(app, BATCH)))),
    task("journals", PERIOD, |app| Box::pin(is_full_batch(journals::step_due(app, BATCH)))),
    task("mails", Duration::from_secs(2), |app| Box::pin(is_full_batch(mails::step_due(app, BATCH)))),
    task("outgoing events", PERIOD, |app| Box::pin(sources::step(app))),
    // Endpoints that fail or are slow hold these up, and no other.
    Task {
        name: "slow outgoing",
        period: Duration::from_secs(2),
        loops: 2,
        step: |app| Box::pin(is_full_batch(deliveries::step_due(app, Lane::Slow, BATCH))),
    },
    task("projector", Duration::from_millis(200), |app| Box::pin(projector::step(app))),
    task("restrictions", Duration::from_secs(5), |app| Box::pin(is_full_batch(restrictions::step_due(app, BATCH)))),
    task("requests", Duration::from_secs(60), |app| Box::pin(nothing_more(requests::expire(app)))),
    task("ledger watch", PERIOD, |app| Box::pin(projector::watch(app))),
    task("lost withdrawals", Duration::from_secs(60), |app| Box::pin(nothing_more(withdrawals::restore_lost(app)))),
    // Steps with calls to Revio keep to the pace of their budget; the others follow at once.
    task("reconciliation", Duration::from_secs(2), |app| Box::pin(reconcile(app))),
    task("audit", Duration::from_secs(2), |app| Box::pin(audit::step(app))),
    // Due every quarter of an hour, by whichever process asks first.
    task("audit watch", Duration::from_secs(60), |app| Box::pin(audit::watch(app))),
    // Revio makes a statement in minutes, and one a day is asked for.
    task("statements", Duration::from_secs(60), |app| Box::pin(statement_files::step(app))),
    task("gauges", Duration::from_secs(15), |app| Box::pin(measure(app))),
    task("slots", Duration::from_secs(60), |app| Box::pin(slots::step(app))),
    task("prune", Duration::from_secs(3_600), |app| Box::pin(prune(app))),
];

const fn task(name: &'static str, period: Duration, step: fn(&App) -> BoxFuture<'_, Result<bool>>) -> Task {
    Task { name, period, loops: 1, step }
}

async fn reconcile(app: &App) -> Result<bool> {
    Ok(reconciliation::step(app, OTHER_LEGS).await? == reconciliation::Step::More)
}

/// Of a step that leaves nothing for another at once.
async fn nothing_more(done: impl Future<Output = Result<()>>) -> Result<bool> {
    done.await.map(|()| false)
}

async fn is_full_batch(claimed: impl Future<Output = Result<usize>>) -> Result<bool> {
    Ok(queue::is_full(claimed.await?, BATCH))
}

/// What nobody has use for any more, a batch of each, as `RETENTION` says; sums of more than a day ago.
async fn prune(app: &App) -> Result<bool> {
    each_for_itself([
        ("sessions", sessions::prune(app).await),
        ("mails", mails::prune(app).await),
        ("inbox", inbox::prune(app).await),
        ("refused", refused::prune(app).await),
        ("erased", personal_data::prune(app).await),
        ("audit reads", audit::prune_reads(app).await),
        ("allowances", totp::prune(app).await),
        ("statement files", statement_files::prune(app).await),
        ("kept answers", repeats::prune(app).await),
        ("outgoing webhooks", deliveries::prune(app).await),
    ])
}

/// One that fails takes no other with it. True when one of them has more to do.
fn each_for_itself(parts: impl IntoIterator<Item = (&'static str, Result<bool>)>) -> Result<bool> {
    let (mut more, mut failed) = (false, None);
    for (part, result) in parts {
        match result {
            Ok(has_more) => more |= has_more,
            Err(error) => {
                tracing::warn!(part, error = error.chain(), "a part of a task failed");
                failed = Some(error);
            }
        }
    }
    failed.filter(|_| !more).map_or(Ok(more), Err)
}

async fn measure(app: &App) -> Result<bool> {
    let revio = &app.revio;
    let calls = [
        ("purchases", revio.purchases_paused()),
        ("payouts", revio.payouts_paused()),
        ("executions", revio.executions_paused()),
    ];
    for (calls, paused) in calls {
        let seconds = paused.map_or(0, |wait| wait.num_seconds());
        app.metrics.revio.paused_seconds.with_label_values(&[calls]).set(seconds);
    }
    let measured = [
        ("transactions", transactions::measure(app).await),
        ("journals", journals::measure(app).await),
        ("restrictions", restrictions::measure(app).await),
        ("requests", requests::measure(app).await),
        ("inbox", inbox::measure(app).await),
        ("outgoing webhooks", deliveries::measure(app).await),
        ("mails", mails::measure(app).await),
        ("audit", audit::measure(app).await),
        ("projector", projector::measure(app).await),
        ("safe mode", safe_mode::measure(app).await),
        ("statements", statement_files::measure(app).await),
        ("reconciliation", reconciliation::measure(app).await),
    ];
    let more = each_for_itself(measured.map(|(gauges, result)| (gauges, result.map(|()| false))))?;
    app.metrics.gauges_read_at.set(app.clock.now().timestamp());
    Ok(more)
}

/// Writes down what this process counts, every so often and once more at its end.
pub async fn write_counts(app: App, stop: CancellationToken) -> &'static str {
    loop {
        let stopped = tokio::time::timeout(COUNTS_PERIOD, stop.cancelled()).await.is_ok();
        if let Err(error) = refused::write_down(&app).await {
            tracing::warn!(error = error.chain(), "counts could not be written down; they are kept in memory");
        }
        if stopped {
            return "counts";
        }
    }
}

/// Starts every loop; they end when `stop` is cancelled.
pub fn start(app: &App, stop: &CancellationToken) -> JoinSet<&'static str> {
    if !app.mailer.goes_somewhere() {
        tracing::warn!("neither SMTP_URL nor MAIL_FOLDER is set: no mail goes out, and nobody can reset a password");
    }
    // Its steps are those that book what Revio tells: "ledger watch" looks first.
    if !safe_mode::has_looked(app) {
        app.ledger_copy.send_replace(LedgerCopy::Awaited);
    }
    let mut tasks = JoinSet::new();
    for task in TASKS.iter().flat_map(|task| std::iter::repeat_n(task, task.loops)) {
        let (app, stop) = (app.clone(), stop.clone());
        tasks.spawn(async move {
            let rhythm = Rhythm { name: task.name, period: task.period, gather: GATHER, also_woken_by: None };
            run(&app, rhythm, &stop, || (task.step)(&app)).await;
            task.name
        });
    }
    for queue in &QUEUES {
        let (app, stop) = (app.clone(), stop.clone());
        tasks.spawn(async move {
            work_off(&app, queue, &stop).await;
            queue.name
        });
    }
    let (app, stop) = (app.clone(), stop.clone());
    tasks.spawn(async move {
        stop.run_until_cancelled(app.notifier.listen()).await;
        "wake-ups"
    });
    tasks
}

/// Claims whenever there is room for it, and goes on with what is in hand meanwhile. Returns when the last step has ended.
async fn work_off(app: &App, queue: &Queue, stop: &CancellationToken) {
    let places = &Semaphore::new(usize::try_from(queue.claimed_at_once).map_or(1, |count| count.saturating_mul(4)));
    // Never longer than there are places.
    let (to_step, mut claimed) = mpsc::unbounded_channel();
    let step_ended = &Notify::new();
    let claiming = async move {
        let claim = async || {
            // Nothing is claimed any more once the process is to stop, which may be while room is waited for.
            let Some(taken) = stop.run_until_cancelled(places.acquire_many(queue.claimed_at_once)).await else {
                return Ok(false);
            };
            let mut taken = taken.map_err(Error::internal)?;
            let steps = (queue.claim)(app, queue.claimed_at_once.into()).await?;
            let full = taken.num_permits() == steps.len();
            for step in steps {
                let place = taken.split(1);
                let step = step.inspect(move |()| drop(place)).boxed();
                to_step.send(step).map_err(|_| Error::internal("nobody takes the steps"))?;
            }
            Ok(full)
        };
        let also_woken_by = queue.woken_by_ended_steps.then_some(step_ended);
        let rhythm = Rhythm { name: queue.name, period: PERIOD, gather: GATHER_ROWS, also_woken_by };
        run(app, rhythm, stop, || claim().boxed()).await;
    };
    let stepping = async {
        let mut steps = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(step) = claimed.recv() => steps.push(step),
                Some(()) = steps.next() => step_ended.notify_one(),
                else => break,
            }
        }
    };
    tokio::join!(claiming, stepping);
}

struct Rhythm<'a> {
    name: &'static str,
    period: Duration,
    gather: Duration,
    /// Told when there is room for more.
    also_woken_by: Option<&'a Notify>,
}

async fn run<'a>(
    app: &'a App,
    rhythm: Rhythm<'_>,
    stop: &CancellationToken,
    look: impl Fn() -> BoxFuture<'a, Result<bool>>,
) {
    while !stop.is_cancelled() {
        if !app.footing.may_work() {
            stop.run_until_cancelled(sleep(jittered(PERIOD))).await;
            continue;
        }
        let looked = Instant::now();
        // Registered before looking: what becomes due from here on wakes it.
        let mut woken = std::pin::pin!(app.notifier.woken());
        woken.as_mut().enable();
        let stepped = tokio::time::timeout(BATCH_DEADLINE, look()).await;
        let pause = match stepped.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed))) {
            Ok(true) => continue,
            Ok(false) => jittered(rhythm.period),
            Err(error) => {
                tracing::warn!(task = rhythm.name, error = error.chain(), "a task could not look for work");
                FAILURE_PAUSE.max(rhythm.period / 60)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = woken, if (WOKEN_PERIOD_MIN..=WOKEN_PERIOD_MAX).contains(&rhythm.period) => {
                sleep(rhythm.gather.saturating_sub(looked.elapsed())).await;
            }
            () = notified_or_never(rhythm.also_woken_by) => sleep(rhythm.gather.saturating_sub(looked.elapsed())).await,
            () = sleep(pause) => {}
        }
    }
}

async fn notified_or_never(by: Option<&Notify>) {
    match by {
        Some(by) => by.notified().await,
        None => std::future::pending().await,
    }
}

/// 80 to 120 percent, so that many processes do not look at the same moment.
fn jittered(period: Duration) -> Duration {
    period / 100 * rand::random_range(80..=120)
}

#[expect(clippy::disallowed_methods, reason = "the worker is what waits")]
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_takes_no_other_with_it() {
        let away = || Err(Error::unavailable("away"));
        assert!(each_for_itself([("one", Ok(false)), ("other", away()), ("last", Ok(true))]).expect("there is more"));
        assert!(each_for_itself([("one", Ok(false)), ("other", away())]).is_err(), "it comes back for it");
        assert!(!each_for_itself([("one", Ok(false))]).expect("nothing is left"));
    }
}
