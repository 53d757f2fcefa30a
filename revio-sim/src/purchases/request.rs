//! Reading `POST /purchases/`: validation, defaults, and the fields that every later answer echoes. Called by `arrows.rs`.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::errors::ApiError;
use crate::fields::{At, Checker};

/// A valid create request.
pub(super) struct NewPurchase {
    pub(super) reference: String,
    pub(super) currency: String,
    pub(super) total: i64,
    pub(super) due: Option<i64>,
    pub(super) due_strict: bool,
    pub(super) skip_capture: bool,
    pub(super) success_callback: String,
    pub(super) echo: Map<String, Value>,
}

/// Blank where nothing was sent, as the one real payload shows (RUN); the second column is the maximal length.
pub(crate) const CLIENT_TEXTS: [(&str, usize); 19] = [
    ("phone", 32),
    ("full_name", 128),
    ("personal_code", 32),
    ("street_address", 128),
    ("country", 2),
    ("city", 128),
    ("zip_code", 32),
    ("state", 128),
    ("shipping_street_address", 128),
    ("shipping_country", 2),
    ("shipping_city", 128),
    ("shipping_zip_code", 32),
    ("shipping_state", 128),
    ("bank_account", 34),
    ("bank_code", 11),
    ("legal_name", 128),
    ("brand_name", 128),
    ("registration_number", 32),
    ("tax_number", 32),
];

/// One plugin saw payments fail above this many items (CODE).
const PRODUCTS_MAX: usize = 100;

impl NewPurchase {
    pub(super) fn parse(body: &Map<String, Value>, brand: Uuid, company: Uuid) -> Result<NewPurchase, ApiError> {
        let mut checker = Checker::default();
        let top = At { object: body, path: "" };
        checker.brand(&top, brand);
        let client = parse_client(&mut checker, &top);
        let details = parse_details(&mut checker, &top);
        let mut echo = json!({
            "brand_id": brand,
            "company_id": company,
            "client": client,
            "purchase": details.view,
            "client_id": body.get("client_id").cloned(),
            "user_id": null,
            "issued": null,
            "product": "purchases",
            "platform": "api",
            "order_id": null,
            "invoice_url": null,
            "direct_post_url": null,
            "created_from_ip": "127.0.0.1",
            "billing_template_id": null,
            "is_recurring_token": false,
            "recurring_token": null,
            "issuer_details": issuer_details(),
            "payment_method_whitelist": checker.texts(&top, "payment_method_whitelist"),
            "force_recurring": checker.flag(&top, "force_recurring"),
            "send_receipt": checker.flag(&top, "send_receipt"),
            "creator_agent": checker.text(&top, "creator_agent", 32),
        });
        for name in ["success_redirect", "failure_redirect", "cancel_redirect"] {
            echo[name] = checker.url(&top, name).into();
        }
        let new = NewPurchase {
            reference: checker.text(&top, "reference", 128),
            currency: details.currency,
            total: details.total,
            due: checker.whole(&top, "due"),
            due_strict: details.due_strict,
            skip_capture: checker.flag(&top, "skip_capture"),
            success_callback: checker.url(&top, "success_callback"),
            echo: echo.as_object().cloned().unwrap_or_default(),
        };
        checker.finish(new)
    }
}

/// `client` with its e-mail, or a `client_id`. Clients as objects of their own are not simulated: any id is taken.
fn parse_client(checker: &mut Checker, top: &At) -> Value {
    let Some(client) = checker.object(top, "client") else {
        if !top.object.contains_key("client_id") {
            checker.required(top, "client");
        }
        return json!({});
    };
    client_view(checker, &At { object: client, path: "client." })
}

/// Also the client of a payout.
pub(crate) fn client_view(checker: &mut Checker, at: &At) -> Value {
    let mut view = json!({"cc": [], "bcc": [], "client_type": null, "email": checker.email(at)});
    for (name, chars_max) in CLIENT_TEXTS {
        view[name] = checker.text(at, name, chars_max).into();
    }
    view
}

#[derive(Default)]
struct Details {
    view: Value,
    currency: String,
    total: i64,
    due_strict: bool,
}

fn parse_details(checker: &mut Checker, top: &At) -> Details {
    let Some(purchase) = checker.object(top, "purchase") else {
        if !matches!(top.object.get("purchase"), Some(value) if !value.is_null()) {
            checker.required(top, "purchase");
        }
        return Details::default();
    };
    let at = At { object: purchase, path: "purchase." };
    let (products, sum) = parse_products(checker, &at);
    let total_override = checker.whole(&at, "total_override");
    let total = total_override.unwrap_or(sum);
    // The sister deployment's default; Revio's is unknown (?), so every client should send its own.
    let currency = checker.currency(&at).unwrap_or_else(|| "EUR".to_owned());
    let due_strict = checker.flag(&at, "due_strict");
    let view = json!({
        "currency": currency,
        "products": products,
        "total": total,
        "total_override": total_override,
        "subtotal_override": checker.whole(&at, "subtotal_override"),
        "total_tax_override": checker.whole(&at, "total_tax_override"),
        "total_discount_override": checker.whole(&at, "total_discount_override"),
        "debt": checker.whole(&at, "debt").unwrap_or(0),
        "notes": checker.text(&at, "notes", 10_000),
        "email_message": checker.text(&at, "email_message", 256),
        "language": or_default(checker.text(&at, "language", 2), "en"),
        "timezone": or_default(checker.text(&at, "timezone", 64), "UTC"),
        "due_strict": due_strict,
        "shipping_options": [],
        "payment_method_details": checker.object(&at, "payment_method_details").cloned().unwrap_or_default(),
        "request_client_details": checker.texts(&at, "request_client_details").unwrap_or_default(),
    });
    Details { view, currency, total, due_strict }
}

fn parse_products(checker: &mut Checker, at: &At) -> (Vec<Value>, i64) {
    let items = match at.object.get("products") {
        None | Some(Value::Null) => {
            checker.required(at, "products");
            return (Vec::new(), 0);
        }
        Some(Value::Array(items)) if (1..=PRODUCTS_MAX).contains(&items.len()) => items,
        Some(_) => {
            checker.complain(at, "products", "invalid", "Expected a list of 1 to 100 items.");
            return (Vec::new(), 0);
        }
    };
    let mut sum: i128 = 0;
    let mut views = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("purchase.products.{index}.");
        let Value::Object(product) = item else {
            checker.complain(at, "products", "invalid", "Invalid data. Expected a dictionary.");
            continue;
        };
        let (view, line) = parse_product(checker, &At { object: product, path: &path });
        views.push(view);
        sum += line;
    }
    let total = i64::try_from(sum).ok().filter(|total| *total >= 0);
    if total.is_none() {
        checker.complain(at, "products", "invalid", "The total is out of range.");
    }
    (views, total.unwrap_or(0))
}

/// Numbers come back as strings (RUN). How tax and discount enter the total is INF: `(price − discount) × quantity`, plus tax.
fn parse_product(checker: &mut Checker, at: &At) -> (Value, i128) {
    let name = checker.required_text(at, "name", 256);
    if !at.object.contains_key("price") {
        checker.required(at, "price");
    }
    let price = checker.whole(at, "price").unwrap_or(0);
    let discount = checker.whole(at, "discount").unwrap_or(0);
    let quantity = checker.decimal(at, "quantity", 4).unwrap_or(10_000);
    let tax = checker.decimal(at, "tax_percent", 2).unwrap_or(0);
    let net = i128::from(price - discount) * i128::from(quantity) / 10_000;
    let line = net + net * i128::from(tax) / 10_000;
    let view = json!({
        "name": name,
        "price": price,
        "discount": discount,
        "category": checker.text(at, "category", 256),
        "quantity": format!("{}.{:04}", quantity / 10_000, quantity % 10_000),
        "tax_percent": format!("{}.{:02}", tax / 100, tax % 100),
    });
    (view, line)
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn issuer_details() -> Value {
    json!({
        "website": "", "brand_name": "Simulated brand", "legal_city": "", "legal_name": "Simulated company", "tax_number": "",
        "bank_accounts": [{"bank_code": "", "bank_account": ""}], "legal_country": "ZA", "legal_zip_code": "",
        "registration_number": "", "legal_street_address": "",
    })
}
