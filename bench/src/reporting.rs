//! How long the views of the schema `reporting` take as dashboards ask them: 30 days, as the role `grafana`, each query again and again. On
//! what `reporting.sql` makes: transfers by the million in the read model and the summaries that belong to them, spread over two years.
//! Only for an empty database.

use std::time::{Duration, Instant};

use octoco::app::App;
use octoco::books::{projector, slots};
use octoco::platform::error::BoxError;
use octoco::processes::schema;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool, query_scalar, raw_sql};

const READER: &str = "grafana_bench";
const PASSWORD: &str = "only-for-this-bench";
const CALLS: usize = 5;
/// As long as somebody waits for a panel.
const MAX: Duration = Duration::from_secs(1);
const BATCH: i64 = 200_000;

/// What panels ask; `{id}` is a payment.
const QUERIES: [(&str, &str); 26] = [
    ("position, today", "select surplus from position where currency = 'ZAR' order by day desc limit 1"),
    (
        "position, 30 days",
        "select * from position where currency = 'ZAR' and day between reporting.day(now()) - 30 and reporting.day(now())",
    ),
    (
        "balances, a day",
        "select code, title, closing from balances where currency = 'ZAR' and day = reporting.day(now()) order by code",
    ),
    (
        "balances, an account, 30 days",
        "select * from balances where currency = 'ZAR' and code = 1000 and day > reporting.day(now()) - 30",
    ),
    ("movements, 30 days", "select * from movements where currency = 'ZAR' and day > reporting.day(now()) - 30"),
    (
        "movements by reason, a year",
        "select reason, sum(debits), sum(credits) from movements where currency = 'ZAR' and day > reporting.day(now()) - 365 group by 1",
    ),
    ("held_by_age", "select * from held_by_age order by band_order"),
    ("float", "select * from float"),
    ("provider_balances, 30 days", "select * from provider_balances where asked_at > now() - interval '30 days'"),
    (
        "activity, 30 days",
        "select slot, kind, sum(amount) from activity where slot > now() - interval '30 days' group by 1, 2",
    ),
    (
        "success rate, 30 days",
        "select kind, sum(count) filter (where state = 'completed') / sum(count) from activity where slot > now() - interval '30 days' and state in ('completed', 'failed', 'expired', 'rejected') group by 1",
    ),
    (
        "why not completed, 30 days",
        "select reason, sum(count) from activity where slot > now() - interval '30 days' and reason <> '' group by 1",
    ),
    ("completion_times, 30 days", "select * from completion_times where slot > now() - interval '30 days'"),
    (
        "webhooks, 30 days",
        "select slot, verdict, sum(count) from webhooks where slot > now() - interval '30 days' group by 1, 2",
    ),
    ("reservations, the oldest", "select * from reservations order by age_seconds desc limit 500"),
    ("reservations by age", "select age_band, count(*), sum(amount) from reservations group by 1"),
    ("suspense_items", "select * from suspense_items order by since limit 500"),
    ("receivables", "select * from receivables order by since limit 500"),
    ("receivables by age", "select age_band, sum(amount) from receivables group by 1"),
    ("fees", "select * from fees order by month desc"),
    ("statement_coverage", "select * from statement_coverage where day > reporting.day(now()) - 30"),
    ("watermark", "select * from watermark"),
    ("payments, by id", "select * from payments where id = '{id}'"),
    ("payment_states, by id", "select * from payment_states where transaction_id = '{id}'"),
    ("payment_transfers, by id", "select * from payment_transfers where transaction_id = '{id}'"),
    ("payment_events, by id", "select * from payment_events where transaction_id = '{id}'"),
];

pub(crate) async fn run(app: &App, transfers: i64) -> Result<bool, BoxError> {
    if !app.config.revio_test_mode {
        return Err("REVIO_TEST_MODE must be true: made-up money is for measuring only".into());
    }
    let mut db = app.db.acquire().await?.detach();
    raw_sql("set statement_timeout = 0; set jit = off; set synchronous_commit = off").execute(&mut db).await?;
    if !query_scalar::<_, bool>("select exists (select from ledger_days)").fetch_one(&mut db).await? {
        let began = Instant::now();
        raw_sql(include_str!("reporting/before.sql")).execute(&mut db).await?;
        // 2.2 transfers a payment.
        let payments = transfers * 10 / 22;
        let mut done = 0;
        while done < payments {
            let until = payments.min(done + BATCH);
            sqlx::query("call bench_payments($1, $2, $3)")
                .bind(done + 1)
                .bind(until)
                .bind(payments)
                .execute(&mut db)
                .await?;
            done = until;
        }
        println!("   {:>8.1?}  {done} payments", began.elapsed());
        raw_sql(include_str!("reporting/after.sql")).execute(&mut db).await?;
        println!("   {:>8.1?}  and what belongs to them", began.elapsed());
    }
    let began = Instant::now();
    projector::add_up_again(app).await?;
    println!("   {:>8.1?}  days added up anew", began.elapsed());
    let began = Instant::now();
    slots::count_again(app).await?;
    println!("   {:>8.1?}  slots counted anew", began.elapsed());
    raw_sql("update reporting_settings set slots_until = now() - interval '1 minute'").execute(&mut db).await?;
    raw_sql("vacuum (analyze)").execute(&mut db).await?;
    let began = Instant::now();
    slots::step(app).await?;
    println!("   {:>8.1?}  slots of the last hour", began.elapsed());
    let sizes: String = query_scalar(
        "select string_agg(concat_ws(' ', reltuples::bigint, relname, pg_size_pretty(pg_table_size(oid)), '+', pg_size_pretty(pg_indexes_size(oid))), ', ')
           from pg_class where relname in ('transactions', 'ledger_transfers', 'ledger_days', 'transaction_slots', 'transactions_text', 'transactions_moved')",
    )
    .fetch_one(&mut db)
    .await?;
    println!("   {sizes}");
    schema::admit_reader(app, READER, Some(&SecretString::from(PASSWORD))).await?;
    let options = app.config.migration_database_url.expose_secret().parse::<PgConnectOptions>()?;
    let reader =
        PgPoolOptions::new().max_connections(1).connect_with(options.username(READER).password(PASSWORD)).await?;
    let id: String = query_scalar(
        "select id::text from transactions where kind = 'withdrawal' and state = 'completed' order by id desc limit 1",
    )
    .fetch_one(&mut db)
    .await?;
    let good = ask(&reader, &id).await;
    reader.close().await;
    raw_sql("drop owned by grafana_bench; drop role grafana_bench").execute(&mut db).await?;
    good
}

async fn ask(reader: &PgPool, id: &str) -> Result<bool, BoxError> {
    println!("   {:<32}{:>8}{:>10}{:>10}", "query", "rows", "first ms", "worst ms");
    let mut good = true;
    for (name, sql) in QUERIES {
        let sql = sql.replace("{id}", id);
        let (mut rows, mut times) = (0, Vec::with_capacity(CALLS));
        for _ in 0..CALLS {
            let began = Instant::now();
            rows = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(reader).await?.len();
            times.push(began.elapsed());
        }
        let worst = times.iter().max().copied().unwrap_or_default();
        println!("   {name:<32}{rows:>8}{:>10.1}{:>10.1}", times[0].as_secs_f64() * 1e3, worst.as_secs_f64() * 1e3);
        good &= worst <= MAX;
    }
    Ok(good)
}
