//! SQL of what is on hold.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::ALSO;
use crate::money::transactions::store::{Row, rows};
use crate::money::transactions::{Hold, Kind, Transaction};
use crate::platform::clock::DateTime;

/// Of all that people have closed of a row so much is kept, the latest.
const DISMISSED_CHARS_MAX: i32 = 2_000;

/// Which held rows; `None` = any.
#[derive(Debug, Default)]
pub struct HeldFilter {
    pub kind: Option<Kind>,
    pub code: Option<Hold>,
    /// Held since this time or later …
    pub from: Option<DateTime>,
    /// … and before this one.
    pub to: Option<DateTime>,
    /// Newest first, from before this row.
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// False when the row is not at `version` any more.
pub(super) async fn hold(
    db: impl PgExecutor<'_>,
    row: &Transaction,
    code: Hold,
    reason: &str,
    now: DateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update transactions
            set held_code = $3, held_reason = $4, held_at = coalesce(held_at, $5), due_at = null, version = version + 1, noted_at = $5
          where id = $1 and version = $2",
        row.id,
        row.version,
        code.name(),
        reason,
        now
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Ends a hold; where a person closes it, the row says what was closed, besides what was before. `None` when the row is not held, or not as
/// it was read.
pub(super) async fn end_hold(
    db: impl PgExecutor<'_>,
    held: &Transaction,
    now: DateTime,
    due_at: Option<DateTime>,
) -> sqlx::Result<Option<Row>> {
    rows!(
        "update transactions
            set dismissed_reason = case when $3::timestamptz is null then right(concat_ws($6::text, dismissed_reason, held_reason), $5)
                                        else dismissed_reason end,
                held_code = null, held_reason = null, held_at = null, due_at = $3, attempts = 0, version = version + 1,
                noted_at = $4
          where id = $1 and version = $2 and held_reason is not null
         returning ",
        "",
        held.id,
        held.version,
        due_at,
        now,
        DISMISSED_CHARS_MAX,
        ALSO
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn list_held(db: impl PgExecutor<'_>, filter: &HeldFilter) -> sqlx::Result<Vec<Row>> {
    rows!(
        "select ",
        "
           from transactions
          where held_reason is not null and ($1::text is null or kind = $1) and ($2::uuid is null or id < $2)
            and ($4::text is null or held_code = $4) and ($5::timestamptz is null or held_at >= $5)
            and ($6::timestamptz is null or held_at < $6)
          order by id desc limit $3",
        filter.kind.map(Kind::name),
        filter.before,
        filter.limit,
        filter.code.map(Hold::name),
        filter.from,
        filter.to,
    )
    .fetch_all(db)
    .await
}

/// Ends a hold of one of these codes. False when there is none.
pub(super) async fn end_hold_of(
    db: impl PgExecutor<'_>,
    row: &Transaction,
    codes: &[Hold],
    now: DateTime,
    due_at: DateTime,
) -> sqlx::Result<bool> {
    let codes: Vec<String> = codes.iter().map(|code| code.name().to_owned()).collect();
    let done = sqlx::query!(
        "update transactions
            set held_code = null, held_reason = null, held_at = null, due_at = $3, attempts = 0, version = version + 1,
                noted_at = $5
          where id = $1 and version = $2 and held_code = any($4)",
        row.id,
        row.version,
        due_at,
        &codes,
        now
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}
