//! What every route shares: bodies and queries that name the field that is wrong, pages, who is calling and what staff may,
//! the idempotency key, the access log, the headers of every answer, and how many requests are in hand. Nouns' `routes.rs` use these; nothing here knows a noun.

pub mod access_log;
pub mod address;
pub mod caller;
pub mod cookies;
pub mod cursor;
pub mod fields;
pub mod headers;
pub mod idempotency;
pub mod json;
pub mod load;
pub mod quota;
pub mod staff;
pub mod verified;

pub use caller::{Caller, Newcomer, Visitor};
pub use cookies::SameSite;
pub use fields::Fields;
pub use idempotency::{IdempotencyKey, RequestHash, replayed};
pub use json::{Json, Path, Query};
pub use staff::Staff;
pub use verified::Verified;
