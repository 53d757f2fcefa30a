//! `GET /v1/admin/held`, `POST /v1/admin/held/{id}/resolve`, `POST /v1/admin/held/resolve`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Resolution, Review};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::money::approvals::{ApprovalDecision, SubjectHash, routes::parse_note};
use crate::money::transactions::{self, HeldFilter, Hold, Kind, routes::StaffTransactionView};
use crate::platform::error::{Error, Result};
use crate::platform::http::{Fields, Json, Page, Path, Query, page, page_query};
use crate::platform::permissions::{HeldRead, HeldResolve};
use crate::platform::problems::Problems;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(resolve)).routes(routes!(resolve_many))
}

page_query! {
    struct HeldQuery {
        #[param(inline, value_type = Option<Kind>)]
        kind: Option<String>,
        /// Why.
        #[param(value_type = Option<Hold>)]
        code: Option<String>,
        /// Held since this time or later, before that one: RFC 3339.
        from: Option<String>,
        to: Option<String>,
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveBody {
    /// `retry`: it goes on from the state that it has. `dismiss`: it stays as it is; not while money is
    /// reserved for it, has moved that its state does not say, or may still move. `release`: a withdrawal that Revio will never
    /// decide about is given up; two people must say so.
    #[schema(value_type = Resolution)]
    action: String,
    /// For the audit log: what was found. No personal data.
    #[schema(min_length = 1, max_length = 500, example = "Revio confirmed the amount by phone")]
    note: String,
}

/// What waits for a person
///
/// Newest first. Needs `held.read`.
#[utoipa::path(get, path = "/v1/admin/held", tag = "staff", security(("bearer" = ["held.read"])), params(HeldQuery),
    responses((status = 200, body = Page<StaffTransactionView>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<HeldRead>,
    Query(query): Query<HeldQuery>,
) -> Result<Json<Page<StaffTransactionView>>> {
    let mut fields = Fields::of_query();
    let kind = fields.word("kind", query.kind.as_deref());
    let code = fields.word("code", query.code.as_deref());
    let (from, to) = (
        query.from.as_deref().and_then(|time| fields.moment("from", time)),
        query.to.as_deref().and_then(|time| fields.moment("to", time)),
    );
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let rows = transactions::list_held(&app, &HeldFilter { kind, code, from, to, before, limit }).await?;
    Ok(Json(Page::by_id(rows, limit, |row| row.id)))
}

/// Resolve
///
/// Needs `held.resolve`. Audited, with the note. After the first of two people's `release` it is still held.
#[utoipa::path(post, path = "/v1/admin/held/{id}/resolve", tag = "staff", security(("bearer" = ["held.resolve"])),
    params(("id" = Uuid, Path)), request_body = ResolveBody,
    responses((status = 200, body = StaffTransactionView),
        (status = 403, description = "`forbidden`, `totp_required`, `step_up_required`: the latter for `release`"),
        (status = 409, description = "`stale_state`: it moved meanwhile"), Problems))]
async fn resolve(
    State(app): State<App>,
    staff: Staff<HeldResolve>,
    Path(id): Path<Uuid>,
    Json(body): Json<ResolveBody>,
) -> Result<Json<StaffTransactionView>> {
    let mut fields = Fields::default();
    let how = fields.word("action", Some(&body.action));
    let note = parse_note(&mut fields, &body.note);
    let how = fields.finish_with(how)?;
    Ok(Json(super::resolve(&app, &review(staff, how, note)?, id).await?.into()))
}

fn review(staff: Staff<HeldResolve>, how: Resolution, note: String) -> Result<Review> {
    if how == Resolution::Release {
        staff.require_step_up()?;
    }
    // What exactly is decided about is said of each row.
    let decision = ApprovalDecision::of(staff, SubjectHash::of(&[]), Some(note.clone()));
    Ok(Review { how, decision, note })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveManyBody {
    /// As for one; `release` as well needs two people, each of whom asks for it.
    #[schema(value_type = Resolution)]
    action: String,
    /// For the audit log, at each of them. No personal data.
    #[schema(min_length = 1, max_length = 500, example = "Revio was away until 14:20")]
    note: String,
    /// Only those that are held for this.
    #[schema(value_type = Hold)]
    code: String,
    #[schema(value_type = Option<Kind>)]
    kind: Option<String>,
    /// Only those that are held since this time or later, before that one: a time or a date of RFC 3339.
    from: Option<String>,
    to: Option<String>,
    /// `next_cursor` of the call before.
    cursor: Option<String>,
    /// At most so many, the newest.
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct ResolvedMany {
    resolved: Vec<Uuid>,
    /// Still held until a second person says the same: after the first of two people's `release`.
    awaiting: Vec<Uuid>,
    /// Each as it would have been answered alone.
    refused: Vec<RefusedView>,
    /// Whether there may be more: call again, with `next_cursor` where some of these are still held.
    more: bool,
    /// For `cursor`; null where there are no more.
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct RefusedView {
    id: Uuid,
    #[schema(example = "stale_state")]
    code: &'static str,
    detail: String,
}

/// Resolve many
///
/// By reason and time, at most 100 at once. Needs `held.resolve`. Audited, each with the note.
#[utoipa::path(post, path = "/v1/admin/held/resolve", tag = "staff", security(("bearer" = ["held.resolve"])),
    request_body = ResolveManyBody,
    responses((status = 200, body = ResolvedMany),
        (status = 403, description = "`forbidden`, `totp_required`, `step_up_required`: the latter for `release`"), Problems))]
async fn resolve_many(
    State(app): State<App>,
    staff: Staff<HeldResolve>,
    Json(body): Json<ResolveManyBody>,
) -> Result<Json<ResolvedMany>> {
    let mut fields = Fields::default();
    let how = fields.word("action", Some(&body.action));
    let code = fields.word("code", Some(&body.code));
    let kind = fields.word("kind", body.kind.as_deref());
    let (from, to) = (
        body.from.as_deref().and_then(|time| fields.moment("from", time)),
        body.to.as_deref().and_then(|time| fields.moment("to", time)),
    );
    let note = parse_note(&mut fields, &body.note);
    let limit = Some(body.limit.unwrap_or(page::LIMIT_MAX));
    let (before, limit) = page::range(&mut fields, body.cursor.as_deref(), limit);
    let how = fields.finish_with(how)?;
    let review = review(staff, how, note)?;
    let rows = transactions::list_held(&app, &HeldFilter { kind, code, from, to, before, limit }).await?;
    let rows = Page::<Uuid>::by_id(rows.iter().map(|row| row.id).collect(), limit, |id| *id);
    let done = super::resolve_many(&app, &review, &rows.data).await?;
    let next_cursor = rows.page.next_cursor;
    let (more, refused) = (next_cursor.is_some(), done.refused.into_iter().map(RefusedView::from).collect());
    Ok(Json(ResolvedMany { resolved: done.resolved, awaiting: done.awaiting, refused, more, next_cursor }))
}

impl From<(Uuid, Error)> for RefusedView {
    fn from((id, error): (Uuid, Error)) -> Self {
        let detail = match &error {
            Error::Invalid(fields) => fields.iter().map(|field| format!("{} {}", field.field, field.message)).collect(),
            error => error.to_string(),
        };
        Self { id, code: error.code(), detail }
    }
}
