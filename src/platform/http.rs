//! What every route shares: bodies and queries that name the field that is wrong, pages, the idempotency key, the address that
//! a call comes from. Nouns' `routes.rs` use these; nothing here knows who is calling.

pub mod address;
pub mod fields;
pub mod idempotency;
pub mod json;
pub mod page;
pub mod waits;

pub use fields::Fields;
pub use idempotency::{IdempotencyKey, RequestHash, replayed};
pub use json::{Json, Path, Query};
pub use page::Page;
pub use waits::Waits;

/// In the extensions of every request: what its logs and its answer carry.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);
