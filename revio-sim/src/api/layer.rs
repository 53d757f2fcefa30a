//! The outer layer of the API: classifies a call, lets a fault strike it before or after its effect, and logs it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde_json::{Value, json};

use crate::clock;
use crate::errors::ApiError;
use crate::faults::{FaultKind, Moment, Scope};
use crate::shared::{Call, Shared};
use crate::world::Struck;

/// In the log: the connection was closed without an answer.
const NO_ANSWER: u16 = 0;

pub(super) async fn faulty(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let with_key = request.headers().contains_key(header::AUTHORIZATION);
    let fault = match shared.lets_in() {
        true => shared.faults(|faults| faults.take_for_call(scope(&method, &path), &path)),
        false => Some(FaultKind::RateLimited { retry_after_secs: 1 }),
    };
    let response = strike(&shared, fault, request, next).await;
    let lost = response.extensions().get::<Lost>().is_some();
    let status = if lost { NO_ANSWER } else { response.status().as_u16() };
    shared.log_call(Call { at: shared.clock().now(), method: method.to_string(), path, with_key, status });
    response
}

async fn strike(shared: &Shared, fault: Option<FaultKind>, mut request: Request, next: Next) -> Response {
    match fault {
        Some(FaultKind::Answer { status }) => page(status),
        Some(FaultKind::Text { status }) => text(status),
        Some(FaultKind::Blank { status }) => blank(status),
        Some(FaultKind::Terse) => terse(next.run(request).await).await,
        Some(FaultKind::CutOff) => cut_off(next.run(request).await).await,
        Some(FaultKind::Empty { status }) => known(status).into_response(),
        Some(FaultKind::BadGateway(Moment::Before)) => bad_gateway(),
        Some(FaultKind::BadGateway(Moment::After)) => {
            next.run(request).await;
            bad_gateway()
        }
        Some(FaultKind::ServerError(Moment::Before)) => server_error(),
        Some(FaultKind::ServerError(Moment::After)) => {
            next.run(request).await;
            server_error()
        }
        Some(FaultKind::Refused) => {
            ApiError::of(StatusCode::BAD_REQUEST, "invalid", "The request is not accepted.").into_response()
        }
        Some(FaultKind::RateLimited { retry_after_secs }) => {
            let error = ApiError::of(StatusCode::TOO_MANY_REQUESTS, "throttled", "Request was throttled.");
            ([(header::RETRY_AFTER, retry_after_secs.to_string())], error).into_response()
        }
        Some(FaultKind::Hang { secs, moment: Moment::Before }) => {
            hang(shared, Duration::from_secs(secs.into())).await;
            next.run(request).await
        }
        Some(FaultKind::Hang { secs, moment: Moment::After }) => {
            let response = next.run(request).await;
            hang(shared, Duration::from_secs(secs.into())).await;
            response
        }
        Some(FaultKind::Slow { millis }) => {
            hang(shared, Duration::from_millis(millis.into())).await;
            next.run(request).await
        }
        Some(FaultKind::Reset(Moment::Before)) => no_answer(),
        Some(FaultKind::Reset(Moment::After)) => {
            next.run(request).await;
            no_answer()
        }
        Some(FaultKind::LateExecution { secs }) => {
            put_off(request, next, secs).await;
            no_answer()
        }
        Some(FaultKind::LateEffect { secs, status }) => {
            put_off(request, next, secs).await;
            if status == NO_ANSWER { no_answer() } else { page(status) }
        }
        Some(FaultKind::LateConflict { secs }) => {
            put_off(request, next, secs).await;
            ApiError::of(StatusCode::CONFLICT, "conflict", "The payout is being executed.").into_response()
        }
        Some(FaultKind::StaleRead { secs }) => {
            request.extensions_mut().insert(Struck { stale_secs: secs.into(), late_secs: None });
            next.run(request).await
        }
        // No fault, or one of deliveries, which `Fault::check` keeps away from calls.
        _ => next.run(request).await,
    }
}

/// The handler puts the call off; what it answers is not sent.
async fn put_off(mut request: Request, next: Next, secs: u32) {
    request.extensions_mut().insert(Struck { late_secs: Some(secs.into()), stale_secs: 0 });
    next.run(request).await;
}

/// Which calls a fault may be narrowed to.
fn scope(method: &Method, path: &str) -> Scope {
    let path = path.trim_start_matches("/api/v1");
    let post = *method == Method::POST;
    match path.split('/').collect::<Vec<_>>()[..] {
        [_, "purchases", ""] if post => Scope::CreatePurchase,
        [_, "purchases", _, ""] => Scope::GetPurchase,
        [_, "purchases", _, "cancel", ""] => Scope::CancelPurchase,
        [_, "purchases", _, "refund", ""] => Scope::RefundPurchase,
        [_, "payouts", ""] if post => Scope::CreatePayout,
        [_, "payouts", _, ""] => Scope::GetPayout,
        [_, "po", _, ""] if post => Scope::ExecutePayout,
        _ => Scope::OtherCall,
    }
}

/// Real time, but not beyond the simulator's own end.
async fn hang(shared: &Shared, duration: Duration) {
    tokio::select! {
        () = clock::wait(duration) => {}
        () = shared.stop.cancelled() => {}
    }
}

fn bad_gateway() -> Response {
    let html = "<html>\n<head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad Gateway</h1></center></body>\n</html>";
    (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, "text/html")], html).into_response()
}

fn blank(status: u16) -> Response {
    (known(status), Json(json!({}))).into_response()
}

async fn terse(response: Response) -> Response {
    let status = response.status();
    let whole = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    let object: Value = serde_json::from_slice(&whole).unwrap_or_default();
    (status, Json(json!({"status": object["status"]}))).into_response()
}

async fn cut_off(response: Response) -> Response {
    let (head, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    Response::from_parts(head, Body::new(CutOff { half: Some(half), flushed: false }))
}

fn known(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A page where an object was asked for.
fn page(status: u16) -> Response {
    let status = known(status);
    (status, [(header::CONTENT_TYPE, "text/html")], format!("<html><body><h1>{status}</h1></body></html>"))
        .into_response()
}

fn text(status: u16) -> Response {
    let status = known(status);
    (status, [(header::CONTENT_TYPE, "text/plain")], format!("{} page not found\n", status.as_u16())).into_response()
}

fn server_error() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/html")], "<h1>Server Error (500)</h1>")
        .into_response()
}

#[derive(Clone)]
struct Lost;

/// An answer whose body fails before its head is flushed: hyper closes the socket, and the client has read nothing.
fn no_answer() -> Response {
    let mut response = Response::new(Body::new(Broken));
    response.extensions_mut().insert(Lost);
    response
}

struct Broken;

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::Error::other("the simulator was told to lose this answer"))))
    }
}

/// Half of a body, which leaves; then the same.
struct CutOff {
    half: Option<Bytes>,
    flushed: bool,
}

impl HttpBody for CutOff {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !std::mem::replace(&mut self.flushed, true) {
            // Meanwhile hyper writes what it has.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut Broken).poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_scope() {
        let of = |method: Method, path: &str| scope(&method, path);
        assert_eq!(of(Method::POST, "/api/v1/purchases/"), Scope::CreatePurchase);
        assert_eq!(of(Method::GET, "/api/v1/purchases/x/"), Scope::GetPurchase);
        assert_eq!(of(Method::POST, "/api/v1/purchases/x/cancel/"), Scope::CancelPurchase);
        assert_eq!(of(Method::POST, "/api/v1/purchases/x/refund/"), Scope::RefundPurchase);
        assert_eq!(of(Method::POST, "/api/v1/payouts/"), Scope::CreatePayout);
        assert_eq!(of(Method::GET, "/api/v1/payouts/x/"), Scope::GetPayout);
        assert_eq!(of(Method::POST, "/po/x/"), Scope::ExecutePayout);
        assert_eq!(of(Method::GET, "/api/v1/balance/"), Scope::OtherCall);
    }
}
