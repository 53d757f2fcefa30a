//! A simulator with a fixed clock, a client with its key, and a receiver of webhooks that answers as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use revio_sim::{BRAND_ID, Clock, Deliveries, LIVE_KEY, MovementKind, Options, Sim, TEST_KEY};
use rsa::pkcs8::DecodePublicKey;
use rsa::sha2::{Digest, Sha256};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) http: reqwest::Client,
}

pub(crate) fn options() -> Options {
    Options { deliveries: Deliveries::Manual, clock: Clock::fixed(NOW), ..Options::default() }
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(options()).await
    }

    pub(crate) async fn with(options: Options) -> World {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        World { sim: revio_sim::start(options).await.unwrap(), http }
    }

    pub(crate) fn advance(&self, secs: i64) {
        self.sim.clock().advance(secs);
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_as(TEST_KEY, method, path, body).await.unwrap()
    }

    pub(crate) async fn call_live(&self, method: &str, path: &str) -> (u16, Value) {
        self.call_as(LIVE_KEY, method, path, None).await.unwrap()
    }

    pub(crate) async fn call_as(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value), reqwest::Error> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.sim.base_url()) };
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    /// A purchase of 150.00 ZAR.
    pub(crate) async fn purchase(&self) -> Uuid {
        let (status, body) = self.post("purchases/", new_purchase()).await;
        assert_eq!(status, 201, "{body}");
        id_of(&body)
    }

    /// A payout of 70.00 ZAR: its id and its execution URL.
    pub(crate) async fn payout(&self) -> (Uuid, String) {
        let (status, body) = self.post("payouts/", new_payout()).await;
        assert_eq!(status, 201, "{body}");
        (id_of(&body), body["execution_url"].as_str().unwrap().to_owned())
    }

    /// The newest event of this type, as it is sent.
    pub(crate) fn event(&self, event_type: &str) -> Value {
        let events = self.sim.events();
        let newest = events.iter().rev().find(|event| event.event_type == event_type);
        serde_json::from_str(&newest.unwrap().body).unwrap()
    }

    /// What really moved, `kind`, cents with their sign, for a purchase with its Payments or for a payout.
    pub(crate) fn moved(&self, id: Uuid) -> Vec<(MovementKind, i64)> {
        self.sim.movements_of(id).iter().map(|one| (one.kind, one.signed())).collect()
    }

    pub(crate) async fn status_of(&self, purchase: Uuid) -> String {
        self.get(&format!("purchases/{purchase}/")).await["status"].as_str().unwrap().to_owned()
    }

    /// `event_type status` of each request of one round of deliveries.
    pub(crate) async fn round(&self) -> Vec<String> {
        let reports = self.sim.deliver().await;
        reports
            .into_iter()
            .map(|report| match report.status {
                Ok(status) => format!("{} {status}", report.event_type),
                Err(reason) => format!("{} {reason}", report.event_type),
            })
            .collect()
    }
}

pub(crate) fn id_of(body: &Value) -> Uuid {
    body["id"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn new_purchase() -> Value {
    json!({
        "brand_id": BRAND_ID,
        "reference": "order-1",
        "client": {"email": "payer@example.test"},
        "purchase": {"currency": "ZAR", "products": [{"name": "Deposit", "price": 15000}]},
    })
}

pub(crate) fn new_payout() -> Value {
    json!({
        "brand_id": BRAND_ID,
        "reference": "payout-1",
        "client": {"email": "payee@example.test", "bank_account": "62000000001", "bank_code": "250655"},
        "payment": {"amount": 7000, "currency": "ZAR"},
    })
}

/// Records what it is sent; answers with the statuses told, then with 200.
pub(crate) struct Receiver {
    pub(crate) url: String,
    heard: Heard,
}

type Heard = Arc<Mutex<(Vec<Received>, VecDeque<u16>)>>;

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) body: String,
    pub(crate) signature: Option<String>,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn event(&self) -> String {
        self.json()["event_type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn is_signed_by(&self, public_key: &str) -> bool {
        self.signature.as_ref().is_some_and(|signature| verifies(public_key, &self.body, signature))
    }
}

impl Receiver {
    #[expect(clippy::disallowed_methods, reason = "the receiver runs beside the test")]
    pub(crate) async fn start() -> Receiver {
        let heard = Heard::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = Router::new().fallback(receive).with_state(Arc::clone(&heard));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Receiver { url, heard }
    }

    /// The next answers.
    pub(crate) fn will_answer(&self, statuses: &[u16]) {
        self.heard.lock().unwrap().1.extend(statuses);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.heard.lock().unwrap().0.clone()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.received().iter().map(Received::event).collect()
    }
}

async fn receive(State(heard): State<Heard>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/json");
    let signature = headers.get("x-signature").map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut heard = heard.lock().unwrap();
    heard.0.push(Received { body, signature });
    StatusCode::from_u16(heard.1.pop_front().unwrap_or(200)).unwrap()
}

/// With another RSA implementation than the simulator signs with.
pub(crate) fn verifies(public_key: &str, body: &str, signature: &str) -> bool {
    let key = rsa::RsaPublicKey::from_public_key_pem(public_key).unwrap();
    let signature = base64::engine::general_purpose::STANDARD.decode(signature).unwrap();
    key.verify(rsa::Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(body), &signature).is_ok()
}
