//! `GET /v1/transactions/export`, and `/v1/exports` for a link that does the same; likewise for staff over everybody's rows.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{body::Body, extract::State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Format, Request, Requester, Wanted, link, stream};
use super::{link::ExportLink, trailer::Trailer};
use crate::app::App;
use crate::books::history::{FilterQuery, Scope, StaffQuery};
use crate::identity::caller::{Caller, Visitor};
use crate::identity::staff::Staff;
use crate::money::transactions::{NewMetadata, metadata};
use crate::platform::error::{Error, Result};
use crate::platform::http::{Json, Query, download::streamed, located};
use crate::platform::permissions::{TransactionsRead, UsersRead};
use crate::platform::problems::Problems;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(stream_own))
        .routes(routes!(stream_all))
        .routes(routes!(link_own))
        .routes(routes!(link_all))
        .routes(routes!(download))
}

/// The body that asks for a link: a format, the filters of the list, and what only some may narrow by.
macro_rules! new_export {
    (struct $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? }) => {
        /// What is to be exported: a format and the filters of the list, in the words of its query parameters.
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {
            #[schema(inline)]
            format: Format,
            /// The id of the last row of an export that broke off: this one goes on after it.
            after: Option<Uuid>,
            #[schema(example = "deposit,refund")]
            kind: Option<String>,
            #[schema(example = "completed")]
            state: Option<String>,
            #[schema(example = "ZAR")]
            currency: Option<String>,
            /// Minor units (cents); not less than this.
            #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
            amount_min: Option<i64>,
            /// Minor units (cents); not more than this.
            #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
            amount_max: Option<i64>,
            #[schema(example = "2026-01-01")]
            from: Option<String>,
            #[schema(example = "2026-02-01T00:00:00Z")]
            to: Option<String>,
            #[schema(example = "2026-01-01")]
            completed_from: Option<String>,
            #[schema(example = "2026-02-01")]
            completed_to: Option<String>,
            /// Whose days the dates are, and whose clock CSV and XLSX show. Default: UTC.
            #[schema(example = "Africa/Johannesburg")]
            tz: Option<String>,
            reference: Option<String>,
            #[schema(value_type = Option<Uuid>)]
            provider_id: Option<String>,
            /// At most 8 words.
            q: Option<String>,
            #[serde(default)]
            #[schema(schema_with = metadata::wanted_metadata)]
            metadata: NewMetadata,
            /// Columns with commas, each once, `-` before one for descending.
            #[schema(example = "-amount,created_at")]
            sort: Option<String>,
            $($(#[$attribute])* $field: $type,)*
        }

        impl $name {
            fn request(self, staff: StaffQuery) -> Request {
                let filter = FilterQuery {
                    kind: self.kind,
                    state: self.state,
                    currency: self.currency,
                    amount_min: self.amount_min.map(|amount| amount.to_string()),
                    amount_max: self.amount_max.map(|amount| amount.to_string()),
                    from: self.from,
                    to: self.to,
                    completed_from: self.completed_from,
                    completed_to: self.completed_to,
                    tz: self.tz,
                    reference: self.reference,
                    provider_id: self.provider_id,
                    q: self.q,
                    metadata: self.metadata.to_query(),
                    sort: self.sort,
                };
                Request { format: self.format, after: self.after, filter, staff }
            }
        }
    };
}

new_export! { struct NewExport {} }
new_export! {
    struct NewStaffExport {
        #[schema(value_type = Option<Uuid>)]
        user_id: Option<String>,
        held: Option<bool>,
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokenQuery {
    /// Longer than any other, for it carries what was asked for.
    #[param(min_length = 1, max_length = 4096)]
    token: String,
}

impl From<Caller> for Requester {
    fn from(caller: Caller) -> Self {
        Self {
            admitted: (&caller).into(),
            actor: caller.actor(),
            scope: Scope::Own(caller.user_id),
            sees_names: false,
            quota: caller.quota,
        }
    }
}

impl From<Staff<TransactionsRead>> for Requester {
    fn from(staff: Staff<TransactionsRead>) -> Self {
        let sees_names = staff.has::<UsersRead>();
        Self { admitted: (&staff).into(), actor: staff.actor, scope: Scope::All, sees_names, quota: staff.quota }
    }
}

/// The file; its name is made of what is ours.
async fn file(app: &App, who: Requester, request: &Request, link: Option<Uuid>) -> Result<Response> {
    let wanted = Wanted::read(app, who.scope, request).await.map_err(Error::of_parameters)?;
    let format = wanted.format;
    let name = format!("transactions-{}.{}", app.clock.now().format("%Y%m%dT%H%M%SZ"), format.name());
    let bytes = stream::begin(app, who, wanted, link).await?;
    Ok(streamed(format.media_type(), &name, None, Body::from_stream(bytes)))
}

/// Export my transactions
///
/// The rows of `GET /v1/transactions` in the same order, all of them, sent while they are read. The last line (`xlsx`: the
/// sheet `Trailer`) is the trailer; a file without one broke off.
#[utoipa::path(get, path = "/v1/transactions/export", tag = "exports", security(("bearer" = [])),
    params(Request, FilterQuery),
    responses((status = 200, description = "The file", headers(("Accept-Ranges" = String, description = "`none`")), content(
        (String = "text/csv"), (Trailer = "application/jsonl"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn stream_own(State(app): State<App>, caller: Caller, Query(request): Query<Request>) -> Result<Response> {
    file(&app, caller.into(), &request, None).await
}

/// Export everybody's transactions
///
/// As `GET /v1/transactions/export`, with what staff see of each row; customers' names only with `users.read`. Needs `transactions.read`. Audited.
#[utoipa::path(get, path = "/v1/admin/transactions/export", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(Request, FilterQuery, StaffQuery),
    responses((status = 200, description = "The file", headers(("Accept-Ranges" = String, description = "`none`")), content(
        (String = "text/csv"), (Trailer = "application/jsonl"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn stream_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Query(request): Query<Request>,
) -> Result<Response> {
    file(&app, staff.into(), &request, None).await
}

/// Make a link to an export of my transactions
///
/// A browser follows it without a token, as often as it likes, for 15 minutes and while the session lives that asks for it.
#[utoipa::path(post, path = "/v1/exports", tag = "exports", security(("bearer" = [])), request_body = NewExport,
    responses((status = 201, body = ExportLink), Problems))]
async fn link_own(State(app): State<App>, caller: Caller, Json(body): Json<NewExport>) -> Result<impl IntoResponse> {
    Ok(made(link::make(&app, caller.into(), body.request(StaffQuery::default())).await?))
}

/// Make a link to an export of everybody's transactions
///
/// As `POST /v1/exports`. Needs `transactions.read`, also when the link is followed. Not for machines, which take the file itself. Audited.
#[utoipa::path(post, path = "/v1/admin/exports", tag = "staff", security(("bearer" = ["transactions.read"])),
    request_body = NewStaffExport,
    responses((status = 201, body = ExportLink),
        (status = 403, description = "`forbidden`: with the reason `not_for_machines` also for a key with the scope"), Problems))]
async fn link_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Json(body): Json<NewStaffExport>,
) -> Result<impl IntoResponse> {
    let narrower = StaffQuery { user_id: body.user_id.clone(), held: body.held.map(|held| held.to_string()) };
    Ok(made(link::make(&app, staff.into(), body.request(narrower)).await?))
}

fn made(link: ExportLink) -> impl IntoResponse {
    (StatusCode::CREATED, located(&link.path), Json(link))
}

/// Download an export
///
/// `download_url` leads here: the same stream as that of `…/transactions/export`, without signing in.
#[utoipa::path(get, path = "/v1/exports/download", tag = "exports", security(()), params(TokenQuery),
    responses((status = 200, description = "The file", headers(("Accept-Ranges" = String, description = "`none`")), content(
        (String = "text/csv"), (Trailer = "application/jsonl"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn download(State(app): State<App>, visitor: Visitor, Query(query): Query<TokenQuery>) -> Result<Response> {
    let (who, request, link) = link::follow(&app, visitor, &query.token).await?;
    file(&app, who, &request, Some(link)).await
}
