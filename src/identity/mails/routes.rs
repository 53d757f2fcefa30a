//! `GET /v1/admin/mails`, `POST /v1/admin/mails/{id}/dismiss`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Filter, Row};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Path, Query, page, page_query};
use crate::platform::permissions::{MailsDismiss, UsersRead};
use crate::platform::{error::Result, problems::Problems};

const NOTE_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(dismiss))
}

page_query! {
    struct MailQuery {
        /// Of a `dead` one the person may ask for another.
        #[param(value_type = Option<super::State>, example = "dead")]
        state: Option<String>,
        /// To one customer.
        user_id: Option<Uuid>,
    }
}

impl MailQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::of_query();
        let state = fields.word("state", self.state.as_deref());
        let before = page::cursor(&mut fields, self.cursor.as_deref());
        let limit = page::limit(&mut fields, self.limit);
        fields.finish()?;
        Ok(Filter { state, user_id: self.user_id, before, limit })
    }
}

/// Mails to customers
///
/// Newest first; never their text. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/mails", tag = "staff", security(("bearer" = ["users.read"])), params(MailQuery),
    responses((status = 200, body = Page<Row>), (status = 422, description = "`query_too_broad`"), Problems))]
async fn list(
    State(app): State<App>,
    staff: Staff<UsersRead>,
    Query(query): Query<MailQuery>,
) -> Result<Json<Page<Row>>> {
    let filter = query.parse()?;
    let rows = super::list(&app, staff.user_id, &filter).await?;
    Ok(Json(Page::by_id(rows, filter.limit, |row| row.id)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DismissMailBody {
    /// Why nothing is to become of it; also for the audit log. No personal data.
    #[schema(min_length = 1, max_length = 500, example = "the mailbox does not exist; told by phone")]
    note: String,
}

/// Close a dead mail
///
/// It leaves the dead ones and their alert, and stays in the list as `dismissed`. It is not sent again: whoever needs another link asks for
/// it, or `POST /v1/admin/customers/{id}/resend-verification` does. Needs `mails.dismiss`. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/mails/{id}/dismiss", tag = "staff", security(("bearer" = ["mails.dismiss"])),
    params(("id" = Uuid, Path)), request_body = DismissMailBody,
    responses((status = 200, body = Row), Problems))]
async fn dismiss(
    State(app): State<App>,
    staff: Staff<MailsDismiss>,
    Path(id): Path<Uuid>,
    Json(body): Json<DismissMailBody>,
) -> Result<Json<Row>> {
    let mut fields = Fields::default();
    let note = fields.text("note", &body.note, 1..=NOTE_CHARS_MAX);
    fields.finish()?;
    Ok(Json(super::dismiss(&app, &staff.actor, id, &note).await?))
}
