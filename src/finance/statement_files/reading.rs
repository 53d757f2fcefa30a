//! From bytes to lines: UTF-8 (else Latin-1), with or without a byte order mark, separated by commas, semicolons or tabs, quoted or not,
//! CRLF or LF; what stands before the headings is passed over. Nothing of a cell is repeated in an error.

use chrono::{DateTime as ZonedTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use csv::{ByteRecord, ReaderBuilder, StringRecord};
use ledger::Currency;
use uuid::Uuid;

use super::columns::{self, Column, Columns, End, Product};
use super::{Source, Unit};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, FieldError, Result};

/// A day of this many payments is more than a file that is sent by hand holds.
const LINES_MAX: usize = 400_000;
/// So many faults are named.
const FAULTS_MAX: usize = 20;
/// Where the headings may stand, after what a bank says of the account.
const PREAMBLE_MAX: usize = 25;
const DIGITS_MAX: usize = 18;
const PLACES_MAX: u32 = 8;
/// A hundred billion rand: so many lines of so much can still be added up.
const MINOR_MAX: u64 = 10_000_000_000_000;

/// A file as it was read; numbers have no unit yet.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) unknown: Vec<String>,
    pub(super) lines: Vec<RawLine>,
    pub(super) opening: Option<Decimal>,
    pub(super) closing: Option<Decimal>,
}

impl Table {
    fn balance(&mut self, end: End) -> &mut Option<Decimal> {
        match end {
            End::Opening => &mut self.opening,
            End::Closing => &mut self.closing,
        }
    }

    /// A bank without a column of balances writes them as sums with a day, the one before all movements and the other after them. One that stands
    /// alone, or among them, is a payment: its payer calls it so.
    fn take_ends(&mut self) {
        let named =
            |line: Option<&RawLine>| line.filter(|line| line.says_no_other_balance()).and_then(|line| line.names);
        let [first, last] = [named(self.lines.first()), named(self.lines.last())];
        let mut is_there = |end| self.balance(end).is_some() || [first, last].contains(&Some(end));
        if !is_there(End::Opening) || !is_there(End::Closing) {
            return;
        }
        if let Some(end) = last.filter(|end| self.balance(*end).is_none()) {
            *self.balance(end) = self.lines.pop().map(|line| line.amount);
        }
        if let Some(end) = first.filter(|end| self.balance(*end).is_none()) {
            *self.balance(end) = Some(self.lines.remove(0).amount);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct RawLine {
    /// Of the file, from 1, the headings counted.
    pub(super) number: usize,
    pub(super) id: Option<Uuid>,
    pub(super) related: Option<Uuid>,
    /// As it stands there: whatever may be kept of it is decided later.
    pub(super) reference: String,
    pub(super) description: String,
    pub(super) product: Product,
    pub(super) status: String,
    pub(super) currency: Currency,
    /// As the file signs it.
    pub(super) amount: Decimal,
    pub(super) fee: Option<Decimal>,
    pub(super) net: Option<Decimal>,
    pub(super) balance: Option<Decimal>,
    pub(super) when: When,
    /// A payer may write so, too.
    names: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Day(NaiveDate),
    Moment(DateTime),
}

impl RawLine {
    fn says_no_other_balance(&self) -> bool {
        self.balance.is_none_or(|balance| balance.is_same(self.amount))
    }
}

/// Exactly what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: i128,
    places: u32,
}

impl Decimal {
    /// In minor units; `None` where that is no whole number, or too large.
    pub(super) fn minor(self, unit: Unit, currency: Currency) -> Option<i64> {
        let shift = match unit {
            Unit::Major => u32::from(currency.exponent()),
            Unit::Minor => 0,
        };
        let raised = self.digits.checked_mul(10_i128.checked_pow(shift)?)?;
        let divisor = 10_i128.checked_pow(self.places)?;
        let minor = (raised % divisor == 0).then(|| i64::try_from(raised / divisor).ok()).flatten();
        minor.filter(|minor| minor.unsigned_abs() <= MINOR_MAX)
    }

    /// However many decimals each is written with.
    pub(super) fn is_same(self, other: Self) -> bool {
        let scaled = |one: Self, by: u32| one.digits.saturating_mul(10_i128.saturating_pow(by));
        scaled(self, other.places) == scaled(other, self.places)
    }

    pub(super) fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// 1 above zero, -1 below.
    pub(super) fn sign(self) -> i64 {
        i64::from(self.digits > 0) - i64::from(self.digits < 0)
    }

    fn negated(self) -> Self {
        Self { digits: -self.digits, ..self }
    }

    /// `1,234.50`, `1 234,50`, `R 12.00`, `(3.00)`, `3.00-`, `12.5000`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '\'').collect();
        let (text, in_brackets) = match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            Some(inner) => (inner, true),
            None => (text.as_str(), false),
        };
        let text = text.strip_prefix("ZAR").or_else(|| text.strip_prefix('R')).unwrap_or(text);
        let (text, trailing) = match text.strip_suffix('-') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (text, leading) = match text.strip_prefix(['-', '\u{2212}']) {
            Some(rest) => (rest, true),
            None => (text.strip_prefix('+').unwrap_or(text), false),
        };
        let text = text.strip_prefix('R').unwrap_or(text);
        let (whole, fraction) = split(text)?;
        let whole: String = whole.chars().filter(|c| !matches!(c, ',' | '.')).collect();
        let all = format!("{whole}{fraction}");
        let is_number = !all.is_empty() && all.len() <= DIGITS_MAX && all.bytes().all(|byte| byte.is_ascii_digit());
        let places = u32::try_from(fraction.len()).ok().filter(|places| is_number && *places <= PLACES_MAX)?;
        let digits: i128 = all.parse().ok()?;
        let is_negative = [in_brackets, trailing, leading].into_iter().filter(|sign| *sign).count();
        match is_negative {
            0 => Some(Self { digits, places }),
            1 => Some(Self { digits: -digits, places }),
            _ => None,
        }
    }
}

/// At the sign before the decimals: the last of the two kinds; a comma alone with three digits behind each is none.
fn split(text: &str) -> Option<(&str, &str)> {
    let (points, commas) = (text.matches('.').count(), text.matches(',').count());
    let grouped = |sign: char| {
        let mut groups = text.split(sign);
        let first = groups.next().is_some_and(|first| (1..=3).contains(&first.len()));
        first && groups.all(|group| group.len() == 3)
    };
    match (points, commas) {
        (0, 0) => Some((text, "")),
        (1, 0) => text.split_once('.'),
        (0, 1) if !grouped(',') => text.split_once(','),
        (0, _) => grouped(',').then_some((text, "")),
        (_, 0) => grouped('.').then_some((text, "")),
        (1, _) if text.rfind('.') > text.rfind(',') => text.split_once('.'),
        (_, 1) if text.rfind(',') > text.rfind('.') => text.split_once(','),
        _ => None,
    }
}

const DATES: &[&str] = &["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d %b %Y", "%d-%b-%Y"];
const TIMES: &[&str] = &["%H:%M:%S%.f", "%H:%M"];

/// A day, or a moment: with its zone, as Unix seconds, or else in UTC, as Revio writes its files.
pub(super) fn when(text: &str) -> Option<When> {
    let text = text.trim();
    if let Ok(moment) = ZonedTime::parse_from_rfc3339(text) {
        return Some(When::Moment(moment.to_utc())).filter(|_| is_of_our_time(moment.date_naive()));
    }
    if text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return ZonedTime::<Utc>::from_timestamp(text.parse().ok()?, 0).map(When::Moment);
    }
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    for format in DATES {
        if let Ok(day) = NaiveDate::parse_from_str(text, format) {
            return Some(When::Day(day)).filter(|_| is_of_our_time(day));
        }
        for time in TIMES {
            for between in [" ", "T"] {
                if let Ok(at) = NaiveDateTime::parse_from_str(text, &format!("{format}{between}{time}")) {
                    // Midnight to the second is how a day is written where the column has times.
                    let is_day = at.time() == NaiveTime::MIN && !text.contains('.');
                    let when = if is_day { When::Day(at.date()) } else { When::Moment(at.and_utc()) };
                    return Some(when).filter(|_| is_of_our_time(at.date()));
                }
            }
        }
    }
    None
}

fn is_of_our_time(day: NaiveDate) -> bool {
    use chrono::Datelike;
    (2000..=2100).contains(&day.year())
}

/// What is wrong with a file: the first of it, each by its line and column.
#[derive(Debug, Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, line: usize, column: &str, message: &str) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(FieldError::outside(format!("line {line}, {column}"), message));
        }
    }
}

fn unusable(field: &str, message: impl Into<String>) -> Error {
    Error::BadStatement(vec![FieldError::outside(field, message.into())])
}

/// `currency` is the file's where its lines do not say it.
pub(super) fn read(source: Source, content: &[u8], currency: Option<Currency>) -> Result<Table> {
    let text = decoded(content)?;
    if !text.bytes().filter(|byte| *byte == b'"').count().is_multiple_of(2) {
        return Err(unusable("file", "a quote is opened and never closed"));
    }
    let (delimiter, at, columns) = headings(&text)?;
    let missing = columns.missing(source);
    let has_currency = columns.place(Column::Currency).is_some() || currency.is_some();
    if !missing.is_empty() || !has_currency {
        let found = first_words(&text, delimiter, at);
        let mut missing = missing.join(", ");
        if !has_currency && !missing.contains("currency") {
            missing = [missing.as_str(), "currency (or send it)"].join(", ").trim_start_matches(", ").to_owned();
        }
        return Err(unusable("columns", format!("{missing} not found among: {found}")));
    }
    let mut faults = Faults::default();
    let mut table = Table { unknown: columns.unknown.clone(), ..Table::default() };
    let reader = Lines { source, columns: &columns, currency };
    let mut width = None;
    for (index, record) in records(&text, delimiter).enumerate().skip(at) {
        let record = record.map_err(|_| unusable("file", "is no CSV"))?;
        let number = index.saturating_add(1);
        let wide = *width.get_or_insert(record.len());
        if index == at || record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if record.len() != wide {
            faults.add(number, "cells", &format!("has {} cells, and the headings are {wide}", record.len()));
        } else {
            reader.line(&mut table, &mut faults, number, &record);
        }
        if table.lines.len() > LINES_MAX {
            return Err(unusable("file", format!("has more than {LINES_MAX} lines")));
        }
    }
    table.take_ends();
    if faults.0.is_empty() { Ok(table) } else { Err(Error::BadStatement(faults.0)) }
}

fn decoded(content: &[u8]) -> Result<String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    if content.contains(&0) {
        return Err(unusable("file", "is no text of UTF-8 or Latin-1"));
    }
    match std::str::from_utf8(content) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Ok(content.iter().map(|byte| char::from(*byte)).collect()),
    }
}

fn records(text: &str, delimiter: u8) -> impl Iterator<Item = csv::Result<StringRecord>> {
    let reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let whole = |record: ByteRecord| StringRecord::from_byte_record_lossy(record);
    reader.into_byte_records().map(move |record| record.map(whole))
}

/// The separator with which one of the first records has the most headings that are known, and which record that is.
fn headings(text: &str) -> Result<(u8, usize, Columns)> {
    let mut best: Option<(u8, usize, Columns)> = None;
    for delimiter in [b',', b';', b'\t'] {
        for (at, record) in records(text, delimiter).take(PREAMBLE_MAX).enumerate() {
            let Ok(record) = record else { break };
            let columns = Columns::of(record.iter());
            if best.as_ref().is_none_or(|(_, _, best)| columns.count() > best.count()) {
                best = Some((delimiter, at, columns));
            }
        }
    }
    best.ok_or_else(|| unusable("file", "is empty"))
}

const HEADINGS_TOLD_MAX: usize = 40;

fn first_words(text: &str, delimiter: u8, at: usize) -> String {
    let record = records(text, delimiter).nth(at).and_then(csv::Result::ok).unwrap_or_default();
    record.iter().take(HEADINGS_TOLD_MAX).map(columns::shown).collect::<Vec<_>>().join(", ")
}

struct Lines<'a> {
    source: Source,
    columns: &'a Columns,
    currency: Option<Currency>,
}

impl Lines<'_> {
    fn cell<'r>(&self, record: &'r StringRecord, column: Column) -> &'r str {
        self.columns.place(column).and_then(|place| record.get(place)).unwrap_or_default().trim()
    }

    fn line(&self, table: &mut Table, faults: &mut Faults, number: usize, record: &StringRecord) {
        let mut number_of = |column: Column, name: &str| {
            let cell = self.cell(record, column);
            let parsed = Decimal::parse(cell);
            if parsed.is_none() && !cell.is_empty() && cell != "-" {
                faults.add(number, name, "is no number");
            }
            parsed
        };
        let (fee, net) = (number_of(Column::Fee, "fee"), number_of(Column::Net, "net"));
        let balance = number_of(Column::Balance, "balance");
        let (debit, credit) = (number_of(Column::Debit, "debit"), number_of(Column::Credit, "credit"));
        let amount = number_of(Column::Amount, "amount").or_else(|| one_of(debit, credit));
        let words = [Column::Product, Column::Description, Column::Reference].map(|column| self.cell(record, column));
        let when = when(self.cell(record, Column::Date));
        let names = words.iter().find_map(|word| End::of(word));
        // A movement has a day and a sum of its own, whatever it is called.
        if let Some(end) = names.filter(|_| when.is_none() || amount.is_none_or(Decimal::is_zero)) {
            *table.balance(end) = balance.or(amount);
            return;
        }
        let currency = self.currency(record, faults, number);
        if when.is_none() {
            faults.add(number, "date", "is no date");
        }
        if amount.is_none() {
            faults.add(number, "amount", "is missing");
        }
        let uuid = |column: Column| self.cell(record, column).parse::<Uuid>().ok();
        let (Some(amount), Some(currency), Some(when)) = (amount, currency, when) else { return };
        let product = match self.source {
            Source::Revio => Product::of(words[0]),
            Source::Bank => Product::Bank,
        };
        let status = self.cell(record, Column::Status).to_lowercase();
        let (id, related) = (uuid(Column::Id), uuid(Column::Related));
        let (reference, description) = (words[2].to_owned(), words[1].to_owned());
        #[rustfmt::skip]
        table.lines.push(RawLine { number, id, related, reference, description, product, status, currency, amount, fee, net, balance, when, names });
    }

    fn currency(&self, record: &StringRecord, faults: &mut Faults, number: usize) -> Option<Currency> {
        let cell = self.cell(record, Column::Currency);
        let currency = if cell.is_empty() { self.currency } else { Currency::parse(&cell.to_ascii_uppercase()) };
        if currency.is_none() {
            faults.add(number, "currency", "is no currency");
        }
        currency
    }
}

/// What went out is below zero.
fn one_of(debit: Option<Decimal>, credit: Option<Decimal>) -> Option<Decimal> {
    match (debit.filter(|debit| !debit.is_zero()), credit.filter(|credit| !credit.is_zero())) {
        (Some(debit), None) if debit.digits > 0 => Some(debit.negated()),
        (Some(debit), None) => Some(debit),
        (None, Some(credit)) => Some(credit),
        (None, None) => debit.or(credit),
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cents(text: &str) -> Option<i64> {
        Decimal::parse(text).and_then(|number| number.minor(Unit::Major, Currency::ZAR))
    }

    #[test]
    fn amounts_are_read_as_people_and_banks_write_them() {
        for (text, expected) in [
            ("1500.00", 150_000),
            ("1,500.00", 150_000),
            ("1 500,00", 150_000),
            ("1\u{a0}500.5000", 150_050),
            ("R 12.00", 1_200),
            ("-R12.00", -1_200),
            ("(3.00)", -300),
            ("3.00-", -300),
            ("1,234,567.89", 123_456_789),
            ("1.234.567,89", 123_456_789),
            ("12,5", 1_250),
            ("1,234", 123_400),
            ("0", 0),
        ] {
            assert_eq!(cents(text), Some(expected), "{text}");
        }
        for wrong in [
            "", "-", "x", "1.2.3", "1,2,3", "--1", "(1-)", "1e5", "NaN", "12.005", "99999999999999999999",
            "100000000000.01",
        ] {
            assert_eq!(cents(wrong), None, "{wrong}");
        }
        assert_eq!(Decimal::parse("1500.0000").and_then(|n| n.minor(Unit::Minor, Currency::ZAR)), Some(1500));
        assert_eq!(Decimal::parse("15.50").and_then(|n| n.minor(Unit::Minor, Currency::ZAR)), None);
    }

    #[test]
    fn an_end_that_stands_by_its_sum_alone_is_one_where_the_other_is_known() {
        let ends = |records: &str| {
            let content = format!("Date,Reference,Amount\n{records}");
            let table = read(Source::Bank, content.as_bytes(), Some(Currency::ZAR)).expect("it can be read");
            let cents = |sum: Option<Decimal>| sum.and_then(|sum| sum.minor(Unit::Major, Currency::ZAR));
            (table.lines.len(), cents(table.opening), cents(table.closing))
        };
        let sale = "2026-03-01,Sale,5.00\n";
        let [zero, opening] = ["0.00", "2.00"].map(|sum| format!("2026-03-01,Opening balance,{sum}\n"));
        let closing = |sum: &str| format!("2026-03-02,Closing balance,{sum}\n");
        assert_eq!(ends(&format!("{zero}{sale}{}", closing("5.00"))), (1, Some(0), Some(500)));
        assert_eq!(ends(&format!("{opening}{sale}{}", closing("0.00"))), (1, Some(200), Some(0)));
        assert_eq!(ends(&format!("{}{sale}{zero}", closing("5.00"))), (1, Some(0), Some(500)), "newest first");
        assert_eq!(ends(&format!("{zero}{}", closing("0.0000"))), (0, Some(0), Some(0)));
        assert_eq!(ends(&format!("{sale}{}", closing("5.00"))), (2, None, None), "one alone");
    }

    #[test]
    fn days_and_moments_are_told_apart() {
        let day = |text: &str| Some(When::Day(text.parse().expect("a date")));
        for text in ["2026-03-01", "01/03/2026", "2026/03/01", "20260301", "01 Mar 2026", "2026-03-01 00:00:00"] {
            assert_eq!(when(text), day("2026-03-01"), "{text}");
        }
        let moment = |text: &str| Some(When::Moment(text.parse().expect("a moment")));
        for text in ["2026-03-01T22:30:00Z", "2026-03-02T00:30:00+02:00", "2026-03-01 22:30", "1772404200"] {
            assert_eq!(when(text), moment("2026-03-01T22:30:00Z"), "{text}");
        }
        for wrong in ["", "soon", "2026-13-01", "01/03/26", "1126-03-01", "9999-03-01T00:00:00Z"] {
            assert_eq!(when(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_payment_whose_payer_calls_it_a_balance_is_a_line() {
        let of_bank = |headings: &str, records: &[&str]| {
            let file = format!("{headings}\n{}", records.join("\n"));
            let table = read(Source::Bank, file.as_bytes(), Some(Currency::ZAR)).expect("it can be read");
            let rands = |number: Decimal| number.digits / 10_i128.pow(number.places);
            let lines: Vec<i128> = table.lines.iter().map(|line| rands(line.amount)).collect();
            (lines, table.opening.map(rands), table.closing.map(rands))
        };
        let balances = "Date,Reference,Amount,Balance";
        let called = ["2026-03-01,Opening balance,5.00,105.00", "2026-03-02,Closing balance,7.00,112.00"];
        assert_eq!(of_bank(balances, &called), (vec![5, 7], None, None));
        let around = [",Opening balance,,100.00", called[0], called[1], "2026-03-02,Closing balance,0.00,112.00"];
        assert_eq!(of_bank(balances, &around), (vec![5, 7], Some(100), Some(112)));
        let (sums, sale) = ("Date,Reference,Amount", "2026-03-01,Sale,5.00");
        let (opening, closing) = ("2026-03-01,Opening balance,100.00", "2026-03-02,Closing balance,105.00");
        assert_eq!(of_bank(sums, &[opening, sale, closing]), (vec![5], Some(100), Some(105)));
        assert_eq!(of_bank(sums, &[closing, sale, opening]), (vec![5], Some(100), Some(105)), "newest first");
        assert_eq!(of_bank(sums, &[opening, sale]), (vec![100, 5], None, None));
        assert_eq!(of_bank(sums, &[sale, closing, sale]), (vec![5, 105, 5], None, None));
    }
}
