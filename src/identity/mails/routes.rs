//! `GET /v1/admin/mails`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Filter, Row};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Query, page};
use crate::platform::{error::Result, permissions::UsersRead, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MailQuery {
    /// Of a `dead` one the person may ask for another.
    #[param(value_type = Option<super::State>, example = "dead")]
    state: Option<String>,
    /// `page.next_cursor` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

impl MailQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::default();
        let state = fields.word("state", self.state.as_deref());
        let before = page::cursor(&mut fields, self.cursor.as_deref());
        let limit = page::limit(&mut fields, self.limit);
        fields.finish()?;
        Ok(Filter { state, before, limit })
    }
}

/// Mails to customers
///
/// Newest first; never their text. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/mails", tag = "staff", security(("bearer" = ["users.read"])), params(MailQuery),
    responses((status = 200, body = Page<Row>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<UsersRead>,
    Query(query): Query<MailQuery>,
) -> Result<Json<Page<Row>>> {
    let filter = query.parse()?;
    let rows = super::list(&app, &filter).await?;
    Ok(Json(Page::by_id(rows, filter.limit, |row| row.id)))
}
