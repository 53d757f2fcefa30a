//! Where a payout goes, as far as Revio says so. It takes an e-mail or a bank account for the identity of a client (`docs/provider.md`, clients), so
//! that an answer may be of one that it knew before. Called by `payouts` before it executes a payout for the first time.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::lenient;

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Destination {
    #[serde(default, deserialize_with = "lenient")]
    bank_account: Option<SecretString>,
    #[serde(default, deserialize_with = "lenient")]
    bank_code: Option<SecretString>,
}

impl Destination {
    /// Whether it says in plain digits that the money goes elsewhere. What is left out, or masked, is no contradiction.
    pub fn is_other(&self, account_number: &str, branch_code: &str) -> bool {
        [(&self.bank_account, account_number), (&self.bank_code, branch_code)].into_iter().any(|(said, ours)| {
            let said = said.as_ref().and_then(|said| digits(said.expose_secret()));
            said.is_some_and(|said| digits(ours) != Some(said))
        })
    }
}

/// Written without spaces and leading zeros; `None` where anything else stands there.
fn digits(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|character| !character.is_whitespace() && *character != '-').collect();
    let is_number = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| plain.trim_start_matches('0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_in_digits_contradicts() {
        let said = |json: &str| serde_json::from_str::<Destination>(json).expect("lenient");
        for (json, is_other) in [
            ("{}", false),
            (r#"{"bank_account": "", "bank_code": null}"#, false),
            (r#"{"bank_account": "62-0012 345", "bank_code": "000250655"}"#, false),
            (r#"{"bank_account": "****2345", "bank_code": "FNB"}"#, false),
            (r#"{"bank_account": ["62"]}"#, false),
            (r#"{"bank_account": "62001234", "bank_code": "250655"}"#, true),
            (r#"{"bank_account": "620012345", "bank_code": "632005"}"#, true),
            (r#"{"bank_account": "0"}"#, true),
        ] {
            assert_eq!(said(json).is_other("620012345", "250655"), is_other, "{json}");
        }
        assert!(!format!("{:?}", said(r#"{"bank_account": "620012345"}"#)).contains("62001"), "it is in no log");
    }
}
