//! SQL of what a token cannot know.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::{clock::DateTime, permissions::Role};

pub(super) async fn ended_since(db: impl PgExecutor<'_>, since: DateTime) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("select id from sessions where revoked_at > $1", since).fetch_all(db).await
}

pub(super) async fn has_verified_email(db: impl PgExecutor<'_>, user: Uuid) -> sqlx::Result<bool> {
    let at = sqlx::query_scalar!("select email_verified_at from users where id = $1", user).fetch_optional(db).await?;
    Ok(at.flatten().is_some())
}

/// What staff may do hangs on this.
pub struct SessionStanding {
    pub role: Role,
    pub begun_at: DateTime,
    /// When a password or a code was last given in the session.
    pub stepped_up_at: Option<DateTime>,
    /// Whether the session has shown a second factor that somebody else let the person enrol, and that is still theirs.
    pub second_factor: bool,
    pub is_frozen: bool,
}

pub(super) async fn standing(
    db: impl PgExecutor<'_>,
    (user, session): (Uuid, Uuid),
    now: DateTime,
) -> sqlx::Result<Option<SessionStanding>> {
    let row = sqlx::query_as!(
        SessionStanding,
        r#"select u.role as "role: Role", s.created_at as begun_at, s.stepped_up_at,
                  coalesce(s.second_factor_at >= f.enrolled_at, false) as "second_factor!",
                  exists (select from restrictions r
                           where r.user_id = u.id and r.kind = 'freeze' and r.state <> 'lifted') as "is_frozen!"
             from sessions s
             join users u on u.id = s.user_id
             left join totp_secrets f on f.user_id = u.id and f.vouched_by is not null
            where s.id = $1 and s.user_id = $2 and s.revoked_at is null and s.expires_at > $3"#,
        session,
        user,
        now
    );
    row.fetch_optional(db).await
}
