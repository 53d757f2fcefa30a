//! What every route shares: bodies and queries that name the field that is wrong, pages, files, the idempotency key, the address
//! that a call comes from. Nouns' `routes.rs` use these; nothing here knows who is calling.

pub mod address;
pub mod download;
pub mod fields;
pub mod idempotency;
pub mod json;
pub mod page;
pub mod retry_after;
pub mod waits;

pub use download::{Asked, Download};
pub use fields::{Fields, is_invisible};
pub use idempotency::{IdempotencyKey, RequestHash, appears, replayed};
pub use json::{Json, Path, Query};
pub use page::Page;
pub(crate) use page::page_query;
pub use retry_after::RetryAfter;
pub use waits::Waits;

use std::fmt::Display;

use axum::http::{HeaderName, HeaderValue, header};

/// The header of a 201 or 202: where what was made, or what goes on, can be read. A path of ours.
pub fn located(path: impl Display) -> [(HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_str(&path.to_string()).expect("a path of ours is plain ASCII");
    [(header::LOCATION, value)]
}

/// In the extensions of every request: what its logs and its answer carry.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);
