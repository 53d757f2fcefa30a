//! What stands outside the house for a test: an HTTP server that takes whatever is sent to it and keeps it, as a collector of traces
//! (OTLP) or of errors (Sentry).

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;
use tracing::dispatcher::{DefaultGuard, Dispatch};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt};
use uuid::Uuid;

type Received = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

pub(crate) struct Receiver {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    received: Received,
}

impl Receiver {
    #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
    pub(crate) async fn start() -> Self {
        let received = Received::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("bound").to_string();
        let keep = async |State(received): State<Received>, uri: Uri, headers: HeaderMap, body: Bytes| {
            received.lock().expect("nobody panicked").push((uri.to_string(), headers, body.to_vec()));
            StatusCode::OK
        };
        let router = axum::Router::new().fallback(keep).with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, received }
    }

    /// Everything that came, as text: paths, headers but for those of the name, bodies.
    pub(crate) fn text(&self, but_for: &str) -> String {
        let all = self.received.lock().expect("nobody panicked");
        let one = |(path, headers, body): &(String, HeaderMap, Vec<u8>)| {
            let mut headers = headers.clone();
            headers.remove(but_for);
            format!("{path} {headers:?}\n{}\n", String::from_utf8_lossy(body))
        };
        all.iter().map(one).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let all = self.received.lock().expect("nobody panicked");
        all.iter().find_map(|(_, headers, _)| headers.get(name)?.to_str().ok().map(str::to_owned))
    }

    /// Every span that came over OTLP.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let all = self.received.lock().expect("nobody panicked");
        let requests = all.iter().filter(|(path, ..)| path == "/v1/traces").map(|(_, headers, body)| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP")
        });
        let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The items of a type that came in Sentry's envelopes: header, item header and item are a line of JSON each.
    pub(crate) fn items(&self, kind: &str) -> Vec<Value> {
        let all = self.received.lock().expect("nobody panicked");
        let mut items = Vec::new();
        for (path, _, body) in all.iter() {
            assert_eq!(path, "/api/1/envelope/");
            let lines: Vec<Value> =
                String::from_utf8_lossy(body).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let (heads, bodies) = (lines.iter().skip(1).step_by(2), lines.iter().skip(2).step_by(2));
            items.extend(heads.zip(bodies).filter(|(head, _)| head["type"] == kind).map(|(_, body)| body.clone()));
        }
        items
    }
}

/// Listens on this thread. A second one, that wants nothing, stands beside: while there is only one in the process, `tracing` asks the
/// thread that first comes to a line, which may be another test's, and remembers for all that nobody listens.
pub(crate) fn listen(subscriber: impl Into<Dispatch>) -> (DefaultGuard, Dispatch) {
    let beside = Dispatch::new(tracing_subscriber::registry().with(LevelFilter::OFF));
    (tracing::dispatcher::set_default(&subscriber.into()), beside)
}

/// Of a span.
pub(crate) fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

pub(crate) fn trace_of(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}
