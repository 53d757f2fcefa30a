//! Every Prometheus metric, declared here and in `metrics/finance.rs` and nowhere else. Who fills one has its field; `App` has them all.

mod finance;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::declare::{Declare, LIVES};
use super::words::{
    FORMATS, KIND, LEDGER_CALLS, LEDGER_OUTCOMES, MAILS, REVIO_CALLS, REVIO_CLASSES, REVIO_OUTCOMES, SESSIONS, STATES,
    VERDICTS,
};

pub use finance::{Finance, Reconciliation};

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
    /// From a row's beginning to its completion, by kind.
    pub transaction_completion_seconds: HistogramVec,
    /// From a withdrawal's beginning to the call that pays it, the first one, of those that waited for no person.
    pub withdrawal_submission_seconds: HistogramVec,
    /// By call and outcome: ok, refused, resolved, contradiction, unknown.
    pub ledger_call_seconds: HistogramVec,
    pub finance: Finance,
    pub reconciliation: Reconciliation,
    pub leaving: Leaving,
    /// 1, by version and the commit that it was built from (`OCTOCO_COMMIT` at build).
    pub build_info: IntGaugeVec,
}

/// Errors and traces on their way out of the house (`telemetry.rs`).
#[derive(Clone)]
pub struct Leaving {
    /// By to where (sentry, otlp) and what became of it: sent, dropped (there was no room for it), failed.
    pub items: IntCounterVec,
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
    /// Statements that did not tie out, and were not shown.
    pub statement_mismatches: IntCounter,
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
            transfers: declare.counter("octoco_read_model_transfers_total", "Transfers copied", &[("currency", &[])]),
            lag_transfers: declare.gauge(
                "octoco_read_model_lag_transfers",
                "Transfers that are not copied yet, up to 1000",
                &[("currency", &[])],
            ),
            lag_seconds: declare.measure(
                "octoco_read_model_lag_seconds",
                "Age of the oldest transfer that is not copied yet",
                &[("currency", &[])],
            ),
            contradictions: declare.single(
                "octoco_read_model_contradictions_total",
                "Times that the read model could not follow the ledger",
            ),
            orphans: declare.level("octoco_read_model_orphans", "Transfers whose row is not there"),
            statement_mismatches: declare
                .single("octoco_statement_mismatches_total", "Statements that did not tie out"),
        }
    }
}

impl FootingGauges {
    fn new(declare: &Declare<'_>) -> Self {
        Self {
            clock_offset: declare.measure(
                "octoco_clock_offset_seconds",
                "This process's clock minus another one",
                &[("to", &[])],
            ),
            durable: declare.level("octoco_database_durable", "PostgreSQL promises the durability demanded"),
        }
    }
}

/// Calls to Revio, by class: payouts, webhooks, deposits, polling (`provider/revio/budget.rs`).
#[derive(Clone)]
pub struct RevioCalls {
    /// By outcome: ok, refused, rate_limited, unreadable, no_answer.
    pub calls: IntCounterVec,
    /// Calls that found no place, and were not made at that moment.
    pub waits: IntCounterVec,
    /// What was asked and how it ended; calls that were not made are not among them.
    pub call_seconds: HistogramVec,
    /// Seconds for which Revio is still left alone by this process, about purchases and about payouts; 0 = calls are made.
    pub paused_seconds: IntGaugeVec,
}

impl RevioCalls {
    fn new(declare: &Declare<'_>) -> Self {
        Self {
            calls: declare.counter(
                "octoco_revio_calls_total",
                "Calls to Revio",
                &[("class", REVIO_CLASSES), ("outcome", REVIO_OUTCOMES)],
            ),
            waits: declare.counter(
                "octoco_revio_budget_waits_total",
                "Calls to Revio that found no place in the budget",
                &[("class", REVIO_CLASSES)],
            ),
            call_seconds: declare.histogram(
                "octoco_revio_call_seconds",
                "Time that Revio took to answer",
                &[("call", REVIO_CALLS), ("outcome", REVIO_OUTCOMES)],
            ),
            paused_seconds: declare.gauge(
                "octoco_revio_paused_seconds",
                "Revio is left alone for so long",
                &[("calls", &["purchases", "payouts"])],
            ),
        }
    }
}

impl Leaving {
    fn new(declare: &Declare<'_>) -> Self {
        let outcomes = ("outcome", ["sent", "dropped", "failed"].as_slice());
        let items = declare.counter(
            "octoco_telemetry_items_total",
            "Errors and traces on their way out",
            &[("to", &["sentry", "otlp"]), outcomes],
        );
        Self { items }
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
        registry.register(Box::new(ProcessCollector::for_self())).expect("its names are its own");
        let declare = Declare(&registry);
        let metrics = Self {
            http_connections: declare.level("octoco_http_connections", "Connections that are open"),
            http_connections_ended: declare.counter(
                "octoco_http_connections_ended_total",
                "Connections that ended, and how",
                &[("how", &["closed", "handshake", "silent", "broken", "too_old", "crowded"])],
            ),
            db_pool_connections: declare.gauge(
                "octoco_db_pool_connections",
                "Connections to PostgreSQL, and how many there may be",
                &[("state", &["idle", "in_use", "max"])],
            ),
            http_requests: declare.counter(
                "octoco_http_requests_total",
                "HTTP requests answered",
                &[("method", &[]), ("route", &[]), ("status", &[])],
            ),
            http_request_seconds: declare.histogram(
                "octoco_http_request_seconds",
                "Time to answer a request",
                &[("method", &[]), ("route", &[])],
            ),
            rate_limit_answers: declare.counter(
                "octoco_rate_limit_answers_total",
                "Answers of the rate limiter",
                &[("class", &[]), ("answer", &[]), ("by", &[])],
            ),
            sign_ins: declare.counter(
                "octoco_sign_ins_total",
                "Sign-ins and what became of them",
                &[("outcome", SESSIONS)],
            ),
            passwords: declare.counter(
                "octoco_passwords_total",
                "Passwords reset and changed",
                &[("outcome", &["asked_for", "reset", "changed", "refused"])],
            ),
            mails: declare.counter(
                "octoco_mails_total",
                "Mails and what became of them",
                &[("kind", MAILS), ("outcome", &["sent", "dropped", "nobody", "failed", "dead"])],
            ),
            webhook_calls: declare.counter(
                "octoco_webhook_calls_total",
                "Calls of the webhook endpoint",
                &[("verdict", VERDICTS)],
            ),
            webhook_effect_seconds: declare.histogram(
                "octoco_webhook_effect_seconds",
                "From a webhook's receipt to its effect",
                &[("event", &[])],
            ),
            safe_mode: declare
                .level("octoco_safe_mode", "1 while nothing is paid because PostgreSQL may be behind the ledger"),
            task_steps: declare.counter(
                "octoco_task_steps_total",
                "Steps of background tasks",
                &[("task", &[]), ("outcome", &[])],
            ),
            transaction_states: declare.counter(
                "octoco_transaction_states_total",
                "States that transactions reached",
                &[KIND, ("state", STATES)],
            ),
            withdrawals_paid_late: declare
                .single("octoco_withdrawals_paid_late_total", "Withdrawals paid after they had failed"),
            exports: declare.counter(
                "octoco_exports_total",
                "Exports and what became of them",
                &[("format", FORMATS), ("outcome", &["streamed", "broken"])],
            ),
            export_rows: declare.counter(
                "octoco_export_rows_total",
                "Rows of finished exports",
                &[("format", FORMATS)],
            ),
            revio: RevioCalls::new(&declare),
            transactions_held: declare.counter(
                "octoco_transactions_held_total",
                "Transactions held for a person",
                &[KIND],
            ),
            queue_rows: declare.gauge("octoco_queue_rows", "Rows that wait", &[("queue", &[]), ("what", &[])]),
            queue_age_seconds: declare.gauge(
                "octoco_queue_age_seconds",
                "Age of the oldest row that waits",
                &[("queue", &[]), ("what", &[])],
            ),
            audit: AuditGauges::new(&declare),
            read_model: ReadModel::new(&declare),
            footing: FootingGauges::new(&declare),
            transaction_completion_seconds: declare.histogram_of(
                &LIVES,
                "octoco_transaction_completion_seconds",
                "From a transaction's beginning to its completion",
                &[KIND],
            ),
            withdrawal_submission_seconds: declare.histogram_of(
                &LIVES,
                "octoco_withdrawal_submission_seconds",
                "From a withdrawal's beginning to the call that pays it, where it waits for no person",
                &[],
            ),
            ledger_call_seconds: declare.histogram(
                "octoco_ledger_call_seconds",
                "Time that TigerBeetle took to answer",
                &[("call", LEDGER_CALLS), ("outcome", LEDGER_OUTCOMES)],
            ),
            finance: Finance::new(&declare),
            reconciliation: Reconciliation::new(&declare),
            leaving: Leaving::new(&declare),
            build_info: declare.gauge("octoco_build_info", "What runs", &[("version", &[]), ("commit", &[])]),
            registry,
        };
        metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("OCTOCO_COMMIT").unwrap_or("unknown")])
            .set(1);
        metrics
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
