//! `octoco reconcile`: starts a run, works on it until it is over (a worker of the service may do so too: whoever has its lease), and prints
//! what it found. Called by `main`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::{path::PathBuf, process::ExitCode, time::Duration};

use chrono::TimeDelta;
use clap::Args;
use ledger::Currency;

use crate::app::App;
use crate::books::files::decimal;
use crate::finance::reconciliation::report::{self, Line, Report};
use crate::finance::reconciliation::{self, BreakState, New, ReconciliationLeg, RunKind, RunState, Step, runs};
use crate::finance::statement_files::{self, Import, Source, StatementFile};
use crate::identity::audit::Actor;
use crate::platform::error::{BoxError, Error, Result};
use crate::processes::worker::OTHER_LEGS;

/// Between two steps, while Revio's budget or the time between two looks is waited for.
const PAUSE: Duration = Duration::from_secs(1);

/// Compares rows, ledger, Revio and the bank: exit status 0 clean, 1 breaks are open, 2 not finished
#[derive(Args)]
pub struct Options {
    /// What changed since so long ago is looked at: 36h, 2d
    #[arg(long, default_value = "2d", value_parser = parse_age)]
    pub since: TimeDelta,
    /// Only this leg (a inside, b Revio, c bank); default: all
    #[arg(long, value_parser = |name: &str| name.parse::<ReconciliationLeg>())]
    pub leg: Option<ReconciliationLeg>,
    /// First imports this file of Revio's or the bank's
    #[arg(long, value_name = "FILE", requires = "source")]
    pub statement: Option<PathBuf>,
    /// Whose file it is: revio or bank
    #[arg(long, requires = "statement", value_parser = |name: &str| name.parse::<Source>())]
    pub source: Option<Source>,
    /// Only says what would become of the file
    #[arg(long, requires = "statement")]
    pub dry_run: bool,
}

/// How a run ended: the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Clean,
    OpenBreaks,
    NotFinished,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::from(0),
            Outcome::OpenBreaks => Self::from(1),
            Outcome::NotFinished => Self::from(2),
        }
    }
}

pub async fn command(app: App, options: Options) -> Result<ExitCode, BoxError> {
    if let Some((file, source)) = options.statement.as_ref().zip(options.source) {
        let content = std::fs::read(file)?;
        match statement_files::import(
            &app,
            &Actor::operator(),
            &Import { dry_run: options.dry_run, ..Import::new(source, &content) },
        )
        .await
        {
            Ok(imported) => writeln!(io::stdout().lock(), "{}", summary(&imported))?,
            Err(Error::BadStatement(wrong)) => {
                let wrong: Vec<String> = wrong.iter().map(|of| format!("  {} {}", of.field, of.message)).collect();
                writeln!(io::stdout().lock(), "the file cannot be used:\n{}", wrong.join("\n"))?;
                return Ok(Outcome::NotFinished.into());
            }
            Err(error) => return Err(error.into()),
        }
        if options.dry_run {
            return Ok(Outcome::Clean.into());
        }
    }
    let (report, outcome) = run(&app, &options).await?;
    writeln!(io::stdout().lock(), "{}", report.trim_end())?;
    Ok(outcome.into())
}

fn summary(file: &StatementFile) -> String {
    let StatementFile { source, sha256, lines, matched, unmatched, .. } = file;
    let columns = if file.unknown_columns.is_empty() { "none".to_owned() } else { file.unknown_columns.join(", ") };
    format!(
        "statement of {}: {lines} lines, {matched} matched, {unmatched} not; columns nobody knows: {columns}; SHA-256 {sha256}",
        source.name()
    )
}

fn parse_age(text: &str) -> Result<TimeDelta, String> {
    let within = |number: &str| number.parse().ok().filter(|number| (1..=10_000).contains(number));
    let hours = text.strip_suffix('h').and_then(within).map(TimeDelta::hours);
    let age = hours.or_else(|| text.strip_suffix('d').and_then(within).map(TimeDelta::days));
    age.ok_or_else(|| "must be as in 36h or 2d".to_owned())
}

/// What is printed, and how it ended.
pub async fn run(app: &App, options: &Options) -> Result<(String, Outcome)> {
    let since = app.clock.now() - options.since;
    let legs = options.leg.map_or_else(|| ReconciliationLeg::ALL.to_vec(), |leg| vec![leg]);
    let new = New { kind: RunKind::Manual, legs, since: Some(since), requested_by: "operator".to_owned() };
    let Some(begun) = reconciliation::start(app, new).await? else {
        return Ok(("another run is under way; try again when it is finished".to_owned(), Outcome::NotFinished));
    };
    loop {
        match reconciliation::work(app, OTHER_LEGS).await? {
            Step::More => continue,
            Step::Idle | Step::Pause => sleep().await,
            Step::Finished | Step::Failed => {}
        }
        if runs::find(app, begun.id).await?.state != RunState::Running {
            break;
        }
    }
    let Some(report) = runs::stored_report(app, begun.id).await? else {
        let error = runs::find(app, begun.id).await?.error.unwrap_or_default();
        return Ok((format!("run {} was given up: {error}", begun.id), Outcome::NotFinished));
    };
    let report = report::read(&report)?;
    let is_open = |line: &Line| matches!(line.state, BreakState::Open | BreakState::Healing);
    let outcome = if report.breaks.iter().any(is_open) { Outcome::OpenBreaks } else { Outcome::Clean };
    Ok((printed(&report), outcome))
}

/// For people: what was looked at, what was compared, and each break in a line.
fn printed(report: &Report) -> String {
    let mut text = format!(
        "reconciliation {}: legs {}, what changed from {} to {}\n",
        report.run_id,
        report.legs.join(" "),
        report.since.format("%Y-%m-%d %H:%M"),
        report.until.format("%Y-%m-%d %H:%M UTC"),
    );
    for (what, count) in report.counts.as_object().into_iter().flatten() {
        write!(text, "  {what} {count}").unwrap_or_default();
    }
    text.push('\n');
    for (currency, sums) in report.sums.as_object().into_iter().flatten() {
        write!(text, "  {currency}:").unwrap_or_default();
        for (name, sum) in sums.as_object().into_iter().flatten() {
            let sum = sum.as_str().unwrap_or_default();
            let shown = sum.parse().map_or_else(|_| sum.to_owned(), |minor| major(minor, currency));
            write!(text, " {name}={shown}").unwrap_or_default();
        }
        text.push('\n');
    }
    if report.breaks.is_empty() {
        text.push_str("no breaks\n");
    }
    for line in &report.breaks {
        text.push_str(&sentence(line));
        text.push('\n');
    }
    if report.more {
        text.push_str("and more: GET /v1/admin/reconciliation/breaks\n");
    }
    text
}

fn sentence(line: &Line) -> String {
    let currency = line.currency.as_deref().unwrap_or_default();
    let sum = |minor: Option<i64>| minor.map_or_else(|| "?".to_owned(), |minor| major(minor, currency));
    let mut text = format!("  {:<8} {:<8} {}", line.severity.name(), line.state.name(), line.kind.name());
    if line.expected.is_some() || line.actual.is_some() {
        write!(text, ": expected {currency} {}, is {}", sum(line.expected), sum(line.actual)).unwrap_or_default();
    }
    let ids = [
        ("transaction", line.transaction_id),
        ("journal", line.journal_id),
        ("transfer", line.transfer_id),
        ("Revio", line.provider_id),
        ("line", line.line_id),
    ];
    for (name, id) in ids.into_iter().filter_map(|(name, id)| id.map(|id| (name, id))) {
        write!(text, ", {name} {id}").unwrap_or_default();
    }
    write!(text, "; since {}, {}", line.since.format("%Y-%m-%d %H:%M"), line.owner.name()).unwrap_or_default();
    text
}

fn major(minor: i64, currency: &str) -> String {
    decimal(minor, Currency::parse(currency).map_or(2, Currency::exponent))
}

#[expect(clippy::disallowed_methods, reason = "the command is what waits")]
async fn sleep() {
    tokio::time::sleep(PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_of_hours_or_days() {
        assert_eq!(parse_age("36h"), Ok(TimeDelta::hours(36)));
        assert_eq!(parse_age("2d"), Ok(TimeDelta::days(2)));
        for odd in ["", "d", "2", "-1d", "0d", "2w", "99999999999d", "é"] {
            assert!(parse_age(odd).is_err(), "{odd}");
        }
    }
}
