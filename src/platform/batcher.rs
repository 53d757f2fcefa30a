//! Concurrent calls share one statement and one commit. Whoever comes while a batch is under way waits for the next, which takes all who
//! wait by then: alone nobody waits for company, and the more come, the more share.
//!
//! ```text
//! join ─> waits in line ─┬─> run  one statement for all who waited, and each hears what became of its own
//!                        │     └─> failed: each once more, alone and beside the line, so that one row that is bad, or locked by somebody,
//!                        │         keeps nobody else waiting
//!                        └─> 503 when WAITING_MAX wait already: nothing was written
//! ```
//!
//! A run has a deadline: where PostgreSQL falls silent, what it holds is let go, and whoever waited for it hears 503.
//!
//! `run` must be all or nothing, or each of its statements must stand by itself; and safe to repeat with the same items: ids and keys are made
//! before. An item whose caller has gone away is written all the same. Between two processes the database decides, as it does between two
//! statements.

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::platform::database::{Db, Transaction};
use crate::platform::error::{Error, Fault, Result};

/// Some seconds' worth at the worst: who came later would be answered too late.
const WAITING_MAX: usize = 4096;

/// Who holds a row for longer keeps only those waiting who want that row.
const LOCK: Duration = Duration::from_millis(20);

/// How long a run may wait for what somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// In line: others wait behind it.
    Short,
    /// Alone.
    Full,
}

/// PostgreSQL for runs: in line over connections of their own (`Db::for_batches`), alone over everybody's.
pub struct BatchDb {
    in_line: Db,
    alone: Db,
}

impl BatchDb {
    pub fn beside(db: &Db, connections_max: u32) -> Self {
        Self { in_line: db.for_batches(connections_max, LOCK), alone: db.clone() }
    }

    /// For claims, which pass over what is locked.
    pub fn in_line(&self) -> &Db {
        &self.in_line
    }

    /// The SQL transaction of a run of several that stand or fall together.
    pub async fn begin(&self, lock_wait: LockWait) -> Result<Transaction> {
        Ok(self.of(lock_wait).begin().await?)
    }

    /// For statements that stand by themselves.
    pub fn of(&self, lock_wait: LockWait) -> &Db {
        match lock_wait {
            LockWait::Short => &self.in_line,
            LockWait::Full => &self.alone,
        }
    }
}

/// In rounds, so that of those that have a key in common each comes after what became of the one before it.
pub fn rounds<T, K: Eq + Hash>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> Option<K>) -> Vec<Vec<T>> {
    let (mut rounds, mut seen) = (Vec::<Vec<T>>::new(), HashMap::<K, usize>::new());
    for item in items {
        let before = key(&item).map_or(0, |key| {
            let times = seen.entry(key).or_default();
            std::mem::replace(times, times.saturating_add(1))
        });
        match rounds.get_mut(before) {
            Some(round) => round.push(item),
            None => rounds.push(vec![item]),
        }
    }
    rounds
}

/// What is only looked up, by a key each.
struct Lookups<C, K, F, Found>(PhantomData<fn(C, K, F) -> Found>);

impl<C, K, V, F, Found> Batch for Lookups<C, K, F, Found>
where
    C: Clone + Send + Sync + 'static,
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + 'static,
    F: Fn(C, LockWait, Vec<K>) -> Found + Copy + Send + Sync + 'static,
    Found: Future<Output = Result<Vec<(K, V)>>> + Send + 'static,
{
    type Context = C;
    type Item = (K, F);
    type Done = Option<V>;

    async fn run(context: &C, items: &[(K, F)], lock_wait: LockWait) -> Result<Vec<Option<V>>> {
        const { assert!(size_of::<F>() == 0, "all ask by one function, whoever came first") };
        let Some((_, find)) = items.first() else { return Ok(Vec::new()) };
        let found = find(context.clone(), lock_wait, items.iter().map(|(key, _)| *key).collect()).await?;
        let found: HashMap<K, V> = found.into_iter().collect();
        Ok(items.iter().map(|(key, _)| found.get(key).cloned()).collect())
    }
}

/// What is written together. One line a type and process.
pub trait Batch: 'static {
    type Context: Clone + Send + Sync + 'static;
    type Item: Send + Sync + 'static;
    type Done: Send + 'static;

    /// More at once cost each as much, and the first waits for the last.
    const SIZE_MAX: usize = 64;
    /// A run that takes longer is dropped with all that it holds, and the line goes on: nobody else would end it.
    const DEADLINE: Duration = Duration::from_secs(10);

    /// What became of each, in their order; an error is everybody's.
    fn run(
        context: &Self::Context,
        items: &[Self::Item],
        lock_wait: LockWait,
    ) -> impl Future<Output = Result<Vec<Self::Done>>> + Send;
}

#[derive(Default)]
pub struct Batchers(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

struct Line<B: Batch>(Mutex<Waiting<B>>);

/// Where a caller hears what became of its item.
type Caller<B> = oneshot::Sender<Result<<B as Batch>::Done>>;

struct Waiting<B: Batch> {
    line: VecDeque<(B::Item, Caller<B>)>,
    under_way: bool,
}

impl Batchers {
    /// Has `item` written with whatever else there is to write.
    #[expect(
        clippy::disallowed_methods,
        reason = "a batch is nobody's: it goes on for the others when a caller has gone away"
    )]
    pub async fn join<B: Batch>(&self, context: &B::Context, item: B::Item) -> Result<B::Done> {
        let line = self.line::<B>();
        let (tell, answer) = oneshot::channel();
        {
            let mut waiting = line.lock();
            if waiting.line.len() >= WAITING_MAX {
                return Err(Error::TurnedAway("too many wait in line"));
            }
            waiting.line.push_back((item, tell));
            if !std::mem::replace(&mut waiting.under_way, true) {
                tokio::spawn(serve(Arc::clone(&line), context.clone()));
            }
        }
        answer.await.unwrap_or_else(|_| Err(Error::internal("a batch ended without a word")))
    }

    /// What `find` says of the key, asked with whatever else there is to look up by it; never how it was before somebody asked.
    pub async fn look_up<C, K, V, F, Found>(&self, context: &C, key: K, find: F) -> Result<Option<V>>
    where
        C: Clone + Send + Sync + 'static,
        K: Copy + Eq + Hash + Send + Sync + 'static,
        V: Clone + Send + 'static,
        F: Fn(C, LockWait, Vec<K>) -> Found + Copy + Send + Sync + 'static,
        Found: Future<Output = Result<Vec<(K, V)>>> + Send + 'static,
    {
        self.join::<Lookups<C, K, F, Found>>(context, (key, find)).await
    }

    fn line<B: Batch>(&self) -> Arc<Line<B>> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(TypeId::of::<B>()).or_insert_with(|| Arc::new(Line::<B>::default()));
        Arc::clone(line).downcast().expect("a type's line is of that type")
    }
}

impl<B: Batch> Default for Line<B> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { line: VecDeque::new(), under_way: false }))
    }
}

impl<B: Batch> Line<B> {
    fn lock(&self) -> MutexGuard<'_, Waiting<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch; when nobody waits, whoever comes begins anew.
    fn next(&self) -> (Vec<B::Item>, Vec<Caller<B>>) {
        let mut waiting = self.lock();
        let size = waiting.line.len().min(B::SIZE_MAX);
        waiting.under_way = size > 0;
        waiting.line.drain(..size).unzip()
    }
}

async fn serve<B: Batch>(line: Arc<Line<B>>, context: B::Context) {
    loop {
        // Whoever is ready to run comes first. Those whom a batch has answered wake together and join the next one by one, and what the first
        // of them begins runs before the second (the runtime takes the youngest task first): it would go out with one. This is no timer: where
        // nobody is ready it goes on at once.
        tokio::task::yield_now().await;
        let (items, callers) = line.next();
        if items.is_empty() {
            return;
        }
        match caught::<B>(&context, &items, LockWait::Short).await {
            Ok(done) => callers.into_iter().zip(done).for_each(|(caller, done)| tell::<B>(caller, Ok(done))),
            // The process is dead: nobody is served by another run.
            Err(Error::Crashed(crashed)) => {
                callers.into_iter().for_each(|caller| tell::<B>(caller, Err(crashed.into())));
            }
            // Nobody would fare better alone, and each would wait for it.
            Err(error) if error.fault() == Fault::Surroundings => {
                for caller in callers {
                    tell::<B>(caller, Err(Error::unavailable(error.chain())));
                }
            }
            Err(_) => items.into_iter().zip(callers).for_each(|(item, caller)| alone::<B>(&context, item, caller)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the line goes on meanwhile; its caller waits for it")]
fn alone<B: Batch>(context: &B::Context, item: B::Item, caller: Caller<B>) {
    let context = context.clone();
    tokio::spawn(async move {
        let done = caught::<B>(&context, &[item], LockWait::Full).await;
        tell::<B>(caller, done.and_then(|done| done.into_iter().next().ok_or_else(lost_count)));
    });
}

/// Who does not listen any more reads it from the row.
fn tell<B: Batch>(caller: Caller<B>, done: Result<B::Done>) {
    _ = caller.send(done);
}

fn lost_count() -> Error {
    Error::internal("a batch has lost count")
}

async fn caught<B: Batch>(context: &B::Context, items: &[B::Item], lock_wait: LockWait) -> Result<Vec<B::Done>> {
    let run = AssertUnwindSafe(B::run(context, items, lock_wait)).catch_unwind();
    let done = timeout(B::DEADLINE, run).await.map_err(Error::unavailable)?;
    let done = done.unwrap_or_else(|_| Err(Error::internal("a batch panicked")))?;
    if done.len() == items.len() { Ok(done) } else { Err(lost_count()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::platform::crash::Crashed;

    /// Doubles, once it may; refuses batches with a 13, panics at a 7, dies at a 17.
    struct Doubles;

    #[derive(Clone)]
    struct Context {
        may: Arc<Semaphore>,
        runs: Arc<AtomicUsize>,
    }

    impl Batch for Doubles {
        type Context = Context;
        type Item = u64;
        type Done = u64;
        const SIZE_MAX: usize = 8;
        const DEADLINE: Duration = Duration::from_millis(500);

        async fn run(context: &Context, items: &[u64], _: LockWait) -> Result<Vec<u64>> {
            context.may.acquire().await.map_err(Error::internal)?.forget();
            context.runs.fetch_add(1, Ordering::Relaxed);
            assert!(!items.contains(&7), "a mistake of ours");
            if items.contains(&17) {
                return Err(Crashed("here").into());
            }
            if items.contains(&13) { Err(Error::NotFound("number")) } else { Ok(items.iter().map(|n| n * 2).collect()) }
        }
    }

    fn context(permits: usize) -> Context {
        Context { may: Arc::new(Semaphore::new(permits)), runs: Arc::default() }
    }

    #[tokio::test]
    async fn who_comes_while_a_batch_is_under_way_shares_the_next() {
        let (batchers, context) = (Batchers::default(), context(0));
        let calls = (0..7).map(|n| batchers.join::<Doubles>(&context, n + 20));
        let (done, ()) = tokio::join!(join_all(calls), async {
            tokio::task::yield_now().await;
            context.may.add_permits(100);
        });
        let done: Vec<u64> = done.into_iter().map(|done| done.expect("done")).collect();
        assert_eq!(done, [40, 42, 44, 46, 48, 50, 52]);
        assert!(context.runs.load(Ordering::Relaxed) <= 2, "{:?}", context.runs);
    }

    /// On the threads of a runtime what a task begins runs before whatever was ready earlier.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    #[expect(clippy::disallowed_methods, reason = "callers that are there at once")]
    async fn who_is_answered_together_shares_the_next() {
        let (batchers, context) = (Arc::new(Batchers::default()), context(1_000));
        let calls = (20..28).map(|n| {
            let (batchers, context) = (Arc::clone(&batchers), context.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    assert_eq!(batchers.join::<Doubles>(&context, n).await.expect("done"), 2 * n);
                }
            })
        });
        let calls: Vec<_> = calls.collect();
        assert!(join_all(calls).await.iter().all(|call| call.is_ok()));
        let runs = context.runs.load(Ordering::Relaxed);
        assert!((20..80).contains(&runs), "{runs} for 160 calls, of which 8 come at once");
    }

    #[tokio::test]
    async fn a_run_that_is_not_answered_is_given_up_and_the_line_goes_on() {
        let (batchers, context) = (Batchers::default(), context(0));
        let done = timeout(Duration::from_secs(5), batchers.join::<Doubles>(&context, 1)).await;
        assert!(matches!(done, Ok(Err(Error::Unavailable(_)))), "nobody knows whether it was written");
        context.may.add_permits(1);
        assert_eq!(batchers.join::<Doubles>(&context, 5).await.expect("the line goes on"), 10);
    }

    #[test]
    fn of_those_with_a_key_in_common_each_comes_after_the_one_before_it() {
        let odd = |n: &u32| (n % 2 == 1).then_some(n % 4);
        assert_eq!(rounds([1, 2, 5, 4, 3, 9], odd), [vec![1, 2, 4, 3], vec![5], vec![9]]);
        assert_eq!(rounds(Vec::<u32>::new(), odd), Vec::<Vec<u32>>::new());
    }

    #[tokio::test]
    async fn one_bad_item_is_nobody_elses_failure() {
        let (batchers, context) = (Batchers::default(), context(100));
        for bad in [13, 7] {
            let calls = [1, bad, 3].map(|n| batchers.join::<Doubles>(&context, n));
            let done = join_all(calls).await;
            assert_eq!((done[0].as_ref().ok(), done[2].as_ref().ok()), (Some(&2), Some(&6)));
            assert!(done[1].is_err());
        }
        assert_eq!(batchers.join::<Doubles>(&context, 5).await.expect("the line goes on"), 10);
    }

    #[tokio::test]
    async fn where_the_process_dies_nobody_of_a_batch_is_served_by_another_run() {
        let (batchers, context) = (Batchers::default(), context(100));
        let done = join_all([17, 3, 5].map(|n| batchers.join::<Doubles>(&context, n))).await;
        assert!(done.iter().all(|done| matches!(done, Err(Error::Crashed(_)))), "{done:?}");
        assert_eq!(context.runs.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "callers that are there at once")]
    async fn a_full_line_turns_away_and_writes_nothing() {
        let (batchers, context) = (Arc::new(Batchers::default()), context(0));
        let calls = (0..WAITING_MAX + 100).map(|n| {
            let (batchers, context) = (Arc::clone(&batchers), context.clone());
            let number = 100 + 2 * u64::try_from(n).unwrap_or(0);
            tokio::spawn(async move { batchers.join::<Doubles>(&context, number).await })
        });
        let calls: Vec<_> = calls.collect();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        context.may.add_permits(10_000);
        let ended = join_all(calls).await;
        let turned_away = ended.iter().filter(|call| matches!(call, Ok(Err(Error::TurnedAway(_))))).count();
        assert!((1..=100).contains(&turned_away), "{turned_away}");
        assert_eq!(batchers.join::<Doubles>(&context, 5).await.expect("room again"), 10);
    }
}
