//! `GET /v1/admin/mails`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Filter, Row};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::clock::DateTime;
use crate::platform::error::Result;
use crate::platform::http::{Fields, Json, Page, Query, page};
use crate::platform::permissions::UsersRead;
use crate::platform::problems::Problems;

const STATES: [&str; 4] = ["pending", "sent", "dropped", "dead"];

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MailQuery {
    /// `pending`, `sent`, `dropped` (no longer of use) or `dead` (it did not go out; the person may ask for another).
    #[param(example = "dead", pattern = "^(pending|sent|dropped|dead)$")]
    state: Option<String>,
    /// `page.next_cursor` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct MailView {
    id: Uuid,
    /// `email_verification` or `password_reset`.
    #[schema(example = "email_verification")]
    kind: String,
    /// Whom it is for; null while nobody has looked whose address it is.
    user_id: Option<Uuid>,
    state: String,
    attempts: i32,
    next_attempt_at: Option<DateTime>,
    last_error: Option<String>,
    created_at: DateTime,
    /// When the link in it ends.
    expires_at: DateTime,
    sent_at: Option<DateTime>,
}

impl MailQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::default();
        if self.state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
            fields.wrong("state", format!("must be one of {}", STATES.join(", ")));
        }
        let before = page::cursor(&mut fields, self.cursor.as_deref());
        let limit = page::limit(&mut fields, self.limit);
        fields.finish()?;
        Ok(Filter { state: self.state, before, limit })
    }
}

impl From<Row> for MailView {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            user_id: row.user_id,
            state: row.state,
            attempts: row.attempts,
            next_attempt_at: row.due_at,
            last_error: row.last_error,
            created_at: row.created_at,
            expires_at: row.expires_at,
            sent_at: row.sent_at,
        }
    }
}

/// Mails to customers
///
/// Newest first; never their text. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/mails", tag = "staff", security(("bearer" = ["users.read"])), params(MailQuery),
    responses((status = 200, body = Page<MailView>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<UsersRead>,
    Query(query): Query<MailQuery>,
) -> Result<Json<Page<MailView>>> {
    let filter = query.parse()?;
    let rows = super::list(&app, &filter).await?;
    let last = rows.last().map(|row| row.id);
    let data = rows.into_iter().map(MailView::from).collect();
    Ok(Json(Page::by_id(data, last, filter.limit)))
}
