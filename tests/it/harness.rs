//! The only harness: a whole service for one test, driven step by step. No sleeping, no polling: the clock stands still until
//! a test moves it, Revio's deliveries go out and due rows are stepped when a test says [`TestApp::drive`].

mod books;
mod steps;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature;
use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{TimeDelta, TimeZone, Utc};
use ledger::{Account, AccountCode, Balance, Currency, Ledger};
use octoco::app::App;
use octoco::books::projector;
use octoco::identity::audit::Actor;
use octoco::identity::mails;
use octoco::money::{adjustments, deposits, journals, restrictions, reversals, withdrawals};
use octoco::platform::clock::Clock;
use octoco::platform::config::{Config, Counting};
use octoco::platform::crash::CrashPoints;
use octoco::platform::keys;
use octoco::platform::permissions::Role;
use octoco::platform::rate_limits::{Answer as RateAnswer, Class};
use octoco::processes::server::Server;
use octoco::webhooks::inbox;
use reqwest::{Method, StatusCode};
use revio_sim::{Deliveries, Sim};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::contract;
use crate::four_eyes::season;
use crate::mailbox::Mailbox;

pub(crate) use steps::stepped;

/// More rounds than any flow needs: a test that is not idle by then is stuck.
const ROUNDS_MAX: usize = 50;
const BATCH: i64 = 100;
/// How long a part of the service may take to answer: a busy machine is no fault, and a part that is away refuses at once. What a
/// test proves of deadlines, it proves with shorter ones of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The same of a list; short enough for the test that waits for the end of it.
const LIST_DEADLINE: Duration = Duration::from_secs(8);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

static LEDGER: OnceCell<Ledger> = OnceCell::const_new();
/// A base for each test: far from production's 0, and from the last run's on a server that was kept.
static BASE: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random_range(1..4_000_000)));
/// Made once: an RSA key takes longer than a test.
static WEBHOOK_KEY: LazyLock<String> = LazyLock::new(new_rsa_private_key);
static JWT_KEY: LazyLock<String> = LazyLock::new(keys::new_jwt_private_key);

pub(crate) struct TestApp {
    pub(crate) app: App,
    pub(crate) sim: Sim,
    pub(crate) url: String,
    /// What was sent to whom.
    pub(crate) mailbox: Mailbox,
    pub(crate) http: reqwest::Client,
}

/// Somebody who is signed in.
pub(crate) struct Customer {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) session_id: Uuid,
    /// As the login gave it.
    pub(crate) token: String,
    pub(crate) bank_account_id: Uuid,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The stable code of a problem document.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> Uuid {
        self.body["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {}", self.body))
    }

    pub(crate) fn replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by ./dev test where the parts are")]
pub(crate) fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./dev test"))
}

/// One client for all tests of the process.
async fn ledger() -> Ledger {
    let connect = async || {
        let options = ledger::Options::new(0, environment("TEST_TIGERBEETLE_ADDRESSES"));
        Ledger::connect(ledger::Options { deadline: PATIENCE, ..options })
            .await
            .expect("the test server's address is valid")
    };
    let base = BASE.fetch_add(1, Ordering::Relaxed) * 1000;
    LEDGER.get_or_init(connect).await.with_base(base)
}

impl TestApp {
    pub(crate) async fn new(db: PgPool) -> Self {
        Self::with(db, &[]).await
    }

    /// With other settings than the usual ones.
    pub(crate) async fn with(db: PgPool, settings: &[(&str, &str)]) -> Self {
        Self::crashing(db, settings, CrashPoints::default()).await
    }

    /// With processes that die where a test wants them to.
    pub(crate) async fn crashing(db: PgPool, settings: &[(&str, &str)], crash: CrashPoints) -> Self {
        let now = Utc.with_ymd_and_hms(2026, 3, 2, 9, 0, 0).single().expect("a time");
        let clocks = (Clock::fixed(now), revio_sim::Clock::fixed(now.timestamp()));
        Self::with_clocks(db, settings, crash, clocks).await
    }

    pub(crate) async fn with_clocks(
        db: PgPool,
        settings: &[(&str, &str)],
        crash: CrashPoints,
        (clock, sim_clock): (Clock, revio_sim::Clock),
    ) -> Self {
        let sim = revio_sim::start(revio_sim::Options {
            deliveries: Deliveries::Manual,
            webhook_private_key_pem: Some(WEBHOOK_KEY.clone()),
            clock: sim_clock,
            ..revio_sim::Options::default()
        })
        .await
        .expect("the simulator starts");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let webhook = sim.register_webhook(&format!("{url}/v1/webhooks/revio"));
        let mailbox = Mailbox::new();
        let settings = [&[("MAIL_FOLDER", mailbox.path())], settings].concat();
        let config = config(&sim, &url, &webhook.public_key, &settings);
        let app = App::assemble(config, db, ledger().await, clock, crash).expect("the settings are usable");
        serve(listener, Server::new(app.clone(), CancellationToken::new()));
        Self { app, sim, url, mailbox, http: reqwest::Client::builder().build().expect("a client") }
    }

    /// What a call is told once a bucket is used up. Whatever comes back to it on a slow machine is used up meanwhile, too.
    pub(crate) async fn used_up(&self, class: Class, who: &str, call: impl AsyncFn() -> Answer) -> Answer {
        let drain = async || -> Answer {
            loop {
                self.app.limiter.check(class, who).await;
            }
        };
        while matches!(self.app.limiter.check(class, who).await, RateAnswer::Allowed(..)) {}
        for _ in 0..20 {
            let answer = tokio::select! {
                answer = call() => answer,
                never = drain() => never,
            };
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
        }
        panic!("{class:?} of {who} is not used up")
    }

    /// A new customer with a bank account and an empty wallet.
    pub(crate) async fn customer(&self) -> Customer {
        let email = format!("{}@example.com", Uuid::now_v7().simple());
        let registration = json!({"email": email, "password": PASSWORD, "full_name": "Thandi Nkosi"});
        let registered = self.send(Method::POST, "/v1/auth/register", None, &[], Some(registration)).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
        let login = self.login(&email, PASSWORD).await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.body);
        let token = login.body["access_token"].as_str().expect("a token").to_owned();
        let account = json!({"account_number": "62001234567", "branch_code": "250655",
            "account_holder": "Thandi Nkosi", "bank_name": "FNB"});
        let account = self.send(Method::POST, "/v1/bank-accounts", Some(&token), &[], Some(account)).await;
        assert_eq!(account.status, StatusCode::CREATED, "{}", account.body);
        let claims = self.app.tokens.check(&token, self.app.clock.now()).expect("a valid token");
        Customer { id: registered.id(), email, session_id: claims.sid, token, bank_account_id: account.id() }
    }

    /// Somebody who has a role, for long enough to approve something.
    pub(crate) async fn staff(&self, role: Role) -> Customer {
        let staff = self.customer().await;
        self.give_role(staff.id, role).await;
        season(self, staff.id).await;
        staff
    }

    /// A customer whose wallet holds `amount` already.
    pub(crate) async fn customer_with(&self, amount: i64) -> Customer {
        let customer = self.customer().await;
        let deposit = self.deposit(&customer, amount, "first").await;
        self.pay(&deposit).await;
        assert_eq!(self.balance(&customer).await, (amount, 0, amount));
        customer
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.send(Method::POST, "/v1/auth/login", None, &[], Some(json!({"email": email, "password": password}))).await
    }

    pub(crate) async fn get(&self, customer: &Customer, path: &str) -> Answer {
        self.send(Method::GET, path, Some(&self.token(customer)), &[], None).await
    }

    pub(crate) async fn deposit(&self, customer: &Customer, amount: i64, key: &str) -> Answer {
        let body = json!({"amount": amount, "currency": "ZAR"});
        self.send(Method::POST, "/v1/deposits", Some(&self.token(customer)), &[("Idempotency-Key", key)], Some(body))
            .await
    }

    pub(crate) async fn withdraw(&self, customer: &Customer, amount: i64, key: &str) -> Answer {
        let body = json!({"amount": amount, "currency": "ZAR", "bank_account_id": customer.bank_account_id});
        self.send(Method::POST, "/v1/withdrawals", Some(&self.token(customer)), &[("Idempotency-Key", key)], Some(body))
            .await
    }

    /// A token that is valid now: tests move the clock by days.
    pub(crate) fn token(&self, customer: &Customer) -> String {
        self.app.tokens.sign(customer.id, customer.session_id, "user", self.app.clock.now())
    }

    /// After a long time, as everybody who calls has signed in again: a file that is written while it is sent asks whether the session goes on.
    pub(crate) async fn stay_signed_in(&self) {
        let until = self.app.clock.now() + TimeDelta::days(1);
        let kept = sqlx::query("update sessions set expires_at = $1 where expires_at < $1").bind(until);
        kept.execute(&self.app.db).await.expect("PostgreSQL answers");
    }

    /// One call over real HTTP.
    #[expect(clippy::too_many_arguments, reason = "these are the parts of an HTTP request")]
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// The payer pays at Revio, Revio tells us, we act.
    pub(crate) async fn pay(&self, deposit: &Answer) {
        self.sim.pay_purchase(self.purchase_of(deposit.id()), revio_sim::Pay::default()).expect("it can be paid");
        self.drive().await;
        assert_eq!(self.state(deposit.id()).await, "completed");
    }

    /// A signature by Revio's own key over these bytes, by the wrong scheme (PSS).
    pub(crate) fn sim_key_pss(&self, body: &[u8]) -> String {
        let der = WEBHOOK_KEY.lines().filter(|line| !line.starts_with("---")).collect::<String>();
        let der = BASE64_STANDARD.decode(der).expect("a PEM of ours");
        let pair = signature::RsaKeyPair::from_pkcs8(&der).expect("a key of ours");
        let mut signed = vec![0; pair.public_modulus_len()];
        pair.sign(&signature::RSA_PSS_SHA256, &SystemRandom::new(), body, &mut signed).expect("it signs");
        BASE64_STANDARD.encode(signed)
    }

    /// Revio's purchase of a deposit of ours.
    pub(crate) fn purchase_of(&self, deposit: Uuid) -> Uuid {
        only_id(&self.sim.purchases_by_reference(&deposit.to_string()))
    }

    pub(crate) fn payout_of(&self, withdrawal: Uuid) -> Uuid {
        only_id(&self.sim.payouts_by_reference(&withdrawal.to_string()))
    }

    /// Sends what Revio has to say and steps what is due, until nothing happens any more at this moment.
    pub(crate) async fn drive(&self) {
        for _ in 0..ROUNDS_MAX {
            let delivered = self.sim.deliver().await.len();
            let stepped = self.step().await;
            if delivered == 0 && stepped == 0 {
                return;
            }
        }
        panic!("not idle after {ROUNDS_MAX} rounds");
    }

    /// One round of the worker. How many rows were due.
    pub(crate) async fn step(&self) -> usize {
        let events = stepped(inbox::claim_due(&self.app, BATCH)).await.expect("events can be claimed");
        let deposits = stepped(deposits::claim_due(&self.app, BATCH)).await.expect("deposits can be claimed");
        let withdrawals = stepped(withdrawals::claim_due(&self.app, BATCH)).await.expect("withdrawals can be claimed");
        let reversals = reversals::step_due(&self.app, BATCH).await.expect("reversals can be claimed");
        let adjustments = adjustments::step_due(&self.app, BATCH).await.expect("adjustments can be claimed");
        let restrictions = restrictions::step_due(&self.app, BATCH).await.expect("restrictions can be claimed");
        let journals = journals::step_due(&self.app, BATCH).await.expect("journals can be claimed");
        let mails = self.send_mails().await;
        events + deposits + withdrawals + reversals + restrictions + adjustments + journals + mails
    }

    /// Sends what mails are due. How many there were.
    pub(crate) async fn send_mails(&self) -> usize {
        mails::step_due(&self.app, BATCH).await.expect("mails can be claimed")
    }

    /// Moves the time of the service and of Revio.
    pub(crate) fn advance(&self, by: TimeDelta) {
        self.app.clock.advance(by);
        self.sim.clock().advance(by.num_seconds());
    }

    pub(crate) async fn state(&self, id: Uuid) -> String {
        octoco::money::transactions::find(&self.app, id).await.expect("the row is there").state.name().to_owned()
    }

    pub(crate) async fn held_reason(&self, id: Uuid) -> Option<String> {
        octoco::money::transactions::find(&self.app, id).await.expect("the row is there").held.map(|held| held.reason)
    }

    /// Unfreezes or reopens a customer, as what two people agreed on does.
    pub(crate) async fn lift(&self, user: Uuid, kind: restrictions::Kind) {
        let mut tx = self.app.db.begin().await.expect("PostgreSQL answers");
        let begun = restrictions::begin_lifting(&self.app, &mut tx, &Actor::system(), (user, kind)).await;
        begun.expect("PostgreSQL answers");
        tx.commit().await.expect("PostgreSQL answers");
        restrictions::finish_lifting(&self.app, user).await.expect("the ledger answers");
        assert!(!restrictions::is_imposed(&self.app.db, user, kind).await.expect("PostgreSQL answers"));
    }

    /// Posted, pending and available, as the API tells them; the ledger is asked too and must say the same.
    pub(crate) async fn balance(&self, customer: &Customer) -> (i64, i64, i64) {
        let answer = self.get(customer, "/v1/balances").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let told = &answer.body["balances"][0];
        let number = |name: &str| told[name].as_i64().expect("an integer");
        let wallet = self.wallet(customer.id).await;
        let (posted, pending, available) = (number("posted"), number("pending"), number("available"));
        assert_eq!((posted, pending, available), (wallet.posted(), wallet.pending(), wallet.available()));
        (posted, pending, available)
    }

    pub(crate) async fn wallet(&self, user: Uuid) -> Balance {
        self.app.ledger.balance(Account::wallet(user, Currency::ZAR)).await.expect("the ledger answers")
    }

    pub(crate) async fn system_balance(&self, code: AccountCode) -> Balance {
        self.app.ledger.balance(self.app.ledger.system(code, Currency::ZAR)).await.expect("the ledger answers")
    }

    /// Ends every test: nothing is due now, nothing is held, and the ledger says of each wallet what its rows say.
    pub(crate) async fn finish(self) {
        let held: Vec<(Uuid, String)> = sqlx::query_as(
            "select id, held_reason from transactions where held_reason is not null
                             union all select id, held_reason from journals where held_reason is not null",
        )
        .fetch_all(&self.app.db)
        .await
        .expect("PostgreSQL answers");
        assert_eq!(held, [], "held without a test expecting it");
        self.finish_with_held().await;
    }

    /// The same where a test expects rows to be held. Everybody who registered is owed a mail: those are sent first.
    pub(crate) async fn finish_with_held(self) {
        while self.send_mails().await > 0 {}
        let now = self.app.clock.now();
        let due: i64 = sqlx::query_scalar(
            "select (select count(*) from transactions where due_at <= $1) + (select count(*) from webhook_logs where due_at <= $1)
                + (select count(*) from restrictions where due_at <= $1) + (select count(*) from journals where due_at <= $1)
                + (select count(*) from mails where due_at <= $1)",
        )
        .bind(now)
        .fetch_one(&self.app.db)
        .await
        .expect("PostgreSQL answers");
        assert_eq!(due, 0, "something is still due");
        self.assert_audit_holds().await;
        self.assert_books_balance().await;
        crate::journals::assert_rows_and_ledger_agree(&self).await;
        let orphans = self.assert_read_model_holds().await;
        assert_eq!(orphans, [], "transfers without a row");
    }

    /// The read model is brought up to date and then says what the ledger says, line by line and account by account; its debits
    /// are its credits. The transfers that have no row, each with that row's id.
    pub(crate) async fn assert_read_model_holds(&self) -> Vec<(Uuid, Uuid)> {
        projector::catch_up(&self.app).await.expect("the ledger can be copied");
        let report = projector::verify(&self.app).await.expect("the ledger can be read");
        assert_eq!(report.differences, [], "the read model and the ledger differ");
        assert_eq!(report.days, [], "days that are not the sums of their transfers");
        let unequal: i64 = sqlx::query_scalar(
            "select count(*) from (select from ledger_accounts group by currency
              having sum(debits_posted) <> sum(credits_posted) or sum(debits_pending) <> sum(credits_pending)) u",
        )
        .fetch_one(&self.app.db)
        .await
        .expect("PostgreSQL answers");
        assert_eq!(unequal, 0, "debits and credits of the read model");
        report.orphans
    }
}

fn new_rsa_private_key() -> String {
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).expect("the system gives random numbers");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("a fresh key can be written");
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der.as_ref()))
}

fn config(sim: &Sim, url: &str, webhook_key: &str, settings: &[(&str, &str)]) -> Config {
    let brand_id = revio_sim::BRAND_ID.to_string();
    let base_url = sim.base_url();
    let (redis_url, data_keys) = (environment("TEST_REDIS_URL"), keys::new_data_key("test"));
    let mut values = HashMap::from([
        ("PUBLIC_URL", url),
        // The test's own pool is used; the variable only has to be there.
        ("DATABASE_URL", "postgres://unused"),
        ("DATABASE_DURABILITY", "none"),
        // The databases of all tests share twenty connections, and a test may have many services.
        ("DATABASE_CONNECTIONS_MAX", "4"),
        ("REDIS_URL", redis_url.as_str()),
        ("TIGERBEETLE_ADDRESSES", "127.0.0.1:1"),
        ("REVIO_BASE_URL", base_url.as_str()),
        ("REVIO_API_KEY", revio_sim::TEST_KEY),
        ("REVIO_BRAND_ID", brand_id.as_str()),
        ("REVIO_CALL_SECS", "30"),
        ("REVIO_CALLS_PER_SECOND", "1000000"),
        ("RECONCILIATION_CALLS_PER_SECOND", "1000000"),
        ("OPEN_DEPOSITS_MAX", "1000"),
        ("REVIO_TEST_MODE", "true"),
        ("REVIO_WEBHOOK_PUBLIC_KEYS", webhook_key),
        ("JWT_PRIVATE_KEY", JWT_KEY.as_str()),
        ("DATA_KEYS", data_keys.as_str()),
        ("RATE_LIMITS", "off"),
        ("APPROVAL_THRESHOLDS", "off"),
        ("WITHDRAWAL_LIMITS", "off"),
    ]);
    values.extend(crate::second_factor::SWITCHED_OFF);
    values.extend(settings.iter().copied());
    let config = Config::from_source(&|name| Ok(values.get(name).map(|value| (*value).to_owned())));
    let prefix = format!("octoco:test:{}", Uuid::now_v7());
    let counting = Counting { prefix, answer: PATIENCE, connection: PATIENCE };
    Config { counting, list_deadline: LIST_DEADLINE, ..config.expect("the settings are complete") }
}

/// Serves until the test's runtime ends.
#[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
pub(crate) fn serve(listener: TcpListener, server: Server) {
    tokio::spawn(server.run(listener));
}

/// The answer to a call; the document must have foreseen it.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let mut response = client.execute(request).await.expect("the service answers");
    let (status, headers) = (response.status(), response.headers().clone());
    // What has no end is told by its beginning.
    let endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let text = match endless {
        true => String::from_utf8_lossy(&response.chunk().await.expect("it begins").expect("a beginning")).into_owned(),
        false => response.text().await.expect("the answer is whole"),
    };
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let answer = Answer { status, headers, body };
    contract::check(&method, &path, &answer);
    answer
}

fn only_id(objects: &[Value]) -> Uuid {
    assert_eq!(objects.len(), 1, "one object of Revio's, not {}", objects.len());
    objects[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}
