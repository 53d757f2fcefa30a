//! SQL of what statements and books say of each other. What a day's line says differs since the day's last moment, so that it is of its month.

use chrono::NaiveDate;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::finance::statement_files::Source;
use crate::platform::clock::DateTime;

/// Of each kind in one look: more are as bad, and memory stays bounded. Who has so many has not told all.
pub(super) const FOUND_MAX: i64 = 10_000;
/// So many days a line may be from the day that its journal's evidence says.
const DAYS_APART: i32 = 10;

/// Of files that no finished run has compared. When each of them came.
pub(super) async fn set_compared(db: impl PgExecutor<'_>, source: Source, run: Uuid) -> sqlx::Result<Vec<DateTime>> {
    let compared = sqlx::query_scalar!(
        "update statement_files f set compared_by = $2
          where source = $1 and not exists (select from reconciliation_runs r where r.id = f.compared_by and r.state = 'finished')
         returning imported_at",
        source.name(),
        run
    );
    compared.fetch_all(db).await
}

/// A line without anything of ours, or with a journal of another sum or the other way, or with one that is only asked for.
pub(super) struct UnmatchedLine {
    pub(super) id: Uuid,
    pub(super) number: i32,
    pub(super) sha256: String,
    pub(super) provider_id: Option<Uuid>,
    pub(super) product: String,
    pub(super) status: Option<String>,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) day: NaiveDate,
    pub(super) since: DateTime,
    pub(super) journal_id: Option<Uuid>,
    pub(super) journal_minor: Option<i64>,
    /// Journals of the same sum, at most [`DAYS_APART`], that stand on no other movement of that side.
    pub(super) may_be: Vec<Uuid>,
    /// A journal of it waits for its approval: that books nothing, so the line still differs.
    pub(super) is_asked_for: bool,
}

/// The newest first: should there be too many, what a new file says is among them.
pub(super) async fn unmatched(db: impl PgExecutor<'_>, zone: &str) -> sqlx::Result<Vec<UnmatchedLine>> {
    let lines = sqlx::query_as!(
        UnmatchedLine,
        r#"select l.id as "id!", l.number as "number!", encode(f.sha256, 'hex') as "sha256!", l.provider_id, l.product as "product!",
                  l.status, l.currency as "currency!", l.amount_minor as "amount_minor!", l.day as "day!",
                  ((l.day + 1)::timestamp at time zone $1 - interval '1 microsecond') as "since!", booked.id as "journal_id?",
                  case when l.product = 'bank' and booked.state <> 'returned' then bank_change(booked.kind, booked.amount_minor)
                       else sign(l.amount_minor)::bigint * booked.amount_minor end as "journal_minor?", (j.id is not null and booked.id is null) as "is_asked_for!",
                  array(select j.id where booked.id is null and j.id is not null union all
                        (select m.id from journals m
                         where l.journal_id is null and m.currency = l.currency and m.amount_minor = abs(l.amount_minor)
                           and (l.product <> 'bank' or m.state = 'returned' or bank_change(m.kind, m.amount_minor) = l.amount_minor)
                           and m.state not in ('rejected', 'cancelled', 'expired') and abs(m.evidence_date - l.day) <= $3::integer
                           and not exists (select from statement_lines o where o.journal_id = m.id
                                              and (o.product = 'bank') = (l.product = 'bank')
                                              and (o.file_id = l.file_id or (o.day, o.amount_minor) <> (l.day, l.amount_minor)))
                         order by m.id limit 3)) as "may_be!"
             from statement_lines l join statement_files f on f.id = l.file_id left join journals j on j.id = l.journal_id
             left join journals booked on booked.id = j.id and j.state not in ('awaiting_approval', 'initiated')
            -- In one `case`, so that of lines of all years only those that differ are asked whether a later one is believed.
            where case when l.matched_by is null or j.id is not null and booked.id is null or j.amount_minor <> abs(l.amount_minor)
                            or l.product = 'bank' and j.state <> 'returned' and bank_change(j.kind, j.amount_minor) <> l.amount_minor
                       then not is_superseded(l) else false end
              and l.product <> 'inside' and l.amount_minor <> 0 and (l.settled_by is null or l.matched_by is not null)
              -- A payment that was set aside is in no journal; of another sum, the rest of it is nowhere.
              and not exists (select from suspense_items s where s.provider_id = l.provider_id and l.product = 'purchase'
                                 and s.booked_at is not null and s.currency = l.currency and s.amount_minor = abs(l.amount_minor))
              -- Nor is what its payer got back of it, or paid again: transfers of the item's own (`Leg::UnmatchedReturn`, `UnmatchedAgain`).
              and not exists (select from suspense_items s
                                join ledger_transfers x on x.id = (left(s.id::text, 34) || case when l.amount_minor < 0 then '11' else '17' end)::uuid
                               where l.product <> 'purchase' and s.currency = l.currency and x.amount_minor = abs(l.amount_minor)
                                 and s.provider_id in (l.provider_id, l.related_id,
                                                       (select p.related_id from provider_objects p where p.id = l.provider_id)))
            order by l.file_id desc, l.number desc limit $2"#,
        zone,
        FOUND_MAX,
        DAYS_APART
    );
    lines.fetch_all(db).await
}

/// Of which lines are looked at: of days from then on, or of files that came since.
#[derive(Clone, Copy)]
pub(super) struct Days<'a> {
    pub(super) zone: &'a str,
    pub(super) from: NaiveDate,
    pub(super) since: DateTime,
}

/// A line whose row says another sum.
pub(super) struct OtherSum {
    pub(super) id: Uuid,
    pub(super) transaction_id: Uuid,
    pub(super) provider_id: Option<Uuid>,
    pub(super) currency: String,
    pub(super) booked: i64,
    pub(super) said: i64,
    pub(super) said_in: String,
    pub(super) day: NaiveDate,
    pub(super) since: DateTime,
}

/// The booked fees are the transfers of code 11 among those of the row, whose ids begin with its own.
pub(super) async fn other_fees(db: impl PgExecutor<'_>, days: Days<'_>) -> sqlx::Result<Vec<OtherSum>> {
    let lines = sqlx::query_as!(
        OtherSum,
        r#"select distinct on (transaction_id) id as "id!", transaction_id as "transaction_id!", provider_id, currency as "currency!",
                  booked as "booked!", said as "said!", currency as "said_in!", day as "day!",
                  ((day + 1)::timestamp at time zone $1 - interval '1 microsecond') as "since!"
             from (select l.id, l.transaction_id, l.provider_id, l.currency, l.fee_minor as said, l.day,
                          (select coalesce(sum(x.amount_minor), 0)::bigint from ledger_transfers x
                            where x.id >= l.transaction_id and x.id <= (left(l.transaction_id::text, 34) || 'ff')::uuid
                              and x.code = 11 and x.kind in ('posted', 'post')) as booked
                     from statement_lines l join statement_files f on f.id = l.file_id join transactions t on t.id = l.transaction_id
                    where l.fee_minor is not null and t.state = 'completed' and l.currency = t.currency
                      and l.id in (select * from lines_looked_at('{fee_provider}', $2, $3))
                      and not is_superseded(l)
                  ) as fees
            where booked <> said order by transaction_id, id limit $4"#,
        days.zone,
        days.from,
        days.since,
        FOUND_MAX
    );
    lines.fetch_all(db).await
}

/// Lines of completed rows that say something else, where no money that was set aside says the same.
macro_rules! other_sums {
    ($differs:literal, $set_aside:literal, $kind:literal, $days:expr) => {
        sqlx::query_as!(
            OtherSum,
            r#"select distinct on (t.id) l.id as "id!", t.id as "transaction_id!", l.provider_id, t.currency as "currency!",
                      t.amount_minor as "booked!", abs(l.amount_minor) as "said!", l.currency as "said_in!", l.day as "day!",
                      ((l.day + 1)::timestamp at time zone $1 - interval '1 microsecond') as "since!"
                 from statement_lines l join statement_files f on f.id = l.file_id join transactions t on t.id = l.transaction_id
                where "# + $differs + r#" and t.state = 'completed'
                  and not exists (select from provider_objects p where p.id = l.provider_id and "# + $set_aside + r#")
                  and l.id in (select * from lines_looked_at('"# + $kind + r#"', $2, $3))
                  and not is_superseded(l)
                order by t.id, l.id limit $4"#,
            $days.zone,
            $days.from,
            $days.since,
            FOUND_MAX
        )
    };
}

/// Of money that was set aside the row says what was asked for, and the object what came.
pub(super) async fn other_amounts(db: impl PgExecutor<'_>, days: Days<'_>) -> sqlx::Result<Vec<OtherSum>> {
    let lines = other_sums!(
        "abs(l.amount_minor) <> t.amount_minor and l.currency = t.currency",
        "p.amount_minor = abs(l.amount_minor)",
        "{amount_provider}",
        days
    );
    lines.fetch_all(db).await
}

/// In another currency sums say nothing. What came so and was set aside is the object's, as above.
pub(super) async fn other_currencies(db: impl PgExecutor<'_>, days: Days<'_>) -> sqlx::Result<Vec<OtherSum>> {
    let lines = other_sums!("l.currency <> t.currency", "upper(p.currency) = l.currency", "{currency_provider}", days);
    lines.fetch_all(db).await
}

/// A line that says of a payment what its row does not.
pub(super) struct OtherState {
    pub(super) id: Uuid,
    pub(super) transaction_id: Uuid,
    pub(super) provider_id: Option<Uuid>,
    pub(super) product: String,
    pub(super) status: Option<String>,
    pub(super) state: String,
    pub(super) is_completed: bool,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) day: NaiveDate,
    pub(super) since: DateTime,
}

/// Lines of rows that are not complete and of which nothing was set aside; and of completed ones those that stand on nothing but ends without
/// money.
pub(super) async fn other_states(db: impl PgExecutor<'_>, days: Days<'_>) -> sqlx::Result<Vec<OtherState>> {
    let lines = sqlx::query_as!(
        OtherState,
        r#"select l.id as "id!", t.id as "transaction_id!", l.provider_id, l.product as "product!", l.status, t.state as "state!",
                  (t.state = 'completed') as "is_completed!", l.currency as "currency!", abs(l.amount_minor) as "amount_minor!", l.day as "day!",
                  ((l.day + 1)::timestamp at time zone $1 - interval '1 microsecond') as "since!"
             from statement_lines l join statement_files f on f.id = l.file_id join transactions t on t.id = l.transaction_id
            where l.product in ('purchase', 'payout')
              and case when t.state = 'completed' then l.status in ('error', 'failed', 'expired', 'cancelled')
                       and not exists (select from statement_lines o join statement_files g on g.id = o.file_id
                                        where o.transaction_id = t.id and o.product = l.product
                                          and coalesce(o.status, '') not in ('error', 'failed', 'expired', 'cancelled')
                                          -- Of a day of which Revio was asked itself, what somebody brought says nothing against that.
                                          and (g.provider_id is not null or f.provider_id is null
                                               or not exists (select from statement_files h
                                                               where h.source = 'revio' and h.provider_id is not null
                                                                 and o.day between h.from_day and h.to_day))
                                          and not is_superseded(o))
                       else not exists (select from suspense_items s where s.transaction_id = t.id or s.provider_id = l.provider_id) end
              and l.id in (select * from lines_looked_at('{paid_at_provider,payout_paid,not_paid_at_provider}', $2, $3))
              and not is_superseded(l)
            order by t.id, l.id limit $4"#,
        days.zone,
        days.from,
        days.since,
        FOUND_MAX
    );
    lines.fetch_all(db).await
}

/// Days of Revio's files: of the later ones, and of those that were imported since.
pub(super) async fn days_to_look_at(db: impl PgExecutor<'_>, days: Days<'_>) -> sqlx::Result<Vec<NaiveDate>> {
    let days = sqlx::query_scalar!(
        r#"select distinct d::date as "day!"
             from statement_files f,
                  generate_series(case when f.imported_at >= $2 then f.from_day else greatest(f.from_day, $1) end, f.to_day,
                                  interval '1 day') d
            where f.source = 'revio' and (f.to_day >= $1 or f.imported_at >= $2) order by 1"#,
        days.from,
        days.since
    );
    days.fetch_all(db).await
}

pub(super) struct MissingRow {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) provider_id: Option<Uuid>,
    pub(super) since: DateTime,
}

/// A day of Revio's files, and whether the one before it is such a day too.
pub(super) type CoveredDay = (NaiveDate, bool);

/// Completed on the day and on no line of any file; without a day, what was found before and still is on none. What was booked in the first
/// hour of a day may have been paid the day before, which must be covered too. A line that somebody brought proves nothing of a day of which
/// Revio was asked itself, and of a payment only in the week before it was booked.
pub(super) async fn not_on_statement(
    db: impl PgExecutor<'_>,
    zone: &str,
    day: Option<CoveredDay>,
    since: DateTime,
) -> sqlx::Result<Vec<MissingRow>> {
    let rows = sqlx::query_as!(
        MissingRow,
        r#"select t.id, t.version, t.kind, t.currency, t.amount_minor, t.provider_id, t.completed_at as "since!"
             from transactions t
            where t.state = 'completed' and t.kind in ('deposit', 'withdrawal', 'refund', 'chargeback') and t.provider_id is not null
              and t.id in (select c.id from transactions c
                            where c.completed_at >= $2::date::timestamp at time zone $1
                              and c.completed_at < ($2::date + 1)::timestamp at time zone $1
                              and (extract(hour from c.completed_at at time zone $1) >= 1 or $3)
                            union all
                           select b.transaction_id from breaks b
                            where $2::date is null and b.type = 'missing_on_statement' and is_looked_at_again(b, $4))
              and not exists (select from statement_lines l join statement_files f on f.id = l.file_id
                               where l.transaction_id = t.id
                                 and (f.provider_id is not null
                                      or l.day >= (t.completed_at at time zone $1)::date - 7
                                         and not exists (select from statement_files g
                                                          where g.source = 'revio' and g.provider_id is not null
                                                            and l.day between g.from_day and g.to_day)))
            order by t.id limit $5"#,
        zone,
        day.map(|(day, _)| day) as _,
        day.is_some_and(|(_, is_before_covered)| is_before_covered),
        since,
        FOUND_MAX
    );
    rows.fetch_all(db).await
}

pub(super) struct LateJournal {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    /// When the bank should know of it.
    pub(super) day: NaiveDate,
    pub(super) since: DateTime,
}

/// Settlements and top-ups that should have arrived before `today`.
pub(super) async fn journals_in_transit(
    db: impl PgExecutor<'_>,
    zone: &str,
    today: NaiveDate,
) -> sqlx::Result<Vec<LateJournal>> {
    let journals = sqlx::query_as!(
        LateJournal,
        r#"select id, version, kind, currency, amount_minor, evidence_date as day,
                  (evidence_date::timestamp at time zone $1) as "since!"
             from journals where state = 'in_transit' and expected_on < $2 order by id limit $3"#,
        zone,
        today,
        FOUND_MAX
    );
    journals.fetch_all(db).await
}

/// Journals that the bank has seen, by what they say, on a day that a file of its is of, and that stand on no line.
pub(super) async fn journals_without_line(db: impl PgExecutor<'_>, zone: &str) -> sqlx::Result<Vec<LateJournal>> {
    let journals = sqlx::query_as!(
        LateJournal,
        r#"select j.id as "id!", j.version as "version!", j.kind as "kind!", j.currency as "currency!",
                  j.amount_minor as "amount_minor!", j.day as "day!",
                  ((j.day + 1)::timestamp at time zone $1 - interval '1 microsecond') as "since!"
             from (select id, version, kind, currency, amount_minor,
                          case when kind = 'settlement' then arrival_date
                               -- No bank has said of which day it is: its line may be of a later one.
                               when kind in ('provider_invoice', 'own_funds_out') and evidence_kind in ('invoice', 'note') then evidence_date + $3::integer
                               else evidence_date end as day
                     from journals
                    where kind in ('settlement', 'own_funds_in', 'own_funds_out') and state = 'completed'
                       or kind = 'float_top_up' and state in ('in_transit', 'completed')
                       or account = 'bank' and kind in ('provider_invoice', 'suspense_in', 'suspense_return')
                          and state = 'completed') j
            where exists (select from statement_files f where f.source = 'bank' and j.day between f.from_day and f.to_day
                             and (f.currency is null or f.currency = j.currency))
              and not exists (select from statement_lines l where l.journal_id = j.id and l.product = 'bank')
            order by j.id limit $2"#,
        zone,
        FOUND_MAX,
        DAYS_APART
    );
    journals.fetch_all(db).await
}

pub(super) struct BankBalance {
    pub(super) day: NaiveDate,
    pub(super) closing: i64,
    pub(super) sha256: String,
}

pub(super) async fn last_bank_balance(db: impl PgExecutor<'_>, currency: &str) -> sqlx::Result<Option<BankBalance>> {
    let file = sqlx::query_as!(
        BankBalance,
        r#"select to_day as "day!", closing_minor as "closing!", encode(sha256, 'hex') as "sha256!" from statement_files
            where source = 'bank' and currency = $1 and closing_minor is not null order by to_day desc, id desc limit 1"#,
        currency
    );
    file.fetch_optional(db).await
}

/// What the bank did not know at the end of a day: what was posted of later days, and what has left it and is not posted yet. Of a correction
/// nobody has said of which day it is: those that were made later may be of an earlier one. Nor of what an invoice or a note proves, before the
/// bank's own line is there.
pub(super) struct After {
    pub(super) posted: i64,
    pub(super) top_ups_in_transit: i64,
    pub(super) corrected: i64,
    pub(super) undated: i64,
}

pub(super) async fn bank_after(
    db: impl PgExecutor<'_>,
    zone: &str,
    currency: &str,
    day: NaiveDate,
) -> sqlx::Result<After> {
    let after = sqlx::query_as!(
        After,
        r#"select coalesce(sum(case when state <> 'completed' then 0
                                    when kind = 'settlement' and arrival_date > $2 then amount_minor
                                    when coalesce(line.day, evidence_date) <= $2 then 0
                                    when kind = 'own_funds_in' or kind = 'suspense_in' and account = 'bank' then amount_minor
                                    when kind in ('float_top_up', 'own_funds_out')
                                      or kind in ('provider_invoice', 'suspense_return') and account = 'bank' then -amount_minor
                                    else 0 end), 0)::bigint as "posted!",
                  coalesce(sum(-amount_minor) filter (where state = 'completed' and evidence_kind in ('invoice', 'note') and line.day is null
                                                        and evidence_date <= $2 and evidence_date > $2 - $4::integer
                                                        and (kind = 'own_funds_out' or kind = 'provider_invoice' and account = 'bank')), 0)::bigint
                      as "undated!",
                  coalesce(sum(amount_minor) filter (where kind = 'float_top_up' and state = 'in_transit' and evidence_date <= $2), 0)::bigint
                      as "top_ups_in_transit!",
                  (select coalesce(sum(case a.direction when 'credit' then t.amount_minor else -t.amount_minor end), 0)::bigint
                     from adjustments a join transactions t on t.id = a.transaction_id
                    where a.counterpart = 'bank' and t.currency = $1 and t.state = 'completed'
                      and t.completed_at >= ($2 + 1)::timestamp at time zone $3) as "corrected!"
             from journals
             left join lateral (select min(l.day) as day from statement_lines l
                                 where l.journal_id = journals.id and l.product = 'bank') line on true
            where currency = $1"#,
        currency,
        day,
        zone,
        DAYS_APART
    );
    after.fetch_one(db).await
}
