//! SQL of `fitting`.

use sqlx::PgExecutor;
use uuid::Uuid;

/// What a finished journal or correction has moved.
pub(super) struct Booked {
    pub(super) currency: String,
    pub(super) amount_minor: i64,
}

/// Locked, so that of two who name the same one the second sees the first; `None`: it is not finished, or there is none.
pub(super) async fn lock_booked(
    db: impl PgExecutor<'_>,
    journal: Option<Uuid>,
    adjustment: Option<Uuid>,
) -> sqlx::Result<Option<Booked>> {
    if let Some(journal) = journal {
        let booked = sqlx::query_as!(
            Booked,
            "select currency, amount_minor from journals where id = $1 and state = 'completed' for no key update",
            journal
        );
        return booked.fetch_optional(db).await;
    }
    let booked = sqlx::query_as!(
        Booked,
        "select currency, amount_minor from transactions where id = $1 and kind = 'adjustment' and state = 'completed'
            for no key update",
        adjustment
    );
    booked.fetch_optional(db).await
}

/// Whether a break ended by it already.
pub(super) async fn is_named(
    db: impl PgExecutor<'_>,
    journal: Option<Uuid>,
    adjustment: Option<Uuid>,
) -> sqlx::Result<bool> {
    let named = sqlx::query_scalar!(
        r#"select exists (select from breaks where resolving_journal_id = $1 or resolving_adjustment_id = $2) as "named!""#,
        journal,
        adjustment
    );
    named.fetch_one(db).await
}

/// Whether a journal is what a line of the bank's files says, or of Revio's: another one than a break is about, and no equal one of another file.
pub(super) async fn stands_on_a_line(
    db: impl PgExecutor<'_>,
    journal: Uuid,
    of_bank: bool,
    (line, object): (Option<Uuid>, Option<Uuid>),
) -> sqlx::Result<bool> {
    let stands = sqlx::query_scalar!(
        r#"select exists (
               select from statement_lines l
                where l.journal_id = $1 and (l.product = 'bank') = $2 and ($4::uuid is null or l.provider_id is distinct from $4)
                  and not exists (select from statement_lines o
                                   where o.id = $3 and (o.currency, o.day, o.amount_minor) = (l.currency, l.day, l.amount_minor))
           ) as "stands!""#,
        journal,
        of_bank,
        line,
        object
    );
    stands.fetch_one(db).await
}
