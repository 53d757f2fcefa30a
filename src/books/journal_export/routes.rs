//! `GET /v1/admin/journals/export`.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::File;
use crate::app::App;
use crate::books::files::{self, Pages};
use crate::identity::staff::Staff;
use crate::money::journals;
use crate::platform::error::Result;
use crate::platform::http::{Fields, Query, download::streamed};
use crate::platform::{permissions::JournalsRead, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    #[param(inline, value_type = Option<journals::Kind>)]
    kind: Option<String>,
    #[param(inline, value_type = Option<journals::State>)]
    state: Option<String>,
}

/// Export the company's journals
///
/// Those of `GET /v1/admin/journals` as CSV, sent while they are read. The last record starts with `#end` and has the SHA-256 of everything
/// before it; a file without one broke off. Needs `journals.read`. Audited.
#[utoipa::path(get, path = "/v1/admin/journals/export", tag = "staff", security(("bearer" = ["journals.read"])),
    params(ExportQuery),
    responses((status = 200, description = "The file", headers(("Accept-Ranges" = String, description = "`none`")),
        content((String = "text/csv"))), Problems))]
async fn export(
    State(app): State<App>,
    staff: Staff<JournalsRead>,
    Query(query): Query<ExportQuery>,
) -> Result<Response> {
    let mut fields = Fields::of_query();
    let kind = fields.word("kind", query.kind.as_deref());
    let state = fields.word("state", query.state.as_deref());
    fields.finish()?;
    let name = format!("journals-{}.csv", app.clock.now().format("%Y%m%dT%H%M%SZ"));
    let mut file = File::new(kind, state);
    // The first page before the head of the answer: what fails by then is refused.
    let first = file.next(&app).await?.unwrap_or_default();
    let body = Body::from_stream(files::sent(app, (&staff).into(), first, file));
    Ok(streamed("text/csv; charset=utf-8; header=present", &name, None, body))
}
