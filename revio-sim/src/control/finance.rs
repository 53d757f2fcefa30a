//! The part of the control API that moves money between Revio and the bank, changes what happened, and says what moved.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, parse};
use crate::errors::SimError;
use crate::shared::Shared;
use crate::sim::Sim;
use crate::statements::LineChange;
use crate::strangers::{Change, Stranger};
use crate::transfers::{BankLine, BankQuery, NewTransfer};

pub(super) const ENDPOINTS: [(&str, &str); 13] = [
    ("POST /_sim/purchases/", "{amount, currency, reference, fee, quiet}: one that somebody else made, paid"),
    ("POST /_sim/payouts/", "the same of a payout, executed"),
    (
        "POST /_sim/objects/{id}/change/",
        "{amount, currency, fee, quiet}: what a purchase or payout really is from now on",
    ),
    ("POST /_sim/objects/{id}/forget/", "GET answers 404 from now on"),
    (
        "GET|POST|DELETE /_sim/lines/",
        "what statements say of an object: {id, omit, twice, amount, fee, currency, status, reference}; clear",
    ),
    (
        "POST /_sim/settlements/",
        "{currency, amount, reference, arrives_in}: from the balance to the bank; without amount all",
    ),
    ("POST /_sim/top_ups/", "{currency, amount, reference, arrives_in}: from the bank to the balance"),
    ("POST /_sim/payout_balance_transfers/", "{currency, amount}: to the payout balance, inside of Revio"),
    ("GET /_sim/transfers/", "all of these"),
    ("POST /_sim/transfers/{id}/ACTION/", "arrive | return"),
    ("POST /_sim/reserve/", "{currency, amount}: held back from what is available"),
    ("POST /_sim/bank_lines/", "{currency, amount, reference, description}: anything else on the bank account"),
    ("GET /_sim/bank_statement/?currency=ZAR", "the bank's file; &from &to &unit=cents|rands &headings=plain|odd"),
];

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/objects/{id}/change/", post(change_object))
        .route("/objects/{id}/forget/", post(forget_object))
        .route("/lines/", get(list_lines).post(change_line).delete(clear_lines))
        .route("/settlements/", post(settle))
        .route("/top_ups/", post(top_up))
        .route("/payout_balance_transfers/", post(move_inside))
        .route("/transfers/", get(transfers))
        .route("/transfers/{id}/{action}/", post(act_on_transfer))
        .route("/reserve/", post(set_reserve))
        .route("/bank_lines/", post(add_bank_line))
        .route("/bank_statement/", get(bank_statement))
}

pub(super) async fn stranger_purchase(State(sim): State<Sim>, body: Bytes) -> Answer {
    let id = sim.stranger_purchase(&parse::<Stranger>(&body)?)?;
    sim.purchase(id).map(Json).ok_or(SimError::NotFound)
}

pub(super) async fn stranger_payout(State(sim): State<Sim>, body: Bytes) -> Answer {
    let id = sim.stranger_payout(&parse::<Stranger>(&body)?)?;
    sim.payout(id).map(Json).ok_or(SimError::NotFound)
}

async fn change_object(State(sim): State<Sim>, Path(id): Path<Uuid>, body: Bytes) -> Answer {
    sim.change_object(id, &parse::<Change>(&body)?)?;
    Ok(Json(json!(sim.movements_of(id))))
}

async fn forget_object(State(sim): State<Sim>, Path(id): Path<Uuid>) -> Answer {
    sim.forget_object(id)?;
    Ok(Json(json!({"forgotten": id})))
}

#[derive(Deserialize)]
struct LineBody {
    id: Uuid,
    #[serde(flatten)]
    change: LineChange,
}

async fn list_lines(State(sim): State<Sim>) -> Json<Value> {
    Json(json!(sim.line_changes()))
}

async fn change_line(State(sim): State<Sim>, body: Bytes) -> Answer {
    let LineBody { id, change } = parse(&body)?;
    sim.change_line(id, change);
    Ok(Json(json!(sim.line_changes())))
}

async fn clear_lines(State(sim): State<Sim>) -> Json<Value> {
    sim.clear_lines();
    Json(json!({}))
}

async fn settle(State(sim): State<Sim>, body: Bytes) -> Answer {
    let id = sim.settle_to_bank(&parse::<NewTransfer>(&body)?)?;
    sim.transfer(id).map(Json).ok_or(SimError::NotFound)
}

async fn top_up(State(sim): State<Sim>, body: Bytes) -> Answer {
    let id = sim.top_up(&parse::<NewTransfer>(&body)?)?;
    sim.transfer(id).map(Json).ok_or(SimError::NotFound)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SumBody {
    currency: String,
    amount: i64,
}

async fn move_inside(State(sim): State<Sim>, body: Bytes) -> Answer {
    let SumBody { currency, amount } = parse(&body)?;
    let id = sim.move_to_payout_balance(&currency, amount)?;
    sim.transfer(id).map(Json).ok_or(SimError::NotFound)
}

async fn transfers(State(sim): State<Sim>) -> Json<Value> {
    Json(sim.transfers().into())
}

async fn act_on_transfer(State(sim): State<Sim>, Path((id, action)): Path<(Uuid, String)>) -> Answer {
    match action.as_str() {
        "arrive" => sim.arrive(id)?,
        "return" => sim.return_transfer(id)?,
        _ => return Err(SimError::NotFound),
    }
    sim.transfer(id).map(Json).ok_or(SimError::NotFound)
}

async fn set_reserve(State(sim): State<Sim>, body: Bytes) -> Answer {
    let SumBody { currency, amount } = parse(&body)?;
    sim.set_reserve(&currency, amount);
    Ok(Json(sim.balance()))
}

async fn add_bank_line(State(sim): State<Sim>, body: Bytes) -> Answer {
    sim.add_bank_line(parse::<BankLine>(&body)?);
    Ok(Json(json!({"added": 1})))
}

async fn bank_statement(State(sim): State<Sim>, Query(query): Query<BankQuery>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], sim.bank_statement(&query))
}
