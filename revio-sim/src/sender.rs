//! Sends webhooks: one attempt with its signature and faults, the manual round of `Sim::deliver`, and the automatic
//! dispatcher. The queues and the schedule are in `outbox.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock;
use crate::faults::FaultKind;
use crate::keys::SigningKey;
use crate::outbox::{Delivery, Endpoint, Outcome};
use crate::shared::Shared;
use crate::wire::canonical;

/// One HTTP request that was sent, or withheld by a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryReport {
    pub at: i64,
    pub event_type: String,
    pub object_id: Uuid,
    pub url: String,
    /// 1 for the first one.
    pub attempt: u32,
    /// The status answered, or why there is none.
    pub status: Result<u16, String>,
    /// What was sent.
    pub body: String,
    /// What came back, cut off.
    pub answer: String,
    pub fault: Option<String>,
}

impl DeliveryReport {
    /// Answered with a 2xx.
    pub fn ok(&self) -> bool {
        self.status.as_ref().is_ok_and(|status| (200..300).contains(status))
    }
}

/// "No answer in time" is a failure (DOC-S); the figure is unknown (?).
const TIMEOUT: Duration = Duration::from_secs(10);
/// Enough to keep a busy receiver busy, little enough not to drown it.
const IN_FLIGHT_MAX: usize = 64;
/// Longest nap of the dispatcher: a clock may be advanced from outside without waking it.
const NAP_MAX: Duration = Duration::from_millis(200);
const ANSWER_KEPT_CHARS: usize = 500;
/// How far `Reorder` moves a delivery in automatic mode, where nothing else may be waiting yet.
const REORDER_MILLIS: i64 = 250;

pub(crate) fn client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| format!("cannot build the HTTP client: {error}"))
}

/// Sends everything that is due by the clock, each delivery at most once, in order.
pub(crate) async fn deliver_due(shared: &Shared) -> Vec<DeliveryReport> {
    let mut reports = Vec::new();
    let mut attempted = HashSet::new();
    let mut aside = Vec::new();
    while let Some(taken) = take_due(shared) {
        if !attempted.insert((taken.delivery.serial, taken.delivery.shifted)) {
            aside.push(taken);
            continue;
        }
        reports.extend(attempt(shared, taken).await);
    }
    drop(aside);
    reports
}

/// Sends what is due as it becomes due, until the simulator stops.
pub(crate) async fn dispatch(shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    while !shared.stop.is_cancelled() {
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            let Some(taken) = take_due(&shared) else { break };
            let (own, delivery) = (Arc::clone(&shared), taken.delivery.clone());
            taken.forget();
            spawn(&shared, async move {
                attempt(&own, Taken { shared: &own, delivery, finished: false }).await;
                drop(permit);
                own.wake.notify_one();
            });
        }
        let nap = match shared.read(|world| world.outbox.next_due()) {
            Some(due) => Duration::from_millis(u64::try_from(due - shared.line_millis()).unwrap_or(0)).min(NAP_MAX),
            None => NAP_MAX,
        };
        tokio::select! {
            () = shared.wake.notified() => {}
            () = clock::wait(nap) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Starts a task that is dropped at shutdown wherever it is.
pub(crate) fn spawn(shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
    let stop = shared.stop.clone();
    spawn_until_done(shared, async move {
        let _stopped = stop.run_until_cancelled(task).await;
    });
}

/// Starts a task that ends by itself at shutdown, which waits for it.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub(crate) fn spawn_until_done(shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(shared.tasks.track_future(task));
}

/// A delivery in flight. Dropped unfinished (a test gave up waiting, the simulator stops), it is due again.
struct Taken<'a> {
    shared: &'a Shared,
    delivery: Delivery,
    finished: bool,
}

impl Taken<'_> {
    fn finish(mut self, outcome: Outcome, began: i64) {
        self.finished = true;
        let minute = self.shared.minute_millis();
        self.shared.change(|world| world.outbox.finish(&self.delivery, outcome, began, minute));
    }

    /// Somebody else takes over.
    fn forget(mut self) {
        self.finished = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.read(|world| world.outbox.give_back(&self.delivery));
        }
    }
}

fn take_due(shared: &Shared) -> Option<Taken<'_>> {
    let delivery = shared.read(|world| {
        let now = world.line_now;
        world.outbox.take_due(now)
    })?;
    Some(Taken { shared, delivery, finished: false })
}

/// One attempt: usually one request; a fault may make it two, or none.
async fn attempt(shared: &Shared, taken: Taken<'_>) -> Vec<DeliveryReport> {
    let began = shared.line_millis();
    let delivery = taken.delivery.clone();
    let fault = shared.faults(|faults| faults.take_for_delivery(&delivery.event_type, delivery.shifted));
    match fault {
        Some(FaultKind::Delay { millis }) => {
            taken.finish(Outcome::Shifted { millis: i64::from(millis) }, began);
            return Vec::new();
        }
        Some(FaultKind::Reorder) => {
            let manual = shared.options.deliveries == crate::options::Deliveries::Manual;
            taken.finish(Outcome::Shifted { millis: if manual { 0 } else { REORDER_MILLIS } }, began);
            return Vec::new();
        }
        _ => {}
    }
    let Some((url, key)) = destination(shared, &delivery) else {
        taken.finish(Outcome::Delivered, began);
        return Vec::new();
    };
    let mut reports = Vec::new();
    for request in requests(shared, &delivery, &key, fault.as_ref()) {
        reports.push(send(shared, &delivery, &url, request, fault.as_ref()).await);
    }
    let delivered = match fault {
        Some(FaultKind::IgnoreAnswer) => false,
        Some(FaultKind::Missing) => {
            reports.push(withheld(shared, &delivery, &url));
            true
        }
        // The genuine request is the last one.
        _ => reports.last().is_some_and(DeliveryReport::ok),
    };
    for report in &reports {
        tracing::debug!(event = %report.event_type, object.id = %report.object_id, status = ?report.status, "delivery");
        shared.log_delivery(report.clone());
    }
    taken.finish(if delivered { Outcome::Delivered } else { Outcome::Failed }, began);
    reports
}

/// Where to and with which key; `None` if the webhook was deleted meanwhile.
fn destination(shared: &Shared, delivery: &Delivery) -> Option<(String, SigningKey)> {
    shared.read(|world| match &delivery.endpoint {
        Endpoint::Callback(url) => Some((url.clone(), world.company_key().clone())),
        Endpoint::Webhook(id) => {
            let webhook = world.webhooks.iter_mut().find(|webhook| webhook.id == *id)?;
            Some((webhook.callback.clone(), webhook.take_key()))
        }
    })
}

struct Request {
    body: String,
    signature: Option<String>,
}

/// What to send, the genuine request last.
fn requests(shared: &Shared, delivery: &Delivery, key: &SigningKey, fault: Option<&FaultKind>) -> Vec<Request> {
    let signed = |body: String| {
        let signature = Some(key.sign(body.as_bytes()));
        Request { body, signature }
    };
    let genuine = || signed(delivery.body.to_string());
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
        change(&mut value);
        signed(canonical(&value))
    };
    match fault {
        Some(FaultKind::Missing) => Vec::new(),
        Some(FaultKind::Duplicate) => vec![genuine(), genuine()],
        Some(FaultKind::WrongKey) => {
            let wrong = shared.read(|world| world.company_key().clone());
            vec![Request { signature: Some(wrong.sign(delivery.body.as_bytes())), body: delivery.body.to_string() }]
        }
        Some(FaultKind::NoSignature) => vec![Request { body: delivery.body.to_string(), signature: None }],
        Some(FaultKind::TamperedBody) => {
            vec![Request { body: tampered(&delivery.body), signature: Some(key.sign(delivery.body.as_bytes())) }]
        }
        Some(FaultKind::OtherMode) => {
            let invert = |value: &mut Value| value["is_test"] = (!value["is_test"].as_bool().unwrap_or(true)).into();
            vec![altered(&invert), genuine()]
        }
        Some(FaultKind::UnknownEventType) => {
            let rename = |value: &mut Value| value["event_type"] = "purchase.invented_tomorrow".into();
            vec![altered(&rename), genuine()]
        }
        Some(FaultKind::NotJson) => vec![signed("<html>not JSON</html>".to_owned()), genuine()],
        _ => vec![genuine()],
    }
}

/// Ten times the money where there is an amount; otherwise a later creation.
fn tampered(body: &str) -> String {
    for field in ["\"amount\": ", "\"total\": ", "\"created_on\": "] {
        if let Some(start) = body.find(field) {
            let mut changed = body.to_owned();
            changed.insert(start + field.len(), '9');
            return changed;
        }
    }
    format!("{body} ")
}

async fn send(
    shared: &Shared,
    delivery: &Delivery,
    url: &str,
    request: Request,
    fault: Option<&FaultKind>,
) -> DeliveryReport {
    let Request { body, signature } = request;
    let mut post = shared.http.post(url).header("content-type", "application/json");
    if let Some(signature) = signature {
        post = post.header("x-signature", signature);
    }
    let (status, answer) = match post.body(body.clone()).send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            let text = response.text().await.unwrap_or_default();
            (Ok(status), text.chars().take(ANSWER_KEPT_CHARS).collect())
        }
        Err(error) => (Err(reason(&error)), String::new()),
    };
    DeliveryReport {
        status,
        body,
        answer,
        fault: fault.map(|kind| format!("{kind:?}")),
        ..blank(shared, delivery, url)
    }
}

fn withheld(shared: &Shared, delivery: &Delivery, url: &str) -> DeliveryReport {
    let status = Err("withheld for good".to_owned());
    DeliveryReport { status, fault: Some("Missing".to_owned()), ..blank(shared, delivery, url) }
}

fn blank(shared: &Shared, delivery: &Delivery, url: &str) -> DeliveryReport {
    DeliveryReport {
        at: shared.clock().now(),
        event_type: delivery.event_type.clone(),
        object_id: delivery.object_id,
        url: url.to_owned(),
        attempt: delivery.attempts + 1,
        status: Ok(0),
        body: String::new(),
        answer: String::new(),
        fault: None,
    }
}

/// reqwest's own text names the URL but not the cause.
fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
