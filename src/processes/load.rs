//! How many requests are in hand at once: beyond that 503 with `Retry-After`, at once and at no cost, so that those in hand are
//! answered in time. Webhooks have places of their own, and the operators' probes need none: users may not keep Revio's news or the load
//! balancer's question waiting. So it is with connections (`server.rs`): the last ones are kept for these routes, and carry the mark
//! [`Reserved`].
//!
//! A place is taken when the whole body is there: whoever sends it slowly holds nothing but a connection. Nobody holds all of
//! anything: callers and addresses (of IPv6 the /64) have shares of the bodies that are on their way and of the places, and wait for
//! their own.
//!
//! Bodies in memory: at most one of 16 KiB for each connection, and `LARGE_BODIES_MAX` of 256 KiB: 29 MiB with `CONNECTIONS_MAX` = 800.
//! Answers: a large one leaves in pieces, and keeps the shares of whoever takes it slowly until the last has left.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::{extract::MatchedPath, extract::Request, middleware::Next};
use futures_util::{StreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::app::App;
use crate::finance::statement_files;
use crate::identity::caller;
use crate::platform::error::{Error, Result};
use crate::platform::http::{Waits, address, json};
use crate::platform::shares::{Place, Share, Shares};
use crate::webhooks::inbox;

/// Revio's webhooks: each costs one verification and one insert.
const WEBHOOKS_MAX: usize = 128;
/// They take no place, so nobody can take all: the first costs nothing, all who ask the second share one look at the parts (`health.rs`),
/// and the third is there on the operators' port alone.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// What one caller may have in hand at once, and on its way.
const CALLERS_MAX: usize = 64;
/// Bodies that are larger than any of a customer's: of webhooks. Revio's have 2 kB.
const LARGE_BODIES_MAX: usize = 64;
/// What leaves at once; an answer of no more is nobody's concern, however slowly it is read.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a body waits until others of the same caller are there: they are, at once, unless they are slow ones.
const BODY_WAIT: Duration = Duration::from_secs(2);
/// How long a request waits for a place of its caller.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// In the extensions of a request that came over one of the last connections.
#[derive(Debug, Clone, Copy)]
pub struct Reserved;

pub struct Load {
    app: App,
    /// Methods and paths whose body nobody reads.
    bodiless: Arc<BTreeSet<String>>,
    large_bodies: Semaphore,
    users: Room,
    webhooks: Room,
}

/// Places, and what of them each may have.
struct Room {
    places: Semaphore,
    in_hand: Each,
    on_their_way: Each,
}

struct Each {
    address: Arc<Shares>,
    caller: Arc<Shares>,
}

impl Room {
    fn new(places: usize, connections: usize) -> Self {
        let each = |address| Each { address: Shares::new(address), caller: Shares::new(CALLERS_MAX) };
        Self {
            places: Semaphore::new(places),
            in_hand: each(places.div_ceil(2)),
            on_their_way: each(connections.div_ceil(2).max(CALLERS_MAX)),
        }
    }

    fn place(&self) -> Result<SemaphorePermit<'_>> {
        self.places.try_acquire().map_err(|_| FULL)
    }
}

const FULL: Error = Error::TurnedAway("as many requests are in hand as may be");

/// Who calls, as far as it is known before anything is done.
#[derive(Clone)]
struct Who {
    /// As limits count it.
    network: Option<String>,
    user: Option<String>,
}

impl Who {
    fn shares(&self, each: &Each) -> Vec<Share> {
        let user = self.user.clone().map(|user| each.caller.of(user));
        let network = self.network.clone().map(|network| each.address.of(network));
        user.into_iter().chain(network).collect()
    }
}

/// One place of each share.
async fn all(shares: Vec<Share>, wait: Duration) -> Result<Vec<Place>> {
    let mut places = Vec::with_capacity(shares.len());
    for share in shares {
        let place = share.place(wait).await;
        places.push(place.ok_or(Error::TurnedAway("as many requests are under way from there as may be"))?);
    }
    Ok(places)
}

impl Load {
    pub fn new(app: &App, bodiless: Arc<BTreeSet<String>>) -> Arc<Self> {
        let server = &app.config.server;
        Arc::new(Self {
            app: app.clone(),
            bodiless,
            large_bodies: Semaphore::new(LARGE_BODIES_MAX),
            users: Room::new(server.requests_max, server.connections_max),
            webhooks: Room::new(WEBHOOKS_MAX, server.connections_max),
        })
    }

    /// Axum middleware. The place is free again when the answer begins: what an answer streams after that costs a connection,
    /// and those are counted too.
    pub async fn admit(self: Arc<Self>, request: Request, next: Next) -> Response {
        let path = request.uri().path();
        let answered = if PROBES.contains(&path) {
            // Boxed, as the others are: who waits for news is none of these, and there are thousands.
            Ok(Box::pin(next.run(request)).await)
        } else if path.starts_with("/v1/webhooks/") {
            Box::pin(self.webhook(request, next)).await
        } else if request.extensions().get::<Reserved>().is_some() {
            Err(Error::TurnedAway("as many connections are open as may be"))
        } else {
            self.user(request, next).await
        };
        answered.unwrap_or_else(IntoResponse::into_response)
    }

    async fn webhook(&self, request: Request, next: Next) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let who = Who { network: self.network(&parts), user: None };
        let reading = self.read(body, inbox::routes::BODY_BYTES_MAX);
        let (body, _large) = on_its_way(&self.webhooks, &who, inbox::routes::BODY_DEADLINE, reading).await?;
        in_hand(&self.webhooks, &who, Request::from_parts(parts, body), next).await
    }

    async fn user(&self, request: Request, next: Next) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        let user = caller::known(&self.app, &mut parts).map(|user| user.to_string());
        let who = Who { network: self.network(&parts), user };
        // A route that needs a token refuses whoever has none without a look at the body; it need not come first.
        // Nor does the one that takes more than all others, for staff: it reads its body itself.
        // And what nobody reads is not waited for.
        let path = parts.uri.path();
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let awaited = !body.is_end_stream()
            && path != statement_files::routes::PATH
            && !self.bodiless.contains(&format!("{method} {route}"))
            && (who.user.is_some() || path.starts_with("/v1/auth/"));
        if !awaited {
            return in_hand(&self.users, &who, Request::from_parts(parts, body), next).await;
        }
        Box::pin(self.with_body(who, parts, body, next)).await
    }

    async fn with_body(&self, who: Who, parts: Parts, body: Body, next: Next) -> Result<Response> {
        let reading = self.read(body, json::BODY_BYTES_MAX);
        let (body, _large) = on_its_way(&self.users, &who, json::BODY_DEADLINE, reading).await?;
        in_hand(&self.users, &who, Request::from_parts(parts, body), next).await
    }

    fn network(&self, parts: &Parts) -> Option<String> {
        let address = address::of(parts, &self.app.config.proxies)?.to_string();
        address::Networks::of(&address).map(|networks| networks.near)
    }

    /// The whole of a body. Of one that is too large as much as came and the rest behind it: the route refuses it in its own words. What is
    /// declared too large is not waited for, or whoever sends none of it holds a place for as long as a body may take.
    async fn read(&self, body: Body, bytes_max: usize) -> Result<(Body, Option<SemaphorePermit<'_>>)> {
        if usize::try_from(body.size_hint().lower()).is_ok_and(|bytes| bytes > bytes_max) {
            return Ok((Body::from(vec![b' '; bytes_max.saturating_add(1)]), None));
        }
        let (mut rest, mut read, mut large) = (body.into_data_stream(), Vec::new(), None);
        while let Some(chunk) = rest.next().await {
            let chunk = chunk.map_err(|_| Error::InvalidJson("it did not arrive whole".to_owned()))?;
            read.extend_from_slice(&chunk);
            if read.len() > bytes_max {
                let read = stream::iter([Ok(Bytes::from(read))]);
                return Ok((Body::from_stream(read.chain(rest)), large));
            }
            if read.len() > json::BODY_BYTES_MAX && large.is_none() {
                large = Some(self.large_bodies.try_acquire().map_err(|_| FULL)?);
            }
        }
        Ok((Body::from(read), large))
    }
}

async fn on_its_way<T>(
    room: &Room,
    who: &Who,
    deadline: Duration,
    reading: impl Future<Output = Result<T>>,
) -> Result<T> {
    let _places = all(who.shares(&room.on_their_way), BODY_WAIT).await?;
    timeout(deadline, reading).await.unwrap_or(Err(Error::TooSlow))
}

async fn in_hand(room: &Room, who: &Who, request: Request, next: Next) -> Result<Response> {
    // Nobody waits for a share of what is not there.
    drop(room.place()?);
    let places = all(who.shares(&room.in_hand), PLACE_WAIT).await?;
    let place = room.place()?;
    let waits = request.extensions().get::<Waits>().cloned();
    let mut answered = pin!(next.run(request));
    let Some(waits) = waits else { return Ok(in_pieces(answered.await, places)) };
    tokio::select! {
        response = answered.as_mut() => return Ok(in_pieces(response, places)),
        // Those who wait have places of their own (`platform/waiting.rs`).
        () = waits.begun() => drop((place, places)),
    }
    Ok(answered.await)
}

/// Of a large answer, what is left is its caller's to take: until then it has the places. Copies, so that no piece keeps the whole.
fn in_pieces(response: Response, places: Vec<Place>) -> Response {
    let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes > PIECE_BYTES) else { return response };
    let (mut parts, body) = response.into_parts();
    parts.headers.entry(header::CONTENT_LENGTH).or_insert(bytes.into());
    let pieces =
        stream::try_unfold((body.into_data_stream(), Bytes::new(), places), async |(mut body, left, places)| {
            let mut left = if left.is_empty() { body.next().await.transpose()?.unwrap_or_default() } else { left };
            let piece = Bytes::copy_from_slice(&left.split_to(left.len().min(PIECE_BYTES)));
            Ok::<_, axum::Error>((!piece.is_empty()).then_some((piece, (body, left, places))))
        });
    Response::from_parts(parts, Body::from_stream(pieces))
}
