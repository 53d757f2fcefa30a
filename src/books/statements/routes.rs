//! `GET /v1/statements`, for staff `GET /v1/admin/users/{id}/statements`.

use std::{future::ready, time::Duration};

use axum::response::{IntoResponse, Response};
use axum::{body::Body, extract::State, http::header};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::csv::Writer;
use super::{Reader, Request, Statement};
use crate::app::App;
use crate::identity::{caller::Caller, staff::Staff, users};
use crate::platform::error::{BoxError, Error, Result, Wrong};
use crate::platform::http::{Fields, Json, Path, Query};
use crate::platform::{permissions::TransactionsRead, problems::Problems, text_enum::text_enum};

/// How long a file may take to go out; a reader who is slower than that is cut off, and sees it by the trailer that is not there.
const STREAM_MAX: Duration = Duration::from_secs(600);

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(own)).routes(routes!(of_user))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatementQuery {
    #[param(example = "ZAR")]
    currency: String,
    /// The first moment that counts: an RFC 3339 time (`+` written as `%2B`), or a date, which is its first moment in UTC.
    #[param(example = "2026-03-01")]
    from: String,
    /// The first moment that does not count any more, likewise. Default and latest: now.
    #[param(example = "2026-04-01")]
    to: Option<String>,
    /// `json` (the default, up to 10,000 lines) or `csv`.
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

text_enum! {
    enum Format {
        /// The default, up to 10,000 lines.
        Json = "json",
        Csv = "csv",
    }
}

impl StatementQuery {
    fn parse(self, app: &App, user_id: Uuid) -> Result<(Request, Format)> {
        let (mut fields, now) = (Fields::default(), app.clock.now());
        let currency = fields.take(app.currency(&self.currency));
        let from = fields.moment("from", &self.from);
        let to = self.to.map_or(Some(now), |to| fields.moment("to", &to));
        if from.is_some_and(|from| from > now) {
            fields.wrong("from", "has not come yet");
        } else if from.zip(to).is_some_and(|(from, to)| from > to) {
            fields.wrong("to", Wrong::Conflict("from", "must not be before from"));
        }
        let format = fields.word("format", self.format.as_deref()).unwrap_or(Format::Json);
        let ((currency, from), to) = fields.finish_with(currency.zip(from).zip(to))?;
        Ok((Request { user_id, currency, from, to }, format))
    }
}

/// My statement
///
/// Every movement of the wallet in a period, in the order of the ledger, with the balance before, after each, and at the end.
/// As CSV it is streamed: the last record starts with `#end` and has the SHA-256 of everything before it.
#[utoipa::path(get, path = "/v1/statements", tag = "transactions", security(("bearer" = [])), params(StatementQuery),
    responses((status = 200, content((Statement = "application/json"), (String = "text/csv"))), Problems))]
async fn own(State(app): State<App>, caller: Caller, Query(query): Query<StatementQuery>) -> Result<Response> {
    let (request, format) = query.parse(&app, caller.user_id)?;
    answer(app, request, format).await
}

/// A customer's statement
///
/// The same as the customer's own, to the byte.
#[utoipa::path(get, path = "/v1/admin/users/{id}/statements", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(("id" = Uuid, Path), StatementQuery),
    responses((status = 200, content((Statement = "application/json"), (String = "text/csv"))), Problems))]
async fn of_user(
    State(app): State<App>,
    _staff: Staff<TransactionsRead>,
    Path(id): Path<Uuid>,
    Query(query): Query<StatementQuery>,
) -> Result<Response> {
    let user = users::find(&app, id).await?;
    let (request, format) = query.parse(&app, user.id)?;
    answer(app, request, format).await
}

async fn answer(app: App, request: Request, format: Format) -> Result<Response> {
    match format {
        Format::Json => Ok(Json(super::whole(&app, request).await?).into_response()),
        Format::Csv => {
            let reader = Reader::open(&app, request).await?;
            let name = format!(
                "statement-{}-{}-{}.csv",
                request.currency,
                reader.summary.from.format("%Y%m%d"),
                reader.summary.to.format("%Y%m%d")
            );
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
                (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
            ];
            Ok((headers, file(app, reader)).into_response())
        }
    }
}

/// The next page is read when the one before has gone out. A failure on the way breaks the transfer off.
fn file(app: App, reader: Reader) -> Body {
    let (started, mut writer) = (Instant::now(), Writer::new(reader.summary));
    let head = stream::once(ready(writer.head().map_err(BoxError::from)));
    let pages = stream::try_unfold(Some((reader, writer)), move |rest| {
        let app = app.clone();
        async move {
            let Some((mut reader, mut writer)) = rest else { return Ok(None) };
            let page = match started.elapsed() > STREAM_MAX {
                true => Err(Error::unavailable("the reader is too slow")),
                false => reader.next(&app).await,
            };
            let page = page.inspect_err(|error| tracing::error!(error = error.chain(), "a statement broke off"))?;
            Ok::<_, BoxError>(Some(match page {
                Some(page) => (writer.lines(&page.lines)?, Some((reader, writer))),
                None => (writer.end()?, None),
            }))
        }
    });
    Body::from_stream(head.chain(pages))
}
