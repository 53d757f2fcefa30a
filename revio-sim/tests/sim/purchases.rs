//! Purchases and the shared manners of the API: keys, errors, slashes, the hosted page.

use revio_sim::{ErrorShape, LIVE_KEY, Pay, SimError};
use serde_json::{Value, json};

use crate::harness::{NOW, World, id_of, new_purchase};

#[tokio::test]
async fn a_new_purchase_has_the_observed_shape() {
    let world = World::new().await;
    let (status, body) = world.post("purchases/", new_purchase()).await;
    assert_eq!(status, 201);
    assert_eq!(body["purchase"]["products"][0]["quantity"], "1.0000");
    assert_eq!(body["purchase"]["products"][0]["tax_percent"], "0.00");
    assert_eq!(body["purchase"]["total"], 15000);
    assert_eq!(body["client"]["phone"], "", "blank, not null");
    assert_eq!(body["due"], NOW + 3600);
    assert_eq!(body["payment"], Value::Null);
    assert_eq!(body["is_test"], true);
    assert_eq!(body["status_history"], json!([{"status": "created", "timestamp": NOW}]));
    assert_eq!(body["checkout_url"], format!("{}/p/{}/", world.sim.origin(), id_of(&body)));
    for key in ["transaction_data", "refund_availability", "marked_as_paid", "issuer_details", "company_id", "order_id"]
    {
        assert!(body.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(world.get(&format!("purchases/{}/", id_of(&body))).await, body);
    world.sim.shutdown().await;
}

#[tokio::test]
async fn the_key_decides_the_mode_and_the_modes_do_not_see_each_other() {
    let world = World::new().await;
    let id = world.purchase().await;
    assert_eq!(world.call_live("GET", &format!("purchases/{id}/")).await.0, 404);
    let (_, live) = world.call_as(LIVE_KEY, "POST", "purchases/", Some(new_purchase())).await.unwrap();
    assert_eq!(live["is_test"], false);
    let (status, body) = world.call_as("wrong", "GET", "balance/", None).await.unwrap();
    assert_eq!((status, &body["__all__"][0]["code"]), (401, &json!("invalid_token")));
    let naked = world.http.get(format!("{}balance/", world.sim.base_url())).send().await.unwrap();
    assert_eq!(naked.status(), 401);
    assert_eq!(naked.json::<Value>().await.unwrap()["__all__"][0]["code"], "missing_authorization");
}

#[tokio::test]
async fn every_mistake_in_a_request_is_named() {
    let world = World::new().await;
    let (status, body) = world.post("purchases/", json!({})).await;
    assert_eq!(status, 400);
    for field in ["brand_id", "client", "purchase"] {
        assert_eq!(body[field][0]["code"], "required", "{body}");
    }
    let mut wrong = new_purchase();
    wrong["brand_id"] = json!("00000000-0000-4000-8000-000000000000");
    wrong["client"] = json!({});
    wrong["purchase"] = json!({"currency": "rand", "products": [{"name": "x", "price": 1.5}]});
    wrong["reference"] = "r".repeat(129).into();
    let (status, body) = world.post("purchases/", wrong.clone()).await;
    assert_eq!(status, 400);
    assert_eq!(body["brand_id"][0]["code"], "does_not_exist");
    assert_eq!(body["client.email"][0]["code"], "required");
    assert_eq!(body["purchase.currency"][0]["code"], "invalid_choice");
    assert_eq!(body["purchase.products.0.price"][0]["code"], "invalid");
    assert_eq!(body["reference"][0]["code"], "max_length");
    world.sim.set_error_shape(ErrorShape::Object);
    assert_eq!(world.post("purchases/", wrong.clone()).await.1["brand_id"]["code"], "does_not_exist");
    world.sim.set_error_shape(ErrorShape::Flat);
    assert_eq!(world.post("purchases/", wrong).await.1["code"], "does_not_exist");
}

#[tokio::test]
async fn paths_end_in_a_slash_and_nothing_can_be_listed() {
    let world = World::new().await;
    let id = world.purchase().await;
    assert_eq!(world.post("purchases", new_purchase()).await.0, 404);
    assert_eq!(world.call("GET", &format!("purchases/{id}"), None).await.0, 404);
    assert_eq!(world.call("GET", "purchases/", None).await.0, 405);
    assert_eq!(world.call("GET", "payouts/", None).await.0, 405);
    assert_eq!(world.call("GET", "purchases/nonsense/", None).await.0, 404);
    let key = world.get("public_key/").await;
    assert!(key.as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"), "a JSON string");
}

#[tokio::test]
async fn due_makes_it_overdue_or_with_due_strict_expired() {
    let world = World::new().await;
    let lax = world.purchase().await;
    let mut strict = new_purchase();
    strict["purchase"]["due_strict"] = true.into();
    strict["due"] = (NOW + 60).into();
    let strict = id_of(&world.post("purchases/", strict).await.1);
    world.advance(60);
    assert_eq!(world.status_of(strict).await, "created");
    world.advance(1);
    assert_eq!(world.status_of(strict).await, "expired");
    assert_eq!(world.status_of(lax).await, "created");
    world.advance(3600);
    assert_eq!(world.status_of(lax).await, "overdue");
    world.sim.pay_purchase(lax, Pay::default()).unwrap();
    assert_eq!(world.status_of(lax).await, "paid");
    assert_eq!(world.post(&format!("purchases/{strict}/cancel/"), json!({})).await.0, 400);
    world.sim.pay_purchase(strict, Pay::default()).unwrap();
    assert_eq!(world.status_of(strict).await, "paid", "an attempt may outlive the expiry");
}

#[tokio::test]
async fn paying_shows_the_payment_and_credits_the_balance_net_of_the_fee() {
    let world = World::new().await;
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay { fee: 435, ..Pay::default() }).unwrap();
    let body = world.get(&format!("purchases/{id}/")).await;
    assert_eq!(body["payment"]["amount"], 15000);
    assert_eq!(body["payment"]["net_amount"], 14565);
    assert_eq!(body["payment"]["is_outgoing"], false);
    assert_eq!(body["refundable_amount"], 15000);
    assert_eq!(world.get("balance/").await["ecommerce"][0]["available_balance"], 14565);
    assert_eq!(world.get("account/json/balance/").await["ZAR"]["balance"], 14565);
    let totals = world.sim.totals("ZAR");
    assert_eq!((totals.paid_in, totals.fees, totals.paid_in_count), (15000, 435, 1));
    assert!(matches!(world.sim.pay_purchase(id, Pay::default()), Err(SimError::Refused(_))));
}

#[tokio::test]
async fn a_purchase_may_be_paid_with_another_amount_or_currency() {
    let world = World::new().await;
    let id = world.purchase().await;
    let how = Pay { amount: Some(900), currency: Some("USD".to_owned()), ..Pay::default() };
    world.sim.pay_purchase(id, how).unwrap();
    let body = world.get(&format!("purchases/{id}/")).await;
    assert_eq!((&body["payment"]["amount"], &body["payment"]["currency"]), (&json!(900), &json!("USD")));
    assert_eq!(body["currency_conversion"]["original_currency"], "ZAR");
    assert_eq!(world.sim.totals("USD").paid_in, 900);
    assert_eq!(world.sim.totals("ZAR").paid_in, 0);
}

#[tokio::test]
async fn marked_as_paid_brings_no_money() {
    let world = World::new().await;
    let id = world.purchase().await;
    let (status, body) = world.post(&format!("purchases/{id}/mark_as_paid/"), json!({})).await;
    assert_eq!((status, &body["status"], &body["marked_as_paid"]), (200, &json!("paid"), &json!(true)));
    assert_eq!(world.sim.totals("ZAR").paid_in, 0);
}

#[tokio::test]
async fn a_cancelled_purchase_cannot_be_paid_unless_forced() {
    let world = World::new().await;
    let id = world.purchase().await;
    let (status, body) = world.post(&format!("purchases/{id}/cancel/"), json!({})).await;
    assert_eq!((status, &body["status"]), (200, &json!("cancelled")));
    assert_eq!(world.post(&format!("purchases/{id}/cancel/"), json!({})).await.0, 400);
    assert!(world.sim.pay_purchase(id, Pay::default()).is_err());
    world.sim.pay_purchase(id, Pay { force: true, ..Pay::default() }).unwrap();
    assert_eq!(world.status_of(id).await, "paid");
}

#[tokio::test]
async fn a_hold_is_captured_or_released() {
    let world = World::new().await;
    let mut held = new_purchase();
    held["skip_capture"] = true.into();
    let id = id_of(&world.post("purchases/", held.clone()).await.1);
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    assert_eq!((world.status_of(id).await.as_str(), world.sim.totals("ZAR").paid_in), ("hold", 0));
    let (status, body) = world.post(&format!("purchases/{id}/capture/"), json!({"amount": 9000})).await;
    assert_eq!((status, &body["status"], &body["payment"]["amount"]), (200, &json!("paid"), &json!(9000)));
    assert_eq!(world.sim.totals("ZAR").paid_in, 9000);
    let other = id_of(&world.post("purchases/", held).await.1);
    world.sim.pay_purchase(other, Pay::default()).unwrap();
    let (_, body) = world.post(&format!("purchases/{other}/release/"), json!({})).await;
    assert_eq!(body["status"], "released");
    assert_eq!(
        world.post(&format!("purchases/{other}/capture/"), json!({})).await.1["__all__"][0]["code"],
        "purchase_capture_error"
    );
}

#[tokio::test]
async fn the_hosted_page_pays_fails_and_redirects() {
    let world = World::new().await;
    let mut wanted = new_purchase();
    wanted["success_redirect"] = "https://shop.test/ok".into();
    wanted["cancel_redirect"] = "https://shop.test/back".into();
    let body = world.post("purchases/", wanted).await.1;
    let (id, url) = (id_of(&body), body["checkout_url"].as_str().unwrap().to_owned());
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let page = browser.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("ZAR 150.00") && page.contains("order-1"));
    assert_eq!(world.status_of(id).await, "viewed");
    let click = async |action: &str| {
        let response = browser.post(format!("{url}{action}/")).send().await.unwrap();
        let to = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (response.status().as_u16(), to.unwrap_or_default())
    };
    assert_eq!(click("leave").await, (303, "https://shop.test/back".to_owned()));
    assert_eq!(world.status_of(id).await, "viewed", "leaving does not cancel");
    assert_eq!(click("fail").await, (303, format!("/p/{id}/")));
    assert_eq!(world.status_of(id).await, "error");
    assert_eq!(click("slow").await, (303, "https://shop.test/ok".to_owned()));
    assert_eq!(world.status_of(id).await, "pending_execute");
    world.advance(5);
    assert_eq!(world.status_of(id).await, "paid");
    assert_eq!(click("pay").await.0, 409);
    assert_eq!(world.sim.totals("ZAR").paid_in, 15000);
}

/// A click as a browser makes it: by the button's id, its form sent, the redirect not followed.
#[tokio::test]
async fn buttons_have_names_and_each_leads_back_to_the_shop() {
    let world = World::new().await;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut wanted = new_purchase();
    for (name, word) in
        [("success_redirect", "success"), ("failure_redirect", "failure"), ("cancel_redirect", "cancelled")]
    {
        wanted[name] = format!("https://shop.test/deposits/7?a=1&checkout={word}").into();
    }
    for (button, word, status) in
        [("pay", "success", "paid"), ("decline", "failure", "error"), ("cancel", "cancelled", "viewed")]
    {
        let body = world.post("purchases/", wanted.clone()).await.1;
        let (id, url) = (id_of(&body), body["checkout_url"].as_str().unwrap().to_owned());
        let page = browser.get(&url).send().await.unwrap().text().await.unwrap();
        let before = page.split(&format!("<button id=\"{button}\"")).next().filter(|before| *before != page).unwrap();
        let action = before.rsplit("action=\"").next().unwrap().split('"').next().unwrap();
        let answer = browser.post(format!("{}{action}", world.sim.origin())).send().await.unwrap();
        let to = answer.headers()["location"].to_str().unwrap();
        assert_eq!(
            (answer.status().as_u16(), to),
            (303, format!("https://shop.test/deposits/7?a=1&checkout={word}").as_str())
        );
        assert_eq!(world.status_of(id).await, status);
    }
    let body = world.post("purchases/", wanted).await.1;
    let (id, url) = (id_of(&body), body["checkout_url"].as_str().unwrap().to_owned());
    assert_eq!(world.post(&format!("purchases/{id}/cancel/"), json!({})).await.1["status"], "cancelled");
    let page = browser.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("<button") && page.contains("This payment was cancelled."));
    assert!(page.contains("id=\"back\" href=\"https://shop.test/deposits/7?a=1&amp;checkout=cancelled\""), "{page}");
    assert_eq!(world.post(&format!("purchases/{id}/cancel/"), json!({})).await.0, 400);
    assert!(matches!(world.sim.pay_purchase(id, Pay::default()), Err(SimError::Refused(_))));
}

#[tokio::test]
async fn html_in_a_request_stays_text_on_the_page() {
    let world = World::new().await;
    let mut wanted = new_purchase();
    wanted["reference"] = "<script>alert(1)</script>".into();
    let body = world.post("purchases/", wanted).await.1;
    let page = world.http.get(body["checkout_url"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
}
