//! The queue alone, with one made-up row: what becomes of a step that fails, and how long the pauses are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::LedgerError;
use octoco::platform::clock::{Clock, DateTime};
use octoco::platform::error::{Error, Result};
use octoco::platform::queue::{Lease, Next, Queue, RETRY_MINUTES, Setbacks, Work, step_due};
use octoco::platform::telemetry::Metrics;
use sqlx::PgPool;
use uuid::Uuid;

/// One row whose steps end as the test says, and what was written down of it.
struct OneRow {
    step: fn() -> Result<&'static str>,
    attempts: Mutex<i32>,
    written: Mutex<Vec<Next>>,
    overtaken: AtomicUsize,
    tools: (Clock, Metrics, Setbacks),
}

impl OneRow {
    fn new(step: fn() -> Result<&'static str>) -> Self {
        let tools = (Clock::fixed(DateTime::UNIX_EPOCH), Metrics::new(), Setbacks::default());
        Self { step, attempts: Mutex::default(), written: Mutex::default(), overtaken: AtomicUsize::new(0), tools }
    }

    fn tools(&self) -> Queue<'_> {
        Queue { clock: &self.tools.0, metrics: &self.tools.1, setbacks: &self.tools.2 }
    }

    /// What becomes of it in `steps` steps: the pauses in seconds, and how often it was given up.
    async fn pauses(&self, steps: usize) -> (Vec<i64>, usize) {
        for _ in 0..steps {
            assert_eq!(step_due(self, self.tools(), 1).await.expect("claimed"), 1);
        }
        let written = self.written.lock().expect("nobody panicked");
        let now = self.tools.0.now();
        let pauses = written.iter().filter_map(|next| match next {
            Next::Again { due_at, .. } => Some((*due_at - now).num_seconds()),
            Next::GiveUp { .. } => None,
        });
        let given_up = written.iter().filter(|next| matches!(next, Next::GiveUp { .. })).count();
        (pauses.collect(), given_up)
    }
}

impl Work for &OneRow {
    type Claimed = ();

    fn label<'a>(&'a self, (): &'a ()) -> &'a str {
        "test"
    }

    fn id((): &()) -> Uuid {
        Uuid::nil()
    }

    async fn claim(&self, _: Lease, _: i64) -> sqlx::Result<Vec<()>> {
        Ok(vec![()])
    }

    async fn step(&self, (): &()) -> Result<&'static str> {
        (self.step)()
    }

    async fn failed(&self, (): &(), error: &Error) -> Result<()> {
        let mut attempts = self.attempts.lock().expect("nobody panicked");
        let next = self.tools().after(Uuid::nil(), *attempts, error, RETRY_MINUTES);
        if let Next::Again { attempts: counted, .. } = next {
            *attempts = counted;
        }
        self.written.lock().expect("nobody panicked").push(next);
        Ok(())
    }

    async fn overtaken(&self, (): &()) -> Result<()> {
        self.overtaken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn a_fault_of_the_row_goes_up_its_ladder_and_is_given_up() {
    let row = OneRow::new(|| Err(Error::internal("ours")));
    assert_eq!(row.pauses(5).await, (vec![0, 60, 300, 900], 1));
}

/// A page rings for it, once nothing more is tried.
#[tokio::test]
async fn a_row_that_is_given_up_for_what_the_ledger_says_is_counted() {
    let row = OneRow::new(|| Err(LedgerError::Contradiction("pending_transfer_not_found").into()));
    let counted = || row.tools.1.ledger_contradictions.get();
    assert_eq!((row.pauses(4).await.1, counted()), (0, 0));
    assert_eq!((row.pauses(1).await.1, counted()), (1, 1));
    let ours = OneRow::new(|| Err(Error::internal("ours")));
    assert_eq!((ours.pauses(5).await.1, ours.tools.1.ledger_contradictions.get()), (1, 0));
}

#[tokio::test]
async fn a_panic_is_the_rows_own_fault_and_ends_nothing_else() {
    let row = OneRow::new(|| panic!("ours"));
    assert_eq!(row.pauses(5).await, (vec![0, 60, 300, 900], 1));
}

#[tokio::test]
async fn a_fault_of_the_surroundings_uses_up_no_try_however_long_it_lasts() {
    let row = OneRow::new(|| Err(Error::unavailable("away")));
    let (pauses, given_up) = row.pauses(100).await;
    assert_eq!((pauses.len(), given_up), (100, 0));
    assert_eq!(pauses[0], 0, "at once, in case that it was a hiccup");
    assert!(pauses[1..].iter().all(|secs| *secs <= 45), "{pauses:?}");
    assert!(pauses[10..].iter().all(|secs| *secs >= 33), "ever more slowly: {pauses:?}");
    assert_eq!(*row.attempts.lock().expect("nobody panicked"), 0);
}

#[tokio::test]
async fn a_row_that_somebody_else_moved_has_not_failed() {
    let row = OneRow::new(|| Err(Error::StaleState));
    assert_eq!(row.pauses(2).await, (vec![], 0));
    assert_eq!(row.overtaken.load(Ordering::Relaxed), 2);
}

/// As the end of the safe mode makes many due at once: no more is read of them than is taken.
#[sqlx::test]
async fn rows_that_are_due_at_one_moment_are_taken_in_the_order_of_the_index(db: PgPool) {
    let mut db = db.acquire().await.expect("a connection");
    sqlx::query("set enable_seqscan = off").execute(&mut *db).await.expect("set");
    let claim =
        "explain select id from transactions where kind = 'deposit' and due_at <= now() order by due_at, id limit 64
                    for update skip locked";
    let plan: Vec<String> = sqlx::query_scalar(claim).fetch_all(&mut *db).await.expect("a plan");
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using transactions_due") && !plan.contains("Sort"), "{plan}");
}
