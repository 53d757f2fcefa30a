//! Slow, large and many: what a connection may take, who is turned away when there are too many, TLS, and a stop.

mod shares;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use octoco::app::App;
use octoco::processes::router;
use octoco::processes::server::{ConnectionTimeouts, Server};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::StatusCode;
use sqlx::PgPool;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, TestApp, answer, serve};
use crate::health;

/// For what does not come at all: a test waits for it.
const SHORT: Duration = Duration::from_millis(300);
/// For what does come, on a busy machine too, where a test waits for the end of it all the same.
const AMPLE: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(30);

struct Planted {
    address: String,
    stop: CancellationToken,
}

impl Planted {
    /// A second server of the same app with routes of the test's own beside ours.
    async fn new(app: &App, routes: Router<App>, deadline: Duration, timeouts: ConnectionTimeouts) -> Self {
        let router = router::layered(router::routes("").merge(routes), app.clone(), deadline);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("bound").to_string();
        let stop = CancellationToken::new();
        serve(listener, Server::new(app.clone(), stop.clone()).with(router, timeouts));
        Self { address, stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.expect("the server listens")
    }

    async fn get(&self, path: &str) -> Answer {
        answer(client().get(format!("http://{}{path}", self.address))).await
    }
}

/// A client of its own: no connection of another call is used again.
fn client() -> reqwest::Client {
    reqwest::Client::builder().build().expect("a client")
}

async fn send(io: &mut (impl AsyncWrite + Unpin), text: &str) {
    io.write_all(text.as_bytes()).await.expect("the server reads");
}

/// Everything until the server closes the connection.
async fn rest(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    // A connection that is cut off is closed too.
    timeout(LONG, io.read_to_end(&mut text)).await.expect("it is closed in time").unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The first bytes of an answer.
async fn begin(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut buffer = vec![0; 4096];
    let read = timeout(LONG, io.read(&mut buffer)).await.expect("it is answered in time").expect("it is open");
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

pub(crate) async fn pause(length: Duration) {
    timeout(length, std::future::pending::<()>()).await.unwrap_or_default();
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            pause(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A route that says when it has begun, and answers when it is let.
fn waiting_route(started: &Arc<Notify>, gate: &Arc<Notify>) -> Router<App> {
    let (in_hand, waits) = (Arc::clone(started), Arc::clone(gate));
    Router::new().route(
        "/planted/waits",
        get(async move || {
            in_hand.notify_one();
            waits.notified().await;
            "answered"
        }),
    )
}

fn ended(app: &App, how: &str) -> u64 {
    app.metrics.http_connections_ended.with_label_values(&[how]).get()
}

#[sqlx::test]
async fn a_head_that_does_not_come_is_not_waited_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let timeouts = ConnectionTimeouts { first_request: SHORT, ..ConnectionTimeouts::default() };
    let server = Planted::new(&t.app, Router::new(), LONG, timeouts).await;
    for part in ["", "GET /healthz HTTP/1.1\r\nHost: octoco\r\nX-Slow: a"] {
        let before = ended(&t.app, "silent");
        let mut slow = server.connect().await;
        send(&mut slow, part).await;
        assert_eq!(rest(&mut slow).await, "", "closed without a word");
        until("it is counted", || ended(&t.app, "silent") == before + 1).await;
    }
    t.finish().await;
}

#[sqlx::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_kept(db: PgPool) {
    let t = TestApp::new(db).await;
    let server =
        Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts { idle: AMPLE, ..ConnectionTimeouts::default() })
            .await;
    let mut kept = server.connect().await;
    for _ in 0..3 {
        send(&mut kept, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
        assert!(begin(&mut kept).await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(rest(&mut kept).await, "");
    t.finish().await;
}

#[sqlx::test]
async fn a_body_that_does_not_come_is_told_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let server = Planted::new(&t.app, Router::new(), SHORT, ConnectionTimeouts::default()).await;
    let mut slow = server.connect().await;
    let head =
        "POST /v1/auth/login HTTP/1.1\r\nHost: octoco\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n";
    send(&mut slow, &format!("{head}{{\"email\":")).await;
    let told = rest(&mut slow).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("\"code\":\"unavailable\""), "{told}");
    t.finish().await;
}

#[sqlx::test]
async fn a_webhook_whose_body_is_slow_gives_its_place_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let server = Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts::default()).await;
    let started = Instant::now();
    let mut slow = server.connect().await;
    send(&mut slow, "POST /v1/webhooks/revio HTTP/1.1\r\nHost: octoco\r\nContent-Length: 90\r\n\r\n{").await;
    let told = rest(&mut slow).await;
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("\"code\":\"request_timeout\""), "{told}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}: as long as other bodies", started.elapsed());
    t.finish().await;
}

/// Else the answer would come when the time of a body is over, a 408, and the call would hold a share of its caller's until then.
#[sqlx::test]
async fn a_body_is_not_waited_for_where_none_is_taken(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let server = Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts::default()).await;
    let token = format!("Authorization: Bearer {}\r\n", t.token(&customer));
    for (status, call, token) in [
        (200, "GET /v1/me", token.as_str()),
        (200, "GET /v1/transactions?limit=1", &token),
        (404, "GET /v1/transactions/01900000-0000-7000-8000-000000000000", &token),
        (204, "DELETE /v1/auth/sessions", &token),
        (401, "POST /v1/auth/refresh", ""),
    ] {
        let mut silent = server.connect().await;
        send(&mut silent, &format!("{call} HTTP/1.1\r\nHost: octoco\r\n{token}Content-Length: 1\r\n\r\n")).await;
        let told = timeout(AMPLE, rest(&mut silent)).await.unwrap_or_else(|_| panic!("{call}: it was waited for"));
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{call}: {told}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn who_asks_for_much_and_takes_nothing_is_cut_off(db: PgPool) {
    let t = TestApp::new(db).await;
    let large = Router::new().route("/planted/large", get(async || vec![b'x'; 64 << 20]));
    let timeouts = ConnectionTimeouts { stalled_write: SHORT, ..ConnectionTimeouts::default() };
    let server = Planted::new(&t.app, large, LONG, timeouts).await;
    let mut greedy = server.connect().await;
    send(&mut greedy, "GET /planted/large HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    until("it is cut off", || ended(&t.app, "broken") == 1).await;
    assert!(rest(&mut greedy).await.len() < 64 << 20, "the rest never comes");
    t.finish().await;
}

#[sqlx::test]
async fn an_old_connection_ends_behind_the_answer_in_hand(db: PgPool) {
    let t = TestApp::new(db).await;
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let routes = waiting_route(&started, &gate);
    let server =
        Planted::new(&t.app, routes, LONG, ConnectionTimeouts { age: AMPLE, ..ConnectionTimeouts::default() }).await;
    // The busy one is the older one: when the other has ended, its time is over too.
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    send(&mut idle, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    send(&mut busy, "GET /planted/waits HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    started.notified().await;
    assert!(rest(&mut idle).await.ends_with("ok"));
    gate.notify_one();
    let told = rest(&mut busy).await;
    assert!(told.ends_with("answered") && told.contains("connection: close"), "{told}");
    t.finish().await;
}

#[sqlx::test]
async fn a_head_that_is_too_large_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let server = Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts::default()).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    let many: String = (0..200).map(|index| format!("X-Many-{index}: x\r\n")).collect();
    for headers in [long, many] {
        let mut large = server.connect().await;
        send(&mut large, &format!("GET /healthz HTTP/1.1\r\nHost: octoco\r\n{headers}\r\n")).await;
        let told = rest(&mut large).await;
        assert!(told.starts_with("HTTP/1.1 431"), "{told}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn users_are_turned_away_when_there_are_too_many_and_webhooks_and_probes_are_not(db: PgPool) {
    let t = TestApp::with(db, &[("REQUESTS_MAX", "1")]).await;
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Planted::new(&t.app, waiting_route(&started, &gate), LONG, ConnectionTimeouts::default()).await;
    let meanwhile = async {
        started.notified().await;
        let user = server.get("/v1/me").await;
        assert_eq!((user.status, user.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        assert!(user.headers.contains_key("retry-after"));
        assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
        assert_eq!(health::fetch(&health::for_operators(&t).await, "/metrics").await.0, StatusCode::OK);
        // It asks the parts, with a deadline: whoever turns it away says another word.
        let ready = server.get("/readyz").await.body;
        assert!(ready["status"].is_string() && ready["postgres"].is_string(), "{ready}");
        let webhook = client().post(format!("http://{}/v1/webhooks/revio", server.address));
        assert_eq!(answer(webhook.body("{}")).await.code(), "bad_signature");
        gate.notify_one();
    };
    let (waited, ()) = tokio::join!(server.get("/planted/waits"), meanwhile);
    assert_eq!(waited.body, "answered");
    assert_eq!(server.get("/v1/me").await.code(), "unauthenticated", "there is place again");
    t.finish().await;
}

#[sqlx::test]
async fn the_last_connections_are_for_webhooks_and_probes(db: PgPool) {
    let t = TestApp::with(db, &[("CONNECTIONS_MAX", "2")]).await;
    // Those that say nothing are there for as long as the test is.
    let timeouts = ConnectionTimeouts { first_request: 10 * LONG, idle: 10 * LONG, ..ConnectionTimeouts::default() };
    let server = Planted::new(&t.app, Router::new(), LONG, timeouts).await;
    let hold = async || {
        let mut held = server.connect().await;
        send(&mut held, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
        assert!(begin(&mut held).await.starts_with("HTTP/1.1 200"));
        held
    };
    let held = [hold().await, hold().await];
    let probe = server.get("/healthz").await;
    assert_eq!((probe.status, &probe.headers["connection"]), (StatusCode::OK, &"close".parse().expect("a value")));
    let user = server.get("/v1/me").await;
    assert_eq!((user.status, user.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    // Now the reserved ones too: what comes next waits to be accepted.
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(server.connect().await);
    }
    until("all are open", || t.app.metrics.http_connections.get() == 18).await;
    let mut late = server.connect().await;
    send(&mut late, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    let mut byte = [0; 1];
    assert!(timeout(SHORT, late.read(&mut byte)).await.is_err(), "nobody answers");
    silent.pop();
    assert!(begin(&mut late).await.starts_with("HTTP/1.1 200"), "it was its turn");
    drop((held, silent));
    until("there is place again", || t.app.metrics.http_connections.get() == 0).await;
    assert_eq!(server.get("/v1/me").await.code(), "unauthenticated");
    t.finish().await;
}

#[sqlx::test]
async fn a_stop_accepts_nothing_new_and_answers_what_is_in_hand(db: PgPool) {
    let t = TestApp::new(db).await;
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Planted::new(&t.app, waiting_route(&started, &gate), LONG, ConnectionTimeouts::default()).await;
    let (mut fresh, mut idle, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
    send(&mut idle, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    assert!(begin(&mut idle).await.starts_with("HTTP/1.1 200"));
    send(&mut busy, "GET /planted/waits HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    started.notified().await;
    server.stop.cancel();
    assert_eq!((rest(&mut fresh).await, rest(&mut idle).await), (String::new(), String::new()));
    until("nobody listens", || t.app.metrics.http_connections.get() == 1).await;
    assert!(TcpStream::connect(&server.address).await.is_err(), "nothing new");
    gate.notify_one();
    assert!(rest(&mut busy).await.ends_with("answered"));
    until("all have ended", || t.app.metrics.http_connections.get() == 0).await;
    t.finish().await;
}

/// A certificate for localhost and the settings that give it to the service.
fn certificate() -> (CertifiedKey<rcgen::KeyPair>, [(&'static str, String); 2]) {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let settings = [("TLS_CERT", made.cert.pem()), ("TLS_KEY", made.signing_key.serialize_pem())];
    (made, settings)
}

fn connector(made: &CertifiedKey<rcgen::KeyPair>, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("the version is there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[sqlx::test]
async fn the_service_speaks_tls_1_3_and_nothing_older(db: PgPool) {
    let (made, settings) = certificate();
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let t = TestApp::with(db, &settings).await;
    let server = Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts::default()).await;
    let handshake = async |version| {
        let name = "localhost".try_into().expect("a name");
        connector(&made, version).connect(name, server.connect().await).await
    };
    let mut new = handshake(&version::TLS13).await.expect("1.3 is spoken");
    send(&mut new, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let told = rest(&mut new).await;
    assert!(told.starts_with("HTTP/1.1 200 OK") && told.ends_with("ok"), "{told}");
    let old = handshake(&version::TLS12).await.expect_err("1.2 is refused");
    assert!(old.to_string().contains("ProtocolVersion"), "{old}");
    let mut plain = server.connect().await;
    send(&mut plain, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!rest(&mut plain).await.contains("HTTP/1.1"), "nothing in the clear");
    until("both are counted", || ended(&t.app, "handshake") == 2).await;
    let timeouts = ConnectionTimeouts { first_request: SHORT, ..ConnectionTimeouts::default() };
    let mut stalled = Planted::new(&t.app, Router::new(), LONG, timeouts).await.connect().await;
    send(&mut stalled, "\x16\x03\x01").await;
    assert_eq!(rest(&mut stalled).await, "", "cut off in the handshake");
    until("it is counted", || ended(&t.app, "handshake") == 3).await;
    t.finish().await;
}

/// The handshake takes most of the time; what is left is the head's.
#[sqlx::test]
async fn a_head_behind_a_handshake_has_only_the_rest_of_the_time(db: PgPool) {
    let (made, settings) = certificate();
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let t = TestApp::with(db, &settings).await;
    let first_request = Duration::from_secs(10);
    let timeouts = ConnectionTimeouts { first_request, ..ConnectionTimeouts::default() };
    let server = Planted::new(&t.app, Router::new(), LONG, timeouts).await;
    let started = Instant::now();
    let stream = server.connect().await;
    // Most of the time is over before the handshake begins.
    let late = first_request * 3 / 4;
    pause(late).await;
    let name = "localhost".try_into().expect("a name");
    let mut silent = connector(&made, &version::TLS13).connect(name, stream).await.expect("1.3 is spoken");
    send(&mut silent, "GET /healthz HTTP/1.1\r\nHost: local").await;
    assert_eq!(rest(&mut silent).await, "", "cut off in the head");
    let took = started.elapsed();
    assert!(took < late + first_request, "{took:?}: a time of its own for the head");
    until("it is counted", || ended(&t.app, "silent") == 1).await;
    t.finish().await;
}

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_named() {
    let ((_, mine), (_, other)) = (certificate(), certificate());
    let wrong = |chain: &str, key: &str| {
        let read = octoco::platform::tls::Tls::from_pem(chain, key);
        read.expect_err("it is refused").0
    };
    assert_eq!(wrong(&mine[0].1, &other[1].1), "TLS_KEY");
    assert_eq!(wrong("", &mine[1].1), "TLS_CERT");
    assert_eq!(wrong("junk", &mine[1].1), "TLS_CERT");
    assert_eq!(wrong(&mine[0].1, "junk"), "TLS_KEY");
    let panelled = mine[0].1.replace('\n', "\\n");
    assert!(octoco::platform::tls::Tls::from_pem(&panelled, &mine[1].1).is_ok(), "as hosting panels leave it");
}

/// A refusal that came before the body was read: what is left of the body is no request of anybody's.
#[sqlx::test]
async fn an_answer_to_a_request_whose_body_was_not_read_ends_the_connection_and_says_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let server = Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts::default()).await;
    let hidden = "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n";
    let length = hidden.len();
    let head = |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nHost: octoco\r\n{more}");
    let sized = format!("Content-Length: {length}\r\n\r\n{hidden}");
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n");
    for (status, request) in [
        (401, head("/v1/deposits", &sized)),
        (401, head("/v1/deposits", &chunked)),
        (404, head("/v1/nowhere", &sized)),
        (405, head("/v1/me", &sized)),
        (400, format!("POST /v1/deposits HTTP/1.1\r\n{sized}")),
        (401, head("/v1/deposits", "Content-Length: 1000000\r\n\r\n{\"amount\":")),
        (401, head("/v1/deposits", "Expect: 100-continue\r\nContent-Length: 20\r\n\r\n")),
    ] {
        let mut connection = server.connect().await;
        send(&mut connection, &request).await;
        let told = rest(&mut connection).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {told}");
        assert_eq!(told.matches("connection: close").count(), 1, "{request}: {told}");
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "the rest was taken for a request: {told}");
    }
    // One that was read, or that has no body, goes on.
    let mut kept = server.connect().await;
    let json = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for (status, request) in [
        (400, head("/v1/auth/login", json)),
        (401, head("/v1/deposits", "\r\n")),
        (401, head("/v1/deposits", "Content-Length: 0\r\n\r\n")),
        (401, head("/v1/webhooks/revio", &sized)),
        (415, head("/v1/auth/login", &sized)),
        (200, hidden.to_owned()),
    ] {
        send(&mut kept, &request).await;
        let told = begin(&mut kept).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && !told.contains("connection: close"), "{told}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn http_1_1_without_a_host_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let server = Planted::new(&t.app, Router::new(), LONG, ConnectionTimeouts::default()).await;
    for hosts in
        ["", "Host: a\r\nHost: a\r\n", "Host: a, b\r\n", "Host: a b\r\n", "Host:\r\n", "Host: a/b\r\n", "X-Host: a\r\n"]
    {
        let mut connection = server.connect().await;
        send(&mut connection, &format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n")).await;
        let told = begin(&mut connection).await;
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("\"field\":\"Host\""), "{hosts:?}: {told}");
    }
    for request in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: octoco.test:8080\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    ] {
        let mut connection = server.connect().await;
        send(&mut connection, request).await;
        let told = begin(&mut connection).await;
        assert!(told.contains(" 200 OK"), "{request:?}: {told}");
    }
    t.finish().await;
}
