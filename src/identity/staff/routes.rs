//! `GET /v1/admin/audit`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Filter, Row};
use crate::identity::staff::Staff;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::http::{Fields, Json, Page, Query, page};
use crate::platform::permissions::AuditRead;
use crate::platform::problems::Problems;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(audit_log))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// A user's id, `system`, `revio` or `nobody`.
    #[param(max_length = 255)]
    actor: Option<String>,
    #[param(example = "user.role_changed", max_length = 255)]
    action: Option<String>,
    #[param(example = "user", max_length = 255)]
    object_kind: Option<String>,
    #[param(max_length = 255)]
    object_id: Option<String>,
    /// Not before this time.
    from: Option<DateTime>,
    /// Before this time.
    to: Option<DateTime>,
    /// `page.next_cursor` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct AuditView {
    id: Uuid,
    at: DateTime,
    /// A user's id, `system`, `revio` or `nobody`.
    actor: String,
    /// The role that the actor had then.
    actor_role: Option<String>,
    #[schema(example = "user.role_changed")]
    action: String,
    #[schema(example = "user")]
    object_kind: String,
    object_id: String,
    /// What was.
    before: Option<Value>,
    /// What is.
    after: Option<Value>,
    request_id: Option<String>,
    address: Option<String>,
}

impl AuditQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::default();
        let mut word = |name, value: Option<String>| value.map(|text| fields.text(name, &text, 1..=255));
        let (actor, action) = (word("actor", self.actor), word("action", self.action));
        let (object_kind, object_id) = (word("object_kind", self.object_kind), word("object_id", self.object_id));
        let before = page::cursor(&mut fields, self.cursor.as_deref());
        let limit = page::limit(&mut fields, self.limit);
        fields.finish()?;
        Ok(Filter { actor, action, object_kind, object_id, from: self.from, to: self.to, before, limit })
    }
}

impl TryFrom<Row> for AuditView {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let value = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            before: value(row.before).map_err(Error::internal)?,
            after: value(row.after).map_err(Error::internal)?,
            id: row.id,
            at: row.at,
            actor: row.actor,
            actor_role: row.actor_role,
            action: row.action,
            object_kind: row.object_kind,
            object_id: row.object_id,
            request_id: row.request_id,
            address: row.address,
        })
    }
}

/// Who did what
///
/// Newest first. Needs `audit.read`.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "staff", security(("bearer" = ["audit.read"])), params(AuditQuery),
    responses((status = 200, body = Page<AuditView>), Problems))]
async fn audit_log(
    State(app): State<App>,
    _staff: Staff<AuditRead>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditView>>> {
    let filter = query.parse()?;
    let rows = audit::list(&app, &filter).await?;
    let last = rows.last().map(|row| row.id);
    let data = rows.into_iter().map(AuditView::try_from).collect::<Result<_>>()?;
    Ok(Json(Page::by_id(data, last, filter.limit)))
}
