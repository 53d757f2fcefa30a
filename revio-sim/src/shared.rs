//! What all tasks and handlers of one simulator share: the world behind its lock, the clock, the faults, the call log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::errors::ApiError;
use crate::faults::Faults;
use crate::keys::SigningKey;
use crate::options::{Deliveries, Options};
use crate::sender::DeliveryReport;
use crate::world::World;

/// One call of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    pub at: i64,
    pub method: String,
    pub path: String,
    /// Whether a key was shown, right or wrong.
    pub with_key: bool,
    /// The status answered; 0 where a fault closed the connection instead.
    pub status: u16,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) origin: String,
    pub(crate) configured_key: Option<SigningKey>,
    pub(crate) http: reqwest::Client,
    world: Mutex<World>,
    faults: Mutex<Faults>,
    calls: Mutex<VecDeque<Call>>,
    /// The second of the newest call that was let in, and how many were in it.
    let_in: Mutex<(i64, u32)>,
    reports: Mutex<VecDeque<DeliveryReport>>,
    /// Held while the state file is written.
    saving: Mutex<()>,
    /// Something may be due for delivery.
    pub(crate) wake: Notify,
    /// The world differs from the state file.
    pub(crate) dirty: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// Logs are bounded: a load test makes millions of calls.
const LOG_KEPT: usize = 10_000;

impl Shared {
    pub(crate) fn new(options: Options, origin: String, world: World) -> Result<Shared, String> {
        let pem = options.webhook_private_key_pem.as_deref();
        Ok(Shared {
            configured_key: pem.map(SigningKey::from_pem).transpose()?,
            http: crate::sender::client()?,
            world: Mutex::new(world),
            faults: Mutex::new(Faults::new(options.seed)),
            calls: Mutex::default(),
            let_in: Mutex::default(),
            reports: Mutex::default(),
            saving: Mutex::default(),
            wake: Notify::new(),
            dirty: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            options,
            origin,
        })
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// Looks at the world as it is by the clock.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.with(look)
    }

    /// Changes the world; deliveries go out and the state is saved afterwards.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = self.with(change);
        self.changed();
        result
    }

    /// A change on behalf of a caller of the API, whose refusal gets the configured shape.
    pub(crate) fn serve<T>(&self, change: impl FnOnce(&mut World) -> Result<T, ApiError>) -> Result<T, ApiError> {
        self.change(|world| {
            let shape = world.settings.error_shape;
            change(world).map_err(|error| error.shaped(shape))
        })
    }

    /// A look on behalf of a caller of the API.
    pub(crate) fn show<T>(&self, look: impl FnOnce(&mut World) -> Result<T, ApiError>) -> Result<T, ApiError> {
        self.read(|world| {
            let shape = world.settings.error_shape;
            look(world).map_err(|error| error.shaped(shape))
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        let mut world = lock(&self.world);
        world.now = self.clock().now();
        world.line_now = self.line_millis();
        world.brand_id = self.options.brand_id;
        world.company_id = self.options.company_id;
        let happened = world.catch_up();
        let result = use_it(&mut world);
        drop(world);
        if happened {
            self.changed();
        }
        result
    }

    fn changed(&self) {
        self.wake.notify_one();
        self.dirty.notify_one();
    }

    /// Now on the delivery time line.
    pub(crate) fn line_millis(&self) -> i64 {
        match self.options.deliveries {
            Deliveries::Automatic { .. } => self.clock().real_millis(),
            Deliveries::Manual => self.clock().millis(),
        }
    }

    /// How long a minute of the retry schedule lasts on that line.
    pub(crate) fn minute_millis(&self) -> i64 {
        match self.options.deliveries {
            Deliveries::Automatic { minute } => i64::try_from(minute.as_millis()).unwrap_or(i64::MAX),
            Deliveries::Manual => 60_000,
        }
    }

    pub(crate) fn faults<T>(&self, use_them: impl FnOnce(&mut Faults) -> T) -> T {
        use_them(&mut lock(&self.faults))
    }

    /// False when there were as many calls in this second as there may be.
    pub(crate) fn lets_in(&self) -> bool {
        let (now, most) = self.read(|world| (world.now, world.settings.calls_per_second));
        let mut let_in = lock(&self.let_in);
        if let_in.0 != now {
            *let_in = (now, 0);
        }
        let is_let_in = most == 0 || let_in.1 < most;
        let_in.1 += u32::from(is_let_in);
        is_let_in
    }

    pub(crate) fn log_call(&self, call: Call) {
        push_bounded(&self.calls, call);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.calls).iter().cloned().collect()
    }

    pub(crate) fn log_delivery(&self, report: DeliveryReport) {
        push_bounded(&self.reports, report);
    }

    pub(crate) fn reports(&self) -> Vec<DeliveryReport> {
        lock(&self.reports).iter().cloned().collect()
    }

    pub(crate) fn saving(&self) -> MutexGuard<'_, ()> {
        lock(&self.saving)
    }

    /// The key of a webhook about to be registered. Slow where it must be generated: call it without the lock.
    pub(crate) fn fresh_webhook_key(&self) -> SigningKey {
        let (waiting, bits) = self.read(|world| (world.next_key.take(), world.settings.key_bits));
        waiting.or_else(|| self.configured_key.clone()).unwrap_or_else(|| SigningKey::generate(bits))
    }
}

fn push_bounded<T>(log: &Mutex<VecDeque<T>>, entry: T) {
    let mut log = lock(log);
    if log.len() == LOG_KEPT {
        log.pop_front();
    }
    log.push_back(entry);
}

/// A panic in one handler must not take the others down with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
