//! The problem document (RFC 9457): what every answer is that is no success. Made by [`super::Error`], completed with the request's id by
//! `processes/access_log.rs`.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{FieldError, Figures, Period, Reason, title};
use crate::platform::clock::DateTime;

/// RFC 9457 problem details, as every failure is answered.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem, and leads to a page about it: `<PUBLIC_URL>/problems/<code>`.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "https://api.example.com/problems/insufficient_funds")]
    pub kind: String,
    /// The same for every problem of this code.
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    #[schema(example = 422, minimum = 400, maximum = 599)]
    pub status: u16,
    /// Stable: program against this.
    #[schema(example = "insufficient_funds")]
    pub code: &'static str,
    /// For people.
    pub detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// With 403: which of the things that it can mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub reason: Option<Reason>,
    /// With the reason `missing_permission`: which; `docs/permissions.md` lists who has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "held.resolve")]
    pub permission: Option<&'static str>,
    /// The row that records the refusal, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<Uuid>,
    /// Of the amounts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ZAR")]
    pub currency: Option<String>,
    /// With `insufficient_funds`: what there was to withdraw, in minor units. It is missing where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
    /// With `limit_exceeded` in minor units, with `too_many_open_deposits` a count: the limit that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// How much of it was used already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<i64>,
    /// What the limit counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub period: Option<Period>,
    /// With `limit_exceeded`: when this amount fits, if nothing else is withdrawn; null when it is more than the limit ever allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime>)]
    pub resets_at: Option<Option<DateTime>>,
    /// With `too_many_open_deposits`: those that wait for their payment, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub open_deposits: Vec<Uuid>,
    /// With `not_cancellable`: the state that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "completed")]
    pub state: Option<&'static str>,
    /// With `bank_account_exists`: the one that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bank_account_id: Option<Uuid>,
    /// What to quote when asking for help; also in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    pub(super) fn new(code: &'static str, status: u16, detail: String) -> Self {
        Self {
            kind: format!("/problems/{code}"),
            title: title(status).to_owned(),
            status,
            code,
            detail,
            ..Self::default()
        }
    }

    pub(super) fn with_errors(self, errors: Vec<FieldError>) -> Self {
        let detail = match errors.first() {
            Some(first) => format!("{}: {} {}", self.detail, first.field, first.message),
            None => self.detail,
        };
        Self { detail, errors, ..self }
    }

    pub(super) fn with_figures(self, figures: Figures) -> Self {
        let Figures { currency, available, limit, used, period, resets_at } = figures;
        Self { currency, available, limit, used, period, resets_at, ..self }
    }

    /// Whose it is: the request's id, and where the page about the code is found.
    pub fn placed(mut self, request_id: &str, public_url: &str) -> Self {
        self.kind = format!("{}/problems/{}", public_url.trim_end_matches('/'), self.code);
        self.request_id = Some(request_id.to_owned());
        self
    }

    /// The document as a response; `processes/access_log.rs` calls this again once it knows the request's id.
    pub fn into_body(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("a problem is plain data")
    }
}
