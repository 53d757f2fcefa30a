//! `POST /v1/webhooks/revio` and `/v1/webhooks/revio/callback`. The raw bytes are what is signed: nothing reads them before the signature
//! is checked.
//!
//! And for staff the delivery log, what became of each, and letting it run again: `GET /v1/admin/webhooks`, `GET /v1/admin/webhooks/{id}`,
//! `POST /v1/admin/webhooks/{id}/replay`, `POST /v1/admin/webhooks/replay`, `POST /v1/admin/webhooks/{id}/dismiss`,
//! `POST /v1/admin/webhooks/dead`.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{response::IntoResponse, routing::post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::event::EVENT_TYPE_CHARS_MAX;
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::error::{Error, Reason, Result, Wrong};
use crate::platform::http::{Fields, Json, Page, Path, Query, address, json::whole_body, located, page, page_query};
use crate::platform::permissions::{WebhooksDismiss, WebhooksRead, WebhooksReadWhole, WebhooksReplay};
use crate::platform::{problems::Problems, text_enum::text_enum};
use crate::webhooks::inbox::{self, Call, Content, DeadFilter, Endpoint, LogFilter, LogRow, Verdict};

/// The one real body that was seen has 2.2 kB; this is ample (`docs/provider.md`, size).
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Nothing is known of the sender until the whole body is there, and Revio sends it at once: whoever is slower must not hold one of
/// the connections for webhooks.
pub const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Longer header values are cut in the log.
const HEADER_CHARS_MAX: usize = 200;
const KEPT_HEADERS: [&str; 3] = ["content-type", "user-agent", "x-forwarded-for"];
const REPLAY_MAX: usize = 100;
const NOTE_CHARS_MAX: usize = 500;
const ERROR_CHARS_MAX: usize = 200;

pub fn router() -> OpenApiRouter<App> {
    // Revio writes every path of its own with a slash at the end; whoever sets ours up there may write it so too.
    OpenApiRouter::new()
        .routes(routes!(webhook))
        .routes(routes!(callback))
        .route("/v1/webhooks/revio/", post(webhook))
        .route("/v1/webhooks/revio/callback/", post(callback))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

pub fn staff_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(replay))
        .routes(routes!(replay_many))
        .routes(routes!(dismiss))
        .routes(routes!(resolve_dead))
}

/// Revio's webhooks
///
/// Signed with RSA PKCS#1 v1.5 and SHA-256 over the raw body, base64 in `X-Signature`. 200: stored, or seen before.
#[utoipa::path(post, path = "/v1/webhooks/revio", tag = "webhooks", security(("revio_signature" = [])),
    request_body(content_type = "application/json", content = Option<serde_json::Value>),
    responses((status = 200, description = "Stored or seen before"), Problems))]
async fn webhook(State(app): State<App>, request: Request) -> Result<StatusCode> {
    receive(&app, Endpoint::Webhook, request).await
}

/// Revio's `success_callback`
///
/// The same as a webhook, signed with the company's key. We do not ask Revio to call it; it is here for accounts where it is
/// set up all the same.
#[utoipa::path(post, path = "/v1/webhooks/revio/callback", tag = "webhooks", security(("revio_signature" = [])),
    request_body(content_type = "application/json", content = Option<serde_json::Value>),
    responses((status = 200, description = "Stored or seen before"), Problems))]
async fn callback(State(app): State<App>, request: Request) -> Result<StatusCode> {
    receive(&app, Endpoint::Callback, request).await
}

async fn receive(app: &App, endpoint: Endpoint, request: Request) -> Result<StatusCode> {
    let (parts, body) = request.into_parts();
    let address = address::of(&parts, &app.config.proxies);
    let allowed = &app.config.revio_allowed_networks;
    if !allowed.is_empty() && !address.is_some_and(|address| address::is_in(allowed, address)) {
        app.metrics.webhook_calls.with_label_values(&["refused"]).inc();
        return Err(Error::Forbidden(Reason::AddressNotAllowed));
    }
    let source_address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let body = whole_body(Request::from_parts(parts.clone(), body), BODY_DEADLINE).await;
    let body = body.map_err(|error| refused(app, error))?;
    let call = Call {
        endpoint,
        body: &body,
        signatures: parts.headers.get_all("x-signature").iter().map(|value| value.as_bytes()).collect(),
        headers: kept(&parts.headers),
        source_address,
    };
    match super::receive(app, &call).await? {
        Verdict::Accepted | Verdict::Duplicate | Verdict::Foreign | Verdict::Stale => Ok(StatusCode::OK),
        Verdict::BadSignature => Err(Error::BadSignature),
    }
}

/// What is none of Revio's by its size alone is not kept: whoever sends it would fill the log of deliveries.
fn refused(app: &App, error: Error) -> Error {
    match error {
        Error::TooLarge(_) => {
            app.metrics.webhook_calls.with_label_values(&["refused"]).inc();
            tracing::warn!("a delivery was too large");
            Error::TooLarge(BODY_BYTES_MAX)
        }
        other => other,
    }
}

fn kept(headers: &HeaderMap) -> Value {
    let value = |name: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok())?;
        Some((name.to_owned(), json!(text.chars().take(HEADER_CHARS_MAX).collect::<String>())))
    };
    Value::Object(KEPT_HEADERS.iter().filter_map(|name| value(name)).collect())
}

page_query! {
    struct LogQuery {
        /// `dead` is a dead letter: it waits for a person.
        #[param(value_type = Option<inbox::State>, example = "dead")]
        state: Option<String>,
        #[param(value_type = Option<inbox::Verdict>)]
        verdict: Option<String>,
        #[param(example = "purchase.paid", max_length = 100)]
        event_type: Option<String>,
        /// Revio's purchase or payout.
        object_id: Option<Uuid>,
    }
}

#[derive(Serialize, ToSchema)]
struct LogDetailView {
    #[serde(flatten)]
    row: LogRow,
    /// Null, as the body, once what the call held was pruned.
    #[schema(value_type = Option<Value>)]
    headers: Value,
    /// Ids, types, states, amounts and times; whatever may be about somebody reads `***`, unless the whole was asked for. Of a body that
    /// nobody signed only the beginning is kept.
    body: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ShowQuery {
    /// The body as it came. Needs `webhooks.read_whole`, too.
    whole: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    #[schema(min_items = 1, max_items = 100)]
    ids: Vec<Uuid>,
}

#[derive(Serialize, ToSchema)]
struct Replayed {
    /// Those that will run again.
    replayed: Vec<Uuid>,
    /// Those that are not there, were never accepted or hold nothing any more.
    not_found: Vec<Uuid>,
}

impl LogQuery {
    fn parse(self) -> Result<LogFilter> {
        let mut fields = Fields::of_query();
        let state = fields.word("state", self.state.as_deref());
        let verdict = fields.word("verdict", self.verdict.as_deref());
        let event_type = self.event_type.map(|text| fields.search("event_type", &text, 1..=EVENT_TYPE_CHARS_MAX));
        let before = page::cursor(&mut fields, self.cursor.as_deref());
        let limit = page::limit(&mut fields, self.limit);
        fields.finish()?;
        Ok(LogFilter { state, verdict, event_type, object_id: self.object_id, before, limit })
    }
}

impl LogDetailView {
    fn of(row: LogRow, content: Option<Content>, show: fn(&Content) -> String) -> Self {
        let body = content.as_ref().map(show);
        Self { row, headers: content.map(|content| content.headers).unwrap_or_default(), body }
    }
}

async fn redacted(app: &App, id: Uuid) -> Result<Json<LogDetailView>> {
    let (row, content) = inbox::find(app, id).await?;
    Ok(Json(LogDetailView::of(row, content, Content::redacted)))
}

/// Revio's calls
///
/// Newest first. Needs `webhooks.read`.
#[utoipa::path(get, path = "/v1/admin/webhooks", tag = "staff", security(("bearer" = ["webhooks.read"])), params(LogQuery),
    responses((status = 200, body = Page<LogRow>), (status = 422, description = "`query_too_broad`"), Problems))]
async fn list(
    State(app): State<App>,
    staff: Staff<WebhooksRead>,
    Query(query): Query<LogQuery>,
) -> Result<Json<Page<LogRow>>> {
    let filter = query.parse()?;
    let rows = inbox::list(&app, staff.user_id, &filter).await?;
    Ok(Json(Page::by_id(rows, filter.limit, |row| row.id)))
}

/// One of Revio's calls
///
/// With its body, in which all that may be about somebody is hidden. Needs `webhooks.read`; `?whole=true` shows all of it, needs
/// `webhooks.read_whole` besides and is audited.
#[utoipa::path(get, path = "/v1/admin/webhooks/{id}", tag = "staff", security(("bearer" = ["webhooks.read"])),
    params(("id" = Uuid, Path), ShowQuery),
    responses((status = 200, body = LogDetailView), Problems))]
async fn show(
    State(app): State<App>,
    staff: Staff<WebhooksRead>,
    Path(id): Path<Uuid>,
    Query(query): Query<ShowQuery>,
) -> Result<Json<LogDetailView>> {
    if query.whole != Some(true) {
        return redacted(&app, id).await;
    }
    staff.also::<WebhooksReadWhole>(&app).await?;
    let (row, content) = inbox::find_whole(&app, &staff.actor, id).await?;
    Ok(Json(LogDetailView::of(row, content, Content::whole)))
}

/// Let one event run again
///
/// Needs `webhooks.replay`. What it does is decided by Revio's present word on the object, so a replay never moves money twice.
#[utoipa::path(post, path = "/v1/admin/webhooks/{id}/replay", tag = "staff", security(("bearer" = ["webhooks.replay"])),
    params(("id" = Uuid, Path)),
    responses((status = 202, body = LogDetailView), Problems))]
async fn replay(
    State(app): State<App>,
    staff: Staff<WebhooksReplay>,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse> {
    if inbox::replay(&app, &staff.actor, &[id], None).await?.is_empty() {
        return Err(Error::NotFound("accepted webhook"));
    }
    let place = located(format_args!("/v1/admin/webhooks/{id}"));
    Ok((StatusCode::ACCEPTED, place, redacted(&app, id).await?))
}

/// Let many events run again
///
/// Needs `webhooks.replay`. At most 100 at a time.
#[utoipa::path(post, path = "/v1/admin/webhooks/replay", tag = "staff", security(("bearer" = ["webhooks.replay"])),
    request_body = ReplayBody,
    responses((status = 202, body = Replayed), Problems))]
async fn replay_many(
    State(app): State<App>,
    staff: Staff<WebhooksReplay>,
    Json(body): Json<ReplayBody>,
) -> Result<impl IntoResponse> {
    if body.ids.is_empty() || body.ids.len() > REPLAY_MAX {
        return Err(Error::field("ids", Wrong::Length(1, REPLAY_MAX, "ids")));
    }
    let replayed = inbox::replay(&app, &staff.actor, &body.ids, None).await?;
    let not_found = body.ids.into_iter().filter(|id| !replayed.contains(id)).collect();
    Ok((StatusCode::ACCEPTED, located("/v1/admin/webhooks"), Json(Replayed { replayed, not_found })))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DismissBody {
    /// For the audit log: why nothing is to become of it. No personal data.
    #[schema(min_length = 1, max_length = 500)]
    note: String,
}

/// Close a dead letter
///
/// Nothing becomes of it: it leaves the dead ones and their alert, and stays in the log as `dismissed`, with the note. It may be replayed all
/// the same, for a replay does only what Revio confirms. Needs `webhooks.dismiss`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhooks/{id}/dismiss", tag = "staff", security(("bearer" = ["webhooks.dismiss"])),
    params(("id" = Uuid, Path)), request_body = DismissBody,
    responses((status = 200, body = LogDetailView), Problems))]
async fn dismiss(
    State(app): State<App>,
    staff: Staff<WebhooksDismiss>,
    Path(id): Path<Uuid>,
    Json(body): Json<DismissBody>,
) -> Result<Json<LogDetailView>> {
    let mut fields = Fields::default();
    let note = fields.text("note", &body.note, 1..=NOTE_CHARS_MAX);
    fields.finish()?;
    if inbox::dismiss(&app, &staff.actor, &[id], &note).await?.is_empty() {
        return Err(Error::NotFound("dead letter"));
    }
    redacted(&app, id).await
}

text_enum! {
    enum DeadAction {
        Replay = "replay",
        Dismiss = "dismiss",
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeadBody {
    #[schema(value_type = DeadAction)]
    action: String,
    /// For the audit log, at each of them. No personal data.
    #[schema(min_length = 1, max_length = 500, example = "Revio was away until 14:20")]
    note: String,
    /// Only those whose error holds this.
    #[schema(min_length = 1, max_length = 200, example = "could not be read")]
    error: Option<String>,
    /// Only those that became dead at this time or later, before that one: RFC 3339, or a date, which is its first moment in UTC.
    from: Option<String>,
    to: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct DeadResolved {
    ids: Vec<Uuid>,
    /// Whether there may be more: call again.
    more: bool,
}

/// Replay or close many dead letters
///
/// By error and time, the oldest first, at most 100 at once. Needs `webhooks.dismiss`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhooks/dead", tag = "staff", security(("bearer" = ["webhooks.dismiss"])),
    request_body = DeadBody,
    responses((status = 200, body = DeadResolved), Problems))]
async fn resolve_dead(
    State(app): State<App>,
    staff: Staff<WebhooksDismiss>,
    Json(body): Json<DeadBody>,
) -> Result<Json<DeadResolved>> {
    let mut fields = Fields::default();
    let action = fields.word("action", Some(&body.action));
    let note = fields.text("note", &body.note, 1..=NOTE_CHARS_MAX);
    let error = body.error.map(|error| fields.text("error", &error, 1..=ERROR_CHARS_MAX));
    let (from, to) = (
        body.from.as_deref().and_then(|time| fields.moment("from", time)),
        body.to.as_deref().and_then(|time| fields.moment("to", time)),
    );
    let action = fields.finish_with(action)?;
    let mut found = inbox::dead(&app, &DeadFilter { error, from, to, limit: page::LIMIT_MAX + 1 }).await?;
    let more = i64::try_from(found.len()).is_ok_and(|count| count > page::LIMIT_MAX);
    found.truncate(usize::try_from(page::LIMIT_MAX).unwrap_or(usize::MAX));
    let ids = match action {
        DeadAction::Replay => inbox::replay(&app, &staff.actor, &found, Some(&note)).await?,
        DeadAction::Dismiss => inbox::dismiss(&app, &staff.actor, &found, &note).await?,
    };
    Ok(Json(DeadResolved { ids, more }))
}
