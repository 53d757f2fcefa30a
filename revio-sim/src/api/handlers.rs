//! The handlers of the API: read the request, call the world once, answer. Routed by `api.rs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Payload;
use crate::errors::ApiError;
use crate::fields::{At, Checker};
use crate::purchases::Pay;
use crate::shared::Shared;
use crate::world::{Caller, Effect, World};

type Shr = State<Arc<Shared>>;
type Answer = Result<Json<Value>, ApiError>;

pub(super) async fn create_purchase(
    State(shared): Shr,
    caller: Caller,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let view = tell(&shared, |world| match caller.struck.late_secs {
        Some(secs) => world.postpone(secs, Effect::CreatePurchase(caller, body)),
        None => world.create_purchase(&caller, &body),
    })?;
    Ok((StatusCode::CREATED, view))
}

pub(super) async fn get_purchase(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    read(&shared, id, |world| world.read_purchase(id, &caller))
}

pub(super) async fn cancel_purchase(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    tell(&shared, |world| match caller.struck.late_secs {
        Some(secs) => world.postpone(secs, Effect::CancelPurchase(id)),
        None => world.cancel_purchase(id, Some(caller.is_test)),
    })
}

pub(super) async fn refund_purchase(
    State(shared): Shr,
    caller: Caller,
    Path(id): Path<String>,
    Payload(body): Payload,
) -> Answer {
    let id = parse_id(&id)?;
    tell(&shared, |world| {
        let amount = amount_of(&body)?;
        world.refund_purchase(id, Some(caller.is_test), amount)
    })
}

pub(super) async fn capture_purchase(
    State(shared): Shr,
    caller: Caller,
    Path(id): Path<String>,
    Payload(body): Payload,
) -> Answer {
    let id = parse_id(&id)?;
    tell(&shared, |world| {
        let amount = amount_of(&body)?;
        world.capture(id, caller.is_test, amount)
    })
}

pub(super) async fn release_purchase(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    tell(&shared, |world| world.release(id, caller.is_test))
}

/// An operator's button, and whatever holds the key: no money arrives.
pub(super) async fn mark_as_paid(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    tell(&shared, |world| {
        world.purchase_view(id, Some(caller.is_test)).ok_or_else(ApiError::not_found)?;
        let how = Pay { marked_as_paid: true, ..Pay::default() };
        world
            .pay_purchase(id, &how)
            .map_err(|_| ApiError::refused("purchase_already_paid_for", "The purchase cannot be marked as paid."))?;
        world.purchase_view(id, None).ok_or_else(ApiError::not_found)
    })
}

pub(super) async fn create_payout(
    State(shared): Shr,
    caller: Caller,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let view = tell(&shared, |world| match caller.struck.late_secs {
        Some(secs) => world.postpone(secs, Effect::CreatePayout(caller, body)),
        None => world.create_payout(&caller, &body),
    })?;
    Ok((StatusCode::CREATED, view))
}

pub(super) async fn get_payout(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    read(&shared, id, |world| world.read_payout(id, &caller))
}

/// Any JSON object is a good body: what a bank payout must send is unknown (?).
pub(super) async fn execute_payout(
    State(shared): Shr,
    caller: Caller,
    Path(token): Path<String>,
    Payload(_): Payload,
) -> Answer {
    let token = parse_id(&token)?;
    tell(&shared, |world| match caller.struck.late_secs {
        Some(secs) => world.postpone(secs, Effect::ExecutePayout(token)),
        None => world.execute_payout(token, caller.is_test),
    })
}

/// Not known to exist (?): 404 unless it is switched on.
pub(super) async fn get_payment(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    read(&shared, id, |world| world.payment_view(id, Some(caller.is_test)).filter(|_| world.settings.payment_reads))
}

#[derive(Deserialize)]
pub(super) struct MethodsQuery {
    brand_id: Option<String>,
    currency: Option<String>,
}

impl MethodsQuery {
    fn check(self, brand: Uuid) -> Result<(), ApiError> {
        let mut query = Map::new();
        let given = [("brand_id", self.brand_id), ("currency", self.currency)];
        query.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))));
        let mut checker = Checker::default();
        let at = At { object: &query, path: "" };
        checker.brand(&at, brand);
        if checker.currency(&at).is_none() && !query.contains_key("currency") {
            checker.required(&at, "currency");
        }
        checker.finish(())
    }
}

/// Which methods Revio really offers depends on the account; these names were seen in public code.
pub(super) async fn payment_methods(State(shared): Shr, _: Caller, Query(query): Query<MethodsQuery>) -> Answer {
    shared.show(|world| query.check(world.brand_id))?;
    let methods = ["visa", "mastercard", "maestro", "ozow", "capitec_pay", "eft"];
    Ok(Json(json!({
        "available_payment_methods": methods,
        "by_country": {"any": methods},
        "country_names": {"any": "Other"},
        "names": {"visa": "Visa", "mastercard": "Mastercard", "maestro": "Maestro", "ozow": "Ozow", "capitec_pay": "Capitec Pay", "eft": "EFT"},
        "logos": {},
        "card_methods": ["visa", "mastercard", "maestro"],
    })))
}

/// Whether a bank rail exists under this name is the biggest unknown of all (?).
pub(super) async fn payout_methods(State(shared): Shr, _: Caller, Query(query): Query<MethodsQuery>) -> Answer {
    shared.show(|world| query.check(world.brand_id))?;
    Ok(Json(json!({
        "available_payout_methods": ["bank_transfer"],
        "names": {"bank_transfer": "Bank transfer"},
        "logos": {},
        "card_methods": [],
    })))
}

pub(super) async fn list_webhooks(State(shared): Shr, caller: Caller) -> Json<Value> {
    Json(page(shared.read(|world| world.webhook_views(caller.is_test))))
}

pub(super) async fn create_webhook(
    State(shared): Shr,
    caller: Caller,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let keys = Arc::clone(&shared);
    let made = tokio::task::spawn_blocking(move || keys.fresh_webhook_key()).await;
    let key = made.map_err(|_| ApiError::of(StatusCode::INTERNAL_SERVER_ERROR, "error", "No key could be made."))?;
    let view = shared.serve(|world| world.create_webhook(caller.is_test, &body, key))?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn get_webhook(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Answer {
    let id = parse_id(&id)?;
    Ok(Json(shared.show(|world| world.webhook_view(id, caller.is_test))?))
}

pub(super) async fn put_webhook(
    State(shared): Shr,
    caller: Caller,
    Path(id): Path<String>,
    Payload(body): Payload,
) -> Answer {
    let id = parse_id(&id)?;
    Ok(Json(shared.serve(|world| world.update_webhook((id, caller.is_test), &body, false))?))
}

pub(super) async fn patch_webhook(
    State(shared): Shr,
    caller: Caller,
    Path(id): Path<String>,
    Payload(body): Payload,
) -> Answer {
    let id = parse_id(&id)?;
    Ok(Json(shared.serve(|world| world.update_webhook((id, caller.is_test), &body, true))?))
}

pub(super) async fn delete_webhook(
    State(shared): Shr,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = parse_id(&id)?;
    shared.serve(|world| world.delete_webhook(id, caller.is_test))?;
    Ok(StatusCode::NO_CONTENT)
}

/// An attempt log that one integrator mentions and no specification has (?).
pub(super) async fn list_deliveries(State(shared): Shr, _: Caller) -> Json<Value> {
    Json(page(shared.reports().into_iter().map(|report| json!(report)).collect()))
}

/// A JSON string that holds a PEM: escaped newlines and all (CODE).
pub(super) async fn public_key(State(shared): Shr, _: Caller) -> Json<String> {
    Json(shared.change(|world| world.company_key().public_pem().to_owned()))
}

pub(super) async fn balance(State(shared): Shr, caller: Caller) -> Json<Value> {
    Json(shared.read(|world| world.balance_view(caller.is_test)))
}

pub(super) async fn account_balance(State(shared): Shr, caller: Caller) -> Json<Value> {
    Json(shared.read(|world| world.account_view(caller.is_test)))
}

/// Changes something and answers with an object, as the overrides have it.
fn tell(shared: &Shared, act: impl FnOnce(&mut World) -> Result<Value, ApiError>) -> Answer {
    shared.serve(|world| act(world).map(|view| Json(world.told(view))))
}

fn read(shared: &Shared, id: Uuid, look: impl FnOnce(&mut World) -> Option<Value>) -> Answer {
    shared.show(|world| {
        let view = look(world).filter(|_| !world.forgotten.contains(&id));
        view.map(|view| Json(world.told(view))).ok_or_else(ApiError::not_found)
    })
}

/// Everything fits on one page here.
pub(super) fn page(results: Vec<Value>) -> Value {
    json!({"results": results, "next": null, "previous": null})
}

fn amount_of(body: &Map<String, Value>) -> Result<Option<i64>, ApiError> {
    let mut checker = Checker::default();
    let amount = checker.whole(&At { object: body, path: "" }, "amount");
    checker.finish(amount)
}

/// What is not a UUID is not found, as with Django's URL patterns.
pub(super) fn parse_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::not_found())
}
