//! How many requests are in hand at once: beyond that 503 with `Retry-After`, at once and at no cost, so that those in hand are
//! answered in time. Webhooks and the operators' probes have places of their own: users may not keep Revio's news or the load
//! balancer's question waiting. So it is with connections (`server.rs`): the last ones are kept for these routes, and carry the mark
//! [`Reserved`].

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{extract::Request, middleware::Next};
use tokio::sync::Semaphore;

use crate::platform::error::Error;

/// Revio's webhooks: each costs one verification and one insert.
const WEBHOOKS_MAX: usize = 128;
/// `/healthz`, `/readyz`, `/metrics`.
const PROBES_MAX: usize = 16;

/// In the extensions of a request that came over one of the last connections.
#[derive(Debug, Clone, Copy)]
pub struct Reserved;

#[derive(Debug)]
pub struct Load {
    users: Semaphore,
    webhooks: Semaphore,
    probes: Semaphore,
}

impl Load {
    pub fn new(requests_max: usize) -> Arc<Self> {
        Arc::new(Self {
            users: Semaphore::new(requests_max),
            webhooks: Semaphore::new(WEBHOOKS_MAX),
            probes: Semaphore::new(PROBES_MAX),
        })
    }

    fn places(&self, request: &Request) -> Option<&Semaphore> {
        match request.uri().path() {
            path if path.starts_with("/v1/webhooks/") => Some(&self.webhooks),
            "/healthz" | "/readyz" | "/metrics" => Some(&self.probes),
            _ if request.extensions().get::<Reserved>().is_some() => None,
            _ => Some(&self.users),
        }
    }

    /// Axum middleware. The place is free again when the answer begins: what an answer streams after that costs a connection,
    /// and those are counted too.
    pub async fn admit(self: Arc<Self>, request: Request, next: Next) -> Response {
        match self.places(&request).map(Semaphore::try_acquire) {
            Some(Ok(_place)) => next.run(request).await,
            Some(Err(_)) => Error::TurnedAway("as many requests are in hand as may be").into_response(),
            None => Error::TurnedAway("as many connections are open as may be").into_response(),
        }
    }
}
