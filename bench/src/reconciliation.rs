//! How long a daily reconciliation takes over a day of transfers and very many open objects, and what memory it needs.
//!
//! ```text
//! seed   rows in PostgreSQL: deposits that are completed, with their transfers, and deposits that wait for their payment
//! copy   the projector, to the end
//! run    a daily run, step by step, as the worker makes it; Revio is asked within its budget
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt};
use ledger::{Account, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::app::App;
use octoco::books::projector;
use octoco::finance::reconciliation::{self, New, RunKind, Step, runs};
use octoco::platform::error::BoxError;
use uuid::Uuid;

const CUSTOMERS: usize = 10_000;
const ROWS: usize = 10_000;
const OPENED: usize = 1_000;
/// Transfers of one chain, and chains at once.
const CHAIN: usize = 250;
const CHAINS: usize = 16;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(300);
/// Beyond what the process has before the run.
const GROWTH_MAX: u64 = 200;

pub(crate) async fn run(app: &App, transfers: usize, open: usize) -> Result<bool, BoxError> {
    let users = customers(app).await?;
    let started = Instant::now();
    for first in (0..transfers).step_by(ROWS) {
        let ids = rows(app, &users, ROWS.min(transfers - first), "completed").await?;
        stream::iter(ids.chunks(CHAIN)).for_each_concurrent(CHAINS, |some| move_money(app, some)).await;
    }
    for first in (0..open).step_by(ROWS) {
        rows(app, &users, ROWS.min(open - first), "awaiting_payment").await?;
    }
    sqlx::query("vacuum analyze").execute(&app.db).await?;
    println!("   seeded {transfers} transfers and {open} open rows in {:.1?}", started.elapsed());
    let started = Instant::now();
    projector::catch_up(app).await?;
    println!("   copied in {:.1?}", started.elapsed());
    // The highest from here on, also within a step.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = resident("VmRSS:");
    let legs = vec![reconciliation::ReconciliationLeg::Inside, reconciliation::ReconciliationLeg::Provider];
    let new = New { kind: RunKind::Daily, legs, since: None, requested_by: "system".to_owned() };
    let begun = reconciliation::start(app, new).await?.ok_or("another run is under way")?;
    let (started, mut slowest) = (Instant::now(), Duration::ZERO);
    let (mut stage, mut spent) = (stage_of(app, begun.id).await?, BTreeMap::<String, Duration>::new());
    loop {
        let step = Instant::now();
        let done = reconciliation::work(app, &[]).await?;
        slowest = slowest.max(step.elapsed());
        let next = stage_of(app, begun.id).await?;
        *spent.entry(std::mem::replace(&mut stage, next)).or_default() += step.elapsed();
        match done {
            Step::More => {}
            Step::Pause | Step::Idle => pause().await,
            Step::Finished => break,
            Step::Failed => return Ok(false),
        }
    }
    let (took, run) = (started.elapsed(), runs::find(app, begun.id).await?);
    let (calls, growth) = (calls(app), resident("VmHWM:").saturating_sub(before));
    println!(
        "   daily run in {took:.1?}; slowest step {slowest:.1?}; {calls} calls to Revio; {before} MB, and {growth} more"
    );
    println!("   {}\n   by stage: {spent:.1?}", run.counts);
    println!("   wanted: at most {LONGEST:?}, {GROWTH_MAX} MB more, no open break, and the budget of calls kept");
    let breaks = run.counts["open"].as_i64().unwrap_or(-1);
    // The worst second has a burst of one second's calls.
    let calls_max = took.as_secs_f64().mul_add(f64::from(app.config.reconciliation_calls_per_second), 5.0);
    Ok(took <= LONGEST && growth <= GROWTH_MAX && breaks == 0 && calls <= calls_max)
}

/// Of reconciliation to Revio, whatever came of them.
fn calls(app: &App) -> f64 {
    let metrics = app.metrics.render();
    let of_class = metrics.lines().filter(|line| line.starts_with("octoco_revio_calls_total{class=\"reconciliation\""));
    of_class.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn stage_of(app: &App, run: Uuid) -> Result<String, BoxError> {
    let stage = sqlx::query_scalar("select coalesce(checkpoint->>'stage', '') from reconciliation_runs where id = $1");
    Ok(stage.bind(run).fetch_one(&app.db).await?)
}

#[expect(clippy::disallowed_methods, reason = "a measurement waits as the worker does")]
async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

/// Of this process, in MB.
fn resident(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes / 1000)
}

/// Customers with a wallet each.
pub(crate) async fn customers(app: &App) -> Result<Vec<Uuid>, BoxError> {
    let users: Vec<Uuid> = (0..CUSTOMERS).map(|_| app.clock.user_id()).collect();
    sqlx::query(
        "insert into users (id, email, full_name, password_hash, created_at)
         select id, id || '@example.com', 'Nobody', 'none', $2 from unnest($1::uuid[]) as t (id)",
    )
    .bind(&users)
    .bind(app.clock.now())
    .execute(&app.db)
    .await?;
    app.ledger.open(&[app.ledger.provider_balance(Currency::ZAR)]).await?;
    for some in users.chunks(OPENED) {
        let wallets: Vec<Account> = some.iter().map(|user| Account::wallet(*user, Currency::ZAR)).collect();
        app.ledger.open(&wallets).await?;
    }
    Ok(users)
}

/// Deposits in a state: id and user.
async fn rows(app: &App, users: &[Uuid], count: usize, state: &str) -> Result<Vec<(Uuid, Uuid)>, BoxError> {
    let some = |_| (app.clock.row_id(), users[rand::random_range(0..users.len())]);
    let rows: Vec<(Uuid, Uuid)> = (0..count).map(some).collect();
    let (ids, owners): (Vec<Uuid>, Vec<Uuid>) = rows.iter().copied().unzip();
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, moved_at, amount_minor, currency, updated_at, completed_at,
                                   provider_id)
         select id, user_id, 'deposit', $4, 'initiated ' || $4, array[$3::timestamptz], 100, 'ZAR', $3,
                case when $4 = 'completed' then $3 end, case when $4 <> 'completed' then gen_random_uuid() end
           from unnest($1::uuid[], $2::uuid[]) as t (id, user_id)",
    )
    .bind(&ids)
    .bind(&owners)
    // What was written in the last two minutes is not looked at.
    .bind(app.clock.now() - TimeDelta::hours(1))
    .bind(state)
    .execute(&app.db)
    .await?;
    Ok(rows)
}

async fn move_money(app: &App, rows: &[(Uuid, Uuid)]) {
    let provider = app.ledger.provider_balance(Currency::ZAR);
    let amount = Amount::new(100, Currency::ZAR).expect("an amount");
    let transfer = |(row, user): &(Uuid, Uuid)| {
        let (id, credit) = (TransferId::of(*row, Leg::Main), Account::wallet(*user, Currency::ZAR));
        Transfer::new(id, provider, credit, amount, TransferCode::Deposit)
    };
    let chain: Vec<Transfer> = rows.iter().map(transfer).collect();
    app.ledger.transfer_linked(&chain).await.expect("booked");
}
