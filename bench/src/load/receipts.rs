//! Webhooks that are ready to be sent: deposits that were asked for and paid, with Revio's word on each, signed. Made before the clock
//! runs, so that Revio's work is no part of the figure.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use octoco::app::App;
use octoco::platform::error::BoxError;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::client::{Client, Request};
use super::customers::Customers;
use super::http::Ask;
use super::revio::Revio;

const MAKERS: usize = 32;

pub(crate) async fn prepare(
    app: &App,
    (service, revio): (SocketAddr, &Revio),
    customers: &Customers,
    count: u64,
) -> Result<Arc<Ask>, BoxError> {
    let (next, tokens) = (Arc::new(AtomicU64::new(0)), customers.tokens());
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        let (next, tokens, app) = (Arc::clone(&next), Arc::clone(&tokens), app.clone());
        let (mut service, mut revio) = (Client::connect(service).await?, Client::connect(revio.address).await?);
        makers.spawn(async move {
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, BoxError>(made);
                }
                let token = &tokens[usize::try_from(number)? % tokens.len()];
                made.push(receipt(&app, (&mut service, &mut revio), token).await?);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(made) = makers.join_next().await {
        all.extend(made??);
    }
    let all = Mutex::new(all);
    Ok(Arc::new(move || all.lock().unwrap_or_else(PoisonError::into_inner).pop()))
}

/// A deposit is asked for and paid; what Revio would send then.
async fn receipt(app: &App, (service, revio): (&mut Client, &mut Client), token: &str) -> Result<Vec<u8>, BoxError> {
    let key = format!("Idempotency-Key: {}\r\n", Uuid::now_v7());
    let body = r#"{"amount":100,"currency":"ZAR"}"#;
    let deposit =
        answered(service, Request { method: "POST", path: "/v1/deposits", token, headers: &key, body }).await?;
    let link = deposit["checkout_url"].as_str().ok_or("a deposit without a link to pay by")?;
    not_asked_after(app, deposit["id"].as_str().unwrap_or_default().parse()?).await?;
    let purchase = link.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut paid = answered(revio, Request::to_simulator(&format!("/_sim/purchases/{purchase}/pay/"), "{}")).await?;
    paid["event_type"] = "purchase.paid".into();
    let body = paid.to_string();
    let signed = answered(revio, Request::to_simulator("/_sim/sign/", &body)).await?;
    let headers = format!("X-Signature: {}\r\n", signed["signature"].as_str().unwrap_or_default());
    Ok(Request { method: "POST", path: "/v1/webhooks/revio", token: "", headers: &headers, body: &body }.bytes())
}

/// By the worker, for as long as a run lasts: otherwise it would hear of the payment before the webhook is sent.
async fn not_asked_after(app: &App, deposit: Uuid) -> Result<(), BoxError> {
    let later = "update transactions set due_at = due_at + interval '2 hours' where id = $1";
    sqlx::query(later).bind(deposit).execute(&app.db).await?;
    Ok(())
}

async fn answered(client: &mut Client, request: Request<'_>) -> Result<Value, BoxError> {
    let answer = client.ask(&request.bytes()).await?;
    let body = String::from_utf8_lossy(answer.body);
    if answer.status >= 300 {
        return Err(format!("{} {}: {} {body}", request.method, request.path, answer.status).into());
    }
    Ok(serde_json::from_str(&body)?)
}
