//! Pages of a list that is ordered by id: the cursor is the id of the last row that was answered.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use uuid::Uuid;

use super::Fields;

pub const LIMIT_DEFAULT: i64 = 20;
pub const LIMIT_MAX: i64 = 100;

/// The `cursor` of a query.
pub fn read(fields: &mut Fields, cursor: Option<&str>) -> Option<Uuid> {
    let id = BASE64_URL_SAFE_NO_PAD.decode(cursor?).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    if id.is_none() {
        fields.wrong("cursor", "is not a cursor of this list");
    }
    id
}

/// The `limit` of a query.
pub fn limit(fields: &mut Fields, limit: Option<i64>) -> i64 {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        fields.wrong("limit", format!("must be between 1 and {LIMIT_MAX}"));
    }
    limit
}

/// The cursor to the page after this one; `None` when the page was not full.
pub fn next(ids: &[Uuid], limit: i64) -> Option<String> {
    let full = i64::try_from(ids.len()).is_ok_and(|count| count == limit);
    ids.last().filter(|_| full).map(|id| BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes()))
}
