//! `GET /v1/admin/periods`, `POST /v1/admin/periods/close`, `GET /v1/admin/periods/{month}`, `POST …/{month}/approve`,
//! `GET …/{month}/pack`, `GET …/{month}/journal.csv`.

use axum::extract::State as AppState;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Month, PeriodView, Report};
use crate::app::App;
use crate::finance::trial_balance::routes::{Format, csv, json};
use crate::identity::staff::Staff;
use crate::money::approvals::SubjectHash;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::{Asked, Fields, Json, Page, Path, Query, download::Parts};
use crate::platform::permissions::{PeriodsApprove, PeriodsClose, PeriodsRead};
use crate::platform::problems::Problems;

const ACCEPTS_MAX: usize = 200;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(close))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(pack))
        .routes(routes!(journal))
}

/// In a path what is no month names nothing.
fn month(text: &str) -> Result<Month> {
    Month::parse(text).ok_or(Error::NotFound("period"))
}

/// Closed months
///
/// Newest first, with those that wait for a checker. Needs `periods.read`.
#[utoipa::path(get, path = "/v1/admin/periods", tag = "staff", security(("bearer" = ["periods.read"])),
    responses((status = 200, body = Page<PeriodView>), Problems))]
async fn list(AppState(app): AppState<App>, _staff: Staff<PeriodsRead>) -> Result<Json<Page<PeriodView>>> {
    Ok(Json(Page::whole(super::list(&app).await?)))
}

/// One month
///
/// Needs `periods.read`.
#[utoipa::path(get, path = "/v1/admin/periods/{month}", tag = "staff", security(("bearer" = ["periods.read"])),
    params(("month" = String, Path, example = "2026-03", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$")),
    responses((status = 200, body = PeriodView), Problems))]
async fn show(
    AppState(app): AppState<App>,
    _staff: Staff<PeriodsRead>,
    Path(asked): Path<String>,
) -> Result<Json<PeriodView>> {
    Ok(Json(super::find(&app, month(&asked)?).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CloseBody {
    #[schema(example = "2026-03", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$")]
    month: String,
    /// Open breaks that are not critical and may stay open; they stand in the pack as accepted.
    #[serde(default)]
    #[schema(max_items = 200)]
    accepts: Vec<Uuid>,
}

/// Ask for a month to be closed
///
/// Checks it, makes its pack, and waits for a second person. Again: made anew, if something has changed. A closed month answers as it is.
/// Needs `periods.close`. Audited.
#[utoipa::path(post, path = "/v1/admin/periods/close", tag = "staff", security(("bearer" = ["periods.close"])),
    request_body = CloseBody,
    responses((status = 200, body = PeriodView),
        (status = 409, description = "`period_not_ready`: `errors` lists all that is missing; `stale_state`"), Problems))]
async fn close(
    AppState(app): AppState<App>,
    staff: Staff<PeriodsClose>,
    Json(body): Json<CloseBody>,
) -> Result<Json<PeriodView>> {
    let mut fields = Fields::default();
    let month = Month::parse(&body.month);
    if month.is_none() {
        fields.wrong("month", Wrong::Format("must be a month as in 2026-03"));
    }
    if body.accepts.len() > ACCEPTS_MAX {
        fields.wrong("accepts", Wrong::Length(0, ACCEPTS_MAX, "items"));
    }
    let month = fields.finish_with(month)?;
    Ok(Json(super::close(&app, staff.member(), month, body.accepts).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApprovePeriodBody {
    /// As it was shown: what is closed is exactly that.
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    pack_sha256: String,
}

/// Close a month
///
/// The pack is made once more and must be the same. It is final. Needs `periods.approve`, and never its maker. Audited.
#[utoipa::path(post, path = "/v1/admin/periods/{month}/approve", tag = "staff", security(("bearer" = ["periods.approve"])),
    params(("month" = String, Path, example = "2026-03", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$")),
    request_body = ApprovePeriodBody,
    responses((status = 200, body = PeriodView),
        (status = 403, description = "`forbidden`: also for its maker, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`period_not_ready`: it is another pack by now; `stale_state`: it is not what was seen"), Problems))]
async fn approve(
    AppState(app): AppState<App>,
    staff: Staff<PeriodsApprove>,
    Path(asked): Path<String>,
    Json(body): Json<ApprovePeriodBody>,
) -> Result<Json<PeriodView>> {
    let month = month(&asked)?;
    let seen = SubjectHash::parse(&body.pack_sha256);
    let seen = seen.ok_or_else(|| Error::field("pack_sha256", Wrong::Format("must have 64 hexadecimal digits")))?;
    Ok(Json(super::approve(&app, staff.member(), month, seen).await?.into()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PackQuery {
    #[param(inline, value_type = Report)]
    report: String,
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

/// A report of a month, printed again
///
/// To the byte as it was closed; `customers` is made anew, has the hash that was frozen, and is a CSV file. What would differ is not shown.
/// Needs `periods.read`.
#[utoipa::path(get, path = "/v1/admin/periods/{month}/pack", tag = "staff", security(("bearer" = ["periods.read"])),
    params(("month" = String, Path, example = "2026-03", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$"), PackQuery),
    responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv"))), Parts, Problems))]
async fn pack(
    AppState(app): AppState<App>,
    _staff: Staff<PeriodsRead>,
    Path(text): Path<String>,
    Query(query): Query<PackQuery>,
    asked: Asked,
) -> Result<Response> {
    let mut fields = Fields::of_query();
    let report = fields.word("report", Some(&query.report));
    let format = fields.word("format", query.format.as_deref());
    if report == Some(Report::Customers) && format == Some(Format::Json) {
        fields.wrong("format", Wrong::Conflict("report", "cannot be used together with report=customers, a CSV file"));
    }
    let report: Report = fields.finish_with(report)?;
    let month = month(&text)?;
    let name = format!("{}-{month}.csv", report.name());
    if report == Report::Customers {
        return Ok(csv(name, super::customers(&app, month).await?).answer(&asked));
    }
    let as_csv = format == Some(Format::Csv);
    let printed = super::printed(&app, month, report, as_csv).await?;
    Ok(if as_csv { csv(name, printed) } else { json(printed) }.answer(&asked))
}

/// A month for the accounting package
///
/// Every movement as a debit and a credit: what customers did by day and reason, each journal of the company's alone. Needs `periods.read`.
#[utoipa::path(get, path = "/v1/admin/periods/{month}/journal.csv", tag = "staff", security(("bearer" = ["periods.read"])),
    params(("month" = String, Path, example = "2026-03", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$")),
    responses((status = 200, body = String, content_type = "text/csv"), Parts, Problems))]
async fn journal(
    AppState(app): AppState<App>,
    _staff: Staff<PeriodsRead>,
    Path(text): Path<String>,
    asked: Asked,
) -> Result<Response> {
    let month = month(&text)?;
    Ok(csv(format!("journal-{month}.csv"), super::journal(&app, month).await?).answer(&asked))
}
