//! Values that nobody may ever see are planted and then looked for in all that can be seen: what the binary prints, whatever is
//! wrong; its log; its answers and metrics. People's data likewise in the log of a whole life of an account.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use octoco::platform::config::Config;
use octoco::platform::{keys, telemetry};
use rcgen::generate_simple_self_signed;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Scope};
use serde_json::json;
use sqlx::PgPool;
use tracing_subscriber::layer::SubscriberExt;

use crate::binary::{self, Serving, Settings};
use crate::harness::{Customer, PASSWORD, PATIENCE, TestApp};
use crate::health;

/// Recognisable, and well formed in a URL, in a header and in base64.
const PLANTED: &str = "PLANTEDsecretPLANTED";

/// Every secret setting with a planted value, and what is looked for.
fn planted(db: &PgPool) -> (Settings, Vec<String>) {
    let mut settings = binary::settings(db, PLANTED);
    let redis = settings["REDIS_URL"].replace("redis://", &format!("redis://:{PLANTED}@"));
    let tls = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    settings.extend([
        ("REDIS_URL", redis),
        ("REVIO_API_KEY", PLANTED.to_owned()),
        ("SMTP_URL", format!("smtp://octoco:{PLANTED}@127.0.0.1:1")),
        ("MAIL_FROM", "octoco@example.com".to_owned()),
        ("SENTRY_DSN", format!("http://{PLANTED}@127.0.0.1:1/1")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={PLANTED}")),
        ("TLS_CERT", tls.cert.pem()),
        ("TLS_KEY", tls.signing_key.serialize_pem()),
    ]);
    let mut needles = vec![PLANTED.to_owned()];
    for name in ["JWT_PRIVATE_KEY", "TLS_KEY"] {
        // The inside of a PEM, line by line.
        needles
            .extend(settings[name].lines().filter(|line| !line.starts_with("---")).map(|line| line[20..].to_owned()));
    }
    needles.push(settings["DATA_KEYS"].split_once(':').expect("id:key").1.to_owned());
    assert!(needles.iter().all(|needle| needle.len() >= 20), "{needles:?}");
    (settings, needles)
}

fn assert_clean(what: &str, text: &str, needles: &[String]) {
    for needle in needles {
        assert!(!text.contains(needle.as_str()), "{what} tells {needle}:\n{text}");
    }
}

#[sqlx::test]
async fn help_and_the_debug_text_of_the_settings_show_no_secret(db: PgPool) {
    let (settings, needles) = planted(&db);
    for arguments in
        [&["--help"][..], &["serve", "--help"], &["keys", "--help"], &["admin", "grant", "--help"], &["no"]]
    {
        let (printed, _) = binary::run(arguments, &settings).await;
        assert!(printed.contains("Usage"), "{printed}");
        assert_clean(&arguments.join(" "), &printed, &needles);
    }
    let config = Config::from_source(&|name| Ok(settings.get(name).cloned())).expect("the settings are complete");
    let shown = format!("{config:?}");
    assert!(shown.contains("revio_api_key"), "{shown}");
    assert_clean("Debug", &shown, &needles);
}

#[sqlx::test]
async fn a_wrong_setting_is_named_and_its_value_is_not_repeated(db: PgPool) {
    let (settings, mut needles) = planted(&db);
    let wrong = [
        ("DATABASE_URL", format!("postgres://user:{PLANTED}@host:port/database")),
        ("DATABASE_URL", format!("postgres://user:1234?{PLANTED}@host/database")),
        ("DATABASE_URL", format!("postgres://user:1234?x={PLANTED}@host/database")),
        ("DATABASE_URL", format!("postgres://user@host/database?sslmode={PLANTED}")),
        ("DATABASE_URL", format!("postgres://user@host/database?port={PLANTED}")),
        ("DATABASE_URL", format!("postgres://user:1#{PLANTED}@host/database")),
        ("DATABASE_URL", PLANTED.to_owned()),
        ("REDIS_URL", format!("redis://:{PLANTED}@host:port")),
        ("REDIS_URL", format!("redis://host/{PLANTED}")),
        ("REDIS_URL", format!("redis://host?protocol={PLANTED}")),
        ("REDIS_URL", format!("http://{PLANTED}")),
        ("REVIO_API_KEY", format!("{PLANTED}\nX-Header: {PLANTED}")),
        ("REVIO_BASE_URL", format!("https://user:{PLANTED}@host/api/v1/")),
        ("REVIO_BASE_URL", PLANTED.to_owned()),
        ("SMTP_URL", format!("smtp://octoco:{PLANTED}@mail.example.com")),
        ("SMTP_URL", format!("smtps://octoco:{PLANTED}@mail.example.com:port")),
        ("SMTP_URL", PLANTED.to_owned()),
        ("FRONTEND_URL", format!("https://user:{PLANTED}@host")),
        ("PUBLIC_URL", format!("https://user:{PLANTED}@host")),
        ("CORS_ORIGINS", format!("https://user:{PLANTED}@host")),
        ("REVIO_WEBHOOK_PUBLIC_KEYS", format!("-----BEGIN PUBLIC KEY-----\n{PLANTED}\n-----END PUBLIC KEY-----")),
        ("JWT_PRIVATE_KEY", PLANTED.to_owned()),
        ("JWT_PRIVATE_KEY", format!("-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----")),
        ("DATA_KEYS", PLANTED.to_owned()),
        ("DATA_KEYS", format!("k1:{PLANTED}")),
        ("DATA_KEYS", format!("k1:{PLANTED}!")),
        ("TLS_KEY", PLANTED.to_owned()),
        ("TLS_KEY", keys::new_jwt_private_key()),
        ("TIGERBEETLE_CLUSTER_ID", PLANTED.to_owned()),
        ("REVIO_BRAND_ID", PLANTED.to_owned()),
        ("MIGRATION_DATABASE_URL", format!("postgres://user:{PLANTED}@host:port/database")),
        ("RETENTION", format!("{PLANTED}:7d")),
        ("GRAFANA_DATABASE_PASSWORD", format!("{PLANTED} {PLANTED}")),
        ("REPORTING_TIME_ZONE", format!("'{PLANTED}")),
        ("SENTRY_DSN", format!("https://host/{PLANTED}")),
        ("SENTRY_TRACES_SAMPLE_RATE", PLANTED.to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://user:{PLANTED}@host")),
        ("OTEL_EXPORTER_OTLP_HEADERS", PLANTED.to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", PLANTED.to_owned()),
    ];
    needles.extend(wrong[27].1.lines().filter(|line| !line.starts_with("---")).map(str::to_owned));
    for (name, value) in wrong {
        let mut settings = settings.clone();
        settings.insert(name, value.clone());
        let (printed, status) = binary::run(&["migrate"], &settings).await;
        assert!(!status.success() && printed.contains(name), "{name}={value}: {printed}");
        assert_clean(&format!("{name}={value}"), &printed, &needles);
    }
}

/// A session with the ledger takes a moment, which may be longer than the probe waits.
async fn until_ready(http: &reqwest::Client, address: &str) {
    let started = Instant::now();
    while http.get(format!("https://{address}/readyz")).send().await.expect("it answers").status() != StatusCode::OK {
        assert!(started.elapsed() < PATIENCE, "it never gets ready");
    }
}

/// Whatever is asked: the answers, as one text.
async fn ask_everything(serving: &Serving, may_be_ready: bool) -> String {
    let address = &serving.address;
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("a client");
    let mut seen = String::new();
    let mut token = String::new();
    let account = json!({"email": "somebody@example.com", "password": PASSWORD, "full_name": "Somebody"});
    if may_be_ready {
        until_ready(&http, address).await;
    }
    for (method, path, body) in [
        (Method::GET, "/readyz", None),
        (Method::POST, "/v1/auth/register", Some(account.clone())),
        (Method::POST, "/v1/auth/login", Some(json!({"email": "somebody@example.com", "password": "not it at all"}))),
        (Method::POST, "/v1/auth/login", Some(json!({"email": "somebody@example.com", "password": PASSWORD}))),
        (Method::POST, "/v1/deposits", Some(json!({"amount": 5_000, "currency": "ZAR"}))),
        (Method::POST, "/v1/deposits", Some(json!({"amount": "x"}))),
        (Method::GET, "/v1/balances", None),
        (Method::GET, "/v1/nowhere", None),
        (Method::POST, "/v1/webhooks/revio", Some(json!({}))),
        (Method::GET, "/openapi.json", None),
        (Method::GET, "/.well-known/jwks.json", None),
    ] {
        let mut request = http.request(method, format!("https://{address}{path}")).header("Idempotency-Key", "k");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.bearer_auth(&token).send().await.expect("it answers");
        seen.push_str(&format!("{path} {} {:?}\n", answer.status(), answer.headers()));
        let body = answer.text().await.expect("the answer is whole");
        let login = serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default();
        if let Some(given) = login["access_token"].as_str() {
            given.clone_into(&mut token);
        }
        seen.push_str(&body);
    }
    let (status, metrics) = health::fetch(&serving.operations, "/metrics").await;
    seen.push_str(&format!("/metrics {status}\n{metrics}"));
    seen
}

#[sqlx::test]
async fn a_run_shows_no_secret_while_revio_and_redis_refuse_us(db: PgPool) {
    let (settings, needles) = planted(&db);
    let mut serving = Serving::start(&settings).await;
    let seen = ask_everything(&serving, true).await;
    for told in ["/readyz 200", "/v1/auth/register 201", "/v1/deposits 201", "/metrics 200"] {
        assert!(seen.contains(told), "{told}: {seen}");
    }
    serving.line("a step failed").await;
    let (printed, status) = serving.stop().await;
    assert!(status.success(), "{printed}");
    assert!(printed.contains("Revio could not be reached"), "{printed}");
    assert_clean("an answer", &seen, &needles);
    assert_clean("the log", &printed, &needles);
}

#[sqlx::test]
async fn a_run_shows_no_secret_while_the_database_is_away(db: PgPool) {
    let (mut settings, needles) = planted(&db);
    settings.insert("DATABASE_URL", format!("postgres://user:{PLANTED}@127.0.0.1:1/database"));
    let serving = Serving::start(&settings).await;
    let seen = ask_everything(&serving, false).await;
    assert!(seen.contains("/readyz 503") && seen.contains("/v1/auth/register 503"), "{seen}");
    let (printed, status) = serving.stop().await;
    assert!(status.success() && printed.contains("request failed"), "{printed}");
    assert_clean("an answer", &seen, &needles);
    assert_clean("the log", &printed, &needles);
    let (printed, status) = binary::run(&["migrate"], &settings).await;
    assert!(!status.success());
    assert_clean("migrate", &printed, &needles);
}

/// A log that is kept for the test, at the most that a filter can ask of our own code.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("nobody panicked").clone()).expect("a log is text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[sqlx::test]
async fn the_log_of_a_whole_life_names_nobody(db: PgPool) {
    let log = Log::default();
    let writer = log.clone();
    let filter = tracing_subscriber::EnvFilter::new("debug,octoco=trace,ledger=trace,sqlx=warn");
    let layer = tracing_subscriber::fmt::layer().json().with_writer(move || writer.clone());
    // The test, its server and everything that they await run on this thread.
    let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(layer));
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let login = t.login(&customer.email, PASSWORD).await;
    let cookies: Vec<String> = login
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|line| line.to_str().ok()?.split([';', '=']).nth(1).map(str::to_owned))
        .collect();
    assert_eq!(cookies.len(), 2);
    assert_eq!(t.login(&customer.email, "a wrong password of mine").await.status, StatusCode::UNAUTHORIZED);
    let again = json!({"email": customer.email, "password": PASSWORD, "full_name": "Thandi Nkosi"});
    assert_eq!(t.send(Method::POST, "/v1/auth/register", None, &[], Some(again)).await.status, StatusCode::CREATED);
    let cookie = format!("refresh_token={}", cookies[0]);
    t.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", &cookie)], None).await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Reset(Moment::After)));
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::ServerError(Moment::Before)));
    assert_eq!(t.withdraw(&customer, 4_000, "w").await.status, StatusCode::ACCEPTED);
    for _ in 0..4 {
        t.drive().await;
        t.advance(chrono::TimeDelta::minutes(5));
    }
    t.drive().await;
    let forged = json!({"type": "purchase", "client": {"email": customer.email, "full_name": "Thandi Nkosi"}});
    t.send(Method::POST, "/v1/webhooks/revio", None, &[("X-Signature", "Zm9yZ2Vk")], Some(forged)).await;
    let account = json!({"account_number": ["62001234567"], "account_holder": "Thandi Nkosi"});
    t.send(Method::POST, "/v1/bank-accounts", Some(&customer.token), &[], Some(account)).await;
    t.send(Method::GET, &format!("/v1/{}", customer.email), None, &[], None).await;
    let links = passwords_and_links(&t, &customer).await;
    t.finish().await;
    drop(listening);
    let text = log.text();
    for told in ["request answered", "transaction moved", "a step failed", "audit rows chained"] {
        assert!(text.contains(told), "the log has {told:?}");
    }
    let needles = [
        customer.email.as_str(),
        PASSWORD,
        "a wrong password of mine",
        "Thandi",
        "62001234567",
        "250655",
        &customer.token,
        login.body["access_token"].as_str().expect("a token"),
        &cookies[0],
        &cookies[1],
        "Zm9yZ2Vk",
        revio_sim::TEST_KEY,
    ];
    let needles = needles.iter().map(|needle| (*needle).to_owned()).chain(links).collect::<Vec<_>>();
    assert_clean("the log", &text, &needles);
}

/// Another password by mail and by hand, and an e-mail that is proved. What must not be told of it: tokens, passwords, devices.
async fn passwords_and_links(t: &TestApp, customer: &Customer) -> Vec<String> {
    let post = async |path: &str, token: Option<&str>, body: serde_json::Value| {
        t.send(Method::POST, path, token, &[], Some(body)).await
    };
    let (second, third) = ("a second password of mine", "a third password of mine");
    let verification = t.mailbox.newest(&customer.email, "Confirm").token();
    let verified = post("/v1/auth/verify-email", None, json!({"token": verification})).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT, "{}", verified.body);
    let asked = post("/v1/auth/password/forgot", None, json!({"email": customer.email})).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    t.drive().await;
    let link = t.mailbox.newest(&customer.email, "password").token();
    let body = json!({"token": link, "new_password": second});
    let reset = post("/v1/auth/password/reset", None, body.clone()).await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT, "{}", reset.body);
    assert_eq!(post("/v1/auth/password/reset", None, body).await.status, StatusCode::BAD_REQUEST);
    let login = t.login(&customer.email, second).await;
    let token = login.body["access_token"].as_str().expect("a token").to_owned();
    let body = json!({"current_password": second, "new_password": third});
    let changed = post("/v1/auth/password", Some(&token), body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    let device = changed.headers["set-cookie"].to_str().expect("text").split([';', '=']).nth(1).expect("a value");
    vec![verification, link, second.to_owned(), third.to_owned(), token, device.to_owned()]
}

#[sqlx::test]
async fn a_panic_tells_neither_the_caller_nor_the_log_its_values(db: PgPool) {
    let log = Log::default();
    let writer = log.clone();
    let layer = tracing_subscriber::fmt::layer().json().with_writer(move || writer.clone());
    let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let t = TestApp::new(db).await;
    let panics = async || -> &'static str { panic!("cannot pay {PLANTED}{}", rand::random::<u8>()) };
    let routes = axum::Router::new().route("/planted/panic", axum::routing::get(panics));
    let router = octoco::processes::router::layered(routes, t.app.clone(), std::time::Duration::from_secs(30));
    let request = axum::http::Request::get("/planted/panic").body(axum::body::Body::empty()).expect("a request");
    let answer = tower::ServiceExt::oneshot(router, request).await.expect("never fails");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = axum::body::to_bytes(answer.into_body(), 4096).await.expect("it is whole");
    t.finish().await;
    drop(listening);
    let (body, text) = (String::from_utf8_lossy(&body).into_owned(), log.text());
    assert!(text.contains("request failed") && text.contains("\"cause\""), "{text}");
    assert_clean("the answer", &body, &[PLANTED.to_owned()]);
    assert_clean("the log", &text, &[PLANTED.to_owned()]);
    assert_eq!(telemetry::panic_text(&"a literal"), "a literal");
}
