//! `GET /v1/balances`.

use axum::extract::State;
use ledger::{Balance, Currency};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::identity::caller::Caller;
use crate::platform::{error::Result, http::Json, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(balances))
}

/// All amounts are in minor units (cents).
#[derive(Serialize, ToSchema)]
pub struct BalanceView {
    #[schema(example = "ZAR")]
    pub currency: &'static str,
    /// What is booked.
    pub posted: i64,
    /// What is reserved for withdrawals under way.
    pub pending: i64,
    /// What can be withdrawn: `posted` less `pending`.
    pub available: i64,
}

#[derive(Serialize, ToSchema)]
struct BalanceList {
    balances: Vec<BalanceView>,
}

impl From<(Currency, Balance)> for BalanceView {
    fn from((currency, balance): (Currency, Balance)) -> Self {
        Self {
            currency: currency.code(),
            posted: balance.posted(),
            pending: balance.pending(),
            available: balance.available(),
        }
    }
}

/// My balances
///
/// Read from the ledger at this moment.
#[utoipa::path(get, path = "/v1/balances", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = BalanceList), Problems))]
async fn balances(State(app): State<App>, caller: Caller) -> Result<Json<BalanceList>> {
    let balances = super::balances(&app, caller.user_id).await?;
    Ok(Json(BalanceList { balances: balances.into_iter().map(BalanceView::from).collect() }))
}
