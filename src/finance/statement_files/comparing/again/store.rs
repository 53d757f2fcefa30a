//! SQL by which lines that have nothing of ours find it.

use chrono::NaiveDate;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::finance::statement_files::Unit;

/// Lines whose journal came to nothing are of nothing again. The files of the lines.
pub(super) async fn unmatch_dead_journals(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "update statement_lines l set journal_id = null, matched_by = null from journals j
          where j.id = l.journal_id and l.transaction_id is null and j.state in ('rejected', 'cancelled', 'expired')
         returning l.file_id"
    );
    files.fetch_all(db).await
}

/// Journals that were booked from a line of ours name its id. The files of the lines.
pub(super) async fn match_booked_from_lines(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "update statement_lines l set journal_id = j.id, matched_by = 'person' from journals j
          where l.matched_by is null and (j.evidence_reference = l.id::text or j.arrival_reference = l.id::text)
            and j.currency = l.currency and j.state not in ('rejected', 'cancelled', 'expired')
         returning l.file_id"
    );
    files.fetch_all(db).await
}

pub(super) async fn match_objects(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "update statement_lines l set transaction_id = t.id, matched_by = 'id' from transactions t
          where l.matched_by is null and l.product <> 'bank' and t.provider_id = l.provider_id
         returning l.file_id"
    );
    files.fetch_all(db).await
}

pub(super) async fn match_references(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "update statement_lines l set transaction_id = t.id, matched_by = 'reference' from transactions t
          where l.matched_by is null
            and t.id = case when l.product in ('purchase', 'payout') then l.reference::uuid end
            and t.kind = case l.product when 'purchase' then 'deposit' else 'withdrawal' end
            and (l.provider_id is null or t.provider_id is null)
         returning l.file_id"
    );
    files.fetch_all(db).await
}

/// By Revio's id, or by a reference: that is of one movement, and of the same line in each file (`matching`). Of two lines that are not the
/// same the first has the journal.
pub(super) async fn match_journals(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "update statement_lines l
            set journal_id = j.id,
                matched_by = case when l.provider_id::text in (j.evidence_reference, j.arrival_reference) then 'id' else 'reference' end
           from journals j
          where l.matched_by is null and l.product <> 'bank' and j.currency = l.currency
            and j.state not in ('rejected', 'cancelled', 'expired')
            and (l.provider_id::text in (j.evidence_reference, j.arrival_reference)
                 or l.reference in (j.evidence_reference, j.arrival_reference, j.id::text)
                    and case l.product when 'settlement' then j.kind = 'settlement' when 'top_up' then j.kind = 'float_top_up'
                                       when 'fee' then j.kind = 'provider_invoice' else true end
                    and not exists (
                        select from (
                            select o.* from statement_lines o where o.journal_id = j.id and o.product <> 'bank'
                            union all
                            select o.* from statement_lines o
                             where o.matched_by is null and o.id < l.id and o.product = l.product and o.currency = l.currency
                               and o.reference = l.reference
                               and not exists (select from statement_lines k where k.journal_id = j.id and k.product <> 'bank')) o
                         where case when o.provider_id is not null and l.provider_id is not null then o.provider_id <> l.provider_id
                                    when o.file_id = l.file_id then true
                                    else (o.day, o.amount_minor) <> (l.day, l.amount_minor) end))
         returning l.file_id"
    );
    files.fetch_all(db).await
}

/// Revio's lines without an id: one that is equal in all that is kept, in another file, is the same movement; of several the first is the
/// first. It has the same journal, or people have said the same of it.
pub(super) async fn match_twins(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "with open as (
             select distinct currency, product, day, amount_minor, reference from statement_lines
              where matched_by is null and provider_id is null and product <> 'bank'),
         equal as (
             select l.id, l.file_id, l.journal_id, l.matched_by, l.settled_by, l.currency, l.product, l.day, l.amount_minor, l.reference,
                    row_number() over (partition by l.file_id, l.currency, l.product, l.day, l.amount_minor, l.reference
                                       order by l.number) as turn
               from open o join statement_lines l
                 on (l.currency, l.product, l.day, l.amount_minor) = (o.currency, o.product, o.day, o.amount_minor)
                and l.reference is not distinct from o.reference and l.provider_id is null)
         update statement_lines l set journal_id = t.journal_id, matched_by = t.matched_by, settled_by = t.settled_by
           from equal u join equal t
             on (t.currency, t.product, t.day, t.amount_minor, t.turn) = (u.currency, u.product, u.day, u.amount_minor, u.turn)
            and t.reference is not distinct from u.reference and t.file_id <> u.file_id
            and (t.journal_id is not null or t.settled_by is not null and u.settled_by is null)
          where l.id = u.id and l.matched_by is null
            and not exists (select from statement_lines o where o.file_id = u.file_id and o.journal_id = t.journal_id)
         returning l.file_id"
    );
    files.fetch_all(db).await
}

/// Lines of which people have said what became of them, and it was no journal. What Revio was to correct is none: it must come yet.
pub(super) async fn settle_resolved(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    let settled = sqlx::query!(
        "update statement_lines l set settled_by = b.id from breaks b
          where b.line_id = l.id and b.state = 'resolved' and b.resolution <> 'provider_error'
            and l.matched_by is null and l.settled_by is null"
    );
    settled.execute(db).await.map(drop)
}

/// What its twin has: the journal, or what people said. False when it has a journal already.
pub(super) async fn follow_twin(db: impl PgExecutor<'_>, line: Uuid, twin: &Twin) -> sqlx::Result<bool> {
    let followed = sqlx::query!(
        "update statement_lines set journal_id = $2, matched_by = $3, settled_by = $4 where id = $1 and matched_by is null",
        line,
        twin.journal_id,
        twin.matched_by,
        twin.settled_by
    );
    Ok(followed.execute(db).await?.rows_affected() == 1)
}

/// False when it has something already.
pub(super) async fn match_line(db: impl PgExecutor<'_>, line: Uuid, journal: Uuid, by: &str) -> sqlx::Result<bool> {
    let matched = sqlx::query!(
        "update statement_lines set journal_id = $2, matched_by = $3 where id = $1 and matched_by is null",
        line,
        journal,
        by
    );
    Ok(matched.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn count_again(db: impl PgExecutor<'_>, file: Uuid) -> sqlx::Result<()> {
    let counted = sqlx::query!(
        "update statement_files f set matched = c.matched, unmatched = f.lines - c.matched
           from (select count(matched_by)::integer as matched from statement_lines where file_id = $1) c where f.id = $1",
        file
    );
    counted.execute(db).await.map(drop)
}

pub(super) async fn bank_files_with_unmatched(db: impl PgExecutor<'_>, from: NaiveDate) -> sqlx::Result<Vec<Uuid>> {
    let files = sqlx::query_scalar!(
        "select id from statement_files where source = 'bank' and unmatched > 0 and to_day >= $1 and content <> '' order by id",
        from
    );
    files.fetch_all(db).await
}

pub(super) struct OpenLine {
    pub(super) id: Uuid,
    pub(super) number: i32,
    pub(super) currency: String,
    pub(super) day: NaiveDate,
    pub(super) amount_minor: i64,
    /// Of its file.
    pub(super) unit: Option<Unit>,
}

pub(super) async fn unmatched_of(db: impl PgExecutor<'_>, file: Uuid) -> sqlx::Result<Vec<OpenLine>> {
    let lines = sqlx::query_as!(
        OpenLine,
        r#"select l.id, l.number, l.currency, l.day, l.amount_minor, f.unit as "unit: Unit"
             from statement_lines l join statement_files f on f.id = l.file_id
            where l.file_id = $1 and l.matched_by is null and l.settled_by is null order by l.number"#,
        file
    );
    lines.fetch_all(db).await
}

/// Each with the sign of its line.
pub(super) async fn journals_of(db: impl PgExecutor<'_>, file: Uuid) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let journals = sqlx::query!(
        r#"select journal_id as "id!", amount_minor from statement_lines where file_id = $1 and journal_id is not null"#,
        file
    );
    Ok(journals.fetch_all(db).await?.into_iter().map(|line| (line.id, line.amount_minor.signum())).collect())
}

/// A line of another file of the bank's that has its journal, or of which people have said what became of it.
pub(super) struct Twin {
    pub(super) file_id: Uuid,
    pub(super) number: i32,
    pub(super) currency: String,
    pub(super) day: NaiveDate,
    pub(super) amount_minor: i64,
    pub(super) journal_id: Option<Uuid>,
    pub(super) matched_by: Option<String>,
    pub(super) settled_by: Option<Uuid>,
}

/// Those that some line of a file without a journal may be the same as. A journal, or a break, that the file has, that way, is not among them.
pub(super) async fn twins_of(db: impl PgExecutor<'_>, file: Uuid) -> sqlx::Result<Vec<Twin>> {
    let twins = sqlx::query_as!(
        Twin,
        r#"select distinct t.file_id as "file_id!", t.number as "number!", t.currency as "currency!", t.day as "day!",
                  t.amount_minor as "amount_minor!", t.journal_id as "journal_id?", t.matched_by as "matched_by?",
                  t.settled_by as "settled_by?"
             from statement_lines l
             join statement_lines t on (t.currency, t.day, t.amount_minor) = (l.currency, l.day, l.amount_minor)
                                   and t.product = 'bank' and t.file_id <> l.file_id
                                   and (t.journal_id is not null or t.settled_by is not null)
            where l.file_id = $1 and l.matched_by is null and l.settled_by is null
              and not exists (select from statement_lines o where o.file_id = l.file_id
                                 and (o.journal_id = t.journal_id and sign(o.amount_minor) = sign(t.amount_minor)
                                      or t.journal_id is null and o.settled_by = t.settled_by))
            order by 1, 2"#,
        file
    );
    twins.fetch_all(db).await
}
