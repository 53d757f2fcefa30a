//! What `./dev bench projector` runs against its own parts; settings come from the environment, as for the service.
//!
//! `seed N` writes rows and moves money for them until the ledger has N transfers: half deposits, half withdrawals that are
//! reserved and posted. `copy` lets the projector catch up. `steady RATE SECS` moves money at a rate while `octoco work` runs
//! elsewhere, and samples how far behind the read model is.

#![expect(clippy::print_stdout, reason = "a measurement with a printed result")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use ledger::{Account, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::app::App;
use octoco::books::projector;
use octoco::platform::config::Config;
use octoco::platform::error::BoxError;
use octoco::platform::telemetry;
use uuid::Uuid;

const CUSTOMERS: usize = 10_000;
/// Rows written by one statement, and callers of the ledger at once.
const ROWS: usize = 10_000;
const CALLERS: usize = 4_000;
const SAMPLE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<usize>().ok()).expect("a number");
    let config = Config::from_env()?;
    telemetry::init_logs(config.log_format);
    let app = App::connect(config).await?;
    let started = Instant::now();
    match words.first().map(String::as_str) {
        Some("seed") => seed(&app, number(1)).await?,
        Some("copy") => {
            projector::catch_up(&app).await?;
            told("copied", copied(&app).await?, started.elapsed());
        }
        Some("steady") => steady(&app, number(1), number(2)).await?,
        _ => panic!("usage: bench_projector seed N | copy | steady RATE SECS"),
    }
    Ok(())
}

fn told(what: &str, count: usize, took: Duration) {
    let millis = usize::try_from(took.as_millis()).expect("not ages").max(1);
    println!("{what}\t{count}\t{millis}\t{}", count * 1000 / millis);
}

async fn copied(app: &App) -> Result<usize, BoxError> {
    let count: i64 = sqlx::query_scalar("select count(*) from ledger_transfers").fetch_one(&app.db).await?;
    Ok(usize::try_from(count)?)
}

/// Wallets whose users have rows, with money in them.
async fn customers(app: &App) -> Result<Vec<Uuid>, BoxError> {
    let users: Vec<Uuid> = (0..CUSTOMERS).map(|_| app.clock.user_id()).collect();
    sqlx::query(
        "insert into users (id, email, full_name, password_hash, role, created_at)
         select id, id || '@example.com', 'Nobody', 'none', 'user', $2 from unnest($1::uuid[]) as t (id)",
    )
    .bind(&users)
    .bind(app.clock.now())
    .execute(&app.db)
    .await?;
    let provider = app.ledger.provider_balance(Currency::ZAR);
    app.ledger.open(&[provider]).await?;
    for some in users.chunks(1_000) {
        let wallets: Vec<Account> = some.iter().map(|user| Account::wallet(*user, Currency::ZAR)).collect();
        app.ledger.open(&wallets).await?;
    }
    Ok(users)
}

/// The rows that the transfers belong to: two transfers each.
async fn rows(app: &App, users: &[Uuid], count: usize) -> Result<Vec<(Uuid, Uuid)>, BoxError> {
    let rows: Vec<(Uuid, Uuid)> =
        (0..count).map(|_| (app.clock.row_id(), users[rand::random_range(0..users.len())])).collect();
    let (ids, owners): (Vec<Uuid>, Vec<Uuid>) = rows.iter().copied().unzip();
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, amount_minor, currency, created_at, updated_at, completed_at)
         select id, user_id, 'deposit', 'completed', 100, 'ZAR', $3, $3, $3 from unnest($1::uuid[], $2::uuid[]) as t (id, user_id)",
    )
    .bind(&ids)
    .bind(&owners)
    .bind(app.clock.now())
    .execute(&app.db)
    .await?;
    Ok(rows)
}

/// Four transfers: two deposits with a row each, a withdrawal that is reserved and posted.
async fn move_money(app: &App, pair: [(Uuid, Uuid); 2]) {
    let provider = app.ledger.provider_balance(Currency::ZAR);
    let [(first, user), (second, _)] = pair;
    let wallet = Account::wallet(user, Currency::ZAR);
    let amount = Amount::new(100, Currency::ZAR).expect("an amount");
    let leg = |row, leg, debit, credit, code| Transfer {
        id: TransferId::of(row, leg),
        debit,
        credit,
        amount,
        code,
        reference: row,
    };
    let deposit = leg(first, Leg::Main, provider, wallet, TransferCode::Deposit);
    app.ledger.transfer(deposit).await.expect("booked");
    let late = leg(first, Leg::Late, provider, wallet, TransferCode::Deposit);
    app.ledger.transfer(late).await.expect("booked");
    app.ledger.reserve(leg(second, Leg::Main, wallet, provider, TransferCode::Withdrawal)).await.expect("reserved");
    app.ledger.post(second).await.expect("posted");
}

async fn seed(app: &App, transfers: usize) -> Result<(), BoxError> {
    let (users, started, mut seeded) = (customers(app).await?, Instant::now(), 0);
    while seeded < transfers {
        let rows = rows(app, &users, ROWS.min((transfers - seeded).div_ceil(2)).next_multiple_of(2)).await?;
        let pairs = rows.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        stream::iter(pairs).for_each_concurrent(CALLERS, |pair| move_money(app, pair)).await;
        seeded += rows.len() * 2;
    }
    told("seeded", seeded, started.elapsed());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a load at a pace")]
async fn steady(app: &App, rate: usize, secs: usize) -> Result<(), BoxError> {
    let (users, before) = (customers(app).await?, copied(app).await?);
    let rows = rows(app, &users, (rate * secs / 2).next_multiple_of(2)).await?;
    // Caught up before the clock runs: the rows above are many, and so are the wallets.
    while projector::lag(app).await?.iter().any(|lag| lag.transfers > 0) {
        tokio::time::sleep(SAMPLE).await;
    }
    let mut pace = tokio::time::interval(Duration::from_secs(4) / u32::try_from(rate)?);
    let (started, mut lags) = (Instant::now(), Vec::new());
    let load = async {
        let (moves, mut pairs) = (futures_util::stream::FuturesUnordered::new(), rows.chunks_exact(2));
        let mut moves = moves;
        loop {
            tokio::select! {
                _ = pace.tick() => match pairs.next() {
                    Some(pair) => moves.push(move_money(app, [pair[0], pair[1]])),
                    None => break,
                },
                Some(()) = moves.next() => {}
            }
        }
        while moves.next().await.is_some() {}
    };
    let samples = async {
        loop {
            tokio::time::sleep(SAMPLE).await;
            let lag = projector::lag(app).await.expect("the parts answer");
            lags.push(lag.iter().map(|lag| lag.age.num_milliseconds()).max().unwrap_or(0));
        }
    };
    tokio::select! {
        () = load => {}
        never = samples => never,
    }
    let took = started.elapsed();
    while projector::lag(app).await?.iter().any(|lag| lag.transfers > 0) {
        tokio::time::sleep(SAMPLE).await;
    }
    told("steady", copied(app).await? - before, took);
    lags.sort_unstable();
    let at =
        |percent: usize| lags.get((lags.len() * percent / 100).min(lags.len().saturating_sub(1))).copied().unwrap_or(0);
    println!("lag\t{}\t{}\t{}\t{}", lags.len(), at(50), at(99), at(100));
    Ok(())
}
