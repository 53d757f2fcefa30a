//! What finance watches: positions, reconciliation, items that stay open, closed months. Gauges of state are read from PostgreSQL
//! by every worker, so rules take the `max` over processes.

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use crate::platform::telemetry::declare::{Declare, RUNS as SECONDS};
use crate::platform::telemetry::words::{BREAKS, OPEN_ITEMS, RUNS};

pub struct Finance {
    /// By currency, account (its name in the chart) and side: debits, credits, pending_debits, pending_credits.
    pub ledger_balance: IntGaugeVec,
    /// What Revio said of its balance when it was last asked, by currency and field.
    pub provider_balance: IntGaugeVec,
    /// By what: suspense, settlement, statement, receivable, journal, reservation; 0 where none is open.
    pub open_item_oldest: IntGaugeVec,
    /// A closed month was printed again and was not the same to the byte.
    pub period_reprint_mismatches: IntCounter,
}

pub struct Reconciliation {
    /// In Unix seconds, by kind of run. 0: never.
    pub last_success: IntGaugeVec,
    /// By kind and outcome: clean, breaks, failed.
    pub runs: IntCounterVec,
    pub run_seconds: HistogramVec,
    /// Open and healing ones by type and severity; those in their window are not counted.
    pub breaks: IntGaugeVec,
    /// Age of the oldest of them, likewise.
    pub breaks_oldest: IntGaugeVec,
    pub breaks_healed: IntCounterVec,
}

impl Finance {
    pub(super) fn new(declare: &Declare<'_>) -> Self {
        Self {
            ledger_balance: declare.gauge(
                "octoco_ledger_balance_minor",
                "Sums of the ledger's copy",
                &[("currency", &[]), ("account", &[]), ("side", &[])],
            ),
            provider_balance: declare.gauge(
                "octoco_provider_balance_minor",
                "What Revio said of its balance",
                &[("currency", &[]), ("field", &[])],
            ),
            open_item_oldest: declare.gauge(
                "octoco_open_item_oldest_seconds",
                "Age of the oldest item that is open",
                &[("what", OPEN_ITEMS)],
            ),
            period_reprint_mismatches: declare.single(
                "octoco_period_reprint_mismatches_total",
                "Closed months that were printed again and were not the same",
            ),
        }
    }
}

impl Reconciliation {
    pub(super) fn new(declare: &Declare<'_>) -> Self {
        let of_breaks = [("type", [].as_slice()), ("severity", [].as_slice())];
        let all = Self {
            last_success: declare.gauge(
                "octoco_reconciliation_last_success_timestamp_seconds",
                "When a run last finished",
                &[("kind", RUNS)],
            ),
            runs: declare.counter(
                "octoco_reconciliation_runs_total",
                "Runs of reconciliation",
                &[("kind", RUNS), ("outcome", &["clean", "breaks", "failed"])],
            ),
            run_seconds: declare.histogram_of(
                &SECONDS,
                "octoco_reconciliation_run_seconds",
                "How long runs took",
                &[("kind", RUNS)],
            ),
            breaks: declare.gauge("octoco_reconciliation_breaks", "Breaks that are open", &of_breaks),
            breaks_oldest: declare.gauge(
                "octoco_reconciliation_breaks_oldest_seconds",
                "Age of the oldest break that is open",
                &of_breaks,
            ),
            breaks_healed: declare.counter(
                "octoco_reconciliation_breaks_healed_total",
                "Breaks that were healed without a person",
                &of_breaks,
            ),
        };
        for (kind, severities) in BREAKS {
            for severity in *severities {
                let of = [*kind, *severity];
                drop((all.breaks.with_label_values(&of), all.breaks_oldest.with_label_values(&of)));
                drop(all.breaks_healed.with_label_values(&of));
            }
        }
        all
    }
}
