//! SQL of `ledger_days`. Names of tables are unqualified, as in `projector/store.rs`: a rebuild has its own.

use chrono::NaiveDate;
use ledger::{AccountId, Leg, TransferId};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::books::projector::books::{Line, nanoseconds};
use crate::platform::error::{Error, Result};

/// What a day needs of a transfer.
pub(super) struct Moved {
    timestamp: i64,
    code: i32,
    kind: &'static str,
    debit_code: i32,
    credit_code: i32,
    /// The first transfer of its row: the same id with that leg.
    main: Uuid,
    amount_minor: i64,
    released_minor: i64,
}

impl TryFrom<&Line> for Moved {
    type Error = Error;

    fn try_from(line: &Line) -> Result<Self> {
        let code_of = |account: AccountId| {
            let code = account.code_and_currency().map(|(code, _)| i32::from(code.code()));
            code.ok_or_else(|| Error::internal(format!("account {account} is not one of ours")))
        };
        let transfer = &line.transfer;
        Ok(Self {
            timestamp: nanoseconds(transfer.timestamp),
            code: i32::from(transfer.code),
            kind: transfer.kind.name(),
            debit_code: code_of(transfer.debit)?,
            credit_code: code_of(transfer.credit)?,
            main: TransferId::of(transfer.id.row(), Leg::Main).as_uuid(),
            amount_minor: transfer.amount_minor,
            released_minor: line.released,
        })
    }
}

pub(super) async fn add(db: &mut PgConnection, currency: &str, moves: &[Moved]) -> sqlx::Result<()> {
    let numbers = |of: fn(&Moved) -> i64| moves.iter().map(of).collect::<Vec<i64>>();
    let codes = |of: fn(&Moved) -> i32| moves.iter().map(of).collect::<Vec<i32>>();
    let kinds: Vec<String> = moves.iter().map(|moved| moved.kind.to_owned()).collect();
    let mains: Vec<Uuid> = moves.iter().map(|moved| moved.main).collect();
    let added = sqlx::query!(
        "insert into ledger_days as l
             (currency, day, code, kind, debit_code, credit_code, of_code, transfers, amount_minor, released_minor)
         select $1, reporting.day(ledger_time(t.timestamp)), t.code, t.kind, t.debit, t.credit,
                case when t.code = 11
                     then coalesce((select m.code from ledger_transfers m
                                     where m.id in (t.main, (left(t.main::text, 34) || '06')::uuid) order by m.id limit 1), 0)
                     else t.code end,
                count(*), sum(t.amount), sum(t.released)
           from unnest($2::bigint[], $3::integer[], $4::text[], $5::integer[], $6::integer[], $7::uuid[], $8::bigint[], $9::bigint[])
             as t (timestamp, code, kind, debit, credit, main, amount, released)
          group by 2, 3, 4, 5, 6, 7 order by 2, 3, 4, 5, 6, 7
         on conflict (currency, day, code, kind, debit_code, credit_code, of_code) do update
            set transfers = l.transfers + excluded.transfers, amount_minor = l.amount_minor + excluded.amount_minor,
                released_minor = l.released_minor + excluded.released_minor",
        currency,
        &numbers(|moved| moved.timestamp),
        &codes(|moved| moved.code),
        &kinds,
        &codes(|moved| moved.debit_code),
        &codes(|moved| moved.credit_code),
        &mains,
        &numbers(|moved| moved.amount_minor),
        &numbers(|moved| moved.released_minor),
    );
    added.execute(db).await.map(drop)
}

/// From the first that has a transfer or a sum to the last.
pub(super) async fn days(db: impl PgExecutor<'_>, currency: &str) -> sqlx::Result<Vec<NaiveDate>> {
    let days = sqlx::query_scalar!(
        r#"select d::date as "day!"
             from (select reporting.day(ledger_time(min(timestamp))) as first, reporting.day(ledger_time(max(timestamp))) as last
                     from ledger_transfers where currency = $1) t,
                  (select min(day) as first, max(day) as last from ledger_days where currency = $1) l,
                  generate_series(least(t.first, l.first)::timestamp, greatest(t.last, l.last)::timestamp, interval '1 day') d"#,
        currency
    );
    days.fetch_all(db).await
}

pub(super) async fn differs(db: impl PgExecutor<'_>, currency: &str, day: NaiveDate) -> sqlx::Result<bool> {
    let differs = sqlx::query_scalar!(
        r#"select exists (
               select from (select * from ledger_days where currency = $1 and day = $2) l
                 full join ledger_days_of($1, $2, $2) e using (currency, day, code, kind, debit_code, credit_code, of_code)
                where (l.transfers, l.amount_minor, l.released_minor)
                      is distinct from (e.transfers, e.amount_minor, e.released_minor)) as "differs!""#,
        currency,
        day
    );
    differs.fetch_one(db).await
}

pub(super) async fn add_up_day(db: &mut PgConnection, currency: &str, day: NaiveDate) -> sqlx::Result<()> {
    sqlx::query!("delete from ledger_days where currency = $1 and day = $2", currency, day).execute(&mut *db).await?;
    let added = sqlx::query!("insert into ledger_days select l.* from ledger_days_of($1, $2, $2) l", currency, day);
    added.execute(db).await.map(drop)
}

pub(super) async fn add_up_again(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("delete from ledger_days").execute(&mut *db).await?;
    let added = sqlx::query!(
        "insert into ledger_days
         select l.* from (select currency, reporting.day(ledger_time(min(timestamp))) as first,
                                 reporting.day(ledger_time(max(timestamp))) as last from ledger_transfers group by currency) t,
                         ledger_days_of(t.currency, t.first, t.last) l"
    );
    added.execute(db).await.map(drop)
}

pub(super) async fn zone(db: impl PgExecutor<'_>) -> sqlx::Result<String> {
    sqlx::query_scalar!("select time_zone from reporting_settings").fetch_one(db).await
}

pub(super) async fn set_zone(db: impl PgExecutor<'_>, zone: &str) -> sqlx::Result<()> {
    sqlx::query!("select set_reporting_time_zone($1)", zone).execute(db).await.map(drop)
}

pub(super) async fn is_any_month_closed(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from periods where state = 'closed') as "closed!""#)
        .fetch_one(db)
        .await
}

/// Both sides of an account code over all days.
pub(super) struct Sums {
    pub(super) currency: String,
    pub(super) account_code: i32,
    pub(super) debits: i64,
    pub(super) credits: i64,
    pub(super) pending_debits: i64,
    pub(super) pending_credits: i64,
}

pub(super) async fn sums(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Sums>> {
    let sums = sqlx::query_as!(
        Sums,
        r#"select currency as "currency!", account_code as "account_code!", sum(debits)::bigint as "debits!",
                  sum(credits)::bigint as "credits!", sum(pending_debits)::bigint as "pending_debits!",
                  sum(pending_credits)::bigint as "pending_credits!"
             from ledger_day_sides group by currency, account_code"#
    );
    sums.fetch_all(db).await
}
