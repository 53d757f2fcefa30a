//! SQL of `statement_files` and `statement_lines`, and of what their lines are matched with.

use chrono::NaiveDate;
use ledger::Currency;
use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::columns::Product;
use super::{MatchedBy, Source, Unit};
use crate::identity::rotation::{KeyUse, encrypted};
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;

/// Of one statement.
pub(super) const LINES_AT_ONCE: usize = 2_000;

/// A file without what it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatementFileView)]
pub struct StatementFile {
    pub id: Uuid,
    pub source: Source,
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub sha256: String,
    /// Null when its lines are of several, or it has none.
    #[schema(example = "ZAR")]
    pub currency: Option<String>,
    /// What its sums are in; null when it has none.
    pub unit: Option<Unit>,
    /// Whether its own lines have proved the unit; else somebody said it, or it is that of an earlier file.
    pub unit_proved: bool,
    /// The first and the last day that it is of.
    pub from: NaiveDate,
    pub to: NaiveDate,
    /// Minor units, where the file says them; its lines lead from the one to the other.
    pub opening_balance: Option<i64>,
    pub closing_balance: Option<i64>,
    pub lines: i32,
    /// Lines that are of a row or a journal of ours, as far as is known now.
    pub matched: i32,
    pub unmatched: i32,
    /// Headings that nobody knows: what stood below them was not kept.
    pub unknown_columns: Vec<String>,
    /// A user's id, `system` or `operator`.
    pub imported_by: String,
    pub imported_at: DateTime,
}

macro_rules! files {
    ($clause:literal $(, $value:expr)* $(,)?) => {
        sqlx::query_as!(
            StatementFile,
            r#"select id, source as "source: Source", encode(sha256, 'hex') as "sha256!", currency, unit as "unit: Unit",
                      unit_proved, from_day as "from!", to_day as "to!", opening_minor as opening_balance, closing_minor as closing_balance,
                      lines, matched, unmatched, unknown_columns, imported_by, imported_at
                 from statement_files "# + $clause
            $(, $value)*
        )
    };
}

pub(super) async fn set_fetched(db: impl PgExecutor<'_>, file: Uuid, statement: Uuid) -> sqlx::Result<()> {
    let fetched = sqlx::query!(
        "update statement_files set provider_id = $2 where id = $1 and provider_id is null",
        file,
        statement
    );
    fetched.execute(db).await.map(drop)
}

/// The same bytes are the same file; where they hold no line, only if they are of the same days.
pub(super) async fn find_by_sha(
    db: impl PgExecutor<'_>,
    source: Source,
    sha256: &[u8],
    (from, to): (Option<NaiveDate>, Option<NaiveDate>),
) -> sqlx::Result<Option<StatementFile>> {
    let file = files!(
        "where source = $1 and sha256 = $2 and (lines > 0 or from_day = $3 and to_day = $4)",
        source.name(),
        sha256,
        from,
        to
    );
    file.fetch_optional(db).await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<StatementFile>> {
    files!("where id = $1", id).fetch_optional(db).await
}

pub(super) async fn list(
    db: impl PgExecutor<'_>,
    source: Option<Source>,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<StatementFile>> {
    let page = files!(
        "where ($1::text is null or source = $1) and ($2::uuid is null or id < $2) order by id desc limit $3",
        source.map(Source::name),
        before,
        limit
    );
    page.fetch_all(db).await
}

/// Those that are of any of the days, in the order of their hashes.
pub(super) async fn of_days(
    db: impl PgExecutor<'_>,
    from: NaiveDate,
    to: NaiveDate,
) -> sqlx::Result<Vec<StatementFile>> {
    files!("where from_day <= $2 and to_day >= $1 order by source, sha256", from, to).fetch_all(db).await
}

/// The unit of the last file whose own lines have proved it.
pub(super) async fn last_proved_unit(db: impl PgExecutor<'_>, source: Source) -> sqlx::Result<Option<Unit>> {
    let unit = sqlx::query_scalar!(
        r#"select unit as "unit!: Unit" from statement_files where source = $1 and unit_proved order by id desc limit 1"#,
        source.name()
    );
    unit.fetch_optional(db).await
}

/// Days of a period that some file of the source is of, all of the day, and whether a finished run has compared each of them.
pub(super) async fn covered(
    db: impl PgExecutor<'_>,
    (source, zone): (Source, &str),
    from: NaiveDate,
    to: NaiveDate,
) -> sqlx::Result<Vec<(NaiveDate, bool)>> {
    let days = sqlx::query!(
        r#"select d::date as "day!", bool_and(r.state is not distinct from 'finished') as "compared!"
             from statement_files f left join reconciliation_runs r on r.id = f.compared_by,
                  generate_series(greatest(f.from_day, $2)::timestamp, least(f.to_day, $3)::timestamp, interval '1 day') d
            where f.source = $1 and f.from_day <= $3 and f.to_day >= $2
              -- One from before the day's end is of a part of it; one that was fetched never is.
              and (f.provider_id is not null or f.imported_at >= (d + interval '1 day') at time zone $4) group by 1"#,
        source.name(),
        from,
        to,
        zone
    );
    Ok(days.fetch_all(db).await?.into_iter().map(|row| (row.day, row.compared)).collect())
}

/// False when the same bytes are there already.
pub(super) async fn insert(
    db: impl PgExecutor<'_>,
    file: &StatementFile,
    sha256: &[u8],
    provider_id: Option<Uuid>,
    encrypted: &Encrypted,
) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into statement_files (id, source, sha256, provider_id, currency, unit, from_day, to_day, opening_minor, closing_minor,
                                      lines, matched, unmatched, unknown_columns, content, key_id, imported_by, imported_at, unit_proved)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         on conflict do nothing",
        file.id,
        file.source.name(),
        sha256,
        provider_id,
        file.currency,
        file.unit.map(Unit::name),
        file.from,
        file.to,
        file.opening_balance,
        file.closing_balance,
        file.lines,
        file.matched,
        file.unmatched,
        &file.unknown_columns,
        encrypted.bytes,
        encrypted.key_id,
        file.imported_by,
        file.imported_at,
        file.unit_proved,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// A line as it is kept.
#[derive(Debug, Clone)]
pub(super) struct NewLine {
    pub(super) id: Uuid,
    pub(super) number: i32,
    pub(super) provider_id: Option<Uuid>,
    pub(super) reference: Option<String>,
    pub(super) product: Product,
    pub(super) status: Option<String>,
    pub(super) currency: Currency,
    pub(super) amount_minor: i64,
    pub(super) fee_minor: Option<i64>,
    pub(super) net_minor: Option<i64>,
    pub(super) day: NaiveDate,
    pub(super) related_id: Option<Uuid>,
    pub(super) transaction_id: Option<Uuid>,
    pub(super) journal_id: Option<Uuid>,
    pub(super) matched_by: Option<MatchedBy>,
}

#[expect(clippy::as_conversions, reason = "how the query macro is told a parameter's type")]
pub(super) async fn insert_lines(db: impl PgExecutor<'_>, file: Uuid, lines: &[NewLine]) -> sqlx::Result<()> {
    let ids = |of: fn(&NewLine) -> Option<Uuid>| lines.iter().map(of).collect::<Vec<Option<Uuid>>>();
    let sums = |of: fn(&NewLine) -> Option<i64>| lines.iter().map(of).collect::<Vec<Option<i64>>>();
    let texts = |of: fn(&NewLine) -> Option<String>| lines.iter().map(of).collect::<Vec<Option<String>>>();
    let own: Vec<Uuid> = lines.iter().map(|line| line.id).collect();
    let numbers: Vec<i32> = lines.iter().map(|line| line.number).collect();
    let days: Vec<NaiveDate> = lines.iter().map(|line| line.day).collect();
    let insert = sqlx::query!(
        "insert into statement_lines (id, file_id, number, provider_id, reference, product, status, currency, amount_minor, fee_minor,
                                      net_minor, day, related_id, transaction_id, journal_id, matched_by)
         select n.id, $1, n.number, n.provider_id, n.reference, n.product, n.status, n.currency, n.amount, n.fee, n.net, n.day,
                n.related_id, n.transaction_id, n.journal_id, n.matched_by
           from unnest($2::uuid[], $3::integer[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                       $10::bigint[], $11::bigint[], $12::date[], $13::uuid[], $14::uuid[], $15::uuid[], $16::text[])
             as n (id, number, provider_id, reference, product, status, currency, amount, fee, net, day, related_id, transaction_id,
                   journal_id, matched_by)",
        file,
        &own,
        &numbers,
        &ids(|line| line.provider_id) as &[Option<Uuid>],
        &texts(|line| line.reference.clone()) as &[Option<String>],
        &texts(|line| Some(line.product.name().to_owned())) as &[Option<String>],
        &texts(|line| line.status.clone()) as &[Option<String>],
        &texts(|line| Some(line.currency.code().to_owned())) as &[Option<String>],
        &sums(|line| Some(line.amount_minor)) as &[Option<i64>],
        &sums(|line| line.fee_minor) as &[Option<i64>],
        &sums(|line| line.net_minor) as &[Option<i64>],
        &days,
        &ids(|line| line.related_id) as &[Option<Uuid>],
        &ids(|line| line.transaction_id) as &[Option<Uuid>],
        &ids(|line| line.journal_id) as &[Option<Uuid>],
        &texts(|line| line.matched_by.map(|by| by.name().to_owned())) as &[Option<String>],
    );
    insert.execute(db).await.map(drop)
}

/// A row that a line may be of.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) provider_id: Option<Uuid>,
}

/// By Revio's object: first the rows that an object once was of, then those that it is of now.
pub(super) async fn rows_of_objects(db: impl PgExecutor<'_>, objects: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Row)>> {
    let rows = sqlx::query!(
        r#"select p.id as "object!", t.id as "id!", t.kind as "kind!", t.amount_minor as "amount_minor!", t.currency as "currency!",
                  t.provider_id, 0 as "now!"
             from provider_objects p join transactions t on t.id = p.transaction_id
            where p.id = any($1) and p.kind in ('purchase', 'payout')
           union all
           select t.provider_id, t.id, t.kind, t.amount_minor, t.currency, t.provider_id, 1 from transactions t
            where t.provider_id = any($1)
            order by 7"#,
        objects
    );
    let rows = rows.fetch_all(db).await?.into_iter().map(|found| {
        let (id, kind, amount_minor, provider_id) = (found.id, found.kind, found.amount_minor, found.provider_id);
        (found.object, Row { id, kind, amount_minor, currency: found.currency, provider_id })
    });
    Ok(rows.collect())
}

pub(super) async fn rows(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Row>> {
    let rows = sqlx::query_as!(
        Row,
        "select id, kind, amount_minor, currency, provider_id from transactions where id = any($1)",
        ids
    );
    rows.fetch_all(db).await
}

/// A journal that a line may be of.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    pub(super) id: Uuid,
    id_text: String,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    /// What it does to the bank's account; 0: nothing, or it came and went back.
    pub(super) bank_change: i64,
    evidence_reference: String,
    arrival_reference: Option<String>,
    /// The lines that it stands on already, on the side that is looked at, one list for each column.
    line_objects: Vec<Option<Uuid>>,
    line_days: Vec<NaiveDate>,
    line_minors: Vec<i64>,
}

/// A line of ours that a journal stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownLine {
    pub(super) object: Option<Uuid>,
    pub(super) day: NaiveDate,
    pub(super) amount_minor: i64,
}

impl Journal {
    /// What stands on a line of it.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        [self.id_text.as_str(), &self.evidence_reference].into_iter().chain(self.arrival_reference.as_deref())
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = KnownLine> {
        let columns = self.line_objects.iter().zip(&self.line_days).zip(&self.line_minors);
        columns.map(|((object, day), minor)| KnownLine { object: *object, day: *day, amount_minor: *minor })
    }
}

/// Those of a clause that were not given up, with the lines that they stand on at Revio or at the bank.
macro_rules! journals {
    ($bank_change:literal, $side:literal, $clause:literal, $($value:expr),+) => {
        sqlx::query_as!(
            Journal,
            r#"select j.id, j.id::text as "id_text!", j.kind, j.currency, j.amount_minor, "# + $bank_change + r#" as "bank_change!",
                      j.evidence_reference, j.arrival_reference, l.objects as "line_objects!: Vec<Option<Uuid>>", l.days as "line_days!",
                      l.minors as "line_minors!"
                 from journals j cross join lateral (select coalesce(array_agg(provider_id order by id), '{}') as objects,
                                           coalesce(array_agg(day order by id), '{}') as days,
                                           coalesce(array_agg(amount_minor order by id), '{}') as minors
                                      from statement_lines where journal_id = j.id and product "# + $side + r#" 'bank') l
                where j.state not in ('rejected', 'cancelled', 'expired') and "# + $clause + " order by j.id",
            $($value),+
        )
    };
}

/// By what lines of Revio's say.
pub(super) async fn journals_named(db: impl PgExecutor<'_>, texts: &[String]) -> sqlx::Result<Vec<Journal>> {
    let journals = journals!(
        "0::bigint",
        "<>",
        "(j.id::text = any($1) or j.evidence_reference = any($1) or j.arrival_reference = any($1))",
        texts
    );
    journals.fetch_all(db).await
}

/// Those that move the bank's account and have no line there yet, or one of those days: files may overlap. What went back has two.
pub(super) async fn bank_journals(
    db: impl PgExecutor<'_>,
    currencies: &[String],
    days: &[NaiveDate],
) -> sqlx::Result<Vec<Journal>> {
    let journals = journals!(
        "case j.state when 'returned' then 0 else bank_change(j.kind, j.amount_minor) end",
        "=",
        "j.currency = any($1)
              and (j.kind in ('settlement', 'float_top_up', 'own_funds_in', 'own_funds_out')
                   or j.account = 'bank' and j.kind in ('provider_invoice', 'suspense_in', 'suspense_return'))
              and (l.days = '{}' or l.days && $2 or j.state = 'returned')",
        currencies,
        days
    );
    journals.fetch_all(db).await
}

/// `None` once its time is over.
pub(super) async fn encrypted(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Encrypted>> {
    let row = sqlx::query!("select content, key_id from statement_files where id = $1 and content <> ''", id);
    let row = row.fetch_optional(db).await?;
    Ok(row.map(|row| Encrypted { key_id: row.key_id, bytes: row.content }))
}

pub(super) async fn prune(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let pruned = sqlx::query!(
        "update statement_files set content = ''
          where id in (select id from statement_files where imported_at < $1 and content <> '' order by id limit $2)",
        before,
        limit
    );
    Ok(pruned.execute(db).await?.rows_affected())
}

// One file at a time: it may have megabytes.
encrypted!(StatementFiles, "statement file", 1 of "statement_files", "id", "content", where "content <> ''");
