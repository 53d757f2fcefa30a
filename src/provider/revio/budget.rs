//! How often Revio is called: no more than it bears (`REVIO_CALLS_PER_SECOND`), by all processes together, and for what first. Who
//! comes later in this list leaves as many of the places to those before, or more: so nobody's unpaid deposits keep anybody's payout waiting.
//!
//! | class | calls | without a place |
//! |---|---|---|
//! | executions | executing a payout | the row waits |
//! | payouts | looking one up | the row waits |
//! | registrations | a new payout | the row waits |
//! | webhooks | asking for the purchase that Revio told of | the event waits |
//! | deposits | a new purchase: a customer waits for the link | the customer waits for 2 s, then 503 |
//! | polling | looking at purchases of which nobody told | the row waits |
//! | reconciliation | looking at what should be settled, balance, statements | the run waits |
//!
//! What waits does so in its step for 2 s, which mostly is enough, and then until its next one: by coming back alone, later each time, a
//! few dozen rows would use a third of the places that there are (`budget::rows_wait_for_their_places_instead_of_coming_back_for_them`).
//!
//! A payout needs two places at once, and more where it did not get the second, within its 15 minutes: so where many wait, an execution finds
//! one that nothing else takes. Else all that there is would go into beginnings, and hardly any would come to its end. What Revio told of
//! purchases keeps no payout waiting: each has its share.
//!
//! Reconciliation has a rate of its own besides (`RECONCILIATION_CALLS_PER_SECOND`): a run looks at thousands of objects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use uuid::Uuid;

use crate::platform::clock::Clock;
use crate::platform::rate_limits::{self, Limiter, Wish};
use crate::platform::shares::Shares;
use crate::platform::telemetry::RevioCalls;
use crate::platform::text_enum::text_enum;

/// How long a customer waits for a place, or a step.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of one customer so many wait at once in a process: more would take the places of others.
const WAITING_MAX: usize = 3;
/// Asked again after this at least, and twice as long each time: many may wait for one place.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(20);
const ASK_AGAIN_MAX: Duration = Duration::from_millis(250);

text_enum! {
    pub(super) enum Class {
        Executions = "executions",
        Payouts = "payouts",
        Registrations = "registrations",
        Webhooks = "webhooks",
        Deposits = "deposits",
        Polling = "polling",
        Reconciliation = "reconciliation",
    }
}

impl Class {
    /// Percent of the places that it does not touch.
    fn leaving(self) -> u64 {
        match self {
            Self::Executions => 0,
            Self::Payouts | Self::Registrations | Self::Webhooks => 20,
            Self::Deposits => 40,
            Self::Polling | Self::Reconciliation => 60,
        }
    }
}

/// On whose behalf a purchase is asked for or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Revio has told of it.
    Webhook,
    /// A customer waits, and has a place already ([`super::Revio::take_place_for_deposit`]).
    Customer,
    /// A run compares it with our rows.
    Reconciliation,
}

tokio::task_local! {
    static ERRAND: Errand;
}

/// Whatever is asked of Revio in `work` is asked on this errand.
pub async fn on<T>(errand: Errand, work: impl Future<Output = T>) -> T {
    ERRAND.scope(errand, work).await
}

pub(super) fn errand() -> Option<Errand> {
    ERRAND.try_with(|errand| *errand).ok()
}

pub(super) struct Budget {
    calls: rate_limits::Budget,
    of_reconciliation: rate_limits::Budget,
    limiter: Arc<Limiter>,
    clock: Clock,
    metrics: RevioCalls,
    /// Each customer's places in the line.
    waiting: Arc<Shares>,
}

impl Budget {
    /// `rates`: calls a second, of all and of reconciliation.
    pub(super) fn new(rates: (u32, u32), limiter: Arc<Limiter>, clock: Clock, metrics: RevioCalls) -> Self {
        let calls = rate_limits::Budget::new("revio", rates.0);
        let of_reconciliation = rate_limits::Budget::new("revio-reconciliation", rates.1);
        Self { calls, of_reconciliation, limiter, clock, metrics, waiting: Shares::new(WAITING_MAX) }
    }

    /// Takes a place, if there is one at this moment. The error is how long there is none.
    async fn take(&self, class: Class) -> Result<(), TimeDelta> {
        let taken = self.try_take(class).await;
        if taken.is_err() {
            self.metrics.waits.with_label_values(&[class.name()]).inc();
        }
        taken
    }

    /// The same for a customer who can wait a moment.
    pub(super) async fn wait(&self, class: Class, customer: Uuid) -> Result<(), TimeDelta> {
        let Err(wait) = self.take(class).await else { return Ok(()) };
        let _in_line = self.waiting.of(customer.to_string()).place(Duration::ZERO).await.ok_or(wait)?;
        self.be_patient(class, wait).await
    }

    /// The same for a step, which would come back later than its place does. Of those there are so many at once as a worker has in hand.
    pub(super) async fn wait_in_step(&self, class: Class) -> Result<(), TimeDelta> {
        match self.take(class).await {
            Ok(()) => Ok(()),
            Err(wait) => self.be_patient(class, wait).await,
        }
    }

    async fn be_patient(&self, class: Class, wait: TimeDelta) -> Result<(), TimeDelta> {
        let (started, mut taken, mut ask_again) = (Instant::now(), Err(wait), ASK_AGAIN_MIN);
        while let Err(wait) = taken {
            let pause = wait.to_std().unwrap_or_default().max(ask_again.mul_f64(rand::random_range(0.75..=1.0)));
            if started.elapsed() + pause > PATIENCE {
                return Err(wait);
            }
            let before = self.clock.now();
            sleep(pause).await;
            // A clock that stands, as a test's does, gives no place.
            if self.clock.now() == before {
                return Err(wait);
            }
            taken = self.try_take(class).await;
            ask_again = (2 * ask_again).min(ASK_AGAIN_MAX);
        }
        Ok(())
    }

    /// Revio has asked us to slow down: nobody has a place for so long, and then those who come first have it first.
    pub(super) async fn hold_back(&self, pause: TimeDelta) {
        let now = self.clock.now();
        // Wishes of this kind are never refused.
        _ = self.limiter.ask_budget(&self.calls, Wish::NothingBefore(now + pause), now).await;
    }

    pub(super) fn count(&self, class: Class, outcome: &str) {
        self.metrics.calls.with_label_values(&[class.name(), outcome]).inc();
    }

    async fn try_take(&self, class: Class) -> Result<(), TimeDelta> {
        let now = self.clock.now();
        // Its own first: a place among all that is then not used is one that others miss.
        if class == Class::Reconciliation {
            self.limiter.ask_budget(&self.of_reconciliation, Wish::Place { leaving: 0 }, now).await?;
        }
        self.limiter.ask_budget(&self.calls, Wish::Place { leaving: class.leaving() }, now).await
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a customer who waits for a place is in the request, and a row in its step"
)]
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::config::{Counting, RateLimits};
    use crate::platform::telemetry::Metrics;
    use chrono::{TimeZone, Utc};

    fn budget(clock: &Clock) -> Budget {
        let limiter = Limiter::new("redis://127.0.0.1:1", RateLimits::Off, Counting::default()).expect("a URL");
        // A process alone has a quarter: five calls a second, five at once.
        Budget::new((20, 5), Arc::new(limiter), clock.clone(), Metrics::new().revio.clone())
    }

    fn stopped() -> Clock {
        Clock::fixed(Utc.with_ymd_and_hms(2026, 3, 2, 9, 0, 0).single().expect("a time"))
    }

    async fn places(budget: &Budget, class: Class) -> usize {
        let mut places = 0;
        while budget.take(class).await.is_ok() {
            places += 1;
        }
        places
    }

    #[tokio::test]
    async fn the_last_places_are_for_payouts_then_for_webhooks_then_for_deposits() {
        let budget = budget(&stopped());
        let mut taken = Vec::new();
        for class in [Class::Polling, Class::Deposits, Class::Webhooks, Class::Executions] {
            taken.push((class.name(), places(&budget, class).await));
        }
        assert_eq!(taken, [("polling", 2), ("deposits", 1), ("webhooks", 1), ("executions", 1)]);
    }

    #[tokio::test]
    async fn while_polling_takes_what_it_can_a_payout_finds_a_place_at_any_moment() {
        let clock = stopped();
        let budget = budget(&clock);
        for _ in 0..50 {
            places(&budget, Class::Polling).await;
            assert_eq!(budget.take(Class::Executions).await, Ok(()));
            clock.advance(TimeDelta::milliseconds(400));
        }
    }

    #[tokio::test]
    async fn after_revio_has_said_wait_payouts_go_first_and_polling_last() {
        let clock = stopped();
        let budget = budget(&clock);
        budget.hold_back(TimeDelta::seconds(30)).await;
        clock.advance(TimeDelta::seconds(29));
        assert_eq!(budget.take(Class::Executions).await, Err(TimeDelta::seconds(1)));
        clock.advance(TimeDelta::seconds(1));
        let mut allowed = Vec::new();
        for class in Class::ALL.iter().rev() {
            allowed.push(budget.take(*class).await.is_ok());
        }
        let only_executions = [false, false, false, false, false, false, true];
        assert_eq!(allowed, only_executions, "from reconciliation on");
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(budget.take(Class::Polling).await, Ok(()));
    }

    #[tokio::test]
    async fn reconciliation_keeps_to_its_own_rate_and_leaves_places_to_all_others() {
        let clock = stopped();
        let limiter = Limiter::new("redis://127.0.0.1:1", RateLimits::Off, Counting::default()).expect("a URL");
        // Alone: a quarter of 400 a second and of 5.
        let wide = Budget::new((400, 5), Arc::new(limiter), clock.clone(), Metrics::new().revio.clone());
        assert_eq!(places(&wide, Class::Reconciliation).await, 5, "what may come at once");
        assert!(places(&wide, Class::Polling).await > 5, "the others have theirs");
        clock.advance(TimeDelta::seconds(4));
        assert_eq!(places(&wide, Class::Reconciliation).await, 5, "in four seconds, of a quarter of five a second");
        let narrow = budget(&clock);
        places(&narrow, Class::Polling).await;
        assert!(narrow.take(Class::Reconciliation).await.is_err(), "what is left is for those before it");
        for class in [Class::Deposits, Class::Webhooks, Class::Executions] {
            assert_eq!(narrow.take(class).await, Ok(()), "{}", class.name());
        }
    }

    #[tokio::test]
    async fn a_run_waits_for_its_place_instead_of_coming_back_for_it() {
        let limiter = Limiter::new("redis://127.0.0.1:1", RateLimits::Off, Counting::default()).expect("a URL");
        let budget = Budget::new((400, 20), Arc::new(limiter), Clock::system(), Metrics::new().revio.clone());
        places(&budget, Class::Reconciliation).await;
        for _ in 0..3 {
            assert_eq!(
                budget.wait_in_step(Class::Reconciliation).await,
                Ok(()),
                "of five a second the next one is near"
            );
        }
    }

    #[tokio::test]
    async fn rows_wait_for_their_places_instead_of_coming_back_for_them() {
        let budget = budget(&Clock::system());
        places(&budget, Class::Executions).await;
        let all = futures_util::future::join_all((0..30).map(|_| budget.wait_in_step(Class::Executions))).await;
        let served = all.iter().filter(|place| place.is_ok()).count();
        assert!((8..=10).contains(&served), "{served} of five a second, within two seconds");
    }

    #[tokio::test]
    async fn a_customer_waits_for_a_place_for_a_moment_and_not_for_long() {
        let clock = Clock::system();
        let budget = budget(&clock);
        places(&budget, Class::Executions).await;
        assert_eq!(budget.wait(Class::Deposits, Uuid::nil()).await, Ok(()), "in half a second");
        budget.hold_back(TimeDelta::seconds(60)).await;
        let started = Instant::now();
        assert!(budget.wait(Class::Deposits, Uuid::nil()).await.is_err_and(|wait| wait > TimeDelta::seconds(50)));
        assert!(started.elapsed() < PATIENCE, "what takes longer is not waited for");
    }

    #[tokio::test]
    async fn of_one_customer_three_calls_wait_and_keep_nobody_else_out() {
        let budget = budget(&Clock::system());
        places(&budget, Class::Executions).await;
        let (greedy, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let many = futures_util::future::join_all((0..50).map(|_| budget.wait(Class::Deposits, greedy)));
        let (many, other) = tokio::join!(many, budget.wait(Class::Deposits, other));
        assert_eq!(many.iter().filter(|place| place.is_ok()).count(), WAITING_MAX);
        assert_eq!(other, Ok(()), "within two seconds, behind three");
    }
}
