//! Refusals: `ApiError` is what a caller of the API reads, `SimError` what a test that drives the simulator reads.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::settings::ErrorShape;

/// Revio's word for "the error is not about one field" (DOC-R).
pub(crate) const ALL: &str = "__all__";

/// One complaint; nested fields are dotted, `purchase.currency` (DOC-R).
#[derive(Clone, Debug)]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// An answer that is not 2xx.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    errors: Vec<FieldError>,
    shape: ErrorShape,
    object_status: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn invalid(errors: Vec<FieldError>) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, errors, shape: ErrorShape::Array, object_status: None }
    }

    /// A 400 that concerns the whole request.
    pub(crate) fn refused(code: &str, message: &str) -> ApiError {
        ApiError::of(StatusCode::BAD_REQUEST, code, message)
    }

    /// The body of a 404 is not documented (?).
    pub(crate) fn not_found() -> ApiError {
        ApiError::of(StatusCode::NOT_FOUND, "not_found", "Not found.")
    }

    pub(crate) fn of(status: StatusCode, code: &str, message: &str) -> ApiError {
        let error = FieldError { field: ALL.to_owned(), code: code.to_owned(), message: message.to_owned() };
        ApiError { status, errors: vec![error], shape: ErrorShape::Array, object_status: None }
    }

    /// A failed execution carries the payout's `status` beside the error (DOC-S).
    pub(crate) fn with_object_status(mut self, status: &'static str) -> ApiError {
        self.object_status = Some(status);
        self
    }

    pub(crate) fn shaped(mut self, shape: ErrorShape) -> ApiError {
        self.shape = shape;
        self
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        for error in &self.errors {
            let item = json!({"message": error.message, "code": error.code});
            match self.shape {
                ErrorShape::Flat => return item,
                ErrorShape::Object => {
                    body.entry(error.field.clone()).or_insert(item);
                }
                ErrorShape::Array => match body.entry(error.field.clone()).or_insert_with(|| json!([])) {
                    Value::Array(items) => items.push(item),
                    other => *other = item,
                },
            }
        }
        if let Some(status) = self.object_status {
            body.insert("status".to_owned(), status.into());
        }
        Value::Object(body)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

/// Why a control call did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    #[error("no such object")]
    NotFound,
    #[error("refused: {0}")]
    Refused(String),
}

impl From<ApiError> for SimError {
    fn from(error: ApiError) -> SimError {
        match error.errors.first() {
            _ if error.status == StatusCode::NOT_FOUND => SimError::NotFound,
            Some(first) => SimError::Refused(first.code.clone()),
            None => SimError::Refused(error.status.to_string()),
        }
    }
}

impl IntoResponse for SimError {
    fn into_response(self) -> Response {
        let status = match self {
            SimError::NotFound => StatusCode::NOT_FOUND,
            SimError::Refused(_) => StatusCode::CONFLICT,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}
