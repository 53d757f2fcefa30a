//! Logs and metrics: set up once by `main.rs`. Every Prometheus metric is declared here and nowhere else.

use std::any::Any;

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::platform::config::LogFormat;

/// Seconds; from a row read to a call that met its deadline.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Where logs go: standard output, one JSON object a line (or text for people). `RUST_LOG` filters.
pub fn init_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_current_span(true)).init(),
        LogFormat::Text => registry.with(fmt::layer()).init(),
    }
    log_panics();
}

/// Panics go where logs go, as one line, with the request's id if there is one. Standard error would have them in whole.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, text = panic_text(panic.payload()), "panic");
    }));
}

/// What may be told of a panic: its text if that stands in the source. A text that was put together may hold a value, and a
/// value may be a secret or somebody's name; the place in the source is enough to find it.
pub fn panic_text(panic: &(dyn Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("a text with values in it, which are not told")
}

pub struct Metrics {
    registry: Registry,
    /// Connections that are open now.
    pub http_connections: IntGauge,
    /// How connections ended: closed, handshake, silent, broken, too_old, crowded (`server.rs`).
    pub http_connections_ended: IntCounterVec,
    /// Connections to PostgreSQL, of the pool of this process: idle, in_use, and how many there may be (max).
    pub db_pool_connections: IntGaugeVec,
    /// Requests by route, method and status.
    pub http_requests: IntCounterVec,
    pub http_request_seconds: HistogramVec,
    /// Rate limiter answers: allowed, refused; by redis, or by the process alone while Redis is away.
    pub rate_limit_answers: IntCounterVec,
    /// Sessions opened, refused, refreshed, and ended by how: logged_out, revoked, token_reused, password_reset,
    /// password_changed, operator.
    pub sign_ins: IntCounterVec,
    /// Other passwords: asked_for, reset, changed, refused.
    pub passwords: IntCounterVec,
    /// Mails by kind and what became of them: sent, dropped, nobody (has the address), failed, dead.
    pub mails: IntCounterVec,
    /// Calls of the webhook endpoint by verdict.
    pub webhook_calls: IntCounterVec,
    /// From a webhook's receipt to its effect being booked.
    pub webhook_effect_seconds: HistogramVec,
    /// Steps of background tasks by task and outcome: done, stale, failed.
    pub task_steps: IntCounterVec,
    /// Transitions of transactions: kind and the state that was reached.
    pub transaction_states: IntCounterVec,
    /// Rows that were held for a person.
    pub transactions_held: IntCounterVec,
    /// Withdrawals that Revio paid after it had said that it would not.
    pub withdrawals_paid_late: IntCounter,
    /// Exports by format and what became of them: streamed, broken.
    pub exports: IntCounterVec,
    /// Rows of exports that were finished, by format.
    pub export_rows: IntCounterVec,
    pub revio: RevioCalls,
    /// What is waiting now, by queue: due, held, dead.
    pub queue_rows: IntGaugeVec,
    /// Age of the oldest of them, in seconds.
    pub queue_age_seconds: IntGaugeVec,
    /// 1 while nothing is paid because PostgreSQL is, or may be, behind the ledger.
    pub safe_mode: IntGauge,
    pub audit: AuditGauges,
    pub read_model: ReadModel,
    pub footing: FootingGauges,
}

/// What the watch over the audit log's chain found.
pub struct AuditGauges {
    /// 1: it goes through what was noted before, and holds.
    pub intact: IntGauge,
    /// When that was last seen, in Unix seconds.
    pub verified_at: IntGauge,
}

/// What `footing.rs` measures.
#[derive(Clone)]
pub struct FootingGauges {
    /// This process's wall clock minus that of PostgreSQL or TigerBeetle, as last known.
    pub clock_offset: GaugeVec,
    /// 1: PostgreSQL promises what `DATABASE_DURABILITY` demands.
    pub durable: IntGauge,
}

/// Of the ledger's read model, and of what is read back from the ledger itself.
pub struct ReadModel {
    /// Transfers copied, by currency.
    pub transfers: IntCounterVec,
    /// How far it is behind, by currency: transfers (at 1000 there may be more), and the age of the oldest of them.
    pub lag_transfers: IntGaugeVec,
    pub lag_seconds: GaugeVec,
    /// Times that it could not follow the ledger for another reason than a part that does not answer.
    pub contradictions: IntCounter,
    /// Transfers whose row is not there.
    pub orphans: IntGauge,
    /// Statements and trial balances that did not tie out, and were not shown.
    pub statement_mismatches: IntCounter,
    /// Months that were not printed again because they are not what was closed, and such as do not tie out.
    pub period_reprint_mismatches: IntCounter,
}

impl AuditGauges {
    fn new(declare: &Declare<'_>) -> Self {
        Self {
            intact: declare.level("octoco_audit_chain_intact", "1 while the chain of the audit log holds"),
            verified_at: declare
                .level("octoco_audit_verified_timestamp_seconds", "When the chain was last seen to hold"),
        }
    }
}

impl ReadModel {
    fn new(declare: &Declare<'_>) -> Self {
        Self {
            transfers: declare.counter("octoco_read_model_transfers_total", "Transfers copied", &["currency"]),
            lag_transfers: declare.gauge(
                "octoco_read_model_lag_transfers",
                "Transfers that are not copied yet, up to 1000",
                &["currency"],
            ),
            lag_seconds: declare.register(GaugeVec::new(
                Opts::new("octoco_read_model_lag_seconds", "Age of the oldest transfer that is not copied yet"),
                &["currency"],
            )),
            contradictions: declare.single(
                "octoco_read_model_contradictions_total",
                "Times that the read model could not follow the ledger",
            ),
            orphans: declare.level("octoco_read_model_orphans", "Transfers whose row is not there"),
            statement_mismatches: declare
                .single("octoco_statement_mismatches_total", "Statements that did not tie out"),
            period_reprint_mismatches: declare.single(
                "octoco_period_reprint_mismatches_total",
                "Closed months that were not printed again, for they would have been others",
            ),
        }
    }
}

impl FootingGauges {
    fn new(declare: &Declare<'_>) -> Self {
        Self {
            clock_offset: declare.register(GaugeVec::new(
                Opts::new("octoco_clock_offset_seconds", "This process's clock minus another one"),
                &["to"],
            )),
            durable: declare.level("octoco_database_durable", "PostgreSQL promises the durability demanded"),
        }
    }
}

/// Calls to Revio, by class: payouts, webhooks, deposits, polling, reconciliation (`provider/revio/budget.rs`).
#[derive(Clone)]
pub struct RevioCalls {
    /// By outcome: ok, refused, rate_limited, unreadable, no_answer.
    pub calls: IntCounterVec,
    /// Calls that found no place, and were not made at that moment.
    pub waits: IntCounterVec,
    /// Seconds for which Revio is still left alone by this process, about purchases and about payouts; 0 = calls are made.
    pub paused_seconds: IntGaugeVec,
}

impl RevioCalls {
    fn new(declare: &Declare<'_>) -> Self {
        Self {
            calls: declare.counter("octoco_revio_calls_total", "Calls to Revio", &["class", "outcome"]),
            waits: declare.counter(
                "octoco_revio_budget_waits_total",
                "Calls to Revio that found no place in the budget",
                &["class"],
            ),
            paused_seconds: declare.gauge("octoco_revio_paused_seconds", "Revio is left alone for so long", &["calls"]),
        }
    }
}

/// One metric at a time. A name that is not well formed, or used twice, is a mistake that any test finds.
struct Declare<'a>(&'a Registry);

impl Declare<'_> {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn single(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn level(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels))
    }

    fn register<T: Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        let metric = made.expect("the name is well formed");
        self.0.register(Box::new(metric.clone())).expect("the name is used once");
        metric
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// # Panics
    /// If two metrics have one name: a mistake that any test finds.
    pub fn new() -> Self {
        let registry = Registry::new();
        let declare = Declare(&registry);
        Self {
            http_connections: declare.level("octoco_http_connections", "Connections that are open"),
            http_connections_ended: declare.counter(
                "octoco_http_connections_ended_total",
                "Connections that ended, and how",
                &["how"],
            ),
            db_pool_connections: declare.gauge(
                "octoco_db_pool_connections",
                "Connections to PostgreSQL, and how many there may be",
                &["state"],
            ),
            http_requests: declare.counter(
                "octoco_http_requests_total",
                "HTTP requests answered",
                &["method", "route", "status"],
            ),
            http_request_seconds: declare.histogram(
                "octoco_http_request_seconds",
                "Time to answer a request",
                &["method", "route"],
            ),
            rate_limit_answers: declare.counter(
                "octoco_rate_limit_answers_total",
                "Answers of the rate limiter",
                &["class", "answer", "by"],
            ),
            sign_ins: declare.counter("octoco_sign_ins_total", "Sign-ins and what became of them", &["outcome"]),
            passwords: declare.counter("octoco_passwords_total", "Passwords reset and changed", &["outcome"]),
            mails: declare.counter("octoco_mails_total", "Mails and what became of them", &["kind", "outcome"]),
            webhook_calls: declare.counter("octoco_webhook_calls_total", "Calls of the webhook endpoint", &["verdict"]),
            webhook_effect_seconds: declare.histogram(
                "octoco_webhook_effect_seconds",
                "From a webhook's receipt to its effect",
                &["event"],
            ),
            safe_mode: declare
                .level("octoco_safe_mode", "1 while nothing is paid because PostgreSQL may be behind the ledger"),
            task_steps: declare.counter("octoco_task_steps_total", "Steps of background tasks", &["task", "outcome"]),
            transaction_states: declare.counter(
                "octoco_transaction_states_total",
                "States that transactions reached",
                &["kind", "state"],
            ),
            withdrawals_paid_late: declare
                .single("octoco_withdrawals_paid_late_total", "Withdrawals paid after they had failed"),
            exports: declare.counter("octoco_exports_total", "Exports and what became of them", &["format", "outcome"]),
            export_rows: declare.counter("octoco_export_rows_total", "Rows of finished exports", &["format"]),
            revio: RevioCalls::new(&declare),
            transactions_held: declare.counter(
                "octoco_transactions_held_total",
                "Transactions held for a person",
                &["kind"],
            ),
            queue_rows: declare.gauge("octoco_queue_rows", "Rows that wait", &["queue", "what"]),
            queue_age_seconds: declare.gauge(
                "octoco_queue_age_seconds",
                "Age of the oldest row that waits",
                &["queue", "what"],
            ),
            audit: AuditGauges::new(&declare),
            read_model: ReadModel::new(&declare),
            footing: FootingGauges::new(&declare),
            registry,
        }
    }

    /// What waits in a queue now, and for how long the oldest of it.
    pub fn waiting(&self, queue: &str, what: &str, rows: i64, age: Option<chrono::TimeDelta>) {
        self.queue_rows.with_label_values(&[queue, what]).set(rows);
        self.queue_age_seconds.with_label_values(&[queue, what]).set(age.map_or(0, |age| age.num_seconds()));
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing into memory does not fail");
        String::from_utf8(text).expect("the format is text")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_place_and_without_its_values() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(fmt::layer().json().with_writer(move || writer.clone()));
        let before = std::panic::take_hook();
        log_panics();
        tracing::subscriber::with_default(subscriber, || {
            std::panic::catch_unwind(|| panic!("a literal")).expect_err("it panicked");
            let secret = "62001234567";
            std::panic::catch_unwind(|| panic!("no such account: {secret}")).expect_err("it panicked");
            let wrong: Result<(), String> = Err(secret.to_owned());
            std::panic::catch_unwind(|| wrong.clone().expect("it parses")).expect_err("it panicked");
        });
        std::panic::set_hook(before);
        let text = String::from_utf8(written.0.lock().expect("nobody panicked").clone()).expect("text");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(text.matches("src/platform/telemetry.rs:").count(), 3, "{text}");
        assert!(text.contains("a literal") && !text.contains("62001234567"), "{text}");
    }
}
