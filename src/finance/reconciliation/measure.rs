//! The gauges of finance, read from PostgreSQL by every worker. A series that was there once is set to zero, never left as it was.

mod store;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use ledger::AccountCode;
use prometheus::core::Collector;
use uuid::Uuid;

use super::found::{BreakType, Severity};
use super::run::RunKind;
use super::{breaks, runs};
use crate::app::App;
use crate::finance::days;
use crate::platform::clock::DateTime;
use crate::platform::error::Result;

/// A month that is not closed, and the one before it; what is older the month's close has asked for.
const STATEMENTS_LOOKED_BACK_DAYS: i32 = 62;
/// Revio is asked each quarter of an hour; the same in `reporting.float`.
const ANSWER_STANDS: TimeDelta = TimeDelta::hours(1);

fn seconds(app: &App, since: Option<DateTime>) -> i64 {
    since.map_or(0, |since| (app.clock.now() - since).num_seconds().max(0))
}

pub async fn measure(app: &App) -> Result<()> {
    breaks_and_runs(app).await?;
    let currencies = app.config.currency_codes();
    provider_balance(app, &currencies).await?;
    for sum in store::payouts_under_way(&app.db, &currencies).await? {
        app.metrics.finance.payouts_under_way.with_label_values(&[&sum.currency]).set(sum.amount_minor);
    }
    let oldest_of = |what: &str| app.metrics.finance.open_item_oldest.with_label_values(&[what]);
    for oldest in store::oldest(&app.db).await? {
        oldest_of(&oldest.what).set(seconds(app, oldest.since));
    }
    let banks = app.config.currencies.iter().map(|currency| app.ledger.system(AccountCode::Bank, *currency).id);
    let banks: Vec<Uuid> = banks.map(|id| id.as_uuid()).collect();
    let now = (days::zone(app), app.clock.now());
    let of = (currencies.as_slice(), banks.as_slice());
    let missing = store::first_day_without_statement(&app.db, now, of, STATEMENTS_LOOKED_BACK_DAYS).await?;
    oldest_of("statement").set(seconds(app, missing));
    Ok(())
}

/// What Revio does not say any more stands at zero: the alarms on the float add the fields up.
async fn provider_balance(app: &App, currencies: &[String]) -> Result<()> {
    let gauge = &app.metrics.finance.provider_balance;
    let figures = store::figures(&app.db, currencies, app.clock.now() - ANSWER_STANDS).await?;
    let mut by_field: BTreeMap<(String, String), i64> = BTreeMap::new();
    for metric in gauge.collect().iter().flat_map(|family| family.get_metric()) {
        let word = |name: &str| metric.get_label().iter().find(|label| label.name() == name).map(|label| label.value());
        if let Some((currency, field)) = word("currency").zip(word("field")) {
            by_field.insert((currency.to_owned(), field.to_owned()), 0);
        }
    }
    by_field.extend(figures.into_iter().map(|figure| ((figure.currency, figure.field), figure.amount_minor)));
    for ((currency, field), minor) in by_field {
        gauge.with_label_values(&[&currency, &field]).set(minor);
    }
    Ok(())
}

async fn breaks_and_runs(app: &App) -> Result<()> {
    let gauges = &app.metrics.reconciliation;
    let waiting = breaks::waiting(app).await?;
    for kind in BreakType::ALL.iter().copied() {
        for severity in severities(kind) {
            let of = [kind.name(), severity.name()];
            let found = waiting.iter().find(|waiting| [waiting.kind.as_str(), waiting.severity.as_str()] == of);
            gauges.breaks.with_label_values(&of).set(found.map_or(0, |found| found.count));
            gauges.breaks_oldest.with_label_values(&of).set(seconds(app, found.and_then(|found| found.oldest)));
            // Counted where it happens; here from the start.
            drop(gauges.breaks_healed.with_label_values(&of));
        }
    }
    let finished = runs::last_finished(app).await?;
    for kind in RunKind::ALL.iter().copied() {
        let last = finished.iter().find(|(name, _)| name == kind.name());
        gauges.last_success.with_label_values(&[kind.name()]).set(last.map_or(0, |(_, at)| at.timestamp()));
        for outcome in ["clean", "breaks", "failed"] {
            drop(gauges.runs.with_label_values(&[kind.name(), outcome]));
        }
        drop(gauges.run_seconds.with_label_values(&[kind.name()]));
    }
    Ok(())
}

/// What is medium, or heals by itself, is high in the end.
fn severities(kind: BreakType) -> Vec<Severity> {
    match kind.rule().severity {
        of @ (Severity::Info | Severity::Medium) => vec![of, Severity::High],
        of @ (Severity::High | Severity::Critical) => vec![of],
    }
}
