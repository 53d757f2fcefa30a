//! Company statements: asked for, made in a few looks, fetched as a file. The calls and their fields are DOC-S; the columns, the order in
//! which the statuses follow, and what stands behind `download_url` are guessed (?).
//!
//! ```text
//! pending ─look─> processing ─look─> success | error      after as many looks as the settings say
//!       └──────────────────┴─> cancelled
//! ```

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::csv::{Headings, Table, Unit, day, time};
use crate::errors::ApiError;
use crate::fields::{At, Checker};
use crate::transfers::{Transfer, TransferKind};
use crate::world::{Caller, World};

/// How statements are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatementSettings {
    pub unit: Unit,
    pub headings: Headings,
    /// What went out is below zero.
    pub signed: bool,
    /// After so many looks at it, it is made; 0: in the answer that creates it.
    pub looks: u32,
    /// It ends as `error`.
    pub fails: bool,
    /// How its `download_url` begins, when not as the caller addressed us: another host.
    pub host: Option<String>,
    /// The file wants the key.
    pub needs_key: bool,
    /// So many bytes of blank lines behind the file.
    pub padding: usize,
}

impl Default for StatementSettings {
    fn default() -> StatementSettings {
        StatementSettings {
            unit: Unit::Cents,
            headings: Headings::Plain,
            signed: true,
            looks: 2,
            fails: false,
            host: None,
            needs_key: true,
            padding: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    Processing,
    Success,
    Error,
    Cancelled,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Statement {
    id: Uuid,
    is_test: bool,
    status: Status,
    looks: u32,
    zone: Zone,
    filter: Filter,
    origin: String,
    created_on: i64,
    updated_on: i64,
    began_on: Option<i64>,
    finished_on: Option<i64>,
    file: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Zone {
    #[serde(rename = "UTC")]
    Utc,
    #[serde(rename = "Africa/Johannesburg")]
    Johannesburg,
}

impl Zone {
    fn secs(self) -> i64 {
        if self == Zone::Utc { 0 } else { 7_200 }
    }
}

/// The query of the call (DOC-S for the names). Times are Unix seconds, both ends included (INF).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    from: Option<i64>,
    to: Option<i64>,
    paid_from: Option<i64>,
    paid_to: Option<i64>,
    updated_from: Option<i64>,
    updated_to: Option<i64>,
    status: Option<String>,
    product: Option<String>,
    currency: Option<String>,
    brand_id: Option<String>,
    q: Option<String>,
}

impl Filter {
    fn lets(&self, line: &Line, brand: Uuid) -> bool {
        let within = |from: Option<i64>, to: Option<i64>, at: i64| {
            from.is_none_or(|from| from <= at) && to.is_none_or(|to| at <= to)
        };
        let is = |wanted: &Option<String>, word: &str| wanted.as_deref().is_none_or(|wanted| wanted == word);
        let found = |text: &str| line.id.contains(text) || line.reference.contains(text) || line.email.contains(text);
        within(self.from, self.to, line.created_on)
            && within(self.paid_from, self.paid_to, line.paid_on)
            && within(self.updated_from, self.updated_to, line.updated_on)
            && is(&self.status, &line.status)
            && is(&self.product, &line.product)
            && is(&self.currency, &line.currency)
            && is(&self.brand_id, &brand.to_string())
            && self.q.as_deref().is_none_or(found)
    }
}

/// One object whose money has moved.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) reference: String,
    pub(crate) product: String,
    pub(crate) status: String,
    pub(crate) currency: String,
    /// Positive came in.
    pub(crate) amount: i64,
    pub(crate) fee: i64,
    pub(crate) created_on: i64,
    pub(crate) paid_on: i64,
    pub(crate) updated_on: i64,
    pub(crate) related_id: String,
    /// The payer, or who is paid.
    pub(crate) name: String,
    pub(crate) email: String,
}

/// What statements say of an object in place of the truth; what answers say of it is a matter of `overrides.rs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LineChange {
    /// No line at all.
    pub omit: bool,
    /// Its line twice.
    pub twice: bool,
    /// With the sign of the direction.
    pub amount: Option<i64>,
    pub fee: Option<i64>,
    pub currency: Option<String>,
    pub status: Option<String>,
    pub reference: Option<String>,
}

pub(crate) type LineChanges = HashMap<Uuid, LineChange>;

impl LineChange {
    fn lay_over(&self, line: &mut Line) {
        line.amount = self.amount.unwrap_or(line.amount);
        line.fee = self.fee.unwrap_or(line.fee);
        let texts = [
            (&self.currency, &mut line.currency),
            (&self.status, &mut line.status),
            (&self.reference, &mut line.reference),
        ];
        for (said, true_text) in texts {
            if let Some(said) = said {
                true_text.clone_from(said);
            }
        }
    }
}

const COLUMNS: [&str; 10] =
    ["id", "reference", "product", "status", "currency", "amount", "fee", "net", "paid_on", "related_id"];
const ODD_COLUMNS: [&str; 14] = [
    "Paid At", "Transaction Type", "Customer Name", "Gross Amount", "Customer Email", "Fee Amount", "Net Amount",
    "Currency Code", "Card Number", "Transaction ID", "Related To", "Merchant Reference", "State", "Bank",
];

impl World {
    /// DOC-S: 201 with `pending`. Only CSV is made here.
    pub(crate) fn create_statement(
        &mut self,
        caller: &Caller,
        body: &Map<String, Value>,
        filter: Filter,
    ) -> Result<Value, ApiError> {
        let mut checker = Checker::default();
        let at = At { object: body, path: "" };
        let format = checker.text(&at, "format", 8);
        if format != "csv" {
            checker.complain(&at, "format", "invalid_choice", "Not a valid choice.");
        }
        let zone = match checker.text(&at, "timezone", 64).as_str() {
            "" | "UTC" => Zone::Utc,
            "Africa/Johannesburg" => Zone::Johannesburg,
            _ => {
                checker.complain(&at, "timezone", "invalid_choice", "Not a valid choice.");
                Zone::Utc
            }
        };
        checker.finish(())?;
        let (id, now) = (Uuid::new_v4(), self.now);
        self.statements.push(Statement {
            id,
            is_test: caller.is_test,
            status: Status::Pending,
            looks: 0,
            zone,
            filter,
            origin: caller.api_origin.clone(),
            created_on: now,
            updated_on: now,
            began_on: None,
            finished_on: None,
            file: None,
        });
        self.go_on(self.statements.len() - 1);
        self.statement_view(id, caller.is_test).ok_or_else(ApiError::not_found)
    }

    /// One look, which brings it on.
    pub(crate) fn look_at_statement(&mut self, id: Uuid, is_test: bool) -> Option<Value> {
        let index = self.statements.iter().position(|one| one.id == id && one.is_test == is_test)?;
        self.statements[index].looks += 1;
        self.go_on(index);
        self.statement_view(id, is_test)
    }

    fn go_on(&mut self, index: usize) {
        let (now, settings) = (self.now, self.settings.statements.clone());
        let statement = &mut self.statements[index];
        if !matches!(statement.status, Status::Pending | Status::Processing) {
            return;
        }
        if statement.looks > 0 || settings.looks == 0 {
            statement.began_on.get_or_insert(now);
            statement.updated_on = now;
            statement.status = Status::Processing;
        }
        if statement.looks >= settings.looks {
            let file = (!settings.fails).then(|| self.statement_file(index));
            let statement = &mut self.statements[index];
            statement.status = if file.is_some() { Status::Success } else { Status::Error };
            statement.finished_on = Some(now);
            statement.file = file;
        }
    }

    /// What happens when it is too late is unknown (?): 400 here.
    pub(crate) fn cancel_statement(&mut self, id: Uuid, is_test: bool) -> Result<Value, ApiError> {
        let now = self.now;
        let found = self.statements.iter_mut().find(|one| one.id == id && one.is_test == is_test);
        let statement = found.ok_or_else(ApiError::not_found)?;
        if !matches!(statement.status, Status::Pending | Status::Processing) {
            return Err(ApiError::refused("company_statement_cancel_error", "The statement cannot be cancelled."));
        }
        (statement.status, statement.updated_on, statement.finished_on) = (Status::Cancelled, now, Some(now));
        self.statement_view(id, is_test).ok_or_else(ApiError::not_found)
    }

    pub(crate) fn statement_views(&self, is_test: bool) -> Vec<Value> {
        let of_mode = self.statements.iter().rev().filter(|one| one.is_test == is_test);
        of_mode.map(|statement| statement.view(self.settings.statements.host.as_deref())).collect()
    }

    fn statement_view(&self, id: Uuid, is_test: bool) -> Option<Value> {
        let statement = self.statements.iter().find(|one| one.id == id && one.is_test == is_test)?;
        Some(statement.view(self.settings.statements.host.as_deref()))
    }

    /// What stands behind `download_url`.
    pub(crate) fn download(&self, id: Uuid) -> Option<String> {
        let file = self.statements.iter().find(|one| one.id == id)?.file.clone()?;
        Some(file + &"\n".repeat(self.settings.statements.padding))
    }

    fn statement_file(&self, index: usize) -> String {
        let statement = &self.statements[index];
        let StatementSettings { headings, unit, signed, .. } = self.settings.statements;
        let mut table = Table::new(headings, unit);
        let is_odd = headings == Headings::Odd;
        let names = if is_odd { ODD_COLUMNS.to_vec() } else { COLUMNS.to_vec() };
        table.row(&names.into_iter().map(str::to_owned).collect::<Vec<_>>());
        for line in self.lines(statement.is_test) {
            if statement.filter.lets(&line, self.brand_id) {
                let cells = if is_odd {
                    odd_cells(&table, &line, signed)
                } else {
                    cells(&table, &line, signed, statement.zone)
                };
                table.row(&cells);
            }
        }
        table.finish()
    }

    /// By the time that their money moved, as statements have them.
    pub(crate) fn lines(&self, is_test: bool) -> Vec<Line> {
        let settings = &self.settings;
        let of_purchases = self.purchases.values().filter(|one| one.is_test == is_test);
        let mut lines: Vec<Line> = of_purchases.filter_map(|purchase| purchase.line(settings)).collect();
        lines.extend(self.payments.values().filter_map(|payment| self.payment_line(payment, is_test)));
        let of_payouts = self.payouts.values().filter(|one| one.is_test == is_test);
        lines.extend(of_payouts.filter_map(|payout| payout.line(settings)));
        lines.extend(self.transfers.iter().filter(|one| one.is_test == is_test).filter_map(Transfer::line));
        lines.sort_by(|a, b| (a.paid_on, &a.id).cmp(&(b.paid_on, &b.id)));
        let mut told = Vec::with_capacity(lines.len());
        for mut line in lines {
            let change = line.id.parse().ok().and_then(|id: Uuid| self.line_changes.get(&id));
            let Some(change) = change else {
                told.push(line);
                continue;
            };
            change.lay_over(&mut line);
            let times = if change.omit { 0 } else { 1 + usize::from(change.twice) };
            told.extend(std::iter::repeat_n(line, times));
        }
        told
    }
}

fn cells(table: &Table, line: &Line, signed: bool, zone: Zone) -> Vec<String> {
    let offset = if zone == Zone::Utc { "Z" } else { "+02:00" };
    let paid_on = format!("{}T{}{offset}", day(line.paid_on, zone.secs()), time(line.paid_on, zone.secs()));
    let [amount, fee, net] = sums(table, line, signed);
    vec![
        line.id.clone(),
        line.reference.clone(),
        line.product.clone(),
        line.status.clone(),
        line.currency.clone(),
        amount,
        fee,
        net,
        paid_on,
        line.related_id.clone(),
    ]
}

/// Its times are in UTC, as Precium says of its files (DOC-R, cards).
fn odd_cells(table: &Table, line: &Line, signed: bool) -> Vec<String> {
    let [amount, fee, net] = sums(table, line, signed);
    vec![
        format!("{} {}", day(line.paid_on, 0), time(line.paid_on, 0)),
        line.product.to_uppercase(),
        line.name.clone(),
        amount,
        line.email.clone(),
        fee,
        net,
        line.currency.to_lowercase(),
        "400000******0077".to_owned(),
        line.id.to_uppercase(),
        line.related_id.clone(),
        line.reference.clone(),
        line.status.clone(),
        "Payer's; \"own\" bank".to_owned(),
    ]
}

fn sums(table: &Table, line: &Line, signed: bool) -> [String; 3] {
    let net = line.amount - line.fee;
    let shown = |minor: i64| table.money(if signed { minor } else { minor.abs() });
    [shown(line.amount), table.money(line.fee), shown(net)]
}

impl Statement {
    fn view(&self, host: Option<&str>) -> Value {
        let url = format!("{}/statements/{}/", host.unwrap_or(&self.origin), self.id);
        json!({
            "id": self.id,
            "type": "company_statement",
            "status": self.status,
            "format": "csv",
            "timezone": self.zone,
            "is_test": self.is_test,
            "created_on": self.created_on,
            "updated_on": self.updated_on,
            "began_on": self.began_on,
            "finished_on": self.finished_on,
            "download_url": self.file.as_ref().map(|_| url),
        })
    }
}

impl Transfer {
    /// Of a settlement when it leaves Revio, of a top-up when it reaches it.
    fn line(&self) -> Option<Line> {
        let (product, paid_on, amount) = match self.kind {
            TransferKind::Settlement => ("settlement", Some(self.created_on), -self.amount),
            TransferKind::TopUp => ("top_up", self.arrived_on, self.amount),
            TransferKind::Inside => ("payout_balance_transfer", self.arrived_on, self.amount),
        };
        Some(Line {
            id: self.id.to_string(),
            reference: self.reference.clone(),
            product: product.to_owned(),
            status: if self.returned_on.is_some() { "error" } else { "success" }.to_owned(),
            currency: self.currency.clone(),
            amount,
            fee: 0,
            created_on: self.created_on,
            paid_on: paid_on?,
            updated_on: self.returned_on.or(self.arrived_on).unwrap_or(self.created_on),
            related_id: String::new(),
            name: String::new(),
            email: String::new(),
        })
    }
}
