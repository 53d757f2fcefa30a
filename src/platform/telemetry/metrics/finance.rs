//! What finance watches: positions, reconciliation, items that stay open, closed months. Gauges of state are read from PostgreSQL
//! by every worker, so rules take the `max` over processes.

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::metrics;
use crate::platform::telemetry::declare::RUNS as SECONDS;
use crate::platform::telemetry::words::{BREAKS, Label, OPEN_ITEMS, RUNS};

metrics! {
    pub struct Finance {
        /// By currency, account (its name in the chart) and side: debits, credits, pending_debits, pending_credits.
        ledger_balance: IntGaugeVec = gauge(
            "octoco_ledger_balance_minor", "Sums of the ledger's copy", &[("currency", &[]), ("account", &[]), ("side", &[])]
        ),
        /// What Revio said of its balance when it was last asked, by currency and field. Where it has not said for an hour what is available, the
        /// ledger's word stands there, and all else at 0.
        provider_balance: IntGaugeVec = gauge(
            "octoco_provider_balance_minor", "What Revio said of its balance", &[("currency", &[]), ("field", &[])]
        ),
        /// What Revio has executed of withdrawals and not finished, by currency: reserved in the ledger, and gone from what Revio has available.
        payouts_under_way: IntGaugeVec = gauge(
            "octoco_payouts_under_way_minor", "Withdrawals that Revio has executed and that have not ended", &[("currency", &[])]
        ),
        /// By what: suspense, settlement, statement, receivable, journal, reservation; 0 where none is open.
        open_item_oldest: IntGaugeVec = gauge(
            "octoco_open_item_oldest_seconds", "Age of the oldest item that is open", &[("what", OPEN_ITEMS)]
        ),
        /// A closed month was printed again and was not the same to the byte.
        period_reprint_mismatches: IntCounter = single(
            "octoco_period_reprint_mismatches_total", "Closed months that were printed again and were not the same"
        ),
    }
}

/// Of breaks: which there are stands in [`BREAKS`].
const OF_BREAKS: [Label; 2] = [("type", &[]), ("severity", &[])];

metrics! {
    pub struct Reconciliation {
        /// In Unix seconds, by kind of run. 0: never.
        last_success: IntGaugeVec = gauge(
            "octoco_reconciliation_last_success_timestamp_seconds", "When a run last finished", &[("kind", RUNS)]
        ),
        /// By kind and outcome: clean, breaks, failed.
        runs: IntCounterVec = counter(
            "octoco_reconciliation_runs_total",
            "Runs of reconciliation",
            &[("kind", RUNS), ("outcome", &["clean", "breaks", "failed"])]
        ),
        run_seconds: HistogramVec = histogram_of(
            &SECONDS, "octoco_reconciliation_run_seconds", "How long runs took", &[("kind", RUNS)]
        ),
        /// Open and healing ones by type and severity; those in their window are not counted.
        breaks: IntGaugeVec = gauge("octoco_reconciliation_breaks", "Breaks that are open", &OF_BREAKS),
        /// Age of the oldest of them, likewise.
        breaks_oldest: IntGaugeVec = gauge(
            "octoco_reconciliation_breaks_oldest_seconds", "Age of the oldest break that is open", &OF_BREAKS
        ),
        breaks_healed: IntCounterVec = counter(
            "octoco_reconciliation_breaks_healed_total", "Breaks that were healed without a person", &OF_BREAKS
        ),
    }
}

impl Reconciliation {
    /// Each type with the severities that it may have, at 0.
    pub(super) fn begin(&self) {
        for (kind, severities) in BREAKS {
            for of in severities.iter().map(|severity| [*kind, *severity]) {
                drop((self.breaks.with_label_values(&of), self.breaks_oldest.with_label_values(&of)));
                drop(self.breaks_healed.with_label_values(&of));
            }
        }
    }
}
