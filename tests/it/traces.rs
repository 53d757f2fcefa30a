//! A row is a trace: what any process does with it, from the request to the payout, arrives at a collector as one.

use std::collections::{BTreeSet, HashMap};

use octoco::platform::telemetry::Telemetry;
use opentelemetry_proto::tonic::trace::v1::Span;
use reqwest::{Method, StatusCode};
use revio_sim::{PayoutBehaviour, PayoutOutcome};
use sqlx::PgPool;
use tracing_subscriber::layer::SubscriberExt;
use uuid::Uuid;

use crate::binary::{self, Serving};
use crate::collectors::{Receiver, attribute, listen, trace_of};
use crate::harness::TestApp;

/// `(the span's name, the call that it is)` of all.
fn names(spans: &[Span]) -> BTreeSet<(String, String)> {
    spans.iter().map(|span| (span.name.clone(), attribute(span, "call").unwrap_or_default().to_owned())).collect()
}

fn trace(spans: &[Span], row: Uuid) -> Vec<Span> {
    spans.iter().filter(|span| span.trace_id == trace_of(row)).cloned().collect()
}

/// One span has no parent, and from every other one the parents lead there.
fn assert_is_one_tree(spans: &[Span]) -> Span {
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "each span has an id of its own");
    let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{:?}", roots.iter().map(|root| &root.name).collect::<Vec<_>>());
    for span in spans {
        let (mut at, mut steps) = (span, 0);
        while !at.parent_span_id.is_empty() && steps < 10 {
            at = by_id.get(&at.parent_span_id).unwrap_or_else(|| panic!("{} hangs on nothing", at.name));
            steps += 1;
        }
        assert_eq!(at.span_id, roots[0].span_id, "{}", span.name);
    }
    roots[0].clone()
}

#[sqlx::test]
async fn one_withdrawal_is_one_trace_from_the_request_to_the_payout(db: PgPool) {
    let collector = Receiver::start().await;
    let endpoint = format!("http://{}/", collector.address);
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=k")];
    let t = TestApp::with(db, &settings).await;
    let customer = t.customer_with(10_000).await;
    let telemetry = Telemetry::open(&t.app.config.collectors).expect("the settings are usable");
    telemetry.count_in(&t.app.metrics);
    // The test, its server and everything that they await run on this thread.
    let listening = listen(tracing_subscriber::registry().with(telemetry.layer()));
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    t.drive().await;
    t.sim.settle_payout(t.payout_of(withdrawal.id()), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    let other = t.deposit(&customer, 1_000, "d").await;
    t.send(Method::GET, "/v1/balances", Some(&customer.token), &[], None).await;
    telemetry.close().await;
    drop(listening);

    let all = collector.spans();
    let spans = trace(&all, withdrawal.id());
    let root = assert_is_one_tree(&spans);
    assert_eq!(root.name, "POST /v1/withdrawals");
    assert_eq!(attribute(&root, "status"), Some("202"));
    let named = names(&spans);
    for (name, call) in [
        ("withdrawal", ""),
        ("inbox", ""),
        ("POST /v1/webhooks/revio", ""),
        ("transaction", ""),
        ("revio", "create_payout"),
        ("revio", "execute_payout"),
        ("revio", "payout"),
        ("ledger", "create_transfers"),
    ] {
        assert!(named.contains(&(name.to_owned(), call.to_owned())), "{name} {call} in {named:?}");
    }
    assert!(spans.iter().all(|span| span.end_time_unix_nano >= span.start_time_unix_nano));
    let own = withdrawal.id().to_string();
    let about: BTreeSet<_> = spans.iter().filter_map(|span| attribute(span, "transaction.id")).collect();
    assert_eq!(about, BTreeSet::from([own.as_str()]), "nothing of another row is in it");
    assert_eq!(assert_is_one_tree(&trace(&all, other.id())).name, "POST /v1/deposits", "another row, another trace");
    let alone = all.iter().find(|span| span.name == "GET /v1/balances").expect("a trace of its own");
    assert!(alone.parent_span_id.is_empty() && alone.trace_id.len() == 16);
    assert_eq!(collector.header("x-key").as_deref(), Some("k"));
    let sent = t.app.metrics.leaving.items.with_label_values(&["otlp", "sent"]).get();
    assert!(sent > 0, "what left is counted");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_row_that_follows_from_another_begins_a_trace_of_its_own(db: PgPool) {
    let collector = Receiver::start().await;
    let endpoint = format!("http://{}", collector.address);
    let t = TestApp::with(db, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let telemetry = Telemetry::open(&t.app.config.collectors).expect("the settings are usable");
    let listening = listen(tracing_subscriber::registry().with(telemetry.layer()));
    let customer = t.customer_with(10_000).await;
    let deposit: Uuid = sqlx::query_scalar("select id from transactions").fetch_one(&t.app.db).await.expect("a row");
    t.sim.refund_purchase(t.purchase_of(deposit), Some(3_000)).expect("it was paid");
    t.drive().await;
    telemetry.close().await;
    drop(listening);
    let refund: Uuid = sqlx::query_scalar("select id from transactions where kind = 'refund'")
        .fetch_one(&t.app.db)
        .await
        .expect("a row");
    let all = collector.spans();
    assert_eq!(assert_is_one_tree(&trace(&all, refund)).name, "begin");
    assert!(names(&trace(&all, refund)).contains(&("refund".to_owned(), String::new())));
    assert_eq!(assert_is_one_tree(&trace(&all, deposit)).name, "POST /v1/deposits");
    assert_eq!(t.balance(&customer).await.0, 7_000);
    t.finish().await;
}

#[sqlx::test]
async fn of_the_traces_a_share_is_told_and_nothing_of_the_rest(db: PgPool) {
    let collector = Receiver::start().await;
    let endpoint = format!("http://{}", collector.address);
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let t = TestApp::with(db, &settings).await;
    let telemetry = Telemetry::open(&t.app.config.collectors).expect("the settings are usable");
    let listening = listen(tracing_subscriber::registry().with(telemetry.layer()));
    t.customer_with(10_000).await;
    telemetry.close().await;
    drop(listening);
    assert_eq!(collector.text(""), "", "nothing was sent");
    t.finish().await;
}

#[sqlx::test]
async fn a_stop_sends_what_was_not_sent_yet_and_waits_for_no_collector_that_is_away(db: PgPool) {
    let collector = Receiver::start().await;
    let mut settings = binary::settings(&db, "");
    settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address));
    let asked = async |serving: &Serving| {
        let url = format!("http://{}/v1/transactions?cursor=PLANTED", serving.address);
        assert_eq!(reqwest::get(url).await.expect("it answers").status(), StatusCode::UNAUTHORIZED);
    };
    let serving = Serving::start(&settings).await;
    asked(&serving).await;
    let (printed, status) = serving.stop().await;
    assert!(status.success(), "{printed}");
    let names = names(&collector.spans());
    assert!(names.contains(&("GET /v1/transactions".to_owned(), String::new())), "{names:?}");
    assert!(!collector.text("").contains("PLANTED"), "no query is told");

    settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned());
    let serving = Serving::start(&settings).await;
    asked(&serving).await;
    let (printed, status) = serving.stop().await;
    assert!(status.success() && printed.contains("errors and traces do not get out"), "{printed}");
}
