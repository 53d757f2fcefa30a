//! `GET /v1/transactions/export`, `/v1/exports`, and the same for staff over everybody's rows.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::download::{self, Part};
use super::store::Row;
use super::stream::{self, Wanted};
use super::trailer::Trailer;
use super::{Asked, Format, NewExport};
use crate::app::App;
use crate::books::history::{FilterQuery, Scope, StaffQuery};
use crate::identity::audit::Actor;
use crate::identity::caller::{AnonymousClient, Caller};
use crate::identity::staff::Staff;
use crate::platform::clock::DateTime;
use crate::platform::error::Result;
use crate::platform::http::{Fields, IdempotencyKey, Json, Page, Path, Query, page, replayed};
use crate::platform::permissions::TransactionsRead;
use crate::platform::problems::Problems;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(stream_own))
        .routes(routes!(stream_all))
        .routes(routes!(start_own, list_own))
        .routes(routes!(show_own))
        .routes(routes!(start_all, list_all))
        .routes(routes!(show_all))
        .routes(routes!(fetch))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FormatQuery {
    /// `csv`, `jsonl` or `xlsx`.
    #[param(example = "csv", pattern = "^(csv|jsonl|xlsx)$")]
    format: String,
    /// The id of the last row of an export that broke off: this one goes on after it. Only where `sort` names nothing but
    /// `created_at`, `amount` and `kind`.
    #[param(value_type = Option<Uuid>)]
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnQuery {
    #[serde(flatten)]
    format: FormatQuery,
    #[serde(flatten)]
    filter: FilterQuery,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllQuery {
    #[serde(flatten)]
    format: FormatQuery,
    #[serde(flatten)]
    filter: FilterQuery,
    #[serde(flatten)]
    staff: StaffQuery,
}

/// An export in the background: a format and the filters of the list, in the words of its query parameters.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewExportBody {
    /// `csv`, `jsonl` or `xlsx`.
    #[schema(example = "csv", pattern = "^(csv|jsonl|xlsx)$")]
    format: String,
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
    reference: Option<String>,
    #[schema(value_type = Option<Uuid>)]
    provider_id: Option<String>,
    q: Option<String>,
    #[schema(example = "-amount,created_at")]
    sort: Option<String>,
    /// Only for staff.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<String>,
    /// Only for staff.
    held: Option<bool>,
}

#[derive(Serialize, ToSchema)]
struct ExportView {
    id: Uuid,
    /// `queued`, `running`, `completed`, `failed`, or `expired` once the file is deleted.
    #[schema(example = "completed")]
    state: String,
    #[schema(example = "csv")]
    format: String,
    rows_written: i64,
    bytes_written: i64,
    /// Of the bytes before the trailer, as the trailer has it.
    sha256: Option<String>,
    failure_reason: Option<String>,
    /// Where the file is, for whoever has this; each answer has a new one.
    download_url: Option<String>,
    download_expires_at: Option<DateTime>,
    created_at: DateTime,
    updated_at: DateTime,
    completed_at: Option<DateTime>,
    /// When the file is deleted.
    expires_at: Option<DateTime>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokenQuery {
    token: String,
}

impl ExportView {
    fn of(app: &App, row: Row) -> Self {
        let link = download::link(app, &row);
        let (download_url, download_expires_at) = link.map(|link| (link.url, link.expires_at)).unzip();
        Self {
            id: row.id,
            state: row.state,
            format: row.format,
            rows_written: row.rows_written,
            bytes_written: row.bytes_written,
            sha256: row.sha256,
            failure_reason: row.failure_reason,
            download_url,
            download_expires_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
            expires_at: row.expires_at,
        }
    }
}

impl NewExportBody {
    fn split(self) -> (String, Asked) {
        let filter = FilterQuery {
            kind: self.kind,
            state: self.state,
            currency: self.currency,
            amount_min: self.amount_min.map(|amount| amount.to_string()),
            amount_max: self.amount_max.map(|amount| amount.to_string()),
            from: self.from,
            to: self.to,
            reference: self.reference,
            provider_id: self.provider_id,
            q: self.q,
            sort: self.sort,
        };
        let staff = StaffQuery { user_id: self.user_id, held: self.held.map(|held| held.to_string()) };
        (self.format, Asked { filter, staff })
    }
}

fn format(fields: &mut Fields, name: &str) -> Format {
    Format::parse(name).unwrap_or_else(|| {
        fields.wrong("format", "must be csv, jsonl or xlsx");
        Format::Csv
    })
}

/// Who calls, and over whose rows.
struct Who {
    user_id: Uuid,
    actor: Actor,
    scope: Scope,
}

impl Who {
    fn own(caller: &Caller) -> Self {
        Self { user_id: caller.user_id, actor: caller.actor(), scope: Scope::Own(caller.user_id) }
    }

    fn all(staff: Staff<TransactionsRead>) -> Self {
        Self { user_id: staff.user_id, actor: staff.actor, scope: Scope::All }
    }
}

async fn stream(app: &App, who: Who, query: FormatQuery, asked: Asked) -> Result<Response> {
    let mut fields = Fields::default();
    let format = format(&mut fields, &query.format);
    let after = query.after.map(|text| text.parse::<Uuid>());
    let after = after.transpose().map_err(|_| fields.wrong("after", "is not a UUID")).ok().flatten();
    asked.parse(&mut fields, who.scope);
    fields.finish()?;
    let wanted = Wanted { user_id: who.user_id, actor: who.actor, format, scope: who.scope, asked, after };
    let bytes = stream::begin(app, wanted).await?;
    Ok((file(format, app.clock.now()), Body::from_stream(bytes)).into_response())
}

async fn start(app: &App, who: Who, key: IdempotencyKey, body: NewExportBody) -> Result<Response> {
    let (name, asked) = body.split();
    let mut fields = Fields::default();
    let format = format(&mut fields, &name);
    asked.parse(&mut fields, who.scope);
    fields.finish()?;
    let new = NewExport { user_id: who.user_id, actor: who.actor, scope: who.scope, format, asked, key };
    let (row, repeated) = super::start(app, new).await?;
    Ok((StatusCode::ACCEPTED, replayed(repeated), Json(ExportView::of(app, row))).into_response())
}

async fn list(app: &App, who: Who, query: PageQuery) -> Result<Json<Page<ExportView>>> {
    let mut fields = Fields::default();
    let before = page::cursor(&mut fields, query.cursor.as_deref());
    let limit = page::limit(&mut fields, query.limit);
    fields.finish()?;
    let rows = super::list(app, who.user_id, who.scope, before, limit).await?;
    let data = rows.into_iter().map(|row| ExportView::of(app, row)).collect();
    Ok(Json(Page::by_id(data, limit, |view: &ExportView| view.id)))
}

/// The headers of a file; its name is made of what is ours.
fn file(format: Format, at: DateTime) -> [(header::HeaderName, String); 2] {
    let name = format!("transactions-{}.{}", at.format("%Y%m%dT%H%M%SZ"), format.name());
    [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ]
}

/// Export my transactions
///
/// The rows of `GET /v1/transactions` in the same order, all of them, sent while they are read. The last line (`xlsx`: the
/// sheet `Trailer`) is the trailer; a file without one broke off. Large ones: `POST /v1/exports`.
#[utoipa::path(get, path = "/v1/transactions/export", tag = "exports", security(("bearer" = [])),
    params(FormatQuery, FilterQuery),
    responses((status = 200, description = "The file", content(
        (String = "text/csv"), (Trailer = "application/jsonl"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn stream_own(State(app): State<App>, caller: Caller, Query(query): Query<OwnQuery>) -> Result<Response> {
    let asked = Asked { filter: query.filter, staff: StaffQuery::default() };
    stream(&app, Who::own(&caller), query.format, asked).await
}

/// Export everybody's transactions
///
/// As `GET /v1/transactions/export`, with what staff see of each row. Needs `transactions.read`. Audited.
#[utoipa::path(get, path = "/v1/admin/transactions/export", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(FormatQuery, FilterQuery, StaffQuery),
    responses((status = 200, description = "The file", content(
        (String = "text/csv"), (Trailer = "application/jsonl"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn stream_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Query(query): Query<AllQuery>,
) -> Result<Response> {
    let asked = Asked { filter: query.filter, staff: query.staff };
    stream(&app, Who::all(staff), query.format, asked).await
}

/// Start an export of my transactions
///
/// It is written in the background; at most two at once.
#[utoipa::path(post, path = "/v1/exports", tag = "exports", security(("bearer" = [])), request_body = NewExportBody,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 202, body = ExportView), (status = 422, description = "`idempotency_key_reused`"), Problems))]
async fn start_own(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    Json(body): Json<NewExportBody>,
) -> Result<Response> {
    start(&app, Who::own(&caller), key, body).await
}

/// My exports
///
/// Newest first.
#[utoipa::path(get, path = "/v1/exports", tag = "exports", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, body = Page<ExportView>), Problems))]
async fn list_own(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ExportView>>> {
    list(&app, Who::own(&caller), query).await
}

/// One of my exports
#[utoipa::path(get, path = "/v1/exports/{id}", tag = "exports", security(("bearer" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = ExportView), Problems))]
async fn show_own(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<ExportView>> {
    let row = super::find(&app, caller.user_id, Scope::Own(caller.user_id), id).await?;
    Ok(Json(ExportView::of(&app, row)))
}

/// Start an export of everybody's transactions
///
/// Needs `transactions.read`. Audited.
#[utoipa::path(post, path = "/v1/admin/exports", tag = "staff", security(("bearer" = ["transactions.read"])),
    request_body = NewExportBody, params(("Idempotency-Key" = String, Header)),
    responses((status = 202, body = ExportView), (status = 422, description = "`idempotency_key_reused`"), Problems))]
async fn start_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    key: IdempotencyKey,
    Json(body): Json<NewExportBody>,
) -> Result<Response> {
    start(&app, Who::all(staff), key, body).await
}

/// Exports that I started as staff
///
/// Newest first. Needs `transactions.read`.
#[utoipa::path(get, path = "/v1/admin/exports", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(PageQuery), responses((status = 200, body = Page<ExportView>), Problems))]
async fn list_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ExportView>>> {
    list(&app, Who::all(staff), query).await
}

/// One of the exports that I started as staff
///
/// Needs `transactions.read`.
#[utoipa::path(get, path = "/v1/admin/exports/{id}", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(("id" = Uuid, Path)), responses((status = 200, body = ExportView), Problems))]
async fn show_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<ExportView>> {
    let row = super::find(&app, staff.user_id, Scope::All, id).await?;
    Ok(Json(ExportView::of(&app, row)))
}

/// Download an export
///
/// `download_url` leads here; it needs no sign-in and ends after 15 minutes. One `Range` of bytes can be asked for.
#[utoipa::path(get, path = "/v1/exports/{id}/download", tag = "exports", security(()),
    params(("id" = Uuid, Path), TokenQuery),
    responses((status = 200, description = "The file", content((String = "text/csv"), (Trailer = "application/jsonl"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 206, description = "The part of it that `Range` names"), Problems))]
async fn fetch(
    State(app): State<App>,
    visitor: AnonymousClient,
    Path(id): Path<Uuid>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let asked = range.and_then(Part::parse);
    let found = download::find(&app, visitor.origin, id, &query.token, asked).await?;
    let (first, end) = (found.sent.start, found.sent.end);
    let status = if asked.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let part =
        asked.map(|_| [(header::CONTENT_RANGE, format!("bytes {first}-{}/{}", end.saturating_sub(1), found.total))]);
    let headers = [
        (header::CONTENT_LENGTH, end.saturating_sub(first).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{}\"", found.sha256)),
    ];
    let body = Body::from_stream(download::bytes(app, id, found.sent));
    Ok((status, file(found.format, found.created_at), headers, part, body).into_response())
}
