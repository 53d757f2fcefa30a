//! `GET /v1/admin/audit`, `GET /v1/admin/audit/packs/{month}`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::TryStreamExt;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::pack::{self, Period};
use crate::identity::audit::{self, Filter, Row};
use crate::identity::staff::{Admitted, Staff};
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::{Fields, Json, Page, Path, Query, page, page_query};
use crate::platform::permissions::{AuditExport, AuditRead};
use crate::platform::problems::Problems;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(audit_log)).routes(routes!(audit_pack))
}

page_query! {
    struct AuditQuery {
        /// A user's id, `service:` and a service account's, `system`, `operator` or `nobody`.
        #[param(max_length = 255)]
        actor: Option<String>,
        #[param(example = "user.role_changed", max_length = 255)]
        action: Option<String>,
        #[param(example = "user", max_length = 255)]
        object_kind: Option<String>,
        #[param(max_length = 255)]
        object_id: Option<String>,
        /// Of the actor, exactly as it is now.
        #[param(example = "thandi@example.com", max_length = 254)]
        actor_email: Option<String>,
        /// A customer: what was done to that customer, and each call of staff that concerned that customer, by its path, its query or the row
        /// that it named. Who looked is told for as long as it is kept.
        subject: Option<Uuid>,
        /// Of a call, as `X-Request-Id` and the problem documents have it.
        #[param(max_length = 64)]
        request_id: Option<String>,
        /// Not before this time: RFC 3339, or a date, which is its first moment in UTC.
        #[param(example = "2026-01-01")]
        from: Option<String>,
        /// Before this time, likewise.
        #[param(example = "2026-02-01T00:00:00Z")]
        to: Option<String>,
    }
}

impl AuditQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::of_query();
        let email = self.actor_email.map(|text| fields.search("actor_email", &text, 1..=254).to_lowercase());
        let request_id = self.request_id.map(|text| fields.search("request_id", &text, 1..=64));
        let mut word = |name, value: Option<String>| value.map(|text| fields.search(name, &text, 1..=255));
        let (actor, action) = (word("actor", self.actor), word("action", self.action));
        let (object_kind, object_id) = (word("object_kind", self.object_kind), word("object_id", self.object_id));
        let from = self.from.and_then(|text| fields.moment("from", &text));
        let to = self.to.and_then(|text| fields.moment("to", &text));
        let (before, limit) = page::range(&mut fields, self.cursor.as_deref(), self.limit);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            fields.wrong("to", Wrong::Conflict("from", "must not be before from"));
        }
        fields.finish()?;
        Ok(Filter { actor, action, object_kind, object_id, actor_email: email, request_id, from, to, before, limit })
    }
}

/// Who did what
///
/// Newest first; `subject` says who looked at a customer. Needs `audit.read`.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "staff", security(("bearer" = ["audit.read"])), params(AuditQuery),
    responses((status = 200, body = Page<Row>), (status = 422, description = "`query_too_broad`"), Problems))]
async fn audit_log(
    State(app): State<App>,
    staff: Staff<AuditRead>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<Row>>> {
    let subject = query.subject;
    let filter = query.parse()?;
    let rows = audit::search(&app, staff.user_id, subject, &filter).await?;
    Ok(Json(Page::by_id(rows, filter.limit, |row| row.id)))
}

/// A month of the log as a file
///
/// JSON lines: first what the file holds (`manifest`), then every link of the chain with its entry, in the order of the chain, and at the
/// end the hash of all before (`trailer`); a file without one broke off. Only of a month that is over, or of one day (`2026-03-07`) where the
/// month is too long for a file. `octoco audit verify-pack` computes
/// each link again, without the service. Needs `audit.export`. Audited, with the hash.
#[utoipa::path(get, path = "/v1/admin/audit/packs/{month}", tag = "staff", security(("bearer" = ["audit.export"])),
    params(("month" = String, Path, example = "2026-03", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?$")),
    responses((status = 200, description = "The file", content((String = "application/jsonl")), headers(
            ("Repr-Digest" = String, description = "RFC 9530: `sha-256=:` and the base64 of the SHA-256 of the file, `:`"),
            ("Audit-Positions" = String, description = "The first and the last link, as `1-4711`"),
            ("Audit-Head" = String, description = "The last link, as `octoco audit verify --head` takes it"))),
        (status = 422, description = "`query_too_broad`: it has more than a million entries, of a month take its days"), Problems))]
async fn audit_pack(State(app): State<App>, staff: Staff<AuditExport>, Path(month): Path<String>) -> Result<Response> {
    let period: Period = month.parse()?;
    let pack = pack::begin(&app, &staff.actor, &period).await?;
    let value = |text: String| HeaderValue::try_from(text).map_err(Error::internal);
    let headers = [
        (header::CONTENT_TYPE, value("application/jsonl".to_owned())?),
        (header::CONTENT_DISPOSITION, value(format!("attachment; filename=\"audit-{period}.jsonl\""))?),
        (header::CONTENT_LENGTH, value(pack.bytes.to_string())?),
        (
            header::HeaderName::from_static("repr-digest"),
            value(format!("sha-256=:{}:", BASE64_STANDARD.encode(&pack.sha256)))?,
        ),
        (header::HeaderName::from_static("audit-positions"), value(format!("{}-{}", pack.first, pack.head.position))?),
        (header::HeaderName::from_static("audit-head"), value(pack.head.to_string())?),
    ];
    // Whoever may not any more gets no more of it.
    let (admitted, asked) = (Admitted::from(&staff), app.clone());
    let parts = pack::stream(app, pack).and_then(move |part| {
        let app = asked.clone();
        async move { admitted.require(&app).await.map(|()| part) }
    });
    Ok((headers, Body::from_stream(parts)).into_response())
}
