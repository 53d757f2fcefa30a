//! What the service runs on, put together once by `main.rs` (and by each test) and handed to every part.

use std::{ops::Deref, sync::Arc, time::Duration};

use ledger::Ledger;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::task::TaskTracker;

use crate::platform::error::{BoxError, Error, Result};
use crate::platform::queue::{self, Setbacks};
use crate::platform::{
    access::Access, clock::Clock, config::Config, crash::CrashPoints, hashing::Hasher, mailer::Mailer,
    notifier::Notifier, rate_limits::Limiter, telemetry::Metrics, tokens::Tokens,
};
use crate::provider::revio::Revio;

/// How long a request waits for a free connection before it is told that the service is busy.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(3);
/// No statement of ours needs more; one that does is a defect and must not hold a connection.
const STATEMENT_DEADLINE: &str = "10s";
/// A transaction that was left open by a lost process frees its locks after this.
const IDLE_TRANSACTION_DEADLINE: &str = "10s";

/// Cheap to clone; every part is shared.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub db: PgPool,
    pub ledger: Ledger,
    pub revio: Revio,
    pub mailer: Mailer,
    pub limiter: Limiter,
    pub hasher: Hasher,
    pub access: Access,
    pub tokens: Tokens,
    pub notifier: Notifier,
    pub clock: Clock,
    pub crash: CrashPoints,
    pub metrics: Metrics,
    pub setbacks: Setbacks,
    /// Requests that go on although nobody may be listening any more.
    pub in_hand: TaskTracker,
    pub config: Config,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Prepares every connection. No part has to answer yet, except where its address is wrong: `/readyz` tells.
    pub async fn connect(config: Config) -> Result<Self, BoxError> {
        // Config has parsed it already. What the driver says of a URL may quote it.
        let options = config.database_url.expose_secret().parse::<PgConnectOptions>();
        let options = options.map_err(|_| "DATABASE_URL cannot be used by the driver")?;
        let options = options.application_name("octoco").options([
            ("statement_timeout", STATEMENT_DEADLINE),
            ("idle_in_transaction_session_timeout", IDLE_TRANSACTION_DEADLINE),
            // Compiling a plan takes longer than a page.
            ("jit", "off"),
        ]);
        let db = PgPoolOptions::new()
            .max_connections(config.database_connections_max)
            .acquire_timeout(ACQUIRE_DEADLINE)
            .connect_lazy_with(options);
        let options = ledger::Options::new(config.tigerbeetle_cluster_id, &config.tigerbeetle_addresses);
        let ledger = Ledger::connect(ledger::Options { base: config.ledger_base, ..options }).await?;
        Self::assemble(config, db, ledger, Clock::System, CrashPoints::default())
    }

    /// The same with parts that are there already: a test has its own database, ledger base and clock.
    pub fn assemble(
        config: Config,
        db: PgPool,
        ledger: Ledger,
        clock: Clock,
        crash: CrashPoints,
    ) -> Result<Self, BoxError> {
        let metrics = Metrics::new();
        let revio = Revio::new(
            config.revio_base_url.clone(),
            config.revio_api_key.clone(),
            config.revio_brand_id,
            config.revio_deadlines,
            clock.clone(),
        );
        let limiter = Limiter::new(config.redis_url.expose_secret(), config.rate_limits, config.counting.clone());
        let limiter = limiter.map_err(|_| "REDIS_URL cannot be used by the driver")?;
        let tokens = Tokens::new(config.jwt_private_key.expose_secret(), &config.public_url);
        let tokens = tokens.map_err(|reason| format!("JWT_PRIVATE_KEY {reason}"))?;
        let mailer = Mailer::new(&config.mail.way, &config.mail.from, config.mail.deadline)?;
        let (notifier, access) = (Notifier::new(db.clone()), Access::new(db.clone()));
        Ok(Self(Arc::new(Parts {
            db,
            ledger,
            revio,
            mailer,
            limiter,
            hasher: Hasher::default(),
            access,
            tokens,
            notifier,
            clock,
            crash,
            metrics,
            setbacks: Setbacks::default(),
            in_hand: TaskTracker::new(),
            config,
        })))
    }

    pub fn queue(&self) -> queue::Tools<'_> {
        queue::Tools { clock: &self.clock, metrics: &self.metrics, setbacks: &self.setbacks }
    }

    /// The currency of a request, if customers may use it.
    pub fn currency(&self, code: &str) -> Result<ledger::Currency> {
        let enabled = self.config.currencies.iter().find(|currency| currency.code() == code);
        enabled.copied().ok_or_else(|| {
            let codes: Vec<_> = self.config.currencies.iter().map(|currency| currency.code()).collect();
            Error::field("currency", format!("must be one of {}", codes.join(", ")))
        })
    }
}
