//! Every route and every layer, in order.

use std::sync::{Arc, LazyLock};
use std::{any::Any, convert::identity, net::SocketAddr, pin::pin, time::Duration};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Version, header, uri::Authority};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::books::{customers, events, exports, history, journal_export, personal_data, search, statements};
use crate::finance::{periods, reconciliation, statement_files, trial_balance};
use crate::identity::{credentials, emails, mails, notes, second_factor, service_accounts, sessions, staff, users};
use crate::money::{
    adjustments, balances, bank_accounts, client_config, deposits, journals, manual_review, profile, requests,
    restrictions, safe_mode, suspense, withdrawals,
};
use crate::platform::http::{Asked, Waits, json::BODY_BYTES_MAX, waits::WAIT_MAX};
use crate::platform::{error::Error, openapi, telemetry::panic_text};
use crate::processes::load::Load;
use crate::processes::{access_log, headers, queries, repeats};
use crate::processes::{docs, health};
use crate::webhooks::{inbox, outgoing};

/// The whole of a request, its body included: whoever sends more slowly is not waited for, and a part that hangs is told as
/// such. A row that was written by then goes on by itself.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

fn documented() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(users::routes::router())
        .merge(emails::routes::router())
        .merge(sessions::routes::router())
        .merge(credentials::routes::router())
        .merge(second_factor::routes::router())
        .merge(profile::routes::router())
        .merge(client_config::routes::router())
        .merge(balances::routes::router())
        .merge(bank_accounts::routes::router())
        .merge(deposits::routes::router())
        .merge(withdrawals::routes::router())
        .merge(withdrawals::approval::routes::router())
        .merge(adjustments::routes::router())
        .merge(journals::routes::router())
        .merge(journal_export::routes::router())
        .merge(history::routes::router())
        .merge(events::routes::router())
        .merge(statements::routes::router())
        .merge(exports::routes::router())
        .merge(inbox::routes::router())
        .merge(inbox::routes::staff_router())
        .merge(outgoing::routes::router())
        .merge(service_accounts::routes::router())
        .merge(manual_review::routes::router())
        .merge(suspense::routes::router())
        .merge(safe_mode::routes::router())
        .merge(mails::routes::router())
        .merge(search::routes::router())
        .merge(customers::routes::router())
        .merge(notes::routes::router())
        .merge(personal_data::routes::router())
        .merge(restrictions::routes::router())
        .merge(requests::routes::router())
        .merge(statement_files::routes::router())
        .merge(trial_balance::routes::router())
        .merge(periods::routes::router())
        .merge(staff::routes::router())
        .merge(reconciliation::routes::router())
        .merge(health::routes::router())
        .split_for_parts()
}

pub fn openapi() -> Value {
    openapi::complete(&documented().1, outgoing::described())
}

pub fn router(app: App) -> Router {
    layered(routes(app.config.public_path()), app, REQUEST_DEADLINE)
}

/// What a process answers to its operators, on a port that the world does not reach.
pub fn for_operators(app: App) -> Router {
    layered(health::routes::for_operators(), app, REQUEST_DEADLINE)
}

/// `public_path`: where the world finds them.
pub fn routes(public_path: &str) -> Router<App> {
    let (routes, document) = documented();
    let document = docs::document(openapi::complete(&document, outgoing::described()), public_path);
    routes
        .route("/openapi.json", get(async move |asked: Asked| document.answer(&asked)))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::file))
        .route("/problems/{code}", get(docs::problem))
        .route("/reasons/{code}", get(docs::reason))
}

/// The acts of staff and machines that take an idempotency key. Made once: tests make many routers.
static KEYED: LazyLock<repeats::Routes> = LazyLock::new(|| Arc::new(openapi::keyed(&documented().1)));

/// The operations that take no query.
static QUERYLESS: LazyLock<queries::Routes> = LazyLock::new(|| Arc::new(openapi::queryless(&documented().1)));

/// The operations whose body nobody reads.
static BODILESS: LazyLock<queries::Routes> = LazyLock::new(|| Arc::new(openapi::bodiless(&documented().1)));

/// Routes behind the layers that all of ours are behind; tests put theirs there too.
pub fn layered(routes: Router<App>, app: App, deadline: Duration) -> Router {
    let load = Load::new(&app, Arc::clone(&BODILESS));
    routes
        .fallback(async || Error::NotFound("path"))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(
            // From the outside in.
            ServiceBuilder::new()
                .layer(from_fn_with_state(app.clone(), headers::protect))
                .layer(from_fn_with_state(app.clone(), access_log::record))
                .layer(from_fn(with_host))
                .layer(from_fn(with_known_coding))
                .layer(headers::cors(&app))
                .layer(from_fn_with_state(app.clone(), go_on))
                .layer(CatchPanicLayer::custom(panicked))
                .layer(from_fn(move |request, next| in_time(deadline, request, next)))
                .layer(from_fn_with_state(Arc::clone(&QUERYLESS), queries::refuse))
                .layer(from_fn(move |request, next| Arc::clone(&load).admit(request, next)))
                .layer(from_fn_with_state((app.clone(), Arc::clone(&KEYED)), repeats::once))
                .layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
        )
        .with_state(app)
}

/// HTTP/1.1 names the host, once (RFC 9112, 3.2): what does not may have been read otherwise by whoever passed it on.
async fn with_host(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_host = |value: &HeaderValue| value.to_str().is_ok_and(|host| host.parse::<Authority>().is_ok());
    let named = hosts.next().is_some_and(is_host) && hosts.next().is_none();
    // What came over no connection was passed on by nobody.
    let sent = request.extensions().get::<ConnectInfo<SocketAddr>>().is_some();
    if named || !sent || request.version() < Version::HTTP_11 {
        return next.run(request).await;
    }
    Error::header("Host", "must be given, once").into_response()
}

/// The library reads the last coding alone: what names another one besides was framed otherwise by whoever passed it on (RFC 9112, 6.1).
async fn with_known_coding(request: Request, next: Next) -> Response {
    let codings: Vec<&HeaderValue> = request.headers().get_all(header::TRANSFER_ENCODING).iter().collect();
    let is_chunked = |value: &&HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.is_empty() || (codings.len() == 1 && codings.iter().all(is_chunked)) {
        return next.run(request).await;
    }
    let refused = Error::header("Transfer-Encoding", "must be chunked, and no more").into_response();
    ([(header::CONNECTION, "close")], refused).into_response()
}

/// What changes something goes on whoever listens: a client that goes away takes only the answer with it. Else a row would be
/// written and wait for the end of its lease.
async fn go_on(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let handled = app.in_hand.spawn(next.run(request).in_current_span());
    handled.await.unwrap_or_else(|ended| Error::internal(ended).into_response())
}

/// A mistake of ours: told as such, with its message only in the log.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    Error::internal(format!("panic: {}", panic_text(panic.as_ref()))).into_response()
}

/// What a call waits for on purpose is bounded by itself, and does not count.
async fn in_time(deadline: Duration, request: Request, next: Next) -> Response {
    let waits = request.extensions().get::<Waits>().cloned();
    let mut answered = pin!(timeout(deadline + WAIT_MAX, next.run(request)));
    let ended = match waits {
        None => timeout(deadline, answered).await.and_then(identity),
        Some(waits) => tokio::select! {
            ended = timeout(deadline, answered.as_mut()) => ended.and_then(identity),
            () = waits.begun() => answered.await,
        },
    };
    ended.unwrap_or_else(|elapsed| Error::unavailable(elapsed).into_response())
}
