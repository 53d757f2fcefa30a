//! What the service runs on, put together once by `main.rs` (and by each test) and handed to every part.

use std::collections::HashMap;
use std::{ops::Deref, sync::Arc, time::Instant};

use ledger::Ledger;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Mutex, watch};
use tokio_util::task::TaskTracker;

use crate::platform::error::{BoxError, Error, Result, Wrong};
use crate::platform::queue::{self, Setbacks};
use crate::platform::{
    access::Access,
    batcher::{BatchDb, Batchers},
    clock::{Clock, Moment},
    config::Config,
    crash::CrashPoints,
    database::Db,
    footing::Footing,
    hashing::Hasher,
    mailer::Mailer,
    notifier::Notifier,
    outbound::Outbound,
    rate_limits::Limiter,
    rising::Rising,
    slow_reads::SlowReads,
    tally,
    tally::Tally,
    telemetry::Metrics,
    tokens::Tokens,
    waiting::Waiting,
};
use crate::provider::revio::Revio;

/// Of webhook deliveries that Revio did not sign. One that is kept takes some 3.4 kB in PostgreSQL, a count 0.2 kB.
const REFUSED_DELIVERIES: tally::Bounds = tally::Bounds { kept_each: 60, kept_a_day: 2_000, told_apart: 1_000 };

/// Pages of histories that the ledger is asked for at once.
const HISTORY_TURNS: usize = 4;

/// Cheap to clone; every part is shared.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub db: Db,
    /// The same for the lists that are asked for all the time.
    pub lists: Db,
    /// The same for what concurrent calls share.
    pub batch_db: BatchDb,
    pub ledger: Ledger,
    pub revio: Revio,
    pub mailer: Mailer,
    /// Calls to addresses that others have named.
    pub outbound: Outbound,
    pub limiter: Arc<Limiter>,
    pub slow_reads: SlowReads,
    /// Turns for pages of an account's history: the ledger answers one question after another, and these are its largest.
    pub history_reads: SlowReads,
    pub hasher: Hasher,
    pub access: Access,
    /// What concurrent calls write together.
    pub batchers: Batchers,
    pub tokens: Tokens,
    pub notifier: Notifier,
    pub clock: Clock,
    pub footing: Footing,
    pub crash: CrashPoints,
    pub metrics: Metrics,
    pub setbacks: Setbacks,
    pub ledger_copy: watch::Sender<LedgerCopy>,
    /// How far the copy was when it was looked at.
    pub read_model_ends: Mutex<HashMap<ledger::Currency, Rising>>,
    pub audit_look: Mutex<AuditLook>,
    pub started: Instant,
    pub refused_deliveries: Tally,
    /// Requests that go on although nobody may be listening any more.
    pub in_hand: TaskTracker,
    /// Callers who wait for news.
    pub waiting: Waiting,
    pub config: Config,
}

/// What this process has seen of the copy of the ledger, which knows what an older PostgreSQL has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerCopy {
    /// Not that it is complete; or that it has more than the ledger, which is the older one then: it pays nothing.
    Unseen,
    /// The same, and its background tasks are about to look: besides, they book no word of Revio's, for ten minutes.
    Awaited,
    /// It is complete up to the process's start.
    Complete,
}

/// What this process has seen of the audit log's chain itself: what a table says of it, whoever may write there can say.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditLook {
    /// When it last looked; `None` before the first time.
    pub at: Option<Moment>,
    /// When it last began to.
    pub tried: Option<Moment>,
    /// It looked at old rows from here, and the chain did not hold.
    pub broken_from: Option<i64>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Prepares every connection; `database_url` is one of the two of the settings. No part has to answer yet, except where its address is
    /// wrong: `/readyz` tells.
    pub async fn connect(config: Config, database_url: &SecretString) -> Result<Self, BoxError> {
        // Config has parsed it already. What the driver says of a URL may quote it.
        let options = database_url.expose_secret().parse::<PgConnectOptions>();
        let options = options.map_err(|_| "the database's URL cannot be used by the driver")?;
        let clock = Clock::system();
        let db = Db::open(options, config.connections_of_main_max(), &clock);
        let options = ledger::Options::new(config.tigerbeetle_cluster_id, &config.tigerbeetle_addresses);
        let ledger = Ledger::connect(ledger::Options { base: config.ledger_base, ..options }).await;
        let ledger = ledger.map_err(|error| format!("TIGERBEETLE_ADDRESSES, TIGERBEETLE_CLUSTER_ID: {error}"))?;
        let app = Self::assemble(config, db, ledger, clock, CrashPoints::default())?;
        app.ledger_copy.send_replace(LedgerCopy::Unseen);
        Ok(app)
    }

    /// The same with parts that are there already: a test has its own database, ledger base and clock.
    pub fn assemble(
        config: Config,
        db: impl Into<Db>,
        ledger: Ledger,
        clock: Clock,
        crash: CrashPoints,
    ) -> Result<Self, BoxError> {
        let db = db.into();
        let lists = db.for_lists(config.connections_beside_max(), config.list_deadline);
        let batch_db = BatchDb::beside(&db, config.connections_beside_max());
        let metrics = Metrics::new();
        let calls = metrics.ledger_call_seconds.clone();
        let ledger = ledger.observed(move |asked| {
            calls.with_label_values(&[asked.call, asked.outcome]).observe(asked.took.as_secs_f64());
        });
        let limiter = Limiter::new(config.redis_url.expose_secret(), config.rate_limits, config.counting.clone());
        let limiter = Arc::new(limiter.map_err(|_| "REDIS_URL cannot be used by the driver")?);
        let revio = Revio::new(&config, clock.clone(), limiter.clone(), metrics.revio.clone());
        let tokens = Tokens::new(config.jwt_private_key.expose_secret(), &config.public_url);
        let tokens = tokens.map_err(|reason| format!("JWT_PRIVATE_KEY {reason}"))?;
        let mailer = Mailer::new(&config.mail.way, &config.mail.from, config.mail.deadline)?;
        let outbound = Outbound::new(config.outgoing_reach)?;
        let footing = Footing::new(clock.clone(), config.database_durability, metrics.footing.clone());
        let slow_reads = SlowReads::new(config.slow_reads_max());
        let waiting = Waiting::new(config.server.connections_max, &metrics);
        let (notifier, access) = (Notifier::new(db.clone()), Access::new(db.clone()));
        Ok(Self(Arc::new(Parts {
            db,
            lists,
            batch_db,
            ledger,
            revio,
            mailer,
            outbound,
            limiter,
            slow_reads,
            history_reads: SlowReads::of_files(HISTORY_TURNS),
            hasher: Hasher::default(),
            access,
            batchers: Batchers::default(),
            tokens,
            notifier,
            clock,
            footing,
            crash,
            metrics,
            setbacks: Setbacks::default(),
            ledger_copy: watch::Sender::new(LedgerCopy::Complete),
            read_model_ends: Mutex::default(),
            audit_look: Mutex::default(),
            started: Instant::now(),
            refused_deliveries: Tally::new(REFUSED_DELIVERIES),
            in_hand: TaskTracker::new(),
            waiting,
            config,
        })))
    }

    pub fn queue(&self) -> queue::Queue<'_> {
        queue::Queue { clock: &self.clock, metrics: &self.metrics, setbacks: &self.setbacks }
    }

    /// The currency of a request, if the books have it.
    pub fn currency(&self, code: &str) -> Result<ledger::Currency> {
        one_of(&self.config.currencies, code)
    }

    /// The same, if customers pay in and take out in it.
    pub fn customer_currency(&self, code: &str) -> Result<ledger::Currency> {
        one_of(&self.config.customer_currencies, code)
    }
}

fn one_of(currencies: &[ledger::Currency], code: &str) -> Result<ledger::Currency> {
    currencies.iter().find(|currency| currency.code() == code).copied().ok_or_else(|| {
        Error::field("currency", Wrong::OneOf(currencies.iter().map(|currency| currency.code().to_owned()).collect()))
    })
}
