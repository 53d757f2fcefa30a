//! How fast the ledger is copied into PostgreSQL, and how far behind the copy is under load.
//!
//! ```text
//! seed     rows in PostgreSQL, and transfers for them: half deposits, half withdrawals that are reserved and posted
//! copy     the projector, from nothing to the end;   then verified, rebuilt beside the live copy, and verified again
//! steady   a thousand transfers a second while the background tasks of this process copy them; the lag is sampled
//! ```

use std::time::{Duration, Instant};

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use ledger::{Account, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::app::App;
use octoco::books::projector;
use octoco::platform::error::BoxError;
use octoco::processes::worker;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reconciliation;

/// Rows written by one statement, and callers of the ledger at once.
const ROWS: usize = 10_000;
const CALLERS: usize = 4_000;
const RATE: u32 = 1_000;
const SECONDS: u32 = 30;
const SAMPLE: Duration = Duration::from_millis(50);
const COPIED_A_SECOND_MIN: usize = 20_000;
const LAG_MAX: Duration = Duration::from_secs(1);

pub(crate) async fn run(app: &App, transfers: usize) -> Result<bool, BoxError> {
    let users = reconciliation::customers(app).await?;
    let (started, mut seeded) = (Instant::now(), 0);
    while seeded < transfers {
        let pairs = rows(app, &users, ROWS.min(transfers.div_ceil(2))).await?;
        seeded += 4 * pairs.len();
        stream::iter(pairs).for_each_concurrent(CALLERS, |pair| move_money(app, pair)).await;
    }
    tell("seeded", seeded, started);
    let started = Instant::now();
    projector::catch_up(app).await?;
    let speed = tell("copied", seeded, started);
    let before = verified(app).await?;
    let started = Instant::now();
    tell("rebuilt", projector::rebuild(app).await?.transfers, started);
    let after = verified(app).await?;
    let lag = steady(app, &users).await?;
    println!("   wanted: {COPIED_A_SECOND_MIN} copied a second, at most {LAG_MAX:?} behind, and no difference");
    Ok(before && after && speed >= COPIED_A_SECOND_MIN && lag < LAG_MAX)
}

/// Prints how long it took; how many a second.
fn tell(what: &str, transfers: usize, started: Instant) -> usize {
    let took = started.elapsed();
    let speed = transfers * 1000 / usize::try_from(took.as_millis()).unwrap_or(usize::MAX).max(1);
    println!("   {what:<10}{transfers:>12} transfers in {took:>8.1?}{speed:>10} a second");
    speed
}

async fn verified(app: &App) -> Result<bool, BoxError> {
    let started = Instant::now();
    let report = projector::verify(app).await?;
    tell("verified", report.transfers, started);
    Ok(report.different == 0)
}

/// Rows for four transfers each: a customer's deposit, and what stands for a withdrawal of his.
async fn rows(app: &App, users: &[Uuid], count: usize) -> Result<Vec<Pair>, BoxError> {
    let some = |_| Pair {
        user: users[rand::random_range(0..users.len())],
        deposit: app.clock.row_id(),
        withdrawal: app.clock.row_id(),
    };
    let pairs: Vec<Pair> = (0..count.div_ceil(2)).map(some).collect();
    let ids: Vec<Uuid> = pairs.iter().flat_map(|pair| [pair.deposit, pair.withdrawal]).collect();
    let owners: Vec<Uuid> = pairs.iter().flat_map(|pair| [pair.user; 2]).collect();
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, moved_at, amount_minor, currency, updated_at, completed_at)
         select id, user_id, 'deposit', 'completed', 'initiated completed', array[$3::timestamptz], 100, 'ZAR', $3, $3
           from unnest($1::uuid[], $2::uuid[]) as t (id, user_id)",
    )
    .bind(&ids)
    .bind(&owners)
    .bind(app.clock.now())
    .execute(&app.db)
    .await?;
    Ok(pairs)
}

#[derive(Clone, Copy)]
struct Pair {
    user: Uuid,
    deposit: Uuid,
    withdrawal: Uuid,
}

async fn move_money(app: &App, Pair { user, deposit, withdrawal }: Pair) {
    let (provider, wallet) = (app.ledger.provider_balance(Currency::ZAR), Account::wallet(user, Currency::ZAR));
    let amount = Amount::new(100, Currency::ZAR).expect("an amount");
    let transfer = |row, leg, debit, credit, code| Transfer::new(TransferId::of(row, leg), debit, credit, amount, code);
    for leg in [Leg::Main, Leg::Late] {
        app.ledger.transfer(transfer(deposit, leg, provider, wallet, TransferCode::Deposit)).await.expect("booked");
    }
    let reserved = transfer(withdrawal, Leg::Main, wallet, provider, TransferCode::Withdrawal);
    app.ledger.reserve(reserved).await.expect("reserved");
    app.ledger.post(withdrawal).await.expect("posted");
}

/// The worst lag of all samples.
async fn steady(app: &App, users: &[Uuid]) -> Result<Duration, BoxError> {
    let count = usize::try_from(RATE * SECONDS)?;
    let mut pairs = rows(app, users, count / 2).await?.into_iter();
    let stop = CancellationToken::new();
    let mut tasks = worker::start(app, &stop);
    let (mut pace, mut sample) = (interval(Duration::from_secs(4) / RATE), interval(SAMPLE));
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (started, mut moves, mut lags, mut left) = (Instant::now(), FuturesUnordered::new(), Vec::new(), true);
    while left || !moves.is_empty() {
        tokio::select! {
            _ = pace.tick(), if left => match pairs.next() {
                Some(pair) => moves.push(move_money(app, pair)),
                None => left = false,
            },
            Some(()) = moves.next(), if !moves.is_empty() => {}
            _ = sample.tick() => {
                let lag = projector::lag(app).await?;
                lags.push(lag.iter().map(|lag| lag.age).max().unwrap_or_default().to_std()?);
            }
        }
    }
    tell("steady", count, started);
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    lags.sort();
    let at = |percent: usize| lags.get((lags.len() * percent / 100).min(lags.len() - 1)).copied().unwrap_or_default();
    println!("   lag: p50 {:.0?}, p99 {:.0?}, max {:.0?} of {} samples", at(50), at(99), at(100), lags.len());
    Ok(at(100))
}
