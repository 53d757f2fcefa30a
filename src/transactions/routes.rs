//! `GET /v1/transactions`, `GET /v1/transactions/{id}`, and how a transaction looks wherever it is answered.

use axum::extract::State as AppState;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ledger::{Amount, Currency};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Filter, Kind, State, Transaction};
use crate::app::App;
use crate::clock::DateTime;
use crate::error::Result;
use crate::http::{Caller, Fields, Json, Path, Query};
use crate::problems::Problems;

/// Ten thousand million in the major unit of a currency with cents: far above any payment, far below any overflow.
const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000;
const PAGE_SIZE_DEFAULT: i64 = 20;
const PAGE_SIZE_MAX: i64 = 100;
/// Deeper pages are for cursors: an offset makes PostgreSQL count rows to throw away.
const PAGE_MAX: i64 = 1000;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

#[derive(Serialize, ToSchema)]
pub struct TransactionView {
    pub id: Uuid,
    #[schema(value_type = Kind)]
    pub kind: &'static str,
    /// See the state diagrams in the documentation.
    #[schema(value_type = State)]
    pub state: &'static str,
    /// Minor units (cents).
    #[schema(example = 150_000)]
    pub amount: i64,
    #[schema(example = "ZAR")]
    pub currency: &'static str,
    /// Deposits: where the payer pays.
    pub checkout_url: Option<String>,
    /// Withdrawals: where the money goes.
    pub bank_account_id: Option<Uuid>,
    /// Refunds, chargebacks: the deposit that they take back.
    pub parent_id: Option<Uuid>,
    /// The part of it that repaid what was owed.
    pub repaid: i64,
    /// The part of it that the balance did not cover: it is owed, and the next deposit repays it first.
    pub owed: i64,
    /// Deposits: how much was given back since.
    pub refunded: i64,
    pub charged_back: i64,
    pub failure_reason: Option<String>,
    pub created_at: DateTime,
    pub updated_at: DateTime,
    pub completed_at: Option<DateTime>,
}

impl From<Transaction> for TransactionView {
    fn from(row: Transaction) -> Self {
        Self {
            id: row.id,
            kind: row.kind.name(),
            state: row.state.name(),
            amount: row.amount.minor(),
            currency: row.amount.currency().code(),
            checkout_url: row.provider.checkout_url,
            bank_account_id: row.bank_account_id,
            parent_id: row.parent_id,
            repaid: row.repaid_minor,
            owed: row.owed_minor,
            refunded: row.reversed.refunded_minor,
            charged_back: row.reversed.charged_back_minor,
            failure_reason: row.failure_reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
        }
    }
}

/// The amount of a request that moves money: positive, not absurd, in a currency that customers may use.
pub fn parse_amount(app: &App, fields: &mut Fields, minor: i64, currency: &str) -> Option<Amount> {
    let currency = fields.take(app.currency(currency));
    if minor <= 0 {
        fields.wrong("amount", "must be greater than zero");
    } else if minor > AMOUNT_MINOR_MAX {
        fields.wrong("amount", format!("must be at most {AMOUNT_MINOR_MAX}"));
    }
    Amount::new(minor, currency?).ok()
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// From 1.
    #[param(minimum = 1, maximum = 1000)]
    page: Option<i64>,
    #[param(minimum = 1, maximum = 100)]
    page_size: Option<i64>,
    /// `next_cursor` of the page before; instead of `page`.
    cursor: Option<String>,
    /// The page size, with a cursor.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    #[param(inline, value_type = Option<Kind>)]
    kind: Option<String>,
    #[param(inline, value_type = Option<State>)]
    state: Option<String>,
    currency: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct TransactionList {
    data: Vec<TransactionView>,
    page: Page,
}

#[derive(Serialize, ToSchema)]
struct Page {
    /// For `cursor`; null on the last page.
    next_cursor: Option<String>,
    /// All rows that fit the filters.
    total: i64,
    page_size: i64,
}

impl ListQuery {
    fn parse(self, caller: &Caller) -> Result<Filter> {
        let mut fields = Fields::default();
        if self.page.is_some() && self.cursor.is_some() {
            fields.wrong("cursor", "cannot be used together with page");
        }
        if self.page_size.is_some() && self.limit.is_some() {
            fields.wrong("limit", "cannot be used together with page_size");
        }
        let size_field = if self.limit.is_some() { "limit" } else { "page_size" };
        let size = self.limit.or(self.page_size);
        let limit = within(&mut fields, size_field, size.unwrap_or(PAGE_SIZE_DEFAULT), PAGE_SIZE_MAX);
        let page = within(&mut fields, "page", self.page.unwrap_or(1), PAGE_MAX);
        let before = self.cursor.and_then(|cursor| parse_cursor(&mut fields, &cursor));
        let kind = self.kind.map(|name| Kind::parse(&name).ok_or("is not a kind of transaction"));
        let state = self.state.map(|name| State::parse(&name).ok_or("is not a state of a transaction"));
        let kind = kind.transpose().map_err(|message| fields.wrong("kind", message)).ok().flatten();
        let state = state.transpose().map_err(|message| fields.wrong("state", message)).ok().flatten();
        let currency = self.currency.map(|code| Currency::parse(&code).ok_or("is not a currency of ISO 4217"));
        let currency = currency.transpose().map_err(|message| fields.wrong("currency", message)).ok().flatten();
        fields.finish()?;
        Ok(Filter {
            user_id: caller.user_id,
            kind: kind.map(Kind::name),
            state: state.map(State::name),
            currency: currency.map(Currency::code),
            before,
            offset: page.saturating_sub(1).saturating_mul(limit),
            limit,
        })
    }
}

fn within(fields: &mut Fields, field: &'static str, value: i64, max: i64) -> i64 {
    if !(1..=max).contains(&value) {
        fields.wrong(field, format!("must be between 1 and {max}"));
    }
    value
}

fn parse_cursor(fields: &mut Fields, cursor: &str) -> Option<Uuid> {
    let id = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    if id.is_none() {
        fields.wrong("cursor", "is not a cursor of this list");
    }
    id
}

/// My transactions
///
/// Newest first.
#[utoipa::path(get, path = "/v1/transactions", tag = "transactions", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, body = TransactionList), Problems))]
async fn list(
    AppState(app): AppState<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<TransactionList>> {
    let filter = query.parse(&caller)?;
    let (rows, total) = super::list(&app, &filter).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == filter.limit);
    let last = rows.last().filter(|_| full).map(|row| BASE64_URL_SAFE_NO_PAD.encode(row.id.as_bytes()));
    let data = rows.into_iter().map(TransactionView::from).collect();
    Ok(Json(TransactionList { data, page: Page { next_cursor: last, total, page_size: filter.limit } }))
}

/// One of my transactions
#[utoipa::path(get, path = "/v1/transactions/{id}", tag = "transactions", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses((status = 200, body = TransactionView), Problems))]
async fn show(AppState(app): AppState<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<TransactionView>> {
    Ok(Json(super::find_own(&app, caller.user_id, id).await?.into()))
}
