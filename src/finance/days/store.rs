//! SQL of days: what a time zone does.

use chrono::NaiveDate;
use sqlx::PgExecutor;

use crate::platform::clock::DateTime;

pub(super) async fn days(db: impl PgExecutor<'_>, zone: &str, moments: &[DateTime]) -> sqlx::Result<Vec<NaiveDate>> {
    let days = sqlx::query_scalar!(
        r#"select (at at time zone $1)::date as "day!" from unnest($2::timestamptz[]) with ordinality as m (at, n) order by n"#,
        zone,
        moments
    );
    days.fetch_all(db).await
}

pub(super) async fn start(db: impl PgExecutor<'_>, zone: &str, day: NaiveDate) -> sqlx::Result<DateTime> {
    sqlx::query_scalar!(r#"select $2::date::timestamp at time zone $1 as "start!""#, zone, day).fetch_one(db).await
}
