//! What we call, for the OpenAPI document: its section `webhooks`, an entry for each kind of event.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::events::{BalanceEventData, CustomerEventData, EventType, TestEventData, TransactionEventData};

/// The schemas that the entries refer to.
#[derive(OpenApi)]
#[openapi(components(schemas(TransactionEventData, BalanceEventData, CustomerEventData, TestEventData)))]
pub struct Described;

pub fn described() -> Value {
    EventType::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), json!({"post": operation(*kind)})))
        .collect::<Map<_, _>>()
        .into()
}

fn operation(kind: EventType) -> Value {
    let (data, summary) = match kind.name().split('.').next() {
        Some("transaction") => ("TransactionEventData", "A transaction came into a state"),
        Some("balance") => ("BalanceEventData", "A wallet's balance changed"),
        Some("customer") => ("CustomerEventData", "Something happened to a customer"),
        _ => ("TestEventData", "Somebody wants to see whether it arrives"),
    };
    let id: String =
        kind.name().split(['.', '_']).map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
    let header = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "required": true, "description": description, "schema": schema});
    let message = json!({
        "type": "object",
        "required": ["id", "type", "created_at", "data"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "type": {"type": "string", "enum": [kind.name()]},
            "created_at": {"type": "string", "format": "date-time", "description": "When it happened"},
            "data": {"$ref": format!("#/components/schemas/{data}")},
        },
    });
    json!({
        "operationId": format!("on{id}"),
        "summary": summary,
        "description": "We call the endpoints that staff keep (`/v1/admin/webhook-endpoints`), with a signature as Standard Webhooks writes \
            it. Any 2xx within ten seconds is delivered; else it is tried again for three days. It may come more than once, and out of order.",
        "tags": ["our webhooks"],
        "security": [],
        "parameters": [
            header("webhook-id", "The event's `id`: the same each time that it is sent", json!({"type": "string", "format": "uuid"})),
            header("webhook-timestamp", "When it was sent, in Unix seconds", json!({"type": "string", "pattern": "^[0-9]+$"})),
            header("webhook-signature", "`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`; several with spaces while a \
                secret is being changed", json!({"type": "string", "pattern": "^v1,[0-9A-Za-z+/=]+( v1,[0-9A-Za-z+/=]+)*$"})),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": message}}},
        "responses": {
            "2XX": {"description": "Delivered"},
            "410": {"description": "Nobody listens here any more: the endpoint is disabled"},
        },
    })
}
