//! `GET /v1/statements`, for staff `GET /v1/admin/users/{id}/statements`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::csv::Writer;
use super::pdf::{self, Head};
use super::{Reader, Request, Statement, Summary};
use crate::app::App;
use crate::books::files::{self, Pages};
use crate::identity::caller::Caller;
use crate::identity::staff::{Admitted, Staff};
use crate::identity::users::{self, User};
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::download::{Parts, Tag, streamed, unchanged};
use crate::platform::http::{Asked, Download, Fields, Path, Query};
use crate::platform::permissions::{TransactionsRead, UsersRead};
use crate::platform::{problems::Problems, text_enum::text_enum};

/// How long a page of a file waits for its turn.
const PAGE_WAIT: Duration = Duration::from_secs(60);

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(own)).routes(routes!(of_user))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatementQuery {
    #[param(example = "ZAR")]
    currency: String,
    /// The first moment that counts: an RFC 3339 time (`+` written as `%2B`), or a date, which is its first moment in `tz`.
    #[param(example = "2026-03-01")]
    from: String,
    /// The first moment that does not count any more, likewise. Default and latest: now.
    #[param(example = "2026-04-01")]
    to: Option<String>,
    /// Whose days the dates are, and whose clock CSV and PDF show: a time zone by its name. Default: UTC. JSON stays in UTC.
    #[param(example = "Africa/Johannesburg")]
    tz: Option<String>,
    /// `json` (the default) and `pdf`, up to 10,000 lines, or `csv`.
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

text_enum! {
    enum Format {
        /// The default, up to 10,000 lines.
        Json = "json",
        Csv = "csv",
        /// For people, up to 10,000 lines.
        Pdf = "pdf",
    }
}

impl StatementQuery {
    fn parse(self, app: &App, user_id: Uuid) -> Result<(Request, Format)> {
        let (mut fields, now) = (Fields::of_query(), app.clock.now());
        let currency = fields.take(app.currency(&self.currency));
        let zone = fields.zone("tz", self.tz.as_deref());
        let from = fields.moment_in("from", &self.from, zone);
        let to = self.to.map_or(Some(now), |to| fields.moment_in("to", &to, zone));
        if from.is_some_and(|from| from > now) {
            fields.wrong("from", "has not come yet");
        } else if from.zip(to).is_some_and(|(from, to)| from > to) {
            fields.wrong("to", Wrong::Conflict("from", "must not be before from"));
        }
        let format = fields.word("format", self.format.as_deref()).unwrap_or(Format::Json);
        let ((currency, from), to) = fields.finish_with(currency.zip(from).zip(to))?;
        Ok((Request { user_id, currency, from, to, zone }, format))
    }
}

/// My statement
///
/// Every movement of the wallet in a period, in the order of the ledger, with the balance before, after each, and at the end.
/// As CSV it is streamed: the last record starts with `#end` and has the SHA-256 of everything before it. PDF is for people, and the same
/// statement has the same bytes; only of it a part can be asked for.
#[utoipa::path(get, path = "/v1/statements", tag = "transactions", security(("bearer" = [])), params(StatementQuery),
    responses((status = 200, content((Statement = "application/json"), (String = "text/csv"), (Vec<u8> = "application/pdf"))),
        Parts, (status = 206, description = "The part that `Range` asks for", content((Vec<u8> = "application/pdf"))), Problems))]
async fn own(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<StatementQuery>,
    asked: Asked,
) -> Result<Response> {
    let user = users::find(&app, caller.user_id).await?;
    let wanted = query.parse(&app, user.id)?;
    answer(app, (&caller).into(), user, wanted, &asked).await
}

/// A customer's statement
///
/// The same as the customer's own, to the byte. Needs `transactions.read`, and as PDF, which names the customer, `users.read` too.
#[utoipa::path(get, path = "/v1/admin/users/{id}/statements", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(("id" = Uuid, Path), StatementQuery),
    responses((status = 200, content((Statement = "application/json"), (String = "text/csv"), (Vec<u8> = "application/pdf"))),
        Parts, (status = 206, description = "The part that `Range` asks for", content((Vec<u8> = "application/pdf"))), Problems))]
async fn of_user(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Path(id): Path<Uuid>,
    Query(query): Query<StatementQuery>,
    asked: Asked,
) -> Result<Response> {
    let user = users::find(&app, id).await?;
    let (request, format) = query.parse(&app, user.id)?;
    if format == Format::Pdf && !staff.has::<UsersRead>() {
        // Refused, and on record.
        staff.also::<UsersRead>(&app).await?;
    }
    answer(app, (&staff).into(), user, (request, format), &asked).await
}

async fn answer(
    app: App,
    admitted: Admitted,
    user: User,
    (request, format): (Request, Format),
    asked: &Asked,
) -> Result<Response> {
    if format == Format::Csv {
        let reader = Reader::open(&app, request).await?;
        // Weak: the layout of the file is not part of it.
        let tag = Tag::weak(reader.content().as_bytes());
        if asked.knows(&tag) {
            return Ok(unchanged(&tag));
        }
        let name = name(&request, &reader.summary, format);
        let mut writer = Writer::new(reader.summary, reader.zone);
        let head = writer.head().map_err(Error::internal)?;
        let body = Body::from_stream(files::sent(app, admitted, head, Lines(Some((reader, writer)))));
        return Ok(streamed("text/csv; charset=utf-8; header=present", &name, Some(&tag), body));
    }
    let statement = super::whole(&app, request).await?;
    if format == Format::Json {
        let bytes = serde_json::to_vec(&statement).map_err(Error::internal)?;
        return Ok(Download::new("application/json", bytes).only_whole().answer(asked));
    }
    let name = name(&request, &statement.summary, format);
    let head = Head { customer: user.full_name, user_id: user.id, zone: request.zone };
    Ok(Download::new("application/pdf", pdf::write(statement, head).await?).named(name).answer(asked))
}

fn name(request: &Request, summary: &Summary, format: Format) -> String {
    let day = |at| request.zone.wall(at).format("%Y%m%d");
    format!("statement-{}-{}-{}.{}", request.currency, day(summary.from), day(summary.to), format.name())
}

/// The lines of a statement as CSV; `None` once they are whole.
struct Lines(Option<(Reader, Writer)>);

impl Pages for Lines {
    async fn next(&mut self, app: &App) -> Result<Option<Vec<u8>>> {
        let Some((mut reader, mut writer)) = self.0.take() else { return Ok(None) };
        let bytes = match reader.next(app, PAGE_WAIT).await? {
            Some(page) => {
                let bytes = writer.lines(&page.lines);
                self.0 = Some((reader, writer));
                bytes
            }
            None => writer.end(),
        };
        bytes.map(Some).map_err(Error::internal)
    }
}
