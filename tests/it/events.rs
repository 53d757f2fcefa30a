//! Server-sent events: a customer hears of own rows and balances as they change, can go on where it was, and is let go when the session
//! ends, when it takes nothing, and when the process stops.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::TimeDelta;
use ledger::{Account, AccountCode, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::books::{events, projector};
use octoco::money::transactions::{self, Hold};
use octoco::platform::waiting::Tenure;
use octoco::processes::server::Server;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connections::{pause, until};
use crate::harness::{Customer, TestApp, answer, serve};

const LONG: Duration = Duration::from_secs(20);
/// More than one look of the task that tells.
const QUIET: Duration = Duration::from_millis(1_500);

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    data: Value,
}

/// A client that listens.
struct Listener {
    response: Response,
    text: String,
    events: VecDeque<Event>,
    id: Option<String>,
}

impl Listener {
    async fn open(t: &TestApp, customer: &Customer, last_event_id: Option<&str>) -> Self {
        Self::open_at(t, customer, &t.url, last_event_id).await
    }

    async fn open_at(t: &TestApp, customer: &Customer, url: &str, last_event_id: Option<&str>) -> Self {
        let mut request = t.http.get(format!("{url}/v1/events")).bearer_auth(t.token(customer));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.expect("it is answered");
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-store".to_owned(), "no".to_owned()));
        Self { response, text: String::new(), events: VecDeque::new(), id: None }
    }

    /// Reads on until there is an event or the id is known; false when the stream has ended.
    async fn read(&mut self) -> bool {
        let Some(chunk) = timeout(LONG, self.response.chunk()).await.expect("in time").unwrap_or(None) else {
            return false;
        };
        self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        while let Some((block, rest)) = self.text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let (id, name, data) = (field("id: "), field("event: "), field("data: "));
            self.id = id.or(self.id.take());
            if let (Some(name), Some(data)) = (name, data) {
                self.events.push_back(Event { name, data: serde_json::from_str(&data).expect("JSON") });
            }
            self.text = rest.to_owned();
        }
        true
    }

    async fn begun(&mut self) -> String {
        while self.id.is_none() {
            assert!(self.read().await, "it ended");
        }
        self.id.clone().expect("known now")
    }

    /// The next event, whatever it is; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        while self.events.is_empty() {
            if !self.read().await {
                return None;
            }
        }
        self.events.pop_front()
    }

    /// The first event from here on that is so.
    async fn hears(&mut self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("it ended before {name}"));
            if event.name == name && is(&event.data) {
                return event.data;
            }
        }
    }

    /// What was told while nothing more came for a while.
    async fn rest(&mut self) -> Vec<Event> {
        while let Ok(true) = timeout(QUIET, self.read()).await {}
        self.events.drain(..).collect()
    }
}

fn streams(t: &TestApp) -> i64 {
    t.app.metrics.waiting.with_label_values(&["stream"]).get()
}

fn ended(t: &TestApp, how: &str) -> u64 {
    t.app.metrics.event_streams_ended.with_label_values(&[how]).get()
}

#[sqlx::test]
async fn a_customer_hears_of_own_rows_and_balances_and_of_nobody_elses(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let mut streams = [Listener::open(&t, &customer, None).await, Listener::open(&t, &customer, None).await];
    let mut others = Listener::open(&t, &other, None).await;
    others.begun().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    t.pay(&deposit).await;
    for stream in &mut streams {
        let row = stream.hears("transaction.updated", |row| row["state"] == "completed").await;
        assert_eq!((row["id"].clone(), row["amount"].clone()), (deposit.body["id"].clone(), 5_000.into()));
        assert!(row["version"].as_i64().is_some_and(|version| version > 0), "{row}");
        let listed = t.get(&customer, "/v1/transactions").await.body["data"][0].clone();
        let told = row.as_object().expect("an object").clone();
        let told: serde_json::Map<_, _> = told.into_iter().filter(|(name, _)| name != "version").collect();
        assert_eq!(Value::Object(told), listed, "as in the list");
        let balance = stream.hears("balance.updated", |balance| balance["posted"] == 5_000).await;
        assert_eq!(balance, t.get(&customer, "/v1/balances").await.body["balances"][0]);
    }
    assert_eq!(others.rest().await, [], "of another's");
    assert_eq!(streams[0].rest().await, [], "each change once");
    t.finish().await;
}

#[sqlx::test]
async fn a_hold_its_end_and_a_refund_are_told_although_the_row_does_not_move(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    let mut stream = Listener::open(&t, &customer, None).await;
    let open = stream.hears("transaction.updated", |row| row["state"] == "awaiting_payment").await;
    t.advance(TimeDelta::seconds(30));
    let row = transactions::find(&t.app, deposit.id()).await.expect("it is there");
    let held = transactions::hold(&t.app, &row, Hold::GaveUp, "for the test").await.expect("it can be held");
    let review = stream.hears("transaction.updated", |row| row["state"] == "under_review").await;
    assert_eq!(review["updated_at"], open["updated_at"], "when it last moved");
    transactions::resume(&t.app, &t.app.db, &held, t.app.clock.now()).await.expect("it can go on");
    stream.hears("transaction.updated", |row| row["state"] == "awaiting_payment").await;
    t.pay(&deposit).await;
    let completed = stream.hears("transaction.updated", |row| row["state"] == "completed").await;
    t.advance(TimeDelta::seconds(30));
    t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(2_000)).expect("it can be given back");
    t.drive().await;
    let told = stream.hears("transaction.updated", |row| row["refunded"] == 2_000).await;
    assert_eq!((&told["id"], &told["updated_at"]), (&deposit.body["id"], &completed["updated_at"]));
    t.finish().await;
}

/// A correction, a write-off, a transfer of an older release: what moves in the ledger is told, whatever row it belongs to.
#[sqlx::test]
async fn a_balance_that_moves_without_a_row_is_told_when_its_transfer_is_copied(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let mut stream = Listener::open(&t, &customer, None).await;
    stream.begun().await;
    pause(QUIET).await;
    let (row, wallet) = (t.app.clock.row_id(), Account::wallet(customer.id, Currency::ZAR));
    let bank = t.app.ledger.system(AccountCode::ProviderBalance, Currency::ZAR);
    let amount = Amount::new(700, Currency::ZAR).expect("an amount");
    let id = TransferId::of(row, Leg::Main);
    let transfer = Transfer::new(id, bank, wallet, amount, TransferCode::Deposit);
    t.app.ledger.open_once(&[bank, wallet]).await.expect("they can be opened");
    t.app.ledger.transfer(transfer).await.expect("it is booked");
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let balance = stream.hears("balance.updated", |_| true).await;
    assert_eq!((balance["posted"].clone(), balance["currency"].clone()), (700.into(), "ZAR".into()));
}

#[sqlx::test]
async fn a_client_goes_on_where_it_was_and_is_told_when_too_much_has_happened(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    t.advance(TimeDelta::minutes(10));
    let id = Listener::open(&t, &customer, None).await.begun().await;
    assert!(id.bytes().all(|byte| byte.is_ascii_digit()), "a moment, and nothing of anybody's: {id}");
    t.advance(TimeDelta::minutes(10));
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    t.pay(&deposit).await;
    t.deposit(&other, 7_000, "d1").await;
    t.advance(TimeDelta::minutes(10));
    let mut again = Listener::open(&t, &customer, Some(&id)).await;
    assert_eq!(again.begun().await, id, "until all is out it stays what it was");
    let row = again.hears("transaction.updated", |row| row["id"] == deposit.body["id"]).await;
    assert_eq!(row["state"], "completed");
    again.hears("balance.updated", |balance| balance["posted"] == 5_000).await;
    // At least once: what the task has not looked at yet comes again.
    let own = |event: &Event| event.name == "balance.updated" || event.data["id"] == deposit.body["id"];
    assert!(again.rest().await.iter().all(own), "of nobody else's");
    let newer = again.id.clone().expect("known");
    assert!(newer > id);
    let mut later = Listener::open(&t, &customer, Some(&newer)).await;
    later.begun().await;
    assert!(later.rest().await.iter().all(own), "of nobody else's");
    // In the query, for clients that cannot set the header; the header is newer.
    let asked = |query: String, headers: Vec<(&'static str, String)>| {
        let mut request = t.http.get(format!("{}/v1/events{query}", t.url)).bearer_auth(t.token(&customer));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        answer(request)
    };
    let begins = |id: &str| format!("id: {id}\n\n");
    let by_query = asked(format!("?last_event_id={id}"), Vec::new()).await;
    assert!(by_query.body.as_str().is_some_and(|text| text.contains(&begins(&id))), "{}", by_query.body);
    let by_header = asked(format!("?last_event_id={id}"), vec![("Last-Event-ID", newer.clone())]).await;
    assert!(by_header.body.as_str().is_some_and(|text| text.contains(&begins(&newer))), "{}", by_header.body);
    for (query, header, field) in [
        ("?last_event_id=x", None, "last_event_id"),
        ("?last_event_id=-5", None, "last_event_id"),
        ("?last_event_id=999999999999999999999", None, "last_event_id"),
        ("?since=5", None, "since"),
        ("", Some("x y"), "Last-Event-ID"),
    ] {
        let headers = header.map(|value: &str| ("Last-Event-ID", value.to_owned())).into_iter().collect();
        let wrong = asked(query.to_owned(), headers).await;
        assert_eq!((wrong.status, wrong.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{query}");
        assert_eq!(wrong.body["errors"][0]["field"], field, "{}", wrong.body);
    }
    // Too old, from the future, too much.
    t.advance(TimeDelta::hours(25));
    let ahead = (t.app.clock.now() + TimeDelta::hours(1)).timestamp_micros().to_string();
    let now = t.app.clock.now();
    for id in [&newer, &ahead] {
        let mut reset = Listener::open(&t, &customer, Some(id)).await;
        assert_eq!(reset.next().await.expect("an event").name, "reset");
        assert_eq!(reset.begun().await, now.timestamp_micros().to_string());
    }
    let many = "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, updated_at)
                select gen.id, $1, 'deposit', 'failed', 'failed', 100, 'ZAR', $2 from unnest($3::uuid[]) as gen (id)";
    let ids: Vec<Uuid> = (0..501).map(|_| t.app.clock.row_id()).collect();
    sqlx::query(many).bind(customer.id).bind(now).bind(&ids).execute(&t.app.db).await.expect("they are written");
    let mut reset = Listener::open(&t, &customer, Some(&now.timestamp_micros().to_string())).await;
    assert_eq!(reset.next().await.expect("an event").name, "reset");
}

#[sqlx::test]
async fn a_stream_ends_with_its_token_and_with_its_session(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut stream = Listener::open(&t, &customer, None).await;
    stream.begun().await;
    t.advance(TimeDelta::minutes(16));
    let over = stream.hears("session.ended", |_| true).await;
    assert_eq!(over["reason"], "token_expired");
    assert_eq!(stream.next().await, None, "we close");
    let mut stream = Listener::open(&t, &customer, None).await;
    stream.begun().await;
    let path = format!("/v1/auth/sessions/{}", customer.session_id);
    let gone = t.send(Method::DELETE, &path, Some(&t.token(&customer)), &[], None).await;
    assert!(gone.status.is_success(), "{}", gone.body);
    let over = stream.hears("session.ended", |_| true).await;
    assert_eq!(over["reason"], "session_ended");
    assert_eq!(stream.next().await, None, "we close");
    until("they were counted", || ended(&t, "session") == 2 && streams(&t) == 0).await;
    let again = t.send(Method::GET, "/v1/events", Some(&t.token(&customer)), &[], None).await;
    assert_eq!((again.status, again.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn streams_are_bounded_and_whoever_leaves_makes_room(db: PgPool) {
    let t = TestApp::with(db, &[("REQUESTS_MAX", "1"), ("CONNECTIONS_MAX", "48")]).await;
    let (customer, other, third) = (t.customer().await, t.customer().await, t.customer().await);
    let refused = async |customer: &Customer| {
        let refused = t.get(customer, "/v1/events").await;
        assert!(refused.headers.contains_key("retry-after"));
        (refused.status, refused.code().to_owned())
    };
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(Listener::open(&t, &customer, None).await);
    }
    assert_eq!(refused(&customer).await, (StatusCode::TOO_MANY_REQUESTS, "rate_limited".to_owned()));
    for _ in 0..2 {
        open.push(Listener::open(&t, &other, None).await);
    }
    assert_eq!(refused(&other).await, (StatusCode::SERVICE_UNAVAILABLE, "unavailable".to_owned()));
    assert_eq!(t.get(&third, "/v1/me").await.status, StatusCode::OK, "others are served");
    drop(open);
    until("they have left", || streams(&t) == 0 && ended(&t, "gone") == 12).await;
    Listener::open(&t, &customer, None).await.begun().await;
    t.finish().await;
}

#[sqlx::test]
async fn who_takes_nothing_is_let_go_and_can_go_on_later(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let tenure = Tenure::new(customer.id, customer.session_id, None);
    let mut slow = events::open(&t.app, tenure, None).await.expect("there is room");
    let note = "update transactions set version = version + 1, noted_at = $2 where id = $1";
    let ids: Vec<Uuid> = (0..70).map(|_| t.app.clock.row_id()).collect();
    let many = "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, updated_at)
                select gen.id, $1, 'deposit', 'failed', 'failed', 100, 'ZAR', $2 from unnest($3::uuid[]) as gen (id)";
    let now = t.app.clock.now();
    sqlx::query(many).bind(customer.id).bind(now).bind(&ids).execute(&t.app.db).await.expect("they are written");
    let often = async {
        while ended(&t, "slow") == 0 {
            sqlx::query(note).bind(ids[0]).bind(now).execute(&t.app.db).await.expect("it is written");
            pause(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, often).await.expect("it is let go");
    let mut taken = 0;
    while slow.live.recv().await.is_some() {
        taken += 1;
    }
    assert!(taken <= 16, "what is kept for one client is bounded: {taken}");
    drop(slow);
    // One that takes what comes hears all of it.
    let mut stream = Listener::open(&t, &customer, Some(&now.timestamp_micros().to_string())).await;
    stream.begun().await;
    for id in &ids {
        sqlx::query(note).bind(id).bind(now).execute(&t.app.db).await.expect("it is written");
    }
    let told = async {
        let mut left: std::collections::BTreeSet<String> = ids.iter().map(Uuid::to_string).collect();
        while !left.is_empty() {
            let row = stream.hears("transaction.updated", |row| row["version"].as_i64() > Some(0)).await;
            left.remove(row["id"].as_str().expect("an id"));
        }
    };
    timeout(LONG, told).await.expect("all are told");
}

#[sqlx::test]
async fn a_stop_ends_every_stream(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let stop = CancellationToken::new();
    serve(listener, Server::new(t.app.clone(), stop.clone()));
    let mut stream = Listener::open_at(&t, &customer, &url, None).await;
    stream.begun().await;
    stop.cancel();
    assert_eq!(stream.next().await, None);
    assert_eq!(ended(&t, "stopped"), 1);
    t.finish().await;
}

/// Long polls and streams by the hundred: all of them hear, and nobody else is kept waiting.
#[sqlx::test]
async fn many_who_wait_all_hear_and_others_are_served_meanwhile(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut customers = Vec::new();
    for _ in 0..10 {
        let customer = t.customer().await;
        let deposit = t.deposit(&customer, 5_000, "d1").await;
        customers.push((customer, deposit));
    }
    let mut listening = Vec::new();
    for (customer, _) in customers.iter().cycle().take(100) {
        let mut stream = Listener::open(&t, customer, None).await;
        stream.begun().await;
        listening.push(stream);
    }
    let path = |id: Uuid| format!("/v1/transactions/{id}?wait=30&state_not=initiated,awaiting_payment");
    let paths: Vec<String> = customers.iter().map(|(_, deposit)| path(deposit.id())).collect();
    let polls = customers.iter().zip(&paths).cycle().take(200).map(|((customer, _), path)| t.get(customer, path));
    let polls = futures_util::future::join_all(polls);
    let waiting = || t.app.metrics.waiting.with_label_values(&["poll"]).get() == 200 && streams(&t) == 100;
    let act = async {
        until("all wait", waiting).await;
        for (customer, _) in &customers {
            let answered = timeout(Duration::from_secs(5), t.get(customer, "/v1/bank-accounts")).await;
            assert_eq!(answered.expect("at once").status, StatusCode::OK);
        }
        for (_, deposit) in &customers {
            t.sim.pay_purchase(t.purchase_of(deposit.id()), revio_sim::Pay::default()).expect("it can be paid");
        }
        t.drive().await;
    };
    let (answers, ()) = timeout(LONG, async { tokio::join!(polls, act) }).await.expect("before the wait is over");
    assert!(answers.iter().all(|answer| answer.body["state"] == "completed"));
    for stream in &mut listening {
        stream.hears("transaction.updated", |row| row["state"] == "completed").await;
    }
    drop(listening);
    until("all have left", || streams(&t) == 0).await;
    t.finish().await;
}
