//! Every code that a problem document can have, as `docs/problems.md` lists them: that page is the only list, and a test holds it
//! against [`crate::platform::error::Error::code`].

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Response, ResponseBuilder};

use crate::platform::error::{self, FieldError, Reason, Wrong};

const PAGE: &str = include_str!("../../docs/problems.md");

/// Why a 403 is answered, for examples.
const REASONS: [(&str, Reason); 4] = [
    ("forbidden", Reason::MissingPermission),
    ("email_not_verified", Reason::EmailNotVerified),
    ("totp_required", Reason::SecondFactorMissing),
    ("step_up_required", Reason::StepUpRequired),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub code: &'static str,
    pub status: u16,
    /// When it is answered; markdown.
    pub when: &'static str,
    /// What the caller can do; markdown.
    pub then: &'static str,
}

static CATALOGUE: LazyLock<Vec<Entry>> = LazyLock::new(|| PAGE.lines().filter_map(row).collect());

pub fn catalogue() -> &'static [Entry] {
    &CATALOGUE
}

/// With the status that it mostly has: of two the later one.
pub fn find(code: &str) -> Option<&'static Entry> {
    catalogue().iter().rfind(|entry| entry.code == code)
}

pub fn find_at(code: &str, status: u16) -> Option<&'static Entry> {
    catalogue().iter().find(|entry| entry.code == code && entry.status == status)
}

/// ``| `code` | status | when | what to do |``
fn row(line: &'static str) -> Option<Entry> {
    let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
    let code = cells.next()?.strip_suffix('`')?;
    let status = cells.next()?.parse().ok()?;
    Some(Entry { code, status, when: cells.next()?, then: cells.next()? })
}

impl Entry {
    pub fn example(&self) -> Value {
        let title = error::title(self.status);
        let detail = if self.when.is_empty() { title } else { self.when };
        let mut example = json!({
            "type": format!("https://api.example.com/problems/{}", self.code),
            "title": title, "status": self.status, "code": self.code, "detail": detail,
            "request_id": "0195563f-8e80-7c3a-9d0e-5b1f3a6c2e01",
        });
        match self.code {
            "invalid_request" => {
                example["errors"] = json!([FieldError::new("amount", Wrong::AtLeast(1))]);
                example["detail"] = json!("the request is not valid: amount must be greater than zero");
            }
            "too_many_open_deposits" => {
                example["open_deposits"] = json!(["0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00"]);
                example["limit"] = json!(1);
                example["used"] = json!(1);
                example["period"] = json!("open");
            }
            "insufficient_funds" | "limit_exceeded" | "account_frozen" => {
                example["transaction_id"] = json!("0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00");
            }
            "not_cancellable" => example["state"] = json!("completed"),
            "bank_account_exists" => example["bank_account_id"] = json!("0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00"),
            _ => {}
        }
        if let (403, Some((_, reason))) = (self.status, REASONS.iter().find(|(code, _)| *code == self.code)) {
            example["reason"] = json!(reason);
        }
        let more = match self.code {
            "forbidden" => json!({"permission": "held.resolve"}),
            "insufficient_funds" => json!({"available": 12_550, "currency": "ZAR"}),
            "limit_exceeded" => {
                json!({"currency": "ZAR", "limit": 100_000_000, "used": 99_000_000, "period": "24_hours",
                "resets_at": "2026-03-02T18:30:00Z"})
            }
            _ => json!({}),
        };
        example.as_object_mut().into_iter().for_each(|all| all.extend(more.as_object().cloned().unwrap_or_default()));
        example
    }
}

/// In the `responses(…)` of a route: it does something that can fail. Which codes follow from its parts (a body, an id, who may
/// call it) is worked out by `openapi`; a route names only those that are its own, in backquotes in a `description`.
pub struct Problems;

/// Where [`Problems`] leaves its mark for `openapi`, which puts the real statuses there instead.
pub const MARK: &str = "default";

impl utoipa::IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([(MARK.to_owned(), ResponseBuilder::new().description("a problem").build().into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_page_is_read_and_other_lines_are_not() {
        let entry = row("| `not_found` | 404 | it does not exist | |");
        assert_eq!(entry, Some(Entry { code: "not_found", status: 404, when: "it does not exist", then: "" }));
        for line in ["| code | status | when | what to do |", "|---|---|---|---|", "Every answer", "| `x` | soon | y |"]
        {
            assert_eq!(row(line), None, "{line}");
        }
        assert!(catalogue().len() >= 18);
    }
}
