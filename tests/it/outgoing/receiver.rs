//! Somebody's server that webhooks of ours go to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct Behaviour {
    received: Vec<Received>,
    status: u16,
    headers: HeaderMap,
    pause: Duration,
    in_hand: usize,
    most_in_hand: usize,
}

type Shared = Arc<Mutex<Behaviour>>;

/// Ends with the test.
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Shared,
    server: JoinHandle<()>,
}

impl Receiver {
    #[expect(clippy::disallowed_methods, reason = "it is stopped when it is dropped")]
    pub(crate) async fn start() -> Self {
        let shared = Shared::default();
        shared.lock().expect("not poisoned").status = 200;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}/hooks", listener.local_addr().expect("bound"));
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        Self { url, shared, server }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.lock().expect("not poisoned").received.clone()
    }

    pub(crate) fn answer(&self, status: u16, headers: &[(&'static str, &str)]) {
        let mut shared = self.shared.lock().expect("not poisoned");
        shared.status = status;
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        };
        shared.headers = headers.iter().map(header).collect();
    }

    /// How long it takes to answer.
    pub(crate) fn take(&self, pause: Duration) {
        self.shared.lock().expect("not poisoned").pause = pause;
    }

    /// How many calls were under way at once.
    pub(crate) fn most_in_hand(&self) -> usize {
        self.shared.lock().expect("not poisoned").most_in_hand
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "a server that is slow")]
async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap) {
    let body = String::from_utf8(body.to_vec()).expect("text");
    let (status, told, pause) = {
        let mut shared = shared.lock().expect("not poisoned");
        shared.received.push(Received { headers, body });
        shared.in_hand += 1;
        shared.most_in_hand = shared.most_in_hand.max(shared.in_hand);
        (shared.status, shared.headers.clone(), shared.pause)
    };
    tokio::time::sleep(pause).await;
    shared.lock().expect("not poisoned").in_hand -= 1;
    (StatusCode::from_u16(status).expect("a status"), told)
}
