//! `GET`, `POST /v1/admin/reconciliation/statements`, `GET /v1/admin/reconciliation/statements/{id}/file`; of days: `fetching/routes.rs`.

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Import, Source, StatementFile, Unit, fetching};
use crate::app::App;
use crate::finance::days;
use crate::identity::staff::Staff;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::json::{BODY_DEADLINE, whole_body};
use crate::platform::http::{Asked, Download, Fields, Json, Page, Path, Query, download::Parts, page, page_query};
use crate::platform::permissions::{ReconciliationRead, StatementsImport};
use crate::platform::problems::Problems;
use crate::platform::slow_reads;

pub const PATH: &str = "/v1/admin/reconciliation/statements";
/// Some 100,000 lines; a larger one is split by days.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Files in hand at once, each with several times its size.
const IMPORTS_MAX: usize = 2;
/// For all who import here.
static IMPORTS: Semaphore = Semaphore::const_new(IMPORTS_MAX);

pub fn router() -> OpenApiRouter<App> {
    // Every other body of ours is as small as ever.
    let import = OpenApiRouter::new().routes(routes!(import)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    import.merge(OpenApiRouter::new().routes(routes!(list)).routes(routes!(file))).merge(fetching::routes::router())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    #[param(value_type = Source, inline)]
    source: String,
    /// Reads, matches and answers, and keeps nothing.
    dry_run: Option<bool>,
    /// `major` (rands) or `minor` (cents), where the lines do not settle it. What they prove otherwise is refused.
    #[param(value_type = Option<Unit>, inline)]
    unit: Option<String>,
    /// Of a bank's file that does not say it. Default: the one of `CURRENCIES`.
    currency: Option<String>,
    /// The first day that the file is of. Default: its first line's.
    #[param(value_type = Option<NaiveDate>, format = Date)]
    from: Option<String>,
    /// The last one. Default: its last line's.
    #[param(value_type = Option<NaiveDate>, format = Date)]
    to: Option<String>,
}

impl ImportQuery {
    fn parse<'a>(&self, app: &App, content: &'a [u8]) -> Result<Import<'a>> {
        let mut fields = Fields::of_query();
        let source = fields.word("source", Some(&self.source));
        let unit: Option<Unit> = fields.word("unit", self.unit.as_deref());
        let currency = self.currency.as_deref().and_then(|code| fields.take(app.currency(code)));
        let mut day = |field, text: &Option<String>| {
            let text = text.as_deref()?;
            let day = days::parse(text);
            if day.is_none() {
                fields.wrong(field, Wrong::Format(days::NO_DAY));
            }
            day
        };
        let (from, to) = (day("from", &self.from), day("to", &self.to));
        let source: Source = fields.finish_with(source)?;
        let dry_run = self.dry_run.unwrap_or(false);
        Ok(Import { unit, currency, from, to, dry_run, ..Import::new(source, content) })
    }
}

#[derive(Serialize, ToSchema)]
struct ImportView {
    #[serde(flatten)]
    file: StatementFile,
    /// False after a dry run: nothing was kept, and the id is nobody's.
    imported: bool,
}

/// Import a statement
///
/// A CSV file of Revio's or the bank's: commas, semicolons or tabs, headings in any order. Nothing is booked. The same bytes again answer
/// the same, and are refused where another unit, currency or day is said of them. Columns that nobody knows are counted and dropped; the
/// file is kept encrypted. Needs `statements.import`. Audited.
#[utoipa::path(post, path = "/v1/admin/reconciliation/statements", tag = "staff", security(("bearer" = ["statements.import"])),
    params(ImportQuery),
    request_body(content_type = "text/csv", content = String,
        example = "id,reference,product,status,currency,amount,fee,paid_on\n"),
    responses((status = 200, body = ImportView),
        (status = 409, description = "`statement_known`: the same bytes were imported as of other days, another unit or currency; `stale_state`: \
            the same file was imported at the same time"),
        (status = 422, description = "`statement_unusable`: `errors` names each column and line"), Problems))]
async fn import(
    State(app): State<App>,
    staff: Staff<StatementsImport>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Json<ImportView>> {
    query.parse(&app, &[])?;
    if !is_csv(&request) {
        return Err(Error::UnsupportedMediaType);
    }
    let _place = timeout(slow_reads::WAIT, IMPORTS.acquire())
        .await
        .map_err(|_| Error::TurnedAway("files are being imported"))?;
    let body = whole_body(request, BODY_DEADLINE).await.map_err(too_large)?;
    let import = query.parse(&app, &body)?;
    let file = super::import(&app, &staff.actor, &import).await?;
    let imported = !import.dry_run || super::find(&app, file.id).await.is_ok();
    Ok(Json(ImportView { file, imported }))
}

fn is_csv(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
}

fn too_large(error: Error) -> Error {
    match error {
        Error::TooLarge(_) => Error::TooLarge(BODY_BYTES_MAX),
        other => other,
    }
}

page_query! {
    struct FilesQuery {
        #[param(value_type = Option<Source>, inline)]
        source: Option<String>,
    }
}

/// Imported statements
///
/// Newest first. Needs `reconciliation.read`.
#[utoipa::path(get, path = "/v1/admin/reconciliation/statements", tag = "staff", security(("bearer" = ["reconciliation.read"])),
    params(FilesQuery), responses((status = 200, body = Page<StatementFile>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<ReconciliationRead>,
    Query(query): Query<FilesQuery>,
) -> Result<Json<Page<StatementFile>>> {
    let mut fields = Fields::of_query();
    let source = fields.word("source", query.source.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    Ok(Json(Page::by_id(super::list(&app, source, before, limit).await?, limit, |file| file.id)))
}

/// A statement as it came
///
/// With what it says of payers. Needs `statements.import`. Audited.
#[utoipa::path(get, path = "/v1/admin/reconciliation/statements/{id}/file", tag = "staff",
    security(("bearer" = ["statements.import"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = String, content_type = "text/csv"), Parts, Problems))]
async fn file(
    State(app): State<App>,
    staff: Staff<StatementsImport>,
    Path(id): Path<Uuid>,
    asked: Asked,
) -> Result<Response> {
    let content = super::content(&app, &staff.actor, id).await?.ok_or(Error::NotFound("file: its time is over"))?;
    Ok(Download::new("text/csv", content).named(format!("statement-{id}.csv")).answer(&asked))
}
