//! SQL of what an export says of its rows beside them.

use chrono::NaiveDate;
use ledger::TransferCode;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

pub(super) struct Booked {
    /// When the ledger first moved money for the row; without it nothing was booked, or it is not copied yet.
    pub(super) booked_at: Option<DateTime>,
    /// The day of the accounts that this is in.
    pub(super) booking_date: Option<NaiveDate>,
    /// What the customer was charged for it.
    pub(super) fee: Option<i64>,
    /// What Revio kept or took.
    pub(super) provider_fee: Option<i64>,
    pub(super) bank_name: Option<String>,
    pub(super) last_four: Option<String>,
    pub(super) customer: Option<String>,
}

/// Of each row, in the order of the ids. The transfers of a row are those whose ids begin as its own does.
pub(super) async fn booked(db: impl PgExecutor<'_>, ids: &[Uuid], with_names: bool) -> sqlx::Result<Vec<Booked>> {
    let query = sqlx::query_as!(
        Booked,
        // Spelled out: `ledger_time` and `reporting.day` are not made part of the statement, but called for each row.
        r#"select l.first as booked_at, (l.first at time zone z.time_zone)::date as booking_date, l.fee, l.provider_fee,
                  t.destination_bank as bank_name, t.destination_last_four as last_four, case when $4 then u.full_name end as customer
             from unnest($1::uuid[]) with ordinality as asked (id, place)
             join transactions t on t.id = asked.id
             join users u on u.id = t.user_id
            cross join reporting_settings z
             left join lateral (
                 select timestamptz 'epoch' + (min(m.timestamp) filter (where m.code <> $3) / 1000) * interval '1 microsecond' as first,
                        coalesce(sum(m.amount_minor) filter (where m.code = $2), 0)::bigint as fee,
                        coalesce(sum(m.amount_minor) filter (where m.code = $3), 0)::bigint as provider_fee
                   from ledger_transfers m
                  where m.id between t.id and (left(t.id::text, 34) || 'ff')::uuid and m.kind in ('posted', 'post')
                 having count(*) > 0) l on true
            order by asked.place"#,
        ids,
        i32::from(TransferCode::Fee.code()),
        i32::from(TransferCode::ProviderFee.code()),
        with_names,
    );
    query.fetch_all(db).await
}
