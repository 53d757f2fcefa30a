//! `GET /v1/admin/reconciliation/statements/days`.

use axum::extract::State;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::DayState;
use super::store::{self, StatementDay};
use crate::app::App;
use crate::finance::days;
use crate::identity::staff::Staff;
use crate::platform::error::Result;
use crate::platform::http::{Fields, Json, Page, Query, page, page_query};
use crate::platform::permissions::ReconciliationRead;
use crate::platform::problems::Problems;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

page_query! {
    struct DaysQuery {
        #[param(value_type = Option<DayState>, inline)]
        state: Option<String>,
    }
}

/// Days whose statement Revio was asked for
///
/// Latest first. `failed` are those that somebody must import by hand, with the reason. Needs `reconciliation.read`.
#[utoipa::path(get, path = "/v1/admin/reconciliation/statements/days", tag = "staff", security(("bearer" = ["reconciliation.read"])),
    params(DaysQuery), responses((status = 200, body = Page<StatementDay>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<ReconciliationRead>,
    Query(query): Query<DaysQuery>,
) -> Result<Json<Page<StatementDay>>> {
    let mut fields = Fields::of_query();
    let state: Option<DayState> = fields.word("state", query.state.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    Ok(Json(Page::by_id(store::list(&app.db, days::zone(&app), state, (before, limit)).await?, limit, |day| day.id)))
}
