//! `GET /v1/admin/search`.

use axum::extract::State;
use ledger::{Leg, row_of};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Hit, What};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Query};
use crate::platform::{
    error::Result,
    permissions::{AuditRead, SearchAll},
    problems::Problems,
};

/// An e-mail or an idempotency key at its longest.
const Q_CHARS_MAX: usize = 255;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(find))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// An id (whole, or its first eight digits or more) of a transaction, a journal, a ledger transfer, a purchase or payout of Revio's, a
    /// user or a webhook; an e-mail or its beginning; words of a name, the last of three letters or more as its beginning; an idempotency key;
    /// the `request_id` of an answer.
    #[param(min_length = 1, max_length = 255)]
    q: String,
}

#[derive(Serialize, ToSchema)]
struct HitView {
    #[serde(rename = "type")]
    what: What,
    id: Uuid,
    /// The field that it was found by.
    #[schema(example = "provider_id")]
    matched: String,
    #[schema(example = "deposit completed")]
    label: String,
    /// Where to read it.
    #[schema(example = "/v1/admin/transactions/01900000-0000-7000-8000-000000000000")]
    link: String,
}

fn of_journal(transfer: Uuid) -> bool {
    Leg::from_byte(transfer.as_bytes()[15]).is_some_and(Leg::is_journals)
}

impl HitView {
    fn of(hit: Hit, text: &str) -> Self {
        let link = match hit.what {
            What::Transfer if of_journal(hit.id) => format!("/v1/admin/journals/{}", row_of(hit.id)),
            What::Transaction | What::Transfer => format!("/v1/admin/transactions/{}", row_of(hit.id)),
            What::Journal => format!("/v1/admin/journals/{}", row_of(hit.id)),
            What::User => format!("/v1/admin/users/{}", hit.id),
            What::Webhook => format!("/v1/admin/webhooks/{}", hit.id),
            What::AuditEntry => format!("/v1/admin/audit?request_id={text}"),
        };
        Self { what: hit.what, id: hit.id, matched: hit.matched, label: hit.label, link }
    }
}

/// Search everything
///
/// Leads from an id, an e-mail, a name, a key or a call to the row. Of a call that made no row, was not on record, or was refused before,
/// there is only the log of the processes. Needs `search.all`. Audited, without what was looked for.
#[utoipa::path(get, path = "/v1/admin/search", tag = "staff", security(("bearer" = ["search.all"])), params(SearchQuery),
    responses((status = 200, body = Page<HitView>), Problems))]
async fn find(
    State(app): State<App>,
    staff: Staff<SearchAll>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<Page<HitView>>> {
    let mut fields = Fields::of_query();
    let text = fields.search("q", &query.q, 1..=Q_CHARS_MAX);
    fields.finish()?;
    let hits = super::find(&app, &text, staff.has::<AuditRead>()).await?;
    Ok(Json(Page::first(hits.into_iter().map(|hit| HitView::of(hit, &text)).collect(), super::HITS_MAX)))
}
