//! `GET /v1/admin/journals/export`.

use std::time::Duration;

use axum::response::Response;
use axum::{body::Body, extract::State};
use futures_util::{StreamExt, future::ready, stream};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::File;
use crate::app::App;
use crate::identity::staff::{Admitted, Staff};
use crate::money::journals;
use crate::platform::error::{BoxError, Error, Result};
use crate::platform::http::{Fields, Query, download::streamed};
use crate::platform::{permissions::JournalsRead, problems::Problems};

/// How long a file may take to go out; a reader who is slower is cut off, and sees it by the record that is not there.
const STREAM_MAX: Duration = Duration::from_secs(600);

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    #[param(inline, value_type = Option<journals::Kind>)]
    kind: Option<String>,
    #[param(inline, value_type = Option<journals::State>)]
    state: Option<String>,
}

/// Export the company's journals
///
/// Those of `GET /v1/admin/journals` as CSV, sent while they are read. The last record starts with `#end` and has the SHA-256 of everything
/// before it; a file without one broke off. Needs `journals.read`. Audited.
#[utoipa::path(get, path = "/v1/admin/journals/export", tag = "staff", security(("bearer" = ["journals.read"])),
    params(ExportQuery),
    responses((status = 200, description = "The file", headers(("Accept-Ranges" = String, description = "`none`")),
        content((String = "text/csv"))), Problems))]
async fn export(
    State(app): State<App>,
    staff: Staff<JournalsRead>,
    Query(query): Query<ExportQuery>,
) -> Result<Response> {
    let mut fields = Fields::of_query();
    let kind = fields.word("kind", query.kind.as_deref());
    let state = fields.word("state", query.state.as_deref());
    fields.finish()?;
    let name = format!("journals-{}.csv", app.clock.now().format("%Y%m%dT%H%M%SZ"));
    let mut file = File::new(kind, state);
    // The first page before the head of the answer: what fails by then is refused.
    let first = file.next(&app).await?.unwrap_or_default();
    let head = stream::once(ready(Ok::<_, BoxError>(first)));
    let body = Body::from_stream(head.chain(pages(app, file, (&staff).into())));
    Ok(streamed("text/csv; charset=utf-8; header=present", &name, None, body))
}

/// The next page is read when the one before has gone out, if the caller may still have it. A failure on the way breaks the transfer off.
fn pages(app: App, file: File, admitted: Admitted) -> impl stream::Stream<Item = Result<Vec<u8>, BoxError>> + Send {
    let started = Instant::now();
    stream::try_unfold(file, move |mut file| {
        let app = app.clone();
        async move {
            let page = match admitted.require(&app).await {
                Err(error) => Err(error),
                Ok(()) if started.elapsed() > STREAM_MAX => Err(Error::unavailable("the reader is too slow")),
                Ok(()) => file.next(&app).await,
            };
            let page = page.inspect_err(|error| tracing::error!(error = error.chain(), "an export broke off"))?;
            Ok(page.map(|page| (page, file)))
        }
    })
}
