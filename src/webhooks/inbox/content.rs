//! What a call held, besides the facts that we go by: its headers and the exact bytes that were signed. Revio's events repeat what we
//! told it of a customer (name, e-mail, account number), so this is encrypted at rest as bank details are, and shown redacted.

use serde_json::Value;
use uuid::Uuid;

use crate::platform::encryption::{CannotDecrypt, DataKeys, Encrypted};

/// Stands for what is not shown.
const HIDDEN: &str = "***";
const NAME_CHARS_MAX: usize = 40;
const WORD_CHARS_MAX: usize = 64;
/// What may be seen of a body: fields that are about the object and not about somebody, if they hold what such a field holds. Whatever
/// else there is, known today or not, is hidden.
const IDS: [&str; 6] = ["id", "reference", "brand_id", "company_id", "related_to_id", "webhook_id"];
const WORDS: [&str; 9] = [
    "type", "event_type", "status", "currency", "payment_type", "payment_method", "refund_availability", "code",
    "send_receipt",
];
const NUMBERS: [&str; 18] = [
    "amount", "total", "price", "quantity", "debt", "net_amount", "fee_amount", "pending_amount", "refundable_amount",
    "created_on", "updated_on", "paid_on", "remote_paid_on", "pending_unfreeze_on", "processing_time", "timestamp",
    "issued_on", "due",
];

pub struct Content {
    pub headers: Value,
    pub body: Vec<u8>,
}

/// The headers as a line of JSON, and behind it the bytes.
pub(super) fn encrypt(keys: &DataKeys, row: Uuid, headers: &Value, body: &[u8]) -> Result<Encrypted, CannotDecrypt> {
    keys.encrypt(row, &[headers.to_string().as_bytes(), b"\n", body].concat())
}

pub(super) fn decrypt(keys: &DataKeys, row: Uuid, encrypted: &Encrypted) -> Result<Content, CannotDecrypt> {
    let plain = keys.decrypt(row, encrypted)?;
    let end = plain.iter().position(|byte| *byte == b'\n').ok_or(CannotDecrypt)?;
    let (headers, body) = plain.split_at(end);
    let headers = serde_json::from_slice(headers).map_err(|_| CannotDecrypt)?;
    Ok(Content { headers, body: body.iter().skip(1).copied().collect() })
}

impl Content {
    /// The body as it came.
    pub fn whole(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body with what may be about somebody hidden.
    pub fn redacted(&self) -> String {
        serde_json::from_slice(&self.body).map_or_else(|_| HIDDEN.to_owned(), |body| redacted("", body).to_string())
    }
}

fn redacted(name: &str, value: Value) -> Value {
    let shown = match &value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(_) => NUMBERS.contains(&name),
        Value::String(text) => {
            let id = || IDS.contains(&name) && text.parse::<Uuid>().is_ok();
            let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_.".contains(&byte));
            id() || WORDS.contains(&name) && text.len() <= WORD_CHARS_MAX && word(text)
        }
        Value::Array(_) | Value::Object(_) => false,
    };
    match value {
        Value::Array(values) => values.into_iter().map(|value| redacted(name, value)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (plain_name(&name), redacted(&name, value))).collect()
        }
        value if shown => value,
        _ => HIDDEN.into(),
    }
}

/// The name of a field may be somebody's, too.
fn plain_name(name: &str) -> String {
    let plain = name.len() <= NAME_CHARS_MAX && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if plain { name.to_owned() } else { HIDDEN.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_body_only_what_is_about_nobody_is_shown() {
        let id = Uuid::from_u128(7).to_string();
        let body = json!({
            "id": id, "type": "payout", "event_type": "payout.success", "status": "success", "is_test": true, "due": 7,
            "reference": "Thandi Nkosi", "status_reason": "Thandi", "62001234567": 1, "code": "62001234567",
            "client": {"email": "a@example.com", "full_name": "Thandi Nkosi", "bank_account": "62001234567", "phone": 27110000000_i64,
                "street_address": "1 Long Street", "personal_code": 8001015009087_i64, "cc": ["b@example.com"]},
            "payment": {"amount": 500, "currency": "ZAR", "description": "for Thandi", "paid_on": null},
            "amount": "62001234567", "currency": ["62001234567"],
        });
        let content = Content { headers: Value::Null, body: body.to_string().into_bytes() };
        let shown: Value = serde_json::from_str(&content.redacted()).expect("JSON");
        for personal in ["Thandi", "6200", "example.com", "Long", "2711", "8001"] {
            assert!(!shown.to_string().contains(personal), "{personal} in {shown}");
        }
        assert_eq!(
            (&shown["id"], &shown["event_type"], &shown["status"]),
            (&json!(id), &json!("payout.success"), &json!("success"))
        );
        assert_eq!((&shown["payment"]["amount"], &shown["payment"]["currency"]), (&json!(500), &json!("ZAR")));
        assert_eq!(
            (&shown["client"]["full_name"], &shown["is_test"], &shown["due"]),
            (&json!("***"), &json!(true), &json!(7))
        );
        let text = Content { headers: Value::Null, body: b"Thandi Nkosi".to_vec() };
        assert_eq!(text.redacted(), HIDDEN);
    }

    #[test]
    fn what_is_encrypted_is_decrypted_to_the_byte_and_only_in_its_row() {
        let keys = DataKeys::parse(&crate::platform::keys::new_data_key("a")).expect("a key");
        let (row, headers, body) = (Uuid::from_u128(1), json!({"user-agent": "a\nb"}), b"{\n \"a\": 1}\n\xff");
        let encrypted = encrypt(&keys, row, &headers, body).expect("encrypted");
        let content = decrypt(&keys, row, &encrypted).expect("decrypted");
        assert_eq!((content.headers, content.body.as_slice()), (headers, body.as_slice()));
        assert!(decrypt(&keys, Uuid::from_u128(2), &encrypted).is_err());
    }
}
