//! `GET /v1/admin/audit`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::identity::audit::{self, Filter, Row};
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Query, fields::storable, page};
use crate::platform::{error::Result, permissions::AuditRead, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(audit_log))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// A user's id, `service:` and a service account's, `system`, `operator`, `revio` or `nobody`.
    #[param(max_length = 255)]
    actor: Option<String>,
    #[param(example = "user.role_changed", max_length = 255)]
    action: Option<String>,
    #[param(example = "user", max_length = 255)]
    object_kind: Option<String>,
    #[param(max_length = 255)]
    object_id: Option<String>,
    /// Not before this time: RFC 3339, or a date, which is its first moment in UTC.
    #[param(example = "2026-01-01")]
    from: Option<String>,
    /// Before this time, likewise.
    #[param(example = "2026-02-01T00:00:00Z")]
    to: Option<String>,
    /// `page.next_cursor` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

impl AuditQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::default();
        let mut word = |name, value: Option<String>| value.map(|text| fields.search(name, &text, 1..=255));
        let (actor, action) = (word("actor", self.actor), word("action", self.action));
        let (object_kind, object_id) = (word("object_kind", self.object_kind), word("object_id", self.object_id));
        let from = self.from.and_then(|text| fields.moment("from", &text)).map(storable);
        let to = self.to.and_then(|text| fields.moment("to", &text)).map(storable);
        let (before, limit) = page::range(&mut fields, self.cursor.as_deref(), self.limit);
        fields.finish()?;
        Ok(Filter { actor, action, object_kind, object_id, from, to, before, limit })
    }
}

/// Who did what
///
/// Newest first. Needs `audit.read`.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "staff", security(("bearer" = ["audit.read"])), params(AuditQuery),
    responses((status = 200, body = Page<Row>), Problems))]
async fn audit_log(
    State(app): State<App>,
    _staff: Staff<AuditRead>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<Row>>> {
    let filter = query.parse()?;
    Ok(Json(Page::by_id(audit::list(&app, &filter).await?, filter.limit, |row| row.id)))
}
