//! The cursor of a list: where a page ended and which way to go on, signed with an HMAC under a key of its own. It works for
//! the caller, the filter and the order that it was made for and for nothing else, so it never shows a row that the caller
//! could not have asked for, and a changed one is refused instead of giving a wrong page.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::filter::Filter;
use super::sort::{Keyset, Sort};
use crate::platform::http::page::TotalIs;
use crate::platform::tokens::{Purpose, Tokens};

const MAC_BYTES: usize = 32;
/// Ours have some 300; longer ones are not even decoded.
const CHARS_MAX: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    Forwards,
    Backwards,
}

/// Strictly after, or strictly before, a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub way: Way,
    pub keyset: Keyset,
    /// As the first page was told, if it was.
    pub total: Option<(i64, TotalIs)>,
}

/// What a cursor belongs to.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    pub caller: Uuid,
    pub filter: &'a Filter,
    pub sort: &'a Sort,
}

impl Binding<'_> {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&(self.caller, self.filter, self.sort)).expect("a filter is plain data")
    }
}

impl Cursor {
    pub fn sign(&self, tokens: &Tokens, binding: Binding<'_>) -> String {
        let text = serde_json::to_vec(self).expect("a cursor is plain data");
        let mac = tokens.mac(Purpose::HistoryCursor, &[&text, &binding.bytes()]);
        BASE64_URL_SAFE_NO_PAD.encode([mac, text].concat())
    }

    /// # Errors
    /// What is wrong with it.
    pub fn verify(tokens: &Tokens, text: &str, binding: Binding<'_>) -> Result<Self, &'static str> {
        let foreign = "is not a cursor of this list: it goes with one caller, one filter and one sort";
        let bytes = if text.len() <= CHARS_MAX { BASE64_URL_SAFE_NO_PAD.decode(text).ok() } else { None };
        let bytes = bytes.ok_or(foreign)?;
        let (mac, text) = bytes.split_first_chunk::<MAC_BYTES>().ok_or(foreign)?;
        if !tokens.verify_mac(Purpose::HistoryCursor, &[text, &binding.bytes()], mac) {
            return Err(foreign);
        }
        serde_json::from_slice(text).map_err(|_| foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::{history::filter::Scope, history::sort::Value};

    #[test]
    fn a_cursor_works_for_its_caller_its_filter_and_its_order_only() {
        let tokens = Tokens::new(&crate::platform::keys::new_jwt_private_key(), "a").expect("a fresh key is usable");
        let (caller, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (filter, sort) = (Filter::of(Scope::Own(caller)), Sort::parse(Some("amount")).expect("an order"));
        let keyset = Keyset { values: vec![Value::Minor(7)], id: Uuid::from_u128(9) };
        let cursor = Cursor { way: Way::Forwards, keyset, total: Some((3, TotalIs::Exact)) };
        let own = Binding { caller, filter: &filter, sort: &sort };
        let text = cursor.sign(&tokens, own);
        assert_eq!(Cursor::verify(&tokens, &text, own), Ok(cursor));

        let narrower = Filter { amount_min: Some(1), ..filter.clone() };
        let otherwise = Sort::parse(Some("-amount")).expect("an order");
        for binding in [
            Binding { caller: other, ..own },
            Binding { filter: &narrower, ..own },
            Binding { sort: &otherwise, ..own },
        ] {
            assert!(Cursor::verify(&tokens, &text, binding).is_err());
        }
        let mut changed = BASE64_URL_SAFE_NO_PAD.decode(&text).expect("ours");
        for index in 0..changed.len() {
            changed[index] ^= 1;
            assert!(Cursor::verify(&tokens, &BASE64_URL_SAFE_NO_PAD.encode(&changed), own).is_err(), "byte {index}");
            changed[index] ^= 1;
        }
        for junk in ["", "AAAA", "ü", &"A".repeat(CHARS_MAX + 4)] {
            assert!(Cursor::verify(&tokens, junk, own).is_err());
        }
    }
}
