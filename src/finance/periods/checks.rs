//! What must hold before a month is closed; all that does not is told at once.
//!
//! | check | |
//! |---|---|
//! | `month` | it is over by a minute, and follows the last closed one; the first is none after the one in which the books began |
//! | `copy` | the copy of the ledger has every transfer of it |
//! | `runs` | each day has its finished daily reconciliation |
//! | `statements` | files of Revio's are of each day, and a finished run has compared them |
//! | `breaks` | no critical one of it is open; the others are accepted, each by its id; none was found by the last run alone |
//!
//! Days before the books began, in the first month, need no run and no statement.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, OpenBreak, Period};
use super::{Month, Span, missing};
use crate::app::App;
use crate::finance::days;
use crate::finance::reconciliation::breaks;
use crate::finance::statement_files::{Source, comparing};
use crate::finance::trial_balance;
use crate::platform::clock::CLOCK_MARGIN;
use crate::platform::error::{Error, FieldError, Result};

/// So many days or breaks are named.
const NAMED_MAX: usize = 31;

/// The month that was closed last, when everything holds.
pub(super) async fn pass(app: &App, db: &mut PgConnection, span: &Span, accepts: &[Uuid]) -> Result<Option<Period>> {
    if app.clock.now() < span.end + CLOCK_MARGIN {
        // Of a month that goes on nothing else can be said.
        return Err(missing("month", "is not over yet"));
    }
    let mut lacks = Vec::new();
    let mut lack = |field: &str, message: String| lacks.push(FieldError::outside(field, message));
    let last = store::last_closed(&mut *db).await?;
    let began = store::books_began(&mut *db, days::zone(app)).await?;
    match (last.as_ref().map(|last| Month::of(last.month)), began.map(Month::of)) {
        (Some(last), _) if last.next() != span.month => {
            lack("month", format!("must be the one after {last}, which was closed last"));
        }
        // The months before the first one are never closed.
        (None, Some(began)) if began < span.month => {
            lack("month", format!("must be {began}, in which the books began: no month is closed yet"));
        }
        (Some(_) | None, _) => {}
    }
    for currency in app.config.currencies.iter().copied() {
        match trial_balance::require_read_model(app, currency, span.cut).await {
            Ok(()) => {}
            Err(Error::BooksBehind) => {
                lack("copy", format!("of the ledger in {currency} has not reached the month's end yet"))
            }
            Err(other) => return Err(other),
        }
    }
    let days = days_of(span, began);
    let done: BTreeSet<NaiveDate> = match days.first() {
        Some(first) => store::days_reconciled(&mut *db, *first, span.month.last_day()).await?.into_iter().collect(),
        None => BTreeSet::new(),
    };
    let covered = comparing::covered(app, Source::Revio, span.month.first_day(), span.month.last_day()).await?;
    let those = |wanted: &dyn Fn(&NaiveDate) -> bool| -> Vec<String> {
        days.iter().filter(|day| wanted(day)).map(NaiveDate::to_string).collect()
    };
    for (field, without, what) in [
        ("runs", those(&|day| !done.contains(day)), "have no finished daily reconciliation"),
        ("statements", those(&|day| !covered.contains_key(day)), "are on no statement of Revio's"),
        (
            "statements",
            those(&|day| covered.get(day) == Some(&false)),
            "are on a statement of Revio's that no finished reconciliation has compared yet",
        ),
    ] {
        if !without.is_empty() {
            lack(field, format!("{} {what}", named(&without)));
        }
    }
    let mut open = store::open_breaks(&mut *db, span.end).await?;
    open.retain(|found| found.is_live);
    let critical = open.iter().filter(|found| found.severity == "critical");
    let critical: Vec<String> = critical.map(|found| found.id.to_string()).collect();
    if !critical.is_empty() {
        lack("breaks", format!("{} are critical and open", named(&critical)));
    }
    let unaccepted = |found: &&OpenBreak| found.severity != "critical" && !accepts.contains(&found.id);
    let unaccepted: Vec<String> = open.iter().filter(unaccepted).map(|found| found.id.to_string()).collect();
    if !unaccepted.is_empty() {
        lack("breaks", format!("{} are open: resolve them, or name them in accepts", named(&unaccepted)));
    }
    // What the last file says may be right or under way: the next run says which.
    let seen_once = breaks::seen_once(app, span.end).await?;
    if !seen_once.is_empty() {
        let named = named(&seen_once.iter().map(Uuid::to_string).collect::<Vec<_>>());
        lack("breaks", format!("{named} were found by one run alone: wait for the next daily or manual one"));
    }
    if lacks.is_empty() { Ok(last) } else { Err(Error::PeriodNotReady(lacks)) }
}

/// The days of the month since the books began, where they began in it.
fn days_of(span: &Span, began: Option<NaiveDate>) -> Vec<NaiveDate> {
    let (first, last) = (span.month.first_day(), span.month.last_day());
    let first = began.filter(|began| (first..=last).contains(began)).unwrap_or(first);
    std::iter::successors(Some(first), |day| Some(days::after(*day, 1))).take_while(|day| *day <= last).collect()
}

fn named(all: &[String]) -> String {
    let rest = all.len().saturating_sub(NAMED_MAX);
    let named = all.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if rest == 0 { named } else { format!("{named} and {rest} more") }
}
