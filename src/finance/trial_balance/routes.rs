//! `GET /v1/admin/trial-balance`.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::TrialBalance;
use crate::app::App;
use crate::finance::days;
use crate::identity::staff::Staff;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::{Asked, Download, Fields, Query, download::Parts};
use crate::platform::{permissions::PeriodsRead, problems::Problems, slow_reads, text_enum::text_enum};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(trial_balance))
}

text_enum! {
    #[schema(as = ReportFormat)]
    pub enum Format {
        /// The default.
        Json = "json",
        Csv = "csv",
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DayQuery {
    /// In the time zone of the accounts. Default: today, as far as it is.
    #[param(value_type = Option<NaiveDate>, format = Date)]
    day: Option<String>,
    currency: String,
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

/// Trial balance
///
/// Every account at the end of a day: the company's from the ledger's history, the customers' summed up. Debits are credits, else it is not
/// shown. Needs `periods.read`.
#[utoipa::path(get, path = "/v1/admin/trial-balance", tag = "staff", security(("bearer" = ["periods.read"])), params(DayQuery),
    responses((status = 200, content((TrialBalance = "application/json"), (String = "text/csv"))), Parts,
        (status = 503, description = "`books_behind`"), Problems))]
async fn trial_balance(
    State(app): State<App>,
    staff: Staff<PeriodsRead>,
    Query(query): Query<DayQuery>,
    asked: Asked,
) -> Result<Response> {
    let (mut fields, today) = (Fields::of_query(), days::today(&app).await?);
    let currency = fields.take(app.currency(&query.currency));
    let day = query.day.as_deref().map_or(Some(today), days::parse);
    match day {
        None => fields.wrong("day", Wrong::Format(days::NO_DAY)),
        Some(day) if day > today => fields.wrong("day", "has not come yet"),
        Some(_) => {}
    }
    let format = fields.word("format", query.format.as_deref()).unwrap_or(Format::Json);
    let (currency, day) = fields.finish_with(currency.zip(day))?;
    let _turn = app.slow_reads.turn(staff.user_id, slow_reads::WAIT).await?;
    let balance = super::of_day(&app, currency, day).await?;
    match format {
        Format::Json => Ok(json(serde_json::to_vec(&balance).map_err(Error::internal)?).answer(&asked)),
        Format::Csv => {
            Ok(csv(format!("trial-balance-{currency}-{day}.csv"), super::csv::write(&balance)?).answer(&asked))
        }
    }
}

pub fn json(content: Vec<u8>) -> Download {
    // A part of it would be no JSON.
    Download::new("application/json", content).only_whole()
}

pub fn csv(name: String, content: Vec<u8>) -> Download {
    Download::new("text/csv; charset=utf-8; header=present", content).named(name)
}
