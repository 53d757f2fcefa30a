//! The control API under `/_sim/`: everything that `Sim` offers, over HTTP as JSON and without a key. For `./dev`, demos and
//! tests that run the binary. Mounted by `server.rs`; `main.rs` prints `endpoints()` in its help.

mod finance;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRef, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::errors::SimError;
use crate::faults::Fault;
use crate::overrides::Override;
use crate::payouts::PayoutOutcome;
use crate::purchases::Pay;
use crate::shared::Shared;
use crate::sim::Sim;
use crate::world::Totals;

/// Method and path, what it does.
pub fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENDPOINTS.into_iter().chain(finance::ENDPOINTS)
}

const ENDPOINTS: [(&str, &str); 29] = [
    ("GET /_sim/", "this list"),
    ("GET /_sim/status/", "base URL, time, seed, counts"),
    ("GET /_sim/purchases/?reference=R", "purchases by reference, oldest first"),
    ("GET /_sim/purchases/{id}/", "a purchase and its refunds and chargebacks"),
    ("POST /_sim/purchases/{id}/pay/", "{amount, currency, fee, marked_as_paid, method, force}, all optional"),
    ("POST /_sim/purchases/{id}/ACTION/", "view | fail | cancel | expire | complete_refund | fail_refund | clear"),
    ("POST /_sim/purchases/{id}/begin/", "{secs}: pending_execute, paid so many seconds later (without secs: never)"),
    (
        "POST /_sim/purchases/{id}/MOVE/",
        "refund | charge_back | reverse_charge_back with {amount}; without amount what is left",
    ),
    ("POST /_sim/purchases/{id}/settle/", "{fee}: settled, with this fee or the one to come"),
    ("POST /_sim/payments/{id}/fail/", "a refund, chargeback or reversal fails after its success"),
    ("GET /_sim/payouts/?reference=R", "payouts by reference, oldest first"),
    ("GET /_sim/payouts/{id}/", "a payout, and how often it was executed"),
    ("POST /_sim/payouts/{id}/settle/", "\"success\" | \"pending\" | {\"error\": {\"code\": C}}, from any status"),
    ("GET|PATCH /_sim/settings/", "the switches: error_shape, payouts, done_word, refunds, clock_skew_secs, …"),
    ("GET|POST|DELETE /_sim/faults/", "active faults; add {scope, when, kind, event_type}; clear"),
    (
        "GET|POST|DELETE /_sim/overrides/",
        "said in place of the truth: {target, status, pointer, value, remove}; clear (?target=T)",
    ),
    ("POST /_sim/balance/", "{currency, payout_balance}; null: nothing is checked"),
    ("GET /_sim/totals/?currency=ZAR", "a tally of test mode, counted at each movement; without currency of each"),
    ("GET /_sim/movements/", "every movement of money as it really was"),
    ("GET /_sim/calls/", "calls of the API with the status answered"),
    ("GET|POST /_sim/events/", "every event raised: body and signature; raise {id, event_type} about any object"),
    ("GET /_sim/deliveries/", "every request sent to a webhook, and what is waiting"),
    ("POST /_sim/deliver/", "manual mode: send what is due"),
    ("GET|POST /_sim/clock/", "the time; {advance: secs}"),
    ("GET|POST /_sim/webhooks/", "webhooks with public keys; register {callback} for all test events"),
    ("POST /_sim/webhooks/{id}/rotate/", "{old_key_for: N}: new key; N more deliveries with the old one"),
    ("GET /_sim/public_key/", "the company key (PEM)"),
    ("POST /_sim/sign/", "X-Signature for the raw body with the first webhook's key"),
    ("POST /_sim/sign_other/", "the same with the company key"),
];

pub(crate) fn router() -> Router<Arc<Shared>> {
    let below = Router::new()
        .route("/status/", get(status))
        .route("/purchases/", get(find_purchases).post(finance::stranger_purchase))
        .route("/purchases/{id}/", get(show_purchase))
        .route("/purchases/{id}/{action}/", post(act_on_purchase))
        .route("/payments/{id}/fail/", post(fail_payment))
        .route("/payouts/", get(find_payouts).post(finance::stranger_payout))
        .route("/payouts/{id}/", get(show_payout))
        .route("/payouts/{id}/settle/", post(settle_payout))
        .route("/settings/", get(show_settings).patch(change_settings))
        .route("/faults/", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/overrides/", get(list_overrides).post(add_override).delete(clear_overrides))
        .route("/balance/", post(set_balance))
        .route("/totals/", get(totals))
        .route("/movements/", get(movements))
        .route("/calls/", get(calls))
        .route("/events/", get(events).post(raise_event))
        .route("/deliveries/", get(deliveries))
        .route("/deliver/", post(deliver))
        .route("/clock/", get(show_clock).post(advance_clock))
        .route("/webhooks/", get(list_webhooks).post(register_webhook))
        .route("/webhooks/{id}/rotate/", post(rotate_key))
        .route("/public_key/", get(public_key))
        .route("/sign/", post(sign))
        .route("/sign_other/", post(sign_other))
        .merge(finance::router());
    Router::new().route("/_sim/", get(index)).nest("/_sim", below)
}

impl FromRef<Arc<Shared>> for Sim {
    fn from_ref(shared: &Arc<Shared>) -> Sim {
        Sim::of(Arc::clone(shared))
    }
}

type Answer = Result<Json<Value>, SimError>;

async fn index() -> Json<Value> {
    Json(endpoints().map(|(call, does)| json!({"call": call, "does": does})).collect())
}

async fn status(State(sim): State<Sim>, State(shared): State<Arc<Shared>>) -> Json<Value> {
    let (purchases, payouts) = shared.read(|world| (world.purchases.len(), world.payouts.len()));
    Json(json!({
        "base_url": sim.base_url(),
        "now": sim.clock().now(),
        "seed": shared.options.seed,
        "brand_id": shared.options.brand_id,
        "company_id": shared.options.company_id,
        "purchases": purchases,
        "payouts": payouts,
        "deliveries_waiting": sim.deliveries_waiting(),
        "active_faults": sim.active_faults().len(),
    }))
}

#[derive(Deserialize)]
struct ReferenceQuery {
    reference: String,
}

async fn find_purchases(State(sim): State<Sim>, Query(query): Query<ReferenceQuery>) -> Json<Value> {
    Json(sim.purchases_by_reference(&query.reference).into())
}

async fn show_purchase(State(sim): State<Sim>, Path(id): Path<Uuid>) -> Answer {
    let purchase = sim.purchase(id).ok_or(SimError::NotFound)?;
    Ok(Json(json!({"purchase": purchase, "payments": sim.payments_of(id)})))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Figures {
    amount: Option<i64>,
    fee: Option<i64>,
    secs: Option<i64>,
}

async fn act_on_purchase(State(sim): State<Sim>, Path((id, action)): Path<(Uuid, String)>, body: Bytes) -> Answer {
    match action.as_str() {
        "pay" => sim.pay_purchase(id, parse::<Pay>(&body)?)?,
        "begin" => sim.begin_payment(id, parse::<Figures>(&body)?.secs)?,
        "refund" => sim.refund_purchase(id, parse::<Figures>(&body)?.amount)?,
        "view" => sim.view_purchase(id)?,
        "fail" => sim.fail_purchase(id)?,
        "cancel" => sim.cancel_purchase(id)?,
        "expire" => sim.expire_purchase(id)?,
        "complete_refund" => sim.complete_refund(id)?,
        "fail_refund" => sim.fail_refund(id)?,
        "clear" => sim.clear_purchase(id)?,
        "settle" => sim.settle_purchase(id, parse::<Figures>(&body)?.fee)?,
        "charge_back" => match parse::<Figures>(&body)?.amount {
            Some(amount) => sim.charge_back_amount(id, amount).map(|_| ())?,
            None => sim.charge_back_purchase(id)?,
        },
        "reverse_charge_back" => match parse::<Figures>(&body)?.amount {
            Some(amount) => sim.reverse_charge_back_amount(id, amount).map(|_| ())?,
            None => sim.reverse_charge_back(id)?,
        },
        _ => return Err(SimError::NotFound),
    }
    sim.purchase(id).map(Json).ok_or(SimError::NotFound)
}

async fn fail_payment(State(sim): State<Sim>, Path(id): Path<Uuid>) -> Answer {
    sim.fail_payment(id)?;
    Ok(Json(json!(sim.movements_of(id))))
}

async fn find_payouts(State(sim): State<Sim>, Query(query): Query<ReferenceQuery>) -> Json<Value> {
    Json(sim.payouts_by_reference(&query.reference).into())
}

async fn show_payout(State(sim): State<Sim>, Path(id): Path<Uuid>) -> Answer {
    let payout = sim.payout(id).ok_or(SimError::NotFound)?;
    let (executions, refused) = sim.executions(id).unwrap_or_default();
    Ok(Json(json!({"payout": payout, "executions": executions, "executions_refused": refused})))
}

async fn settle_payout(State(sim): State<Sim>, Path(id): Path<Uuid>, body: Bytes) -> Answer {
    sim.settle_payout(id, parse::<PayoutOutcome>(&body)?)?;
    sim.payout(id).map(Json).ok_or(SimError::NotFound)
}

async fn show_settings(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.settings()))
}

/// Merges: what is not named stays.
async fn change_settings(State(sim): State<Sim>, body: Bytes) -> Answer {
    let mut settings = json!(sim.settings());
    for (name, value) in parse::<serde_json::Map<String, Value>>(&body)? {
        settings[&name] = value;
    }
    let settings = serde_json::from_value(settings).map_err(|error| SimError::Refused(error.to_string()))?;
    sim.set_settings(settings);
    Ok(Json(json!(sim.settings())))
}

async fn list_faults(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.active_faults()))
}

async fn add_fault(State(sim): State<Sim>, body: Bytes) -> Answer {
    let fault = parse::<Fault>(&body)?;
    fault.check().map_err(SimError::Refused)?;
    sim.set_fault(fault);
    Ok(Json(json!(sim.active_faults())))
}

async fn clear_faults(State(sim): State<Sim>) -> Json<Value> {
    sim.clear_faults();
    Json(json!([]))
}

async fn list_overrides(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.overrides()))
}

async fn add_override(State(sim): State<Sim>, body: Bytes) -> Answer {
    let new = parse::<Override>(&body)?;
    new.check().map_err(SimError::Refused)?;
    sim.set_override(new);
    Ok(Json(json!(sim.overrides())))
}

#[derive(Deserialize)]
struct TargetQuery {
    target: Option<String>,
}

async fn clear_overrides(State(sim): State<Sim>, Query(query): Query<TargetQuery>) -> Json<Value> {
    match query.target {
        Some(target) => sim.clear_overrides_of(target),
        None => sim.clear_overrides(),
    }
    Json(json!(sim.overrides()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalanceBody {
    currency: String,
    payout_balance: Option<i64>,
}

async fn set_balance(State(sim): State<Sim>, State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let wanted = parse::<BalanceBody>(&body)?;
    sim.set_balance(&wanted.currency, wanted.payout_balance);
    Ok(Json(shared.read(|world| world.balance_view(true))))
}

#[derive(Deserialize)]
struct CurrencyQuery {
    currency: Option<String>,
}

async fn totals(State(sim): State<Sim>, Query(query): Query<CurrencyQuery>) -> Json<Value> {
    let view = |totals: Totals| {
        let mut view = json!(totals);
        view["balance"] = totals.balance().into();
        view
    };
    let each = || sim.all_totals().into_iter().map(|(currency, totals)| (currency, view(totals))).collect();
    Json(query.currency.map_or_else(|| Value::Object(each()), |currency| view(sim.totals(&currency))))
}

async fn movements(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.movements()))
}

async fn calls(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.calls()))
}

async fn events(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.events()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventBody {
    id: Uuid,
    event_type: String,
}

async fn raise_event(State(sim): State<Sim>, body: Bytes) -> Answer {
    let wanted = parse::<EventBody>(&body)?;
    sim.raise_event(wanted.id, &wanted.event_type)?;
    Ok(Json(json!({"raised": wanted.event_type})))
}

async fn deliveries(State(sim): State<Sim>, State(shared): State<Arc<Shared>>) -> Json<Value> {
    let waiting = shared.read(|world| json!(world.outbox.waiting()));
    Json(json!({"sent": sim.delivery_log(), "waiting": waiting}))
}

async fn deliver(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.deliver().await))
}

async fn show_clock(State(sim): State<Sim>) -> Json<Value> {
    Json(json!({"now": sim.clock().now()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    advance: i64,
}

async fn advance_clock(State(sim): State<Sim>, State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    sim.clock().advance(parse::<ClockBody>(&body)?.advance);
    // So that the dispatcher sees at once what has become due.
    shared.wake.notify_one();
    Ok(Json(json!({"now": sim.clock().now()})))
}

async fn list_webhooks(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.webhooks()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    callback: String,
}

async fn register_webhook(State(sim): State<Sim>, body: Bytes) -> Answer {
    let callback = parse::<WebhookBody>(&body)?.callback;
    Ok(Json(json!(sim.register_webhook(&callback))))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RotateBody {
    old_key_for: u32,
}

async fn rotate_key(State(sim): State<Sim>, Path(id): Path<Uuid>, body: Bytes) -> Answer {
    Ok(Json(json!(sim.rotate_webhook_key(id, parse::<RotateBody>(&body)?.old_key_for)?)))
}

async fn public_key(State(sim): State<Sim>) -> Json<Value> {
    Json(sim.company_public_key().into())
}

async fn sign(State(sim): State<Sim>, body: Bytes) -> Json<Value> {
    Json(json!({"signature": sim.sign(&body)}))
}

async fn sign_other(State(sim): State<Sim>, body: Bytes) -> Json<Value> {
    Json(json!({"signature": sim.sign_other(&body)}))
}

/// An empty body is `{}`; the content type does not matter here.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SimError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SimError::Refused(error.to_string()))
}
