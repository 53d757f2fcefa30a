//! The webhook endpoint: what is believed, what is stored, what is answered.

use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Pay, Scope};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, TestApp, answer};

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
    let forgeries: [(Vec<u8>, Vec<&str>); 6] = [
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
    assert_eq!(t.step().await, 0, "nothing to act on");
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    assert_eq!(verdicts(&t).await, ["bad_signature"; 6]);

    assert_eq!(post(&t, body.clone(), &[&right]).await.status, StatusCode::OK);
    assert_eq!(post(&t, body, &[&right]).await.status, StatusCode::OK, "seen before");
    assert_eq!(verdicts(&t).await[6..], ["accepted", "duplicate"]);
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_signed_event_that_means_nothing_to_us_is_kept_and_answered_200(db: PgPool) {
    let t = TestApp::new(db).await;
    let bodies = [
        json!({"type": "billing_template", "event_type": "x.y", "is_test": true}).to_string(),
        json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true, "id": uuid::Uuid::now_v7()})
            .to_string(),
        "not json".to_owned(),
        r#"{"type": "purchase", "event_type": "a\u0000b", "is_test": true}"#.to_owned(),
    ];
    for body in bodies {
        let signature = t.sim.sign(body.as_bytes());
        assert_eq!(post(&t, body.into_bytes(), &[&signature]).await.status, StatusCode::OK);
    }
    t.drive().await;
    let states: Vec<String> =
        sqlx::query_scalar("select distinct state from webhook_logs").fetch_all(&t.app.db).await.expect("answers");
    assert_eq!(states, ["ignored"]);
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
async fn an_event_waits_for_revio_and_then_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.drive().await;
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::BadGateway(Moment::Before)));
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
    assert!(dead[0].1.contains("502"), "{}", dead[0].1);
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.finish_with_held().await;
}
