//! What stands in the reports of a month. Amounts in minor units, debits less credits where a sum may have either sign; ids, never names.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use ledger::{AccountCode, Currency, TransferCode};
use serde_json::{Map, Value, json, value::RawValue};
use sqlx::PgConnection;
use uuid::Uuid;

use super::customers::Balances;
use super::store::{self, Fee, Movement, Transit, Window};
use super::{Month, Printed, Span};
use crate::app::App;
use crate::books::files::decimal;
use crate::finance::days;
use crate::finance::statement_files::comparing;
use crate::finance::trial_balance::{Line, csv};
use crate::platform::error::{Error, Result};

pub(super) const TRIAL_BALANCE: &str = "trial-balance";
pub(super) const JOURNAL: &str = "journal";

enum Cell {
    Text(String),
    Number(i64),
    Nothing,
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Nothing, Into::into)
    }
}

macro_rules! text_cells {
    ($($kind:ty),+) => {$(
        impl From<$kind> for Cell {
            fn from(text: $kind) -> Self {
                Self::Text(text.to_string())
            }
        }
    )+};
}

text_cells!(&str, String, NaiveDate, Uuid, Month);

/// One report.
pub(super) struct Table {
    pub(super) name: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$(Cell::from($cell)),+] };
}

const BALANCE: usize = 0;
const POSITIONS: usize = 1;
const FEES: usize = 2;
const JOURNALS: usize = 3;
const BREAKS: usize = 4;
const OPEN_ITEMS: usize = 5;
const FILES: usize = 6;
const RECEIVABLES: usize = 7;
const CORRECTIONS: usize = 8;

/// In the order of the constants above.
const TABLES: [(&str, &[&str]); 9] = [
    (
        TRIAL_BALANCE,
        &[
            "currency", "code", "name", "title", "section", "opening_minor", "debits_minor", "credits_minor",
            "closing_minor", "debit", "credit",
        ],
    ),
    (
        "positions",
        &[
            "currency", "day", "owed_minor", "unallocated_minor", "at_provider_minor", "in_transit_minor",
            "bank_minor", "held_minor", "own_funds_minor", "receivables_minor", "surplus_minor",
        ],
    ),
    ("fees", &["currency", "kind", "booked_minor", "on_statement_minor", "invoiced_minor"]),
    (
        "journals",
        &[
            "id", "kind", "currency", "amount_minor", "posted_on", "concerns", "evidence_kind", "evidence_date",
            "evidence_sha256", "requested_by", "approved_by",
        ],
    ),
    (
        "breaks",
        &[
            "id", "type", "severity", "leg", "currency", "expected_minor", "actual_minor", "since", "age_days",
            "accepted",
        ],
    ),
    ("open-items", &["id", "kind", "currency", "amount_minor", "remaining_minor", "since", "age_days", "age_band"]),
    ("files", &["source", "sha256", "currency", "from", "to", "lines", "matched", "unmatched"]),
    ("receivables", &["customer_id", "currency", "amount_minor", "since", "age_days", "age_band"]),
    (
        "corrections",
        &[
            "id", "customer_id", "direction", "counterpart", "currency", "amount_minor", "posted_on", "concerns",
            "requested_by", "approved_by",
        ],
    ),
];

pub(super) fn empty() -> Vec<Table> {
    TABLES.into_iter().map(|(name, columns)| Table { name, columns, rows: Vec::new() }).collect()
}

impl Table {
    /// What the accounting package takes: each movement twice, as a debit and as a credit.
    pub(super) fn journal() -> Self {
        let columns =
            &["date", "account_code", "account_name", "currency", "debit", "credit", "reference", "description"];
        Self { name: JOURNAL, columns, rows: Vec::new() }
    }

    pub(super) fn printed(&self, month: Month) -> Result<Printed> {
        let rows = self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row).map(|(column, cell)| ((*column).to_owned(), value(cell)));
            Value::Object(cells.collect::<Map<_, _>>())
        });
        let report = json!({"month": month.to_string(), "report": self.name, "rows": rows.collect::<Vec<_>>()});
        let json = RawValue::from_string(report.to_string()).map_err(Error::internal)?;
        let mut records = vec![self.columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
        records.extend(self.rows.iter().map(|row| row.iter().map(text).collect()));
        let csv = String::from_utf8(csv::file(&records)?).map_err(Error::internal)?;
        Ok(Printed { json, csv })
    }
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => text.as_str().into(),
        Cell::Number(number) => (*number).into(),
        Cell::Nothing => Value::Null,
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(number) => number.to_string(),
        Cell::Nothing => String::new(),
    }
}

/// A currency's books of the month.
pub(super) struct Books<'a> {
    pub(super) currency: Currency,
    pub(super) opening: &'a [Line],
    pub(super) closing: &'a [Line],
    pub(super) movements: &'a [Movement],
}

impl Books<'_> {
    /// Opening and movements, which are the copy's, make the closing, which is the ledger's.
    pub(super) fn tie_out(&self) -> bool {
        self.opening.iter().zip(self.closing).all(|(opening, closing)| {
            let (debits, credits) = self.sides(opening.code);
            opening.code == closing.code
                && opening.net().saturating_add(debits).saturating_sub(credits) == closing.net()
        })
    }

    fn sides(&self, code: u16) -> (i64, i64) {
        let sum = |of: fn(&Movement) -> i32| {
            let own = self.movements.iter().filter(|movement| of(movement) == i32::from(code));
            own.map(|movement| movement.amount).fold(0_i64, i64::saturating_add)
        };
        (sum(|movement| movement.debit), sum(|movement| movement.credit))
    }

    pub(super) fn add_to(&self, tables: &mut [Table], month: Month, transit: &[Transit], fees: &[Fee]) {
        let currency = self.currency.code();
        for (opening, closing) in self.opening.iter().zip(self.closing) {
            let (debits, credits) = self.sides(opening.code);
            let places = self.currency.exponent();
            tables[BALANCE].rows.push(row![
                currency,
                i64::from(closing.code),
                closing.name,
                closing.title,
                closing.section.name(),
                opening.net(),
                debits,
                credits,
                closing.net(),
                decimal(closing.debit, places),
                decimal(closing.credit, places),
            ]);
        }
        for fee in fees {
            tables[FEES].rows.push(row![currency, fee.kind.as_str(), fee.booked, fee.on_statement, fee.invoiced]);
        }
        self.add_positions(&mut tables[POSITIONS], month, transit);
    }

    /// Day by day, from the opening balances.
    fn add_positions(&self, table: &mut Table, month: Month, transit: &[Transit]) {
        let mut nets: BTreeMap<i32, i64> = self.opening.iter().map(|line| (i32::from(line.code), line.net())).collect();
        let mut day = month.first_day();
        while day <= month.last_day() {
            for movement in self.movements.iter().filter(|movement| movement.day == day) {
                for (account, amount) in
                    [(movement.debit, movement.amount), (movement.credit, movement.amount.saturating_neg())]
                {
                    let net = nets.entry(account).or_default();
                    *net = net.saturating_add(amount);
                }
            }
            let net = |code: AccountCode| nets.get(&i32::from(code.code())).copied().unwrap_or(0);
            let (owed, unallocated) = (-net(AccountCode::CustomerWallet), -net(AccountCode::Suspense));
            // What is on its way the ledger has where it was: here it stands apart, as in `reporting.position`.
            let on_its_way = |is_top_up: bool| {
                let sent = transit.iter().filter(|sent| sent.is_top_up == is_top_up && sent.sent <= day);
                let sent = sent.filter(|sent| sent.ended.is_none_or(|ended| ended > day));
                sent.map(|sent| sent.amount).fold(0, i64::saturating_add)
            };
            let (settlements, top_ups): (i64, i64) = (on_its_way(false), on_its_way(true));
            let in_transit = settlements.saturating_add(top_ups);
            let at_provider = net(AccountCode::ProviderBalance).saturating_sub(settlements);
            let bank = net(AccountCode::Bank).saturating_sub(top_ups);
            let own =
                [AccountCode::Equity, AccountCode::FeeIncome, AccountCode::ProviderFees, AccountCode::ChargebackLosses];
            let own_funds = own.into_iter().map(|code| -net(code)).fold(0_i64, i64::saturating_add);
            let held = at_provider.saturating_add(in_transit).saturating_add(bank);
            let surplus = held.saturating_sub(owed).saturating_sub(unallocated);
            table.rows.push(row![
                self.currency.code(),
                day,
                owed,
                unallocated,
                at_provider,
                in_transit,
                bank,
                held,
                own_funds,
                net(AccountCode::CustomerReceivable),
                surplus,
            ]);
            day = days::after(day, 1);
        }
    }

    /// What customers did is summed up by day, reason and accounts; each journal of the company stands alone.
    pub(super) fn add_to_journal(&self, table: &mut Table) {
        let (currency, places) = (self.currency.code(), self.currency.exponent());
        for movement in self.movements {
            let reason =
                u16::try_from(movement.code).ok().and_then(TransferCode::from_code).map_or("other", TransferCode::name);
            let reference = match movement.journal_id {
                Some(journal) => journal.to_string(),
                None => {
                    format!("{}-{currency}-{}-{}-{}", movement.day, movement.code, movement.debit, movement.credit)
                }
            };
            let concerns = movement.concerns.filter(|concerned| Month::of(*concerned) < Month::of(movement.day));
            let concerns = concerns.map_or(String::new(), |day| format!(", concerns {}", Month::of(day)));
            let description = format!("{reason} {currency}: {}{concerns}", movement.count);
            let amount = decimal(movement.amount, places);
            for (account, debit, credit) in
                [(movement.debit, amount.as_str(), ""), (movement.credit, "", amount.as_str())]
            {
                table.rows.push(row![
                    movement.day,
                    i64::from(account),
                    name(account),
                    currency,
                    debit,
                    credit,
                    reference.as_str(),
                    description.as_str(),
                ]);
            }
        }
    }
}

fn name(account: i32) -> &'static str {
    let code = u16::try_from(account).ok().and_then(AccountCode::from_code);
    code.map_or("other", |code| crate::finance::trial_balance::title(code).0)
}

/// What is not summed up but listed.
pub(super) async fn add_rows(
    app: &App,
    db: &mut PgConnection,
    span: &Span,
    accepts: &[Uuid],
    tables: &mut [Table],
) -> Result<()> {
    let last = span.month.last_day();
    let window = span.window(app);
    for journal in store::journals(&mut *db, window).await? {
        let concerns = Month::of(journal.evidence_date);
        let concerns = (concerns < span.month).then_some(concerns);
        tables[JOURNALS].rows.push(row![
            journal.id, journal.kind, journal.currency, journal.amount, journal.posted_on, concerns,
            journal.evidence_kind, journal.evidence_date, journal.evidence_sha256, journal.requested_by,
            journal.approved_by,
        ]);
    }
    for made in store::corrections(&mut *db, window).await? {
        let concerns = made.concerns.map(Month::of).filter(|concerned| *concerned < span.month);
        tables[CORRECTIONS].rows.push(row![
            made.id, made.customer_id, made.direction, made.counterpart, made.currency, made.amount, made.posted_on,
            concerns, made.requested_by, made.approved_by,
        ]);
    }
    for found in store::open_breaks(&mut *db, span.end).await? {
        let since = days::of(app, found.since).await?;
        let accepted = match found.is_live {
            true if accepts.contains(&found.id) => "yes",
            true => "no",
            false => "provider_error",
        };
        tables[BREAKS].rows.push(row![
            found.id,
            found.kind,
            found.severity,
            found.leg,
            found.currency,
            found.expected,
            found.actual,
            since,
            (last - since).num_days(),
            accepted,
        ]);
    }
    for item in store::open_items(&mut *db, window.zone, window.until).await? {
        let age = (last - item.since).num_days();
        tables[OPEN_ITEMS].rows.push(row![
            item.id,
            item.kind,
            item.currency,
            item.amount,
            item.remaining,
            item.since,
            age,
            band(age),
        ]);
    }
    for file in comparing::of_days(app, span.month.first_day(), last).await? {
        tables[FILES].rows.push(row![
            file.source.name(),
            file.sha256,
            file.currency,
            file.from,
            file.to,
            i64::from(file.lines),
            i64::from(file.matched),
            i64::from(file.unmatched),
        ]);
    }
    Ok(())
}

/// What customers owed, and since when: of the list that the pack's other sums are made of.
pub(super) async fn add_receivables(
    db: &mut PgConnection,
    span: &Span,
    window: Window<'_>,
    list: &Balances,
    tables: &mut [Table],
) -> Result<()> {
    let owing = list.iter().filter(|((_, code, _), _)| *code == AccountCode::CustomerReceivable.code());
    let owing: Vec<_> = owing.map(|((currency, _, user), amount)| (currency.as_str(), *user, *amount)).collect();
    for debt in store::receivables(&mut *db, window, &owing).await? {
        let age = (span.month.last_day() - debt.since).num_days();
        tables[RECEIVABLES].rows.push(row![
            debt.customer_id,
            debt.currency,
            debt.amount,
            debt.since,
            age,
            debt_band(age),
        ]);
    }
    Ok(())
}

fn band(days: i64) -> &'static str {
    match days {
        ..=1 => "0-1 d",
        2..=7 => "2-7 d",
        8..=30 => "8-30 d",
        _ => "> 30 d",
    }
}

/// As `reporting.receivables` has them.
fn debt_band(days: i64) -> &'static str {
    match days {
        ..=30 => "0-30 d",
        31..=60 => "31-60 d",
        61..=90 => "61-90 d",
        _ => "> 90 d",
    }
}

/// Debits less credits of each account of a currency, as a printed trial balance says them.
pub(super) fn closing_of(printed: &str, currency: &str) -> Result<BTreeMap<u16, i64>> {
    #[derive(serde::Deserialize)]
    struct Report {
        rows: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        currency: String,
        code: u16,
        closing_minor: i64,
    }
    let report: Report = serde_json::from_str(printed).map_err(Error::internal)?;
    let own = report.rows.into_iter().filter(|row| row.currency == currency);
    Ok(own.map(|row| (row.code, row.closing_minor)).collect())
}
