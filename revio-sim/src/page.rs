//! The hosted page at `/p/{id}/`: what a payer sees at the end of `checkout_url`, with buttons in place of cards. Mounted by
//! `server.rs`; needs no key, as the real one.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde_json::Value;
use uuid::Uuid;

use crate::errors::SimError;
use crate::purchases::Pay;
use crate::shared::Shared;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/p/{id}/", get(show)).route("/p/{id}/{action}/", post(act))
}

async fn show(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let view =
        Uuid::parse_str(&id).map_err(|_| SimError::NotFound).and_then(|id| shared.change(|world| world.open_page(id)));
    match view {
        Ok(view) => html(StatusCode::OK, &document(&view)),
        Err(_) => html(StatusCode::NOT_FOUND, &shell("Not found", "<p>No such purchase.</p>")),
    }
}

/// A button. The browser then goes where the purchase says; the redirect carries no evidence (DOC-S), so nothing is added to it.
async fn act(State(shared): State<Arc<Shared>>, Path((id, action)): Path<(String, String)>) -> Response {
    let done = Uuid::parse_str(&id).map_err(|_| SimError::NotFound).and_then(|id| perform(&shared, id, &action));
    match done {
        Ok(url) if url.is_empty() => Redirect::to(&format!("/p/{id}/")).into_response(),
        Ok(url) => Redirect::to(&url).into_response(),
        Err(error) => {
            let text = format!("<p>{}</p><p><a href=\"/p/{}/\">Back</a></p>", escape(&error.to_string()), escape(&id));
            html(StatusCode::CONFLICT, &shell("That did not work", &text))
        }
    }
}

fn perform(shared: &Shared, id: Uuid, action: &str) -> Result<String, SimError> {
    shared.change(|world| {
        let view = world.purchase_view(id, None).ok_or(SimError::NotFound)?;
        let target = |name: &str| view[name].as_str().unwrap_or_default().to_owned();
        let fee = fee(&view, world.settings.fee_basis_points);
        let payable = world.purchase_mut(id, None).is_some_and(|purchase| purchase.status.is_payable());
        if action != "leave" && !payable {
            return Err(SimError::Refused("this purchase can no longer be paid".to_owned()));
        }
        match action {
            "pay" => {
                world.pay_purchase(id, &Pay { fee, ..Pay::default() })?;
                Ok(target("success_redirect"))
            }
            "fail" => {
                world.fail_purchase(id, "insufficient_funds")?;
                Ok(target("failure_redirect"))
            }
            "fail-then-pay" => {
                world.fail_purchase(id, "do_not_honour")?;
                world.pay_purchase(id, &Pay { fee, ..Pay::default() })?;
                Ok(target("success_redirect"))
            }
            "slow" => {
                let secs = world.settings.slow_secs;
                world.begin_payment(id, Some(secs))?;
                Ok(target("success_redirect"))
            }
            // Leaving through `cancel_redirect` does not cancel the purchase: trap 9 of the provider notes.
            "leave" => Ok(target("cancel_redirect")),
            _ => Err(SimError::NotFound),
        }
    })
}

/// Rounded down; Revio's fees are unknown (?).
fn fee(view: &Value, basis_points: i64) -> i64 {
    view["purchase"]["total"].as_i64().unwrap_or(0).saturating_mul(basis_points) / 10_000
}

fn document(view: &Value) -> String {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let (id, status) = (text(&view["id"]), text(&view["status"]));
    let total = view["purchase"]["total"].as_i64().unwrap_or(0);
    let amount = format!("{} {}.{:02}", text(&view["purchase"]["currency"]), total / 100, total % 100);
    let items = view["purchase"]["products"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: String = items.iter().map(|item| format!("<li>{}</li>", text(&item["name"]))).collect();
    let payable = matches!(status.as_str(), "created" | "viewed" | "error" | "overdue");
    let buttons = if payable { buttons(&id) } else { way_back(view) };
    let note = match status.as_str() {
        "paid" => "Paid. Thank you.",
        "error" => "The last attempt failed. You can try again.",
        "pending_execute" => "Your bank is still working on it. Reload in a few seconds.",
        "expired" => "This link has expired.",
        "cancelled" => "This payment was cancelled.",
        _ => "",
    };
    let body = format!(
        "<p class=\"amount\">{amount}</p><ul>{names}</ul><p class=\"status\">Status: <b>{status}</b></p><p>{note}</p>{buttons}\
         <p class=\"small\">Reference {}<br>Purchase {id}</p>",
        text(&view["reference"]),
    );
    shell("Simulated Revio checkout", &body)
}

fn buttons(id: &str) -> String {
    let button = |(action, name, label, class): (&str, &str, &str, &str)| {
        format!(
            "<form method=\"post\" action=\"/p/{id}/{action}/\"><button id=\"{name}\" class=\"{class}\">{label}</button></form>"
        )
    };
    // The names are for browsers that are driven: they stay.
    [
        ("pay", "pay", "Pay", "main"),
        ("fail", "decline", "Decline", ""),
        ("fail-then-pay", "decline-then-pay", "Decline, then pay", ""),
        ("slow", "slow", "Slow (paid after a few seconds)", ""),
        ("leave", "cancel", "Cancel (go back without paying)", ""),
    ]
    .map(button)
    .concat()
}

/// Where nothing can be paid any more, back to the shop: with the redirect that says how it stands.
fn way_back(view: &Value) -> String {
    let redirect = match view["status"].as_str().unwrap_or_default() {
        "paid" | "cleared" | "settled" | "pending_execute" => "success_redirect",
        _ => "cancel_redirect",
    };
    match view[redirect].as_str().unwrap_or_default() {
        "" => String::new(),
        url => format!("<p><a id=\"back\" href=\"{}\">Back to the shop</a></p>", escape(url)),
    }
}

fn shell(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}\
         <p class=\"small\">No real money moves here.</p></main></body></html>\n"
    )
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;background:#f2f4f7;color:#1c2430;margin:0}\
main{max-width:26rem;margin:8vh auto;background:#fff;padding:2rem;border-radius:12px;box-shadow:0 2px 12px #0001}\
h1{font-size:1.1rem;color:#5a6575;margin:0 0 1rem}.amount{font-size:2rem;font-weight:600;margin:0}ul{padding-left:1.2rem}\
button{width:100%;padding:.7rem;margin:.25rem 0;border:1px solid #cbd2dc;border-radius:8px;background:#fff;font:inherit;cursor:pointer}\
button.main{background:#1463ff;border-color:#1463ff;color:#fff;font-weight:600}.small{font-size:.75rem;color:#8a94a3;word-break:break-all}";

fn html(status: StatusCode, document: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Html(document.to_owned())).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
