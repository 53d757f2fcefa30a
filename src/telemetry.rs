//! Logs and metrics: set up once by `main.rs`. Every Prometheus metric is declared here and nowhere else.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogFormat;

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
}

pub struct Metrics {
    registry: Registry,
    /// Requests by route, method and status.
    pub http_requests: IntCounterVec,
    pub http_request_seconds: HistogramVec,
    /// Rate limiter answers: allowed, refused; by redis, or by the process alone while Redis is away.
    pub rate_limit_answers: IntCounterVec,
    /// Sessions opened, refused, refreshed, and ended by how: logged_out, revoked, token_reused.
    pub sign_ins: IntCounterVec,
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
    /// Exports by format and what became of them: streamed, broken, completed, failed.
    pub exports: IntCounterVec,
    /// Rows of exports that were finished, by format.
    pub export_rows: IntCounterVec,
    /// Seconds for which Revio is still left alone by this process; 0 = calls are made.
    pub revio_paused_seconds: IntGauge,
    /// What is waiting now, by queue: due, held, dead.
    pub queue_rows: IntGaugeVec,
    /// Age of the oldest of them, in seconds.
    pub queue_age_seconds: IntGaugeVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// # Panics
    /// If two metrics have one name: a mistake that any test finds.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is well formed");
            registry.register(Box::new(vec.clone())).expect("the name is used once");
            vec
        };
        let single = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("the name is well formed");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is well formed");
            registry.register(Box::new(vec.clone())).expect("the name is used once");
            vec
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
            let vec = HistogramVec::new(options, labels).expect("the name is well formed");
            registry.register(Box::new(vec.clone())).expect("the name is used once");
            vec
        };
        let paused = IntGauge::new("octoco_revio_paused_seconds", "Revio is left alone for so long")
            .expect("the name is well formed");
        registry.register(Box::new(paused.clone())).expect("the name is used once");
        Self {
            http_requests: counter(
                "octoco_http_requests_total",
                "HTTP requests answered",
                &["method", "route", "status"],
            ),
            http_request_seconds: histogram(
                "octoco_http_request_seconds",
                "Time to answer a request",
                &["method", "route"],
            ),
            rate_limit_answers: counter(
                "octoco_rate_limit_answers_total",
                "Answers of the rate limiter",
                &["class", "answer", "by"],
            ),
            sign_ins: counter("octoco_sign_ins_total", "Sign-ins and what became of them", &["outcome"]),
            webhook_calls: counter("octoco_webhook_calls_total", "Calls of the webhook endpoint", &["verdict"]),
            webhook_effect_seconds: histogram(
                "octoco_webhook_effect_seconds",
                "From a webhook's receipt to its effect",
                &["event"],
            ),
            task_steps: counter("octoco_task_steps_total", "Steps of background tasks", &["task", "outcome"]),
            transaction_states: counter(
                "octoco_transaction_states_total",
                "States that transactions reached",
                &["kind", "state"],
            ),
            withdrawals_paid_late: single(
                "octoco_withdrawals_paid_late_total",
                "Withdrawals paid after they had failed",
            ),
            exports: counter("octoco_exports_total", "Exports and what became of them", &["format", "outcome"]),
            export_rows: counter("octoco_export_rows_total", "Rows of finished exports", &["format"]),
            revio_paused_seconds: paused,
            transactions_held: counter("octoco_transactions_held_total", "Transactions held for a person", &["kind"]),
            queue_rows: gauge("octoco_queue_rows", "Rows that wait", &["queue", "what"]),
            queue_age_seconds: gauge(
                "octoco_queue_age_seconds",
                "Age of the oldest row that waits",
                &["queue", "what"],
            ),
            registry,
        }
    }

    /// What waits in a queue now, and for how long the oldest of it.
    pub fn waiting(&self, queue: &str, what: &str, rows: i64, age: Option<chrono::TimeDelta>) {
        self.queue_rows.with_label_values(&[queue, what]).set(rows);
        self.queue_age_seconds.with_label_values(&[queue, what]).set(age.map_or(0, |age| age.num_seconds()));
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing into memory does not fail");
        String::from_utf8(text).expect("the format is text")
    }
}
