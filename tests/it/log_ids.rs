//! Whoever has one id finds all of the log that is about it: from a request to the row, its transfers, Revio's object, the webhook and
//! the step that ended it, by ids alone.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use ledger::{Leg, TransferId};
use revio_sim::{PayoutBehaviour, PayoutOutcome};
use serde_json::Value;
use sqlx::PgPool;
use tracing::dispatcher::{DefaultGuard, Dispatch};
use tracing_subscriber::layer::SubscriberExt;

use crate::collectors::listen;
use crate::harness::TestApp;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Of a test, its server and everything that they await, which run on one thread: until what comes with it is dropped.
    pub(crate) fn begin() -> (Self, (DefaultGuard, Dispatch)) {
        let log = Self::default();
        let writer = log.clone();
        let filter = tracing_subscriber::EnvFilter::new("info,sqlx=warn");
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(move || writer.clone());
        (log, listen(tracing_subscriber::registry().with(filter).with(layer)))
    }

    /// As it is written in service.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().expect("nobody panicked").clone()).expect("a log is text");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

/// What a line says of a field, itself or by a span around it.
fn told<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    let around = line["spans"].as_array().into_iter().flatten().rev();
    std::iter::once(line).chain(around).find_map(|place| place[name].as_str())
}

/// The lines that have this id.
fn with<'a>(lines: &'a [Value], name: &str, id: &str) -> Vec<&'a Value> {
    let found: Vec<_> = lines.iter().filter(|line| told(line, name) == Some(id)).collect();
    assert!(!found.is_empty(), "no line has {name} {id}");
    found
}

fn ids(lines: &[&Value], name: &str) -> BTreeSet<String> {
    lines.iter().filter_map(|line| told(line, name)).map(str::to_owned).collect()
}

fn only(ids: &BTreeSet<String>) -> &str {
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.first().expect("one")
}

#[sqlx::test]
async fn a_withdrawal_is_followed_from_its_request_to_the_webhook_that_ended_it_by_ids_alone(db: PgPool) {
    let (log, listening) = Log::begin();
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer_with(10_000).await, t.customer_with(10_000).await);
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    let beside = t.withdraw(&other, 5_000, "w").await;
    t.drive().await;
    for row in [withdrawal.id(), beside.id()] {
        t.sim.settle_payout(t.payout_of(row), PayoutOutcome::Success).expect("pending");
    }
    t.drive().await;
    let payout = t.payout_of(withdrawal.id()).to_string();
    let row = withdrawal.id();
    drop(listening);
    let lines = log.lines();

    // All that somebody has who asks: the answer's header.
    let request = withdrawal.headers["x-request-id"].to_str().expect("text");
    let of_request = with(&lines, "request.id", request);
    let transaction = ids(&of_request, "transaction.id");
    assert_eq!(only(&transaction), row.to_string());
    let of_row = with(&lines, "transaction.id", only(&transaction));
    assert!(of_row.iter().all(|line| told(line, "kind").is_none_or(|kind| kind == "withdrawal")));
    let transfers = ids(&of_row, "transfer.ids");
    for leg in [Leg::Main, Leg::Post] {
        let transfer = TransferId::of(row, leg).as_uuid().to_string();
        assert!(transfers.iter().any(|ids| ids.contains(&transfer)), "{leg:?} in {transfers:?}");
    }
    let objects = ids(&of_row, "provider.id");
    assert_eq!(only(&objects), payout);
    let webhooks = ids(&with(&lines, "object.id", only(&objects)), "webhook.id");
    let ended = webhooks.iter().flat_map(|webhook| with(&lines, "webhook.id", webhook));
    let ended: Vec<_> =
        ended.filter(|line| line["message"] == "transaction moved" && line["to"] == "completed").collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(told(ended[0], "transaction.id"), Some(&*row.to_string()));
    let states: Vec<_> =
        of_row.iter().filter(|line| line["message"] == "transaction moved").map(|line| line["to"].clone()).collect();
    assert_eq!(states, ["reserved", "reserved", "submitting", "submitted", "completed"]);
    t.finish().await;
}
