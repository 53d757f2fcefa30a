//! SQL of `totp_invitations`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

pub(super) async fn invite(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    token_hash: &[u8],
    (issued_by, expires_at): (&str, DateTime),
) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into totp_invitations (user_id, token_hash, issued_by, expires_at) values ($1, $2, $3, $4)
         on conflict (user_id) do update set token_hash = excluded.token_hash, issued_by = excluded.issued_by,
            expires_at = excluded.expires_at",
        user_id,
        token_hash,
        issued_by,
        expires_at
    );
    insert.execute(db).await.map(drop)
}

/// Who gave out this token; `None` where nobody did, or it is too old.
pub(super) async fn issuer(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    token_hash: &[u8],
    now: DateTime,
) -> sqlx::Result<Option<String>> {
    let issuer = sqlx::query_scalar!(
        "select issued_by from totp_invitations where user_id = $1 and token_hash = $2 and expires_at > $3",
        user_id,
        token_hash,
        now
    );
    issuer.fetch_optional(db).await
}
