//! The HTTP server: how many may connect, how long each may take over what, and how it all ends.
//!
//! ```text
//! accept     up to CONNECTIONS_MAX, and a few more for webhooks and probes; then new ones wait to be accepted. Of one address
//!            seven eighths at most: what is beyond is closed at once
//! handshake  TLS 1.3, if the service speaks it itself  ┐
//! first head a request line and its headers            ┘ within `first_request` together, or the connection is dropped
//! request    in `router.rs`: its body and its answer within the request's deadline
//! answer     the other side takes some of it every `stalled_write`, or the connection is dropped
//! idle       the next request's head is there within `idle`, or the connection is closed
//! unread     an answer to a request whose body was not read to its end says `Connection: close`: what is left of it is no request
//! age        after `age` the connection is closed behind the request in hand, for which `ending` is left
//! ```
//!
//! axum's own `serve` has none of these deadlines. HTTP/1.1 only: HTTP/2 is for the edge in front (decision 017). Started by
//! `main.rs` and by each test. On a stop nothing new is accepted, idle connections are closed, and what is in hand is answered.

mod pace;
mod unread;

use std::future::{Future, pending};
use std::net::{Ipv4Addr, SocketAddr};
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use axum::http::{HeaderValue, Request, Response, header};
use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::app::App;
use crate::platform::{http::address, shares::Shares, text_enum::text_enum, tls::Tls};
use crate::processes::{load::Reserved, router, waiting};
use pace::WriteTimeout;
use unread::Watched;

/// `OPS_ADDR`, where it is not set.
const OPS_ADDR: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8081);

/// Connections beyond `CONNECTIONS_MAX`, for one webhook or probe each.
const RESERVED_CONNECTIONS: usize = 16;
/// What one address may have at least, however few there are in all.
const CONNECTIONS_EACH_MIN: usize = 64;
/// A request's line and headers. Ours have a token and a cookie: less than 2 kB; a link to an export, less than 6.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What one connection may hold in memory on each side; a larger answer waits for the other side to take it.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Out of file descriptors or memory: others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
pub struct ConnectionTimeouts {
    pub first_request: Duration,
    /// Longer than the edge keeps its connections to us: then it is never us who closes one that is about to be used.
    pub idle: Duration,
    pub stalled_write: Duration,
    pub age: Duration,
    pub ending: Duration,
}

impl Default for ConnectionTimeouts {
    fn default() -> Self {
        Self {
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stalled_write: Duration::from_secs(20),
            age: Duration::from_secs(3_600),
            ending: Duration::from_secs(900),
        }
    }
}

pub struct Server {
    app: App,
    router: Router,
    timeouts: ConnectionTimeouts,
    tls: Option<Tls>,
    stop: CancellationToken,
    peers: Arc<Shares>,
    /// Whether calls may wait here for news.
    has_waiters: bool,
}

text_enum! {
    enum End {
        Closed = "closed",
        /// No TLS 1.3 was spoken.
        Handshake = "handshake",
        /// No request came in time, or no other one.
        Silent = "silent",
        /// The other side broke off, broke the protocol, or took nothing of the answer.
        Broken = "broken",
        /// It was too old and would not end.
        TooOld = "too_old",
        /// Too many were open from there.
        Crowded = "crowded",
    }
}

impl End {
    fn of(ended: &hyper::Result<()>) -> Self {
        match ended {
            Ok(()) => Self::Closed,
            Err(error) if error.is_timeout() => Self::Silent,
            Err(_) => Self::Broken,
        }
    }
}

/// Who is at the other end, and until when a first request is waited for, the handshake included.
#[derive(Debug, Clone, Copy)]
struct Connected {
    peer: SocketAddr,
    reserved: bool,
    first_request: Instant,
}

struct Place {
    _any: OwnedSemaphorePermit,
    /// None: the connection is one of the last, which are reserved.
    ordinary: Option<OwnedSemaphorePermit>,
}

impl Server {
    pub fn new(app: App, stop: CancellationToken) -> Self {
        let (router, tls) = (router::router(app.clone()), app.config.server.tls.clone());
        Self { has_waiters: true, ..Self::of(app, router, tls, stop) }
    }

    /// Health and metrics, in the clear: who asks is on this machine or in a network of the operators'.
    pub fn for_operators(app: App, stop: CancellationToken) -> Self {
        let router = router::for_operators(app.clone());
        Self::of(app, router, None, stop)
    }

    fn of(app: App, router: Router, tls: Option<Tls>, stop: CancellationToken) -> Self {
        let connections = app.config.server.connections_max;
        let peers = Shares::new((connections - connections / 8).max(CONNECTIONS_EACH_MIN));
        Self { app, router, timeouts: ConnectionTimeouts::default(), tls, stop, peers, has_waiters: false }
    }

    /// With other routes or deadlines: for tests.
    pub fn with(self, router: Router, timeouts: ConnectionTimeouts) -> Self {
        Self { router, timeouts, ..self }
    }

    /// Ends when `stop` was asked for and every connection has ended.
    pub async fn run(self, listener: TcpListener) {
        let ordinary_max = self.app.config.server.connections_max;
        let ordinary = Arc::new(Semaphore::new(ordinary_max));
        let any = Arc::new(Semaphore::new(ordinary_max.saturating_add(RESERVED_CONNECTIONS)));
        let server = Arc::new(self);
        let connections = TaskTracker::new();
        if server.has_waiters {
            connections.spawn(waiting::watch(server.app.clone(), server.stop.clone()));
        }
        loop {
            let accepted = server.stop.run_until_cancelled(accept(&listener, &any)).await;
            let Some((stream, peer, any)) = accepted else { break };
            let place = Place { _any: any, ordinary: Arc::clone(&ordinary).try_acquire_owned().ok() };
            connections.spawn(Arc::clone(&server).connection(stream, peer, place));
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        self.app.metrics.http_connections.inc();
        let end = match self.network(peer).map(|network| self.peers.of(network)) {
            None => self.greet(stream, peer, place.ordinary.is_none()).await,
            Some(share) => match share.place(Duration::ZERO).await {
                Some(_one) => self.greet(stream, peer, place.ordinary.is_none()).await,
                None => End::Crowded,
            },
        };
        self.app.metrics.http_connections.dec();
        self.app.metrics.http_connections_ended.with_label_values(&[end.name()]).inc();
    }

    /// Whose connections are counted; nobody's who speaks for many.
    fn network(&self, peer: SocketAddr) -> Option<String> {
        if address::is_in(&self.app.config.proxies.trusted, peer.ip()) {
            return None;
        }
        address::Networks::of(&peer.ip().to_string()).map(|networks| networks.near)
    }

    async fn greet(&self, stream: TcpStream, peer: SocketAddr, reserved: bool) -> End {
        // Answers are small: they go out at once. A socket that cannot be told so is closing.
        if stream.set_nodelay(true).is_err() {
            return End::Broken;
        }
        let first_request = Instant::now() + self.timeouts.first_request;
        let caller = Connected { peer, reserved, first_request };
        let Some(tls) = &self.tls else { return self.converse(stream, caller).await };
        // Boxed: a connection in the clear is none of these, and there may be thousands.
        match timeout_at(first_request, Box::pin(tls.accept(stream))).await {
            Ok(Ok(stream)) => Box::pin(self.converse(stream, caller)).await,
            Ok(Err(_)) | Err(_) => End::Handshake,
        }
    }

    async fn converse<T>(&self, io: T, caller: Connected) -> End
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = CancellationToken::new();
        let service = service_fn(|request| {
            asked.cancel();
            self.answer(request, caller)
        });
        let io = TokioIo::new(WriteTimeout::new(io, self.timeouts.stalled_write));
        let mut connection = pin!(self.protocol(caller.reserved).serve_connection(io, service));
        let silent = async {
            if timeout_at(caller.first_request, asked.cancelled()).await.is_ok() {
                pending().await
            }
        };
        tokio::select! {
            ended = connection.as_mut() => return End::of(&ended),
            () = silent => return End::Silent,
            stopped = timeout(self.timeouts.age, self.stop.cancelled()) => {
                if stopped.is_ok() && !asked.is_cancelled() {
                    return End::Closed;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        timeout(self.timeouts.ending, connection).await.map_or(End::TooOld, |ended| End::of(&ended))
    }

    fn protocol(&self, reserved: bool) -> http1::Builder {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            // hyper's clock for a head starts when the answer before it has gone: it bounds idling and slow heads in one.
            .header_read_timeout(self.timeouts.idle)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .keep_alive(!reserved);
        protocol
    }

    fn answer(
        &self,
        mut request: Request<Incoming>,
        caller: Connected,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        request.extensions_mut().insert(ConnectInfo(caller.peer));
        if caller.reserved {
            request.extensions_mut().insert(Reserved);
        }
        let (request, read) = Watched::watch(request);
        // A router of axum's is always ready.
        let answered = self.router.clone().call(request.map(Body::new));
        async move {
            let mut response = answered.await?;
            if !read.to_the_end() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }
}

/// Waits for a place first: a connection that there is no place for stays with the system.
async fn accept(listener: &TcpListener, any: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let place = Arc::clone(any).acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            // The caller was gone before it was its turn.
            Err(error) if is_callers(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                // Nothing is awaited but the time.
                timeout(ACCEPT_PAUSE, pending::<()>()).await.unwrap_or_default();
            }
        }
    }
}

fn is_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// Each connection is an open file: as many as the system allows, where fewer are usual. A limit that cannot be raised stays.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Where operators ask. Several processes on one machine need no setting for that: the log says which port each has.
pub async fn bind_for_operators(app: &App) -> io::Result<TcpListener> {
    if let Some(address) = app.config.ops_addr {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("OPS_ADDR: {error}"));
        return TcpListener::bind(address).await.map_err(named);
    }
    match TcpListener::bind(OPS_ADDR).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((OPS_ADDR.0, 0)).await,
        bound => bound,
    }
}
