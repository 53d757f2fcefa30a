//! How many transfers a second one client moves at several numbers of concurrent callers, one transfer a call:
//! `cargo run -p ledger --example throughput -- 127.0.0.1:PORT`. Prints a line for each number.

use std::time::{Duration, Instant};

use ledger::{Account, Amount, Currency, Ledger, Leg, Options, Transfer, TransferCode, TransferId};

const MEASURED: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let addresses = std::env::args().nth(1).expect("usage: throughput ADDRESSES");
    let base = rand::random_range(1..=4_000_000) * 1000;
    let ledger = Ledger::connect(Options { base, ..Options::new(0, addresses) }).await.expect("connect");
    let wallet = Account::wallet(ledger::user_id(1_763_900_000_000, rand::random()), Currency::ZAR);
    let provider = ledger.provider_balance(Currency::ZAR);
    ledger.open(&[wallet, provider]).await.expect("open");
    for callers in [1, 16, 128, 1024, 8000] {
        measure(&ledger, provider, wallet, callers).await;
    }
}

#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement with a printed result")]
async fn measure(ledger: &Ledger, debit: Account, credit: Account, callers: usize) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut moved = 0_u64;
                while started.elapsed() < MEASURED {
                    let millis = 1_763_900_000_000_u64
                        .saturating_add(u64::try_from(started.elapsed().as_millis()).expect("fits"));
                    let row = ledger::row_id(millis, rand::random());
                    let amount = Amount::new(1, Currency::ZAR).expect("one cent");
                    let id = TransferId::of(row, Leg::Main);
                    let t = Transfer::new(id, debit, credit, amount, TransferCode::Deposit);
                    ledger.transfer(t).await.expect("transfer");
                    moved = moved.saturating_add(1);
                }
                moved
            })
        })
        .collect();
    let mut moved = 0_u64;
    for task in tasks {
        moved = moved.saturating_add(task.await.expect("caller"));
    }
    let elapsed = started.elapsed();
    println!(
        "{callers:5} callers: {moved} in {elapsed:?}, {} a second",
        u128::from(moved) * 1_000_000 / elapsed.as_micros()
    );
}
