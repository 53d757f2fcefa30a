//! `GET /v1/balances`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::CustomerBalance;
use crate::app::App;
use crate::identity::caller::Caller;
use crate::platform::http::{Fields, Json, Query};
use crate::platform::{clock::DateTime, error::Result, problems::Problems, text_enum::text_enum};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(balances))
}

/// All amounts are in minor units (cents).
#[derive(Serialize, ToSchema)]
pub struct BalanceView {
    #[schema(example = "ZAR")]
    pub currency: &'static str,
    /// What is booked.
    #[schema(example = 150_000)]
    pub posted: i64,
    /// What is reserved for withdrawals under way.
    pub pending: i64,
    /// What can be withdrawn: `posted` less `pending`.
    #[schema(example = 150_000)]
    pub available: i64,
    /// What the balance did not cover when money was taken back: the next money that comes repays it first.
    pub owed: i64,
    pub limits: LimitsView,
}

/// How much may be withdrawn, whatever the balance: as it is at this moment. The limits are decided by the withdrawal itself.
#[derive(Serialize, ToSchema)]
pub struct LimitsView {
    /// With one withdrawal; null = as much as there is.
    #[schema(example = 50_000_000)]
    once: Option<i64>,
    /// In any 24 hours; null = as much as there is.
    #[schema(example = 100_000_000)]
    daily: Option<i64>,
    /// What was withdrawn within 24 hours, or is about to be. What failed does not count.
    #[schema(example = 0)]
    used: i64,
    /// What is left of `daily`.
    #[schema(example = 100_000_000)]
    remaining: Option<i64>,
    /// With `include=resets_at`: when some of what was used comes back; missing where nothing is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<DateTime>,
}

#[derive(Serialize, ToSchema)]
struct BalanceList {
    balances: Vec<BalanceView>,
}

text_enum! {
    pub enum Include {
        ResetsAt = "resets_at",
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BalanceQuery {
    /// `resets_at`: when the limits do, too.
    #[param(inline, value_type = Option<Include>)]
    include: Option<String>,
}

impl From<CustomerBalance> for BalanceView {
    fn from(balance: CustomerBalance) -> Self {
        Self {
            currency: balance.currency.code(),
            posted: balance.wallet.posted(),
            pending: balance.wallet.pending(),
            available: balance.wallet.available(),
            owed: balance.owed,
            limits: LimitsView::from(&balance),
        }
    }
}

impl From<&CustomerBalance> for LimitsView {
    fn from(balance: &CustomerBalance) -> Self {
        let daily = balance.limit.map(|limit| limit.daily.minor());
        Self {
            once: balance.limit.map(|limit| limit.once.minor()),
            daily,
            used: balance.used,
            remaining: daily.map(|daily| daily.saturating_sub(balance.used).max(0)),
            resets_at: None,
        }
    }
}

/// My balances
///
/// Read from the ledger at this moment, with what is owed and what is left of the limits for withdrawals.
#[utoipa::path(get, path = "/v1/balances", tag = "accounts", security(("bearer" = [])), params(BalanceQuery),
    responses((status = 200, body = BalanceList), Problems))]
async fn balances(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BalanceQuery>,
) -> Result<Json<BalanceList>> {
    let mut fields = Fields::of_query();
    let include = fields.word::<Include>("include", query.include.as_deref());
    fields.finish()?;
    let mut views = Vec::new();
    for balance in super::balances(&app, caller.user_id).await? {
        let resets_at = match include {
            Some(Include::ResetsAt) => super::resets_at(&app, caller.user_id, &balance).await?,
            None => None,
        };
        let mut view = BalanceView::from(balance);
        view.limits.resets_at = resets_at;
        views.push(view);
    }
    Ok(Json(BalanceList { balances: views }))
}
