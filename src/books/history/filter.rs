//! What a list is narrowed to and in which order it is told: [`FilterQuery`] as a caller writes it, [`Filter`] and [`Sort`] as
//! they are believed. Lists and exports take the same, so that both show the same rows in the same order.

use std::str::FromStr;

use ledger::Currency;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

use super::sort::{self, Sort};
use crate::money::transactions::{Kind, Metadata, NewMetadata, ShownState, State};
use crate::platform::error::Wrong;
use crate::platform::http::Fields;
use crate::platform::{clock::DateTime, text_enum::NotOneOf, zone::Zone};

const REFERENCE_CHARS_MAX: usize = 255;
const Q_CHARS_MAX: usize = 100;
const WORDS_MAX: usize = 8;
/// Fewer hexadecimal digits are read as a word: no id is looked for by them.
const ID_DIGITS_MIN: usize = 8;
const ID_DIGITS: usize = 32;

/// The filters and the order, in the words of the query string. Every value is text until [`FilterQuery::parse`] has read it,
/// and it is written down as it came: the audit log says what an export was narrowed to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FilterQuery {
    /// One or several with commas: `deposit`, `withdrawal`, `refund`, `chargeback`, `chargeback_reversal`, `adjustment`.
    #[param(example = "deposit,refund")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// One or several with commas.
    #[param(example = "completed")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[param(example = "ZAR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Minor units (cents); not less than this.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_min: Option<String>,
    /// Minor units (cents); not more than this.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_max: Option<String>,
    /// Created at this time or later: RFC 3339, or a date, which is its first moment in `tz`.
    #[param(example = "2026-01-01")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Created before this time: RFC 3339, or a date, which is its first moment in `tz`.
    #[param(example = "2026-02-01T00:00:00Z")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Completed at this time or later, likewise. What is not completed is not of the list then.
    #[param(example = "2026-01-01")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_from: Option<String>,
    /// Completed before this time, likewise.
    #[param(example = "2026-02-01")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_to: Option<String>,
    /// Whose days the dates are: a time zone by its name. Default: UTC. Files for people (CSV, XLSX) show their times in it.
    #[param(example = "Africa/Johannesburg")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// The transaction's id, as the provider knows it, an id of one of its ledger transfers, or its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The provider's purchase or payout.
    #[param(value_type = Option<Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Words of the description or the failure reason, at most 8, all of them, the last may be a beginning; or an id, whole or its
    /// first eight digits or more; or an idempotency key.
    #[param(max_length = 100)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only those that have all of this: `metadata[order_id]=A-1042`, up to 20 times.
    #[param(inline, style = DeepObject, explode, value_type = Option<Metadata>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Columns with commas, each once, `-` before one for descending: `created_at`, `updated_at`, `completed_at`, `amount`, `kind`,
    /// `state`. Default `-created_at`.
    #[param(example = "-amount,created_at")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
}

/// What only staff may narrow by.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StaffQuery {
    /// One customer's.
    #[param(value_type = Option<Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `true`: only those that wait for a person; `false`: only the others.
    #[param(value_type = Option<bool>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// Whose rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// The caller's own, whatever else is asked for.
    Own(Uuid),
    /// Everybody's; only for staff who may read transactions.
    All,
}

/// What narrows a list. An empty list and `None` do not narrow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Customers do not see a correction before it is booked.
    pub scope: Scope,
    /// Set for a customer's own list, and where staff look at one customer.
    pub user_id: Option<Uuid>,
    pub kinds: Vec<Kind>,
    pub states: Vec<State>,
    /// Those besides that a person must decide about; where `states` are given, only those of them that nobody has to.
    pub under_review: bool,
    pub currency: Option<&'static str>,
    pub amount_min: Option<i64>,
    pub amount_max: Option<i64>,
    /// Created at or after.
    pub from: Option<DateTime>,
    /// Created before.
    pub to: Option<DateTime>,
    /// Completed at or after.
    pub completed_from: Option<DateTime>,
    /// Completed before.
    pub completed_to: Option<DateTime>,
    pub reference: Option<Reference>,
    pub provider_id: Option<Uuid>,
    pub held: Option<bool>,
    pub search: Option<Search>,
    /// All of it.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// Our id or the caller's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reference {
    pub key: String,
    /// The row, where the text is an id of a row or of one of its transfers.
    pub row_id: Option<Uuid>,
}

/// What `q` may mean. The words are cut in SQL, by the function that cut those of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Search {
    pub text: String,
    /// The first and the last id that begin as the text does.
    pub ids: Option<(Uuid, Uuid)>,
}

impl Filter {
    /// Everything in the scope.
    pub fn of(scope: Scope) -> Self {
        let user_id = match scope {
            Scope::Own(user_id) => Some(user_id),
            Scope::All => None,
        };
        Self {
            scope,
            user_id,
            kinds: Vec::new(),
            states: Vec::new(),
            under_review: false,
            currency: None,
            amount_min: None,
            amount_max: None,
            from: None,
            to: None,
            completed_from: None,
            completed_to: None,
            reference: None,
            provider_id: None,
            held: None,
            search: None,
            metadata: Metadata::default(),
        }
    }

    /// Whether what fits is completed.
    pub(super) fn is_by_completion(&self) -> bool {
        self.completed_from.is_some() || self.completed_to.is_some()
    }

    /// Whether it asks for what `transactions_user`, `transactions_kind` and `transactions_state` hold beside the id.
    pub(super) fn is_of_indexes(&self) -> bool {
        let asks = !self.kinds.is_empty() || !self.states.is_empty() || self.under_review || self.currency.is_some();
        asks && !self.is_by_completion()
    }

    /// Whether a walk through one index, in the order of time, finds the rows soon, whosever they are, however many there are.
    pub(super) fn is_common(&self) -> bool {
        let Self { kinds, states, scope, user_id, .. } = self;
        let kind = kinds.first().filter(|_| kinds.len() == 1);
        let state = states.first().filter(|_| states.len() == 1);
        let is_over = matches!(state, Some(State::Completed | State::Rejected));
        let words = match (user_id, scope) {
            // Where it is not over, whether somebody must look is not in the customer's index.
            (Some(_), Scope::Own(_)) => kinds.len() < 2 && (states.is_empty() || is_over),
            (Some(_), Scope::All) => kinds.len() < 2 && states.len() < 2,
            // Deposits and what is completed have no entries of their own.
            (None, _) => match (kind, state) {
                (None, None) => kinds.is_empty() && states.is_empty(),
                (Some(kind), None) => states.is_empty() && *kind != Kind::Deposit,
                (None, Some(state)) => kinds.is_empty() && *state != State::Completed,
                (Some(_), Some(_)) => false,
            },
        };
        let unasked = Self {
            user_id: *user_id,
            kinds: kinds.clone(),
            states: states.clone(),
            currency: self.currency.filter(|_| user_id.is_some()),
            from: self.from,
            to: self.to,
            ..Self::of(*scope)
        };
        words && *self == unasked
    }

    /// Whether no row can fit: no index would find out soon that a million deposits are all not `rejected`.
    pub(super) fn is_impossible(&self) -> bool {
        let own = matches!(self.scope, Scope::Own(_));
        let fits = |kind: Kind, state: State| {
            (self.states.is_empty() || self.under_review || self.states.contains(&state))
                // The rule of `transactions::find_own`.
                && !(own && kind == Kind::Adjustment && state != State::Completed)
        };
        let kinds = if self.kinds.is_empty() { Kind::ALL } else { self.kinds.as_slice() };
        !kinds.iter().any(|kind| kind.states().iter().any(|state| fits(*kind, *state)))
    }
}

impl FilterQuery {
    /// What is wrong goes to `fields`; the answer counts only if nothing is.
    pub fn parse(&self, fields: &mut Fields, scope: Scope) -> (Filter, Sort) {
        let shown: Vec<ShownState> = list(fields, "state", self.state.as_deref());
        let zone = self.zone(fields);
        let filter = Filter {
            kinds: list(fields, "kind", self.kind.as_deref()),
            states: shown.iter().filter_map(|shown| State::parse(shown.name())).collect(),
            under_review: shown.contains(&ShownState::UnderReview),
            currency: self.currency.as_deref().and_then(|code| currency(fields, code)),
            amount_min: self.amount_min.as_deref().and_then(|text| amount(fields, "amount_min", text)),
            amount_max: self.amount_max.as_deref().and_then(|text| amount(fields, "amount_max", text)),
            from: moment(fields, "from", self.from.as_deref(), zone),
            to: moment(fields, "to", self.to.as_deref(), zone),
            completed_from: moment(fields, "completed_from", self.completed_from.as_deref(), zone),
            completed_to: moment(fields, "completed_to", self.completed_to.as_deref(), zone),
            reference: self.reference.as_deref().map(|text| reference(fields, text)),
            provider_id: self.provider_id.as_deref().and_then(|text| uuid(fields, "provider_id", text)),
            search: self.q.as_deref().map(|text| search(fields, text)),
            metadata: self.metadata.as_deref().map(|text| metadata(fields, text)).unwrap_or_default(),
            ..Filter::of(scope)
        };
        if filter.amount_min.zip(filter.amount_max).is_some_and(|(min, max)| min > max) {
            fields.wrong("amount_max", Wrong::Conflict("amount_min", "must not be less than amount_min"));
        }
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from > to) {
            fields.wrong("to", Wrong::Conflict("from", "must not be before from"));
        }
        if filter.completed_from.zip(filter.completed_to).is_some_and(|(from, to)| from > to) {
            fields.wrong("completed_to", Wrong::Conflict("completed_from", "must not be before completed_from"));
        }
        let sort = Sort::parse(self.sort.as_deref()).unwrap_or_else(|wrong| {
            fields.wrong("sort", wrong);
            Sort::default()
        });
        (filter, sort)
    }

    /// Whose days the dates are, and whose clock a file shows.
    pub fn zone(&self, fields: &mut Fields) -> Zone {
        fields.zone("tz", self.tz.as_deref())
    }
}

impl StaffQuery {
    /// As [`FilterQuery::parse`], into a filter over everybody's rows.
    pub fn narrow(&self, fields: &mut Fields, filter: &mut Filter) {
        filter.user_id = self.user_id.as_deref().and_then(|text| uuid(fields, "user_id", text));
        filter.held = self.held.as_deref().and_then(|text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                fields.wrong("held", Wrong::Type("true or false"));
                None
            }
        });
    }
}

/// Of the largest there is.
const AMOUNT_CHARS_MAX: usize = 19;
/// Names with commas; one that comes again counts once.
pub(super) fn list<T: PartialEq + FromStr<Err = NotOneOf>>(
    fields: &mut Fields,
    field: &'static str,
    text: Option<&str>,
) -> Vec<T> {
    let mut values = Vec::new();
    if let Err(wrong) = text.map_or(Ok(()), sort::fits) {
        fields.wrong(field, wrong);
        return values;
    }
    for name in text.into_iter().flat_map(|text| text.split(',')) {
        match name.parse() {
            Ok(value) if !values.contains(&value) => values.push(value),
            Ok(_) => {}
            Err(words) => {
                fields.wrong(field, words);
                break;
            }
        }
    }
    values
}

fn currency(fields: &mut Fields, code: &str) -> Option<&'static str> {
    let currency = Currency::parse(code);
    if currency.is_none() {
        fields.wrong("currency", Wrong::Format("is not a currency of ISO 4217"));
    }
    currency.map(Currency::code)
}

fn moment(fields: &mut Fields, field: &'static str, text: Option<&str>, zone: Zone) -> Option<DateTime> {
    fields.moment_in(field, text?, zone)
}

fn amount(fields: &mut Fields, field: &'static str, text: &str) -> Option<i64> {
    let amount = text.parse::<i64>().ok().filter(|_| text.len() <= AMOUNT_CHARS_MAX);
    match amount {
        None => fields.wrong(field, Wrong::Format("must be a whole number of minor units")),
        Some(amount) if amount < 0 => fields.wrong(field, Wrong::AtLeast(0)),
        Some(_) => {}
    }
    amount
}

fn uuid(fields: &mut Fields, field: &'static str, text: &str) -> Option<Uuid> {
    let id = text.parse::<Uuid>().ok();
    if id.is_none() {
        fields.wrong(field, Wrong::Format("is not a UUID"));
    }
    id
}

fn metadata(fields: &mut Fields, text: &str) -> Metadata {
    let Some(pairs) = NewMetadata::of_query(text) else {
        fields.wrong("metadata", Wrong::Format("must be given as metadata[key]=value"));
        return Metadata::default();
    };
    pairs.parse(fields)
}

fn reference(fields: &mut Fields, text: &str) -> Reference {
    let key = fields.search("reference", text, 1..=REFERENCE_CHARS_MAX);
    let row_id = key.parse::<Uuid>().ok().map(ledger::row_of);
    Reference { key, row_id }
}

fn search(fields: &mut Fields, text: &str) -> Search {
    let text = fields.search("q", text, 1..=Q_CHARS_MAX);
    if text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).count() > WORDS_MAX {
        fields.wrong("q", format!("has more than {WORDS_MAX} words"));
    }
    Search { ids: ids_beginning(&text), text }
}

/// The first and the last id whose digits begin so; for a whole id that of the row.
pub fn ids_beginning(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal || !(ID_DIGITS_MIN..=ID_DIGITS).contains(&digits.len()) {
        return None;
    }
    if digits.len() == ID_DIGITS {
        let id = digits.parse::<Uuid>().ok()?;
        return Some((ledger::row_of(id), id));
    }
    let padded = |digit: &str| format!("{digits}{}", digit.repeat(ID_DIGITS - digits.len())).parse::<Uuid>().ok();
    Some((padded("0")?, padded("f")?))
}
