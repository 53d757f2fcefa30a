//! What Sentry is told of errors, panics and traces, and that nothing of anybody is in it: values that nobody outside may see are
//! planted, and then looked for in every byte that left.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use octoco::platform::telemetry::{self, Telemetry};
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt;
use tracing_subscriber::layer::SubscriberExt;

use crate::binary::{self, Serving};
use crate::collectors::{Receiver, listen};
use crate::harness::{PASSWORD, TestApp};

const PLANTED: &str = "PLANTEDsecretPLANTED";

fn dsn(receiver: &Receiver) -> String {
    format!("http://{PLANTED}@{}/1", receiver.address)
}

fn assert_clean(receiver: &Receiver, needles: &[&str]) {
    // The protocol wants the project's key there, and nowhere else.
    let text = receiver.text("x-sentry-auth");
    for needle in needles {
        assert!(!text.contains(needle), "{needle} was told outside:\n{text}");
    }
}

/// An error of ours with everything that it must not tell.
fn plant(row: uuid::Uuid) {
    tracing::error!(
        target: "octoco::planted",
        {
            transaction.id = %row,
            request.id = PLANTED,
            email = PLANTED,
            token = PLANTED,
            password = PLANTED,
            account_number = PLANTED,
            api_key = PLANTED,
            cause = PLANTED,
            reason = PLANTED,
            text = PLANTED,
            kind = PLANTED,
            amount = 4_000,
        },
        "planted"
    );
    tracing::error!(target: "sqlx::query", statement = PLANTED, "a library's own words {PLANTED}");
    tracing::warn!(target: "octoco::planted", "a warning {PLANTED}");
}

/// What panics do with values, beside whatever the other tests of this process want to know of theirs.
fn panics_are_told() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        telemetry::log_panic(panic);
        before(panic);
    }));
}

#[sqlx::test]
async fn an_error_and_a_panic_are_told_with_their_ids_and_nothing_of_anybody(db: PgPool) {
    let receiver = Receiver::start().await;
    let settings = [("SENTRY_DSN", &*dsn(&receiver)), ("SENTRY_TRACES_SAMPLE_RATE", "1"), ("ENVIRONMENT", "testing")];
    let t = TestApp::with(db, &settings).await;
    let telemetry = Telemetry::open(&t.app.config.collectors).expect("the settings are usable");
    panics_are_told();
    let listening = listen(tracing_subscriber::registry().with(telemetry.layer()));
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "failed");
    plant(withdrawal.id());
    t.send(Method::GET, &format!("/v1/transactions?cursor={PLANTED}"), Some(&customer.token), &[], None).await;
    let forged = json!({"type": "purchase", "client": {"email": customer.email}});
    t.send(Method::POST, "/v1/webhooks/revio", None, &[("X-Signature", PLANTED)], Some(forged)).await;
    let panics = async || -> &'static str { panic!("cannot pay {PLANTED}{}", rand::random::<u8>()) };
    let routes = axum::Router::new().route("/planted/{id}", axum::routing::get(panics));
    let router = octoco::processes::router::layered(routes, t.app.clone(), Duration::from_secs(30));
    let request = Request::get(format!("/planted/{PLANTED}?token={PLANTED}")).header("X-Request-Id", PLANTED);
    let answer = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("never fails");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    telemetry.close().await;
    drop(listening);

    let (events, row) = (receiver.items("event"), json!(withdrawal.id()));
    let of = |message: &str| -> &Value {
        let found = events.iter().find(|event| event["message"].as_str().is_some_and(|text| text.starts_with(message)));
        found.unwrap_or_else(|| panic!("no {message:?} in {events:?}"))
    };
    for message in ["Revio refused a payout", "planted"] {
        assert_eq!(of(message)["tags"]["transaction.id"], row, "{message}");
        let trace = of(message)["contexts"]["trace"]["trace_id"].clone();
        assert_eq!(trace, withdrawal.id().simple().to_string(), "the trace of the row");
    }
    assert_eq!(of("planted")["tags"], json!({"transaction.id": row}), "nothing but what is listed");
    assert_eq!(of("planted")["environment"], "testing");
    let panic = of("panic: a text with values in it, which are not told");
    assert!(panic["tags"]["place"].as_str().is_some_and(|place| place.starts_with("tests/it/told_outside.rs:")));
    assert_eq!(of("request failed")["tags"]["route"], "/planted/{id}");
    let traces = receiver.items("transaction");
    let request = traces.iter().find(|trace| trace["transaction"] == "POST /v1/withdrawals").expect("a trace");
    assert_eq!(request["contexts"]["trace"]["trace_id"], withdrawal.id().simple().to_string());
    assert!(request["spans"].as_array().is_some_and(|spans| spans.iter().any(|span| span["op"] == "ledger")));
    let no_payer = [PLANTED, "Thandi", "62001234567", PASSWORD, revio_sim::TEST_KEY, &customer.email, &customer.token];
    assert_clean(&receiver, &no_payer);
    assert!(receiver.header("x-sentry-auth").is_some_and(|auth| auth.contains(PLANTED)), "the project's key");
    t.finish().await;
}

#[sqlx::test]
async fn a_process_whose_database_is_away_tells_so_and_no_secret(db: PgPool) {
    let receiver = Receiver::start().await;
    let mut settings = binary::settings(&db, PLANTED);
    settings.extend([
        ("SENTRY_DSN", dsn(&receiver)),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={PLANTED}")),
        ("DATABASE_URL", format!("postgres://user:{PLANTED}@127.0.0.1:1/database")),
        ("REVIO_API_KEY", PLANTED.to_owned()),
    ]);
    let serving = Serving::start(&settings).await;
    let body = json!({"email": "thandi@example.com", "password": PASSWORD, "full_name": "Thandi Nkosi"});
    let http = reqwest::Client::builder().build().expect("a client");
    let url = |path: &str| format!("http://{}{path}", serving.address);
    // A query that is taken as it comes, and a body.
    for request in [http.get(url(&format!("/readyz?token={PLANTED}"))), http.post(url("/v1/auth/register")).json(&body)]
    {
        assert_eq!(request.send().await.expect("it answers").status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let (printed, status) = serving.stop().await;
    assert!(status.success() && !printed.contains(PLANTED), "{printed}");
    let events = receiver.items("event");
    let route = |event: &&serde_json::Value| event["tags"]["route"] == "/v1/auth/register";
    let failed = events.iter().filter(route).find(|event| event["message"] == "request failed").expect("it was told");
    assert_eq!(failed["tags"]["status"], "503");
    assert_clean(&receiver, &[PLANTED, "thandi", "Thandi", PASSWORD]);
}
