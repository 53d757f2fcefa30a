//! Every Prometheus metric, declared here and in `metrics/finance.rs` and nowhere else. Who fills one has its field; `App` has them all.

mod finance;

use std::ops::Deref;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::declare::{Declare, LIVES};
use super::words::{
    FORMATS, KIND, LEDGER_CALLS, LEDGER_OUTCOMES, MAILS, REVIO_CALLS, REVIO_CLASSES, REVIO_OUTCOMES, SESSIONS, STATES,
    STEPS, TASKS, VERDICTS,
};

pub use finance::{Finance, Reconciliation};

/// A struct of metrics, each declared where it stands.
macro_rules! metrics {
    ($(#[$about:meta])* pub struct $name:ident {
        $($(#[$doc:meta])* $field:ident: $kind:ty = $declare:ident($($argument:expr),* $(,)?)),+ $(,)?
    }) => {
        $(#[$about])*
        pub struct $name { $($(#[$doc])* pub $field: $kind),+ }

        impl $crate::platform::telemetry::declare::Group for $name {
            fn declared(declare: &$crate::platform::telemetry::declare::Declare<'_>) -> Self {
                Self { $($field: declare.$declare($($argument),*)),+ }
            }
        }
    };
}
use metrics;

metrics! {
    /// What [`Metrics`] has.
    pub struct All {
        http_connections: IntGauge = level("octoco_http_connections", "Connections that are open"),
        /// How connections ended: closed, handshake, silent, broken, too_old, crowded (`server.rs`).
        http_connections_ended: IntCounterVec = counter(
            "octoco_http_connections_ended_total",
            "Connections that ended, and how",
            &[("how", &["closed", "handshake", "silent", "broken", "too_old", "crowded"])]
        ),
        /// Callers who wait for news: long polls and event streams.
        waiting: IntGaugeVec = gauge(
            "octoco_waiting", "Callers who wait for news", &[("kind", &["poll", "stream"])]
        ),
        event_streams: IntCounter = single("octoco_event_streams_total", "Event streams that were opened"),
        /// And how they ended: gone (the client), slow (it took nothing), session (or the token), stopped, blind (we could not look).
        event_streams_ended: IntCounterVec = counter(
            "octoco_event_streams_ended_total",
            "Event streams that ended, and how",
            &[("how", &["gone", "slow", "session", "stopped", "blind"])]
        ),
        /// Connections to PostgreSQL, of the three pools of this process: idle, in_use, and how many there may be (max).
        db_pool_connections: IntGaugeVec = gauge(
            "octoco_db_pool_connections",
            "Connections to PostgreSQL, and how many there may be",
            &[("pool", &["main", "lists", "batches"]), ("state", &["idle", "in_use", "max"])]
        ),
        http_requests: IntCounterVec = counter(
            "octoco_http_requests_total", "HTTP requests answered", &[("method", &[]), ("route", &[]), ("status", &[])]
        ),
        http_request_seconds: HistogramVec = histogram(
            "octoco_http_request_seconds", "Time to answer a request", &[("method", &[]), ("route", &[])]
        ),
        /// Rate limiter answers: allowed, refused; by redis, or by the process alone while Redis is away.
        rate_limit_answers: IntCounterVec = counter(
            "octoco_rate_limit_answers_total",
            "Answers of the rate limiter",
            &[("class", &[]), ("answer", &[]), ("by", &[])]
        ),
        /// Sessions opened, refused, not opened yet (code_asked: the password was right), refreshed, not renewed (refresh_refused), and ended by
        /// how: logged_out, revoked, token_reused, password_reset, password_changed, operator.
        sign_ins: IntCounterVec = counter(
            "octoco_sign_ins_total", "Sign-ins and what became of them", &[("outcome", SESSIONS)]
        ),
        /// Other passwords: asked_for, reset, changed, refused.
        passwords: IntCounterVec = counter(
            "octoco_passwords_total",
            "Passwords reset and changed",
            &[("outcome", &["asked_for", "reset", "changed", "refused"])]
        ),
        /// Mails by kind and what became of them: sent, dropped, nobody (has the address), failed, dead.
        mails: IntCounterVec = counter(
            "octoco_mails_total",
            "Mails and what became of them",
            &[("kind", MAILS), ("outcome", &["sent", "dropped", "nobody", "failed", "dead"])]
        ),
        webhook_calls: IntCounterVec = counter(
            "octoco_webhook_calls_total", "Calls of the webhook endpoint", &[("verdict", VERDICTS)]
        ),
        /// Attempts to deliver a webhook of ours: delivered, failed (and tried again), dead.
        outgoing: IntCounterVec = counter(
            "octoco_outgoing_webhooks_total",
            "Attempts to deliver our webhooks",
            &[("outcome", &["delivered", "failed", "dead"])]
        ),
        /// From a webhook's receipt to its effect being booked. A dead letter has none and is late; what a person replays is not measured again.
        webhook_effect_seconds: HistogramVec = histogram(
            "octoco_webhook_effect_seconds", "From a webhook's receipt to its effect", &[("event", &[])]
        ),
        /// Steps of background tasks by queue and outcome: done, stale, set_back, failed, crashed, and what a queue calls its own ends.
        task_steps: IntCounterVec = counter(
            "octoco_task_steps_total", "Steps of background tasks", &[("task", TASKS), ("outcome", STEPS)]
        ),
        /// Transitions of transactions: kind and the state that was reached.
        transaction_states: IntCounterVec = counter(
            "octoco_transaction_states_total", "States that transactions reached", &[KIND, ("state", STATES)]
        ),
        /// Rows that were held for a person.
        transactions_held: IntCounterVec = counter(
            "octoco_transactions_held_total", "Transactions held for a person", &[KIND]
        ),
        /// Rows that were given up because the ledger answered what no step expects.
        ledger_contradictions: IntCounter = single(
            "octoco_ledger_contradictions_total", "Rows given up because the ledger says what cannot be"
        ),
        /// Withdrawals that Revio paid after it had said that it would not.
        withdrawals_paid_late: IntCounter = single(
            "octoco_withdrawals_paid_late_total", "Withdrawals paid after they had failed"
        ),
        exports: IntCounterVec = counter(
            "octoco_exports_total",
            "Exports and what became of them",
            &[("format", FORMATS), ("outcome", &["streamed", "broken"])]
        ),
        export_rows: IntCounterVec = counter(
            "octoco_export_rows_total", "Rows of finished exports", &[("format", FORMATS)]
        ),
        revio: RevioCalls = group(),
        /// What is waiting now, by queue: due, and what a person must look at (docs/observability.md).
        queue_rows: IntGaugeVec = gauge("octoco_queue_rows", "Rows that wait", &[("queue", &[]), ("what", &[])]),
        /// Age of the oldest of them, in seconds.
        queue_age_seconds: IntGaugeVec = gauge(
            "octoco_queue_age_seconds", "Age of the oldest row that waits", &[("queue", &[]), ("what", &[])]
        ),
        /// When this process last read all of its gauges of state, in Unix seconds; 0 = it never has. Before that they are as they were.
        gauges_read_at: IntGauge = level(
            "octoco_gauges_read_timestamp_seconds", "When this process last read all of its gauges of state"
        ),
        /// 1 while nothing is paid because PostgreSQL is, or may be, behind the ledger.
        safe_mode: IntGauge = level(
            "octoco_safe_mode", "1 while nothing is paid because PostgreSQL may be behind the ledger"
        ),
        audit: AuditGauges = group(),
        read_model: ReadModel = group(),
        footing: FootingGauges = group(),
        /// From a row's beginning to its completion, by kind.
        transaction_completion_seconds: HistogramVec = histogram_of(
            &LIVES, "octoco_transaction_completion_seconds", "From a transaction's beginning to its completion", &[KIND]
        ),
        /// From the request of a withdrawal that needs no approval to the moment in which its payout begins.
        withdrawal_submission_seconds: Histogram = one_histogram(
            &LIVES,
            "octoco_withdrawal_submission_seconds",
            "From the request of a withdrawal without approvals to its payout"
        ),
        /// By call and outcome: ok, refused, resolved, contradiction, unknown.
        ledger_call_seconds: HistogramVec = histogram(
            "octoco_ledger_call_seconds",
            "Time that TigerBeetle took to answer",
            &[("call", LEDGER_CALLS), ("outcome", LEDGER_OUTCOMES)]
        ),
        finance: Finance = group(),
        reconciliation: Reconciliation = group(),
        leaving: Leaving = group(),
        /// 1, by version and the commit that it was built from (`OCTOCO_COMMIT` at build).
        build_info: IntGaugeVec = gauge("octoco_build_info", "What runs", &[("version", &[]), ("commit", &[])]),
    }
}

metrics! {
    /// What this process's watch over the audit log's chain found.
    pub struct AuditGauges {
        /// 0: it does not go through what was noted before, or does not hold.
        intact: IntGauge = fact("octoco_audit_chain_intact", "0 where the chain of the audit log was seen not to hold"),
        /// When that was last seen, in Unix seconds.
        verified_at: IntGauge = level("octoco_audit_verified_timestamp_seconds", "When the chain was last seen to hold"),
    }
}

metrics! {
    /// What `footing.rs` measures.
    #[derive(Clone)]
    pub struct FootingGauges {
        /// This process's wall clock minus that of PostgreSQL or TigerBeetle, as last known.
        clock_offset: GaugeVec = measure(
            "octoco_clock_offset_seconds", "This process's clock minus another one", &[("to", &[])]
        ),
        /// 1: PostgreSQL promises what `DATABASE_DURABILITY` demands.
        durable: IntGauge = fact("octoco_database_durable", "PostgreSQL promises the durability demanded"),
        /// 1: PostgreSQL's schema is at least as new as this release's.
        schema_current: IntGauge = fact("octoco_schema_current", "PostgreSQL's schema is as new as this release's"),
    }
}

metrics! {
    /// Of the ledger's read model, and of what is read back from the ledger itself.
    pub struct ReadModel {
        transfers: IntCounterVec = counter("octoco_read_model_transfers_total", "Transfers copied", &[("currency", &[])]),
        /// How far it is behind, by currency: transfers (at 1000 there may be more), and the age of the oldest of them.
        lag_transfers: IntGaugeVec = gauge(
            "octoco_read_model_lag_transfers", "Transfers that are not copied yet, up to 1000", &[("currency", &[])]
        ),
        lag_seconds: GaugeVec = measure(
            "octoco_read_model_lag_seconds", "Age of the oldest transfer that is not copied yet", &[("currency", &[])]
        ),
        /// Times that it could not follow the ledger for another reason than a part that does not answer.
        contradictions: IntCounter = single(
            "octoco_read_model_contradictions_total", "Times that the read model could not follow the ledger"
        ),
        /// Transfers whose row is not there, of those that were found since a person last left the safe mode.
        orphans: IntGauge = level(
            "octoco_read_model_orphans", "Transfers whose row is not there, found since the safe mode was last left"
        ),
        /// Statements that did not tie out, and were not shown.
        statement_mismatches: IntCounter = single("octoco_statement_mismatches_total", "Statements that did not tie out"),
    }
}

metrics! {
    /// Calls to Revio, by class (`provider/revio/budget.rs`).
    #[derive(Clone)]
    pub struct RevioCalls {
        /// By outcome: ok, refused, rate_limited, unreadable, no_answer.
        calls: IntCounterVec = counter(
            "octoco_revio_calls_total", "Calls to Revio", &[("class", REVIO_CLASSES), ("outcome", REVIO_OUTCOMES)]
        ),
        /// Calls that found no place, and were not made at that moment.
        waits: IntCounterVec = counter(
            "octoco_revio_budget_waits_total",
            "Calls to Revio that found no place in the budget",
            &[("class", REVIO_CLASSES)]
        ),
        /// What was asked and how it ended; calls that were not made are not among them.
        call_seconds: HistogramVec = histogram(
            "octoco_revio_call_seconds",
            "Time that Revio took to answer",
            &[("call", REVIO_CALLS), ("outcome", REVIO_OUTCOMES)]
        ),
        /// Seconds for which Revio is still left alone by this process, about purchases, payouts and executions; 0 = calls are made.
        paused_seconds: IntGaugeVec = gauge(
            "octoco_revio_paused_seconds", "Revio is left alone for so long", &[("calls", &["purchases", "payouts", "executions"])]
        ),
    }
}

metrics! {
    /// Errors, traces and lines of the log on their way out of the house (`telemetry.rs`).
    #[derive(Clone)]
    pub struct Leaving {
        /// By to where (sentry, otlp) and what became of it: sent, dropped (there was no room for it), failed.
        items: IntCounterVec = counter(
            "octoco_telemetry_items_total",
            "Errors and traces on their way out",
            &[("to", &["sentry", "otlp"]), ("outcome", &["sent", "dropped", "failed"])]
        ),
        /// Lines of the log that nobody will read: there was no room for them, or standard output is closed.
        log_lines_dropped: IntCounter = single("octoco_log_lines_dropped_total", "Lines of the log that were dropped"),
    }
}

/// All of them, and what renders them.
pub struct Metrics {
    registry: Registry,
    all: All,
}

impl Deref for Metrics {
    type Target = All;

    fn deref(&self) -> &All {
        &self.all
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
        let all: All = Declare(&registry).group();
        let commit = option_env!("OCTOCO_COMMIT").unwrap_or("unknown");
        all.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), commit]).set(1);
        all.reconciliation.begin();
        Self { registry, all }
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
