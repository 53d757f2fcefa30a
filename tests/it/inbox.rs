//! The webhook endpoint: what is believed, what is stored, what is answered.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use octoco::processes::server::Server;
use octoco::webhooks::refused;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Pay, Scope};
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, TestApp, answer, serve};

async fn post(t: &TestApp, body: Vec<u8>, signatures: &[&str]) -> Answer {
    // Each call a moment later: the log is read in order of time.
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let mut request = t.http.request(Method::POST, format!("{}/v1/webhooks/revio", t.url)).body(body);
    for signature in signatures {
        request = request.header("X-Signature", *signature);
    }
    answer(request).await
}

async fn verdicts(t: &TestApp) -> Vec<String> {
    sqlx::query_scalar("select verdict from webhook_logs order by received_at, id")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

#[sqlx::test]
async fn what_is_not_signed_by_revio_is_refused_and_moves_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    let event = t.sim.events().into_iter().find(|event| event.event_type == "purchase.paid").expect("raised");
    let (body, right) = (event.body.into_bytes(), event.signature);
    let newline = [body.as_slice(), b"\n"].concat();
    let other_key = t.sim.sign_other(&body);
    let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let reserialised = serde_json::to_vec(&value).expect("JSON");
    let dearer = String::from_utf8(body.clone()).expect("text").replace("5000", "9000").into_bytes();
    let pss = t.sim_key_pss(&body);
    let padded = format!("{right}=");
    let forgeries: [(Vec<u8>, Vec<&str>); 10] = [
        (reserialised, vec![&right]),
        (dearer, vec![&right]),
        (body.clone(), vec![&pss]),
        (body.clone(), vec![&padded]),
        (body.clone(), vec![]),
        (body.clone(), vec![&right, &right]),
        (body.clone(), vec![&other_key]),
        (newline, vec![&right]),
        (body.clone(), vec!["not base64!"]),
        (body.clone(), vec!["AAAA"]),
    ];
    for (bytes, signatures) in forgeries {
        let refused = post(&t, bytes, &signatures).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::UNAUTHORIZED, "bad_signature"), "{signatures:?}");
    }
    while t.send_mails().await > 0 {}
    assert_eq!(t.step().await, 0, "nothing to act on");
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    assert_eq!(verdicts(&t).await, ["bad_signature"; 10]);

    assert_eq!(post(&t, body.clone(), &[&right]).await.status, StatusCode::OK);
    assert_eq!(post(&t, body, &[&right]).await.status, StatusCode::OK, "seen before");
    assert_eq!(verdicts(&t).await[10..], ["accepted", "duplicate"]);
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_signed_event_that_means_nothing_to_us_is_kept_and_answered_200(db: PgPool) {
    let t = TestApp::new(db).await;
    let bodies = [
        json!({"type": "billing_template", "event_type": "x.y", "is_test": true}).to_string(),
        "not json".to_owned(),
        r#"{"type": "purchase", "event_type": "a\u0000b", "is_test": true}"#.to_owned(),
    ];
    for body in bodies {
        let signature = t.sim.sign(body.as_bytes());
        assert_eq!(post(&t, body.into_bytes(), &[&signature]).await.status, StatusCode::OK);
    }
    t.drive().await;
    let states: Vec<String> = sqlx::query_scalar("select distinct state from webhook_logs order by 1")
        .fetch_all(&t.app.db)
        .await
        .expect("answers");
    assert_eq!(states, ["dead", "ignored"], "what cannot be read is a dead letter");
    t.finish().await;
}

#[sqlx::test]
async fn an_event_of_the_other_mode_or_brand_is_foreign(db: PgPool) {
    let t = TestApp::new(db).await;
    for body in [
        json!({"type": "purchase", "event_type": "purchase.paid", "is_test": false, "id": uuid::Uuid::now_v7()}),
        json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true, "brand_id": uuid::Uuid::now_v7()}),
    ] {
        let body = body.to_string();
        let signature = t.sim.sign(body.as_bytes());
        assert_eq!(post(&t, body.into_bytes(), &[&signature]).await.status, StatusCode::OK);
    }
    assert_eq!(verdicts(&t).await, ["foreign", "foreign"]);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_huge_body_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let body = vec![b' '; 300 * 1024];
    let signature = t.sim.sign(&body);
    let refused = post(&t, body, &[&signature]).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"));
    assert_eq!(verdicts(&t).await.len(), 0);
    t.finish().await;
}

#[sqlx::test]
async fn an_event_that_fails_by_itself_waits_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.drive().await;
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Blank { status: 200 }));
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    for minutes in [0, 1, 5, 15] {
        t.drive().await;
        t.advance(TimeDelta::minutes(minutes));
    }
    t.drive().await;
    let dead: Vec<(String, String, i32)> =
        sqlx::query_as("select event_type, last_error, attempts from webhook_logs where state = 'dead'")
            .fetch_all(&t.app.db)
            .await
            .expect("answers");
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0].0.as_str(), dead[0].2), ("purchase.paid", 5));
    assert!(dead[0].1.contains("could not be read"), "{}", dead[0].1);
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn an_event_that_somebody_kept_is_stale(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    let event = t.sim.events().into_iter().find(|event| event.event_type == "purchase.paid").expect("raised");
    t.advance(TimeDelta::hours(36) + TimeDelta::minutes(26));
    assert_eq!(post(&t, event.body.clone().into_bytes(), &[&event.signature]).await.status, StatusCode::OK);
    assert_eq!(verdicts(&t).await, ["accepted"], "the last legal retry");
    sqlx::query("delete from webhook_logs").execute(&t.app.db).await.expect("PostgreSQL answers");
    t.advance(TimeDelta::hours(36));
    assert_eq!(post(&t, event.body.into_bytes(), &[&event.signature]).await.status, StatusCode::OK);
    assert_eq!(verdicts(&t).await, ["stale"]);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn an_old_event_that_comes_again_moves_nothing_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.fail_purchase(t.purchase_of(deposit.id())).expect("may fail");
    t.pay(&deposit).await;
    let old: Vec<_> = t.sim.events().into_iter().filter(|event| event.event_type != "purchase.paid").collect();
    assert!(old.len() >= 2, "created and failed");
    sqlx::query("delete from webhook_logs").execute(&t.app.db).await.expect("PostgreSQL answers");
    for event in old {
        assert_eq!(post(&t, event.body.into_bytes(), &[&event.signature]).await.status, StatusCode::OK);
    }
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn each_kind_of_bad_delivery_is_survived(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let kinds = [
        FaultKind::IgnoreAnswer,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::WrongKey,
        FaultKind::TamperedBody,
        FaultKind::NoSignature,
        FaultKind::OtherMode,
        FaultKind::UnknownEventType,
        FaultKind::NotJson,
        FaultKind::Missing,
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        let deposit = t.deposit(&customer, 1_000, &format!("k{index}")).await;
        t.drive().await;
        let told = format!("{kind:?}");
        t.sim.set_fault(Fault::next(1, Scope::Deliver, kind));
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
        for _ in 0..3 {
            t.drive().await;
            t.advance(TimeDelta::minutes(3));
        }
        t.drive().await;
        assert_eq!(t.state(deposit.id()).await, "completed", "{told}");
    }
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

#[sqlx::test]
async fn the_callback_has_a_key_of_its_own(db: PgPool) {
    let sim = revio_sim::start(revio_sim::Options::default()).await.expect("the simulator starts");
    let company_key = sim.company_public_key();
    let t = TestApp::with(db, &[("REVIO_COMPANY_PUBLIC_KEYS", &company_key)]).await;
    let body = json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true}).to_string();
    let callback = async |signature: String| {
        let request = t.http.post(format!("{}/v1/webhooks/revio/callback", t.url)).body(body.clone());
        answer(request.header("X-Signature", signature)).await.status
    };
    assert_eq!(callback(sim.sign_other(body.as_bytes())).await, StatusCode::OK);
    assert_eq!(callback(t.sim.sign(body.as_bytes())).await, StatusCode::UNAUTHORIZED, "the webhook's key");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_list_of_networks_keeps_strangers_out(db: PgPool) {
    let t =
        TestApp::with(db, &[("REVIO_ALLOWED_NETWORKS", "203.0.113.0/24"), ("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let body = json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true}).to_string();
    let signature = t.sim.sign(body.as_bytes());
    let from = async |address: &str| {
        let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body(body.clone());
        answer(request.header("X-Signature", &signature).header("X-Forwarded-For", address)).await.status
    };
    assert_eq!(from("198.51.100.7").await, StatusCode::FORBIDDEN);
    assert_eq!(from("198.51.100.7, 203.0.113.9").await, StatusCode::OK, "what stands left of it is anybody's word");
    t.drive().await;
    t.finish().await;
}

/// However a proxy writes an address, and wherever.
#[sqlx::test]
async fn revio_is_known_behind_every_kind_of_proxy(db: PgPool) {
    let networks = ("REVIO_ALLOWED_NETWORKS", "::ffff:203.0.113.0/120, 2001:db8::/32");
    let body = json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true}).to_string();
    for (setting, name, genuine, strange) in [
        ("x-forwarded-for", "X-Forwarded-For", "198.51.100.7, 203.0.113.7:51008", "203.0.113.7, 198.51.100.7:51008"),
        ("x-forwarded-for", "X-Forwarded-For", "::ffff:203.0.113.7", "::ffff:198.51.100.7"),
        ("x-forwarded-for", "X-Forwarded-For", "[2001:db8::1]:443", "[2001:db9::1]:443"),
        ("X-Real-IP", "X-Real-IP", "203.0.113.7", "198.51.100.7"),
        ("forwarded", "Forwarded", "for=\"[2001:db8::1]:443\";proto=https", "for=198.51.100.7"),
    ] {
        let settings = [networks, ("TRUSTED_PROXIES", "127.0.0.0/8"), ("CLIENT_ADDRESS_HEADER", setting)];
        let t = TestApp::with(db.clone(), &settings).await;
        let signature = t.sim.sign(body.as_bytes());
        let from = async |name: &str, address: &str| {
            let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body(body.clone());
            answer(request.header("X-Signature", &signature).header(name, address)).await.status
        };
        assert_eq!(from(name, genuine).await, StatusCode::OK, "{genuine}");
        assert_eq!(from(name, strange).await, StatusCode::FORBIDDEN, "{strange}");
        assert_eq!(from("X-Client-Ip", genuine).await, StatusCode::FORBIDDEN, "another header");
    }
}

/// The peer of a socket for both kinds is `::ffff:127.0.0.1`.
#[sqlx::test]
async fn a_proxy_is_trusted_on_a_socket_for_both_kinds_of_addresses(db: PgPool) {
    let networks = [("REVIO_ALLOWED_NETWORKS", "203.0.113.0/24"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let t = TestApp::with(db, &networks).await;
    let listener = TcpListener::bind("[::]:0").await.expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    serve(listener, Server::new(t.app.clone(), CancellationToken::new()));
    let request = t.http.post(format!("http://127.0.0.1:{port}/v1/webhooks/revio")).body("{}");
    let refused = answer(request.header("X-Forwarded-For", "203.0.113.7")).await;
    assert_eq!(refused.code(), "bad_signature", "let in, and judged by its signature");
    t.finish().await;
}

#[sqlx::test]
async fn a_flood_of_forgeries_is_counted_and_only_its_beginning_kept(db: PgPool) {
    let t = TestApp::with(db, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let flood = (0..300).map(async |index| {
        let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body("x".repeat(5_000));
        let from = format!("2001:db8:1:2::{index:x}");
        answer(request.header("X-Signature", "AAAA").header("X-Forwarded-For", from)).await.status
    });
    let answers = futures_util::future::join_all(flood).await;
    assert!(answers.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
    assert_eq!(verdicts(&t).await.len(), 60, "the first few of an hour");
    let written = async || -> Vec<(String, i64)> {
        refused::write_down(&t.app).await.expect("PostgreSQL answers");
        let rows = sqlx::query_as("select network, calls from refused_deliveries").fetch_all(&t.app.db).await;
        rows.expect("PostgreSQL answers")
    };
    assert_eq!(written().await, [("2001:db8:1:2::/64".to_owned(), 300)]);
    post(&t, b"{}".to_vec(), &["AAAA"]).await;
    let counted: i64 = written().await.iter().map(|(_, calls)| calls).sum();
    assert_eq!(counted, 301, "each once");
    t.advance(TimeDelta::days(31));
    assert!(!refused::prune(&t.app).await.expect("PostgreSQL answers"), "all of it at once");
    assert_eq!((verdicts(&t).await.len(), written().await.len()), (0, 0));
    t.finish().await;
}

/// As many as are kept of the same bytes, and how many of these hold them.
async fn kept(t: &TestApp, of: &str) -> (i64, i64) {
    let counted = format!("select count(*), count(content) from webhook_logs where {of}");
    sqlx::query_as(sqlx::AssertSqlSafe(counted)).fetch_one(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn the_same_bytes_are_kept_once_noted_a_few_times_and_then_counted(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, support) = (t.customer().await, t.staff(Role::Support).await);
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.pay(&deposit).await;
    let purchase = t.purchase_of(deposit.id());
    let event = t.sim.events().into_iter().find(|event| event.event_type == "purchase.paid").expect("raised");
    let foreign = json!({"type": "purchase", "event_type": "purchase.paid", "is_test": false, "id": purchase});
    let foreign = (foreign.to_string(), t.sim.sign(foreign.to_string().as_bytes()));
    let again = async |(body, signature): (&str, &str), calls: usize| {
        let one = async |_| {
            let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body(body.to_owned());
            answer(request.header("X-Signature", signature)).await.status
        };
        let answers = futures_util::future::join_all((0..calls).map(one)).await;
        assert!(answers.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
    };
    let paid = (event.body.as_str(), event.signature.as_str());
    for calls in [1, 2, 70, 1] {
        again(paid, calls).await;
        again((&foreign.0, &foreign.1), calls).await;
    }
    t.advance(TimeDelta::hours(80));
    again(paid, 20).await;
    assert_eq!(kept(&t, "verdict = 'duplicate'").await, (8, 0));
    assert_eq!(kept(&t, "verdict = 'foreign'").await, (8, 1));
    assert_eq!(kept(&t, "verdict = 'stale'").await, (0, 0), "they are the accepted one's");
    let listed = t.get(&support, &format!("/v1/admin/webhooks?object_id={purchase}&event_type=purchase.paid")).await;
    let listed = listed.body["data"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), 17, "each says what it is about");
    let repeats = |verdict: &str| {
        let of = listed.iter().filter(|row| row["verdict"] == verdict);
        of.filter_map(|row| row["repeats"].as_i64()).sum::<i64>()
    };
    assert_eq!((repeats("accepted"), repeats("foreign"), repeats("duplicate")), (94, 73, 0));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn who_forges_too_often_has_to_wait(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let forge = async || {
        let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body("{}");
        answer(request.header("X-Signature", "AAAA").header("X-Forwarded-For", "203.0.113.7")).await
    };
    // One more is allowed every other second: a slow machine gets through with some more than the thirty at once.
    let (started, mut told) = (Instant::now(), 0_u64);
    let refused = loop {
        let answer = forge().await;
        if answer.status != StatusCode::UNAUTHORIZED {
            break answer;
        }
        told += 1;
        assert!(told <= 31 + started.elapsed().as_secs() / 2, "{told} forgeries were judged");
    };
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(told >= 30, "{told} forgeries were judged");
    assert_eq!(verdicts(&t).await.len(), usize::try_from(told).expect("few"), "and fills the log no more");
    t.finish().await;
}

#[sqlx::test]
async fn staff_find_a_dead_letter_and_let_it_run_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, support) = (t.customer().await, t.staff(Role::Support).await);
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.drive().await;
    t.sim.set_fault(Fault::next(5, Scope::GetPurchase, FaultKind::Blank { status: 200 }));
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    sqlx::query("update transactions set due_at = null").execute(&t.app.db).await.expect("nobody else asks");
    for minutes in [0, 1, 5, 15, 0] {
        t.advance(TimeDelta::minutes(minutes));
        t.drive().await;
    }
    let listed = t.get(&support, "/v1/admin/webhooks?state=dead&event_type=purchase.paid").await;
    assert_eq!(listed.body["data"].as_array().expect("a list").len(), 1, "{}", listed.body);
    let id = listed.body["data"][0]["id"].as_str().expect("an id").to_owned();
    let shown = t.get(&support, &format!("/v1/admin/webhooks/{id}")).await;
    assert!(shown.body["last_error"].as_str().is_some_and(|error| error.contains("could not be read")));
    assert!(shown.body["body"].as_str().is_some_and(|body| body.contains("purchase.paid")));
    let path = format!("/v1/admin/webhooks/{id}/replay");
    let replayed = t.send(Method::POST, &path, Some(&t.token(&support)), &[], None).await;
    assert_eq!((replayed.status, &replayed.body["state"]), (StatusCode::ACCEPTED, &json!("pending")));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    let many = Some(json!({"ids": [id, customer.id]}));
    let again = t.send(Method::POST, "/v1/admin/webhooks/replay", Some(&t.token(&support)), &[], many).await;
    assert_eq!((&again.body["replayed"][0], &again.body["not_found"][0]), (&json!(id), &json!(customer.id)));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000), "running again moves nothing twice");
    let audited: i64 = sqlx::query_scalar("select count(*) from audit_log where action = 'webhook.replayed'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(audited, 2);
    t.finish().await;
}

#[sqlx::test]
async fn a_key_can_be_changed_without_losing_an_event(db: PgPool) {
    // Two keys are valid at once: another webhook's, and the one that signs.
    let other = revio_sim::start(revio_sim::Options::default()).await.expect("the simulator starts");
    let (old, new) = (other.register_webhook("http://127.0.0.1:1/"), other.register_webhook("http://127.0.0.1:1/2"));
    let both = format!("{}{}", old.public_key, new.public_key);
    let t = TestApp::with(db, &[("REVIO_WEBHOOK_PUBLIC_KEYS", &both)]).await;
    let body = json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true}).to_string();
    let signed = other.sign(body.as_bytes());
    assert_eq!(post(&t, body.clone().into_bytes(), &[&signed]).await.status, StatusCode::OK);
    let by_a_key_that_is_gone = t.sim.sign(body.as_bytes());
    assert_eq!(post(&t, body.into_bytes(), &[&by_a_key_that_is_gone]).await.status, StatusCode::UNAUTHORIZED);
    t.drive().await;
    t.finish().await;
}

/// An integrator's check: `octoco webhook verify`.
#[sqlx::test]
async fn the_command_line_verifies_a_signature(db: PgPool) {
    let t = TestApp::new(db).await;
    let (body, key) = (b"{\"a\": 1}", t.sim.register_webhook("http://127.0.0.1:1/").public_key);
    let file = std::env::temp_dir().join(format!("{}.pem", uuid::Uuid::now_v7()));
    std::fs::write(&file, key).expect("a temporary file");
    let verify = |body: &[u8], signature: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_octoco"))
            .args(["webhook", "verify", "--signature", signature, "--public-key"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary is built");
        child.stdin.take().expect("piped").write_all(body).expect("it reads");
        child.wait().expect("it ends").code()
    };
    let right = t.sim.sign(body);
    assert_eq!(verify(body, &right), Some(0));
    assert_eq!(verify(b"{\"a\": 2}", &right), Some(1));
    assert_eq!(verify(body, "AAAA"), Some(1));
    std::fs::remove_file(&file).expect("it is ours");
    t.finish().await;
}

#[sqlx::test]
async fn a_slash_at_the_end_of_the_address_makes_no_difference(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    let event = t.sim.events().into_iter().find(|event| event.event_type == "purchase.paid").expect("raised");
    let call = async |path: &str, signature: &str| {
        let request = t.http.post(format!("{}{path}", t.url)).body(event.body.clone());
        answer(request.header("X-Signature", signature)).await
    };
    for path in ["/v1/webhooks/revio/", "/v1/webhooks/revio/callback/"] {
        for signature in ["Zm9yZ2Vk", event.signature.as_str()] {
            let (with, without) = (call(path, signature).await, call(path.trim_end_matches('/'), signature).await);
            assert_eq!((with.status, with.code()), (without.status, without.code()), "{path}");
        }
    }
    assert_eq!(verdicts(&t).await.iter().filter(|verdict| *verdict == "accepted").count(), 1);
    let body = vec![b'x'; 200_000];
    let large = answer(t.http.post(format!("{}/v1/webhooks/revio/", t.url)).body(body)).await;
    assert_eq!(large.code(), "bad_signature", "as large as without the slash");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}
