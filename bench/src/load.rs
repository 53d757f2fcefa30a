//! The service from outside, over HTTP, while it runs as it does in production: how many calls a second, how long each waits, and what
//! processor time they cost. `deploy/dev/bench_load.py` starts the parts, runs this, and measures PostgreSQL alone beside it.
//!
//! ```text
//! customers   people with a wallet, money and a bank account, written straight into PostgreSQL and the ledger
//! cases       each warmed up, then timed; after those that move money: rows = reservations = ledger, or the figure is not given
//! result      one JSON document on standard output
//! ```

#![expect(clippy::float_arithmetic, clippy::as_conversions, reason = "rates and latencies, not money")]

mod cases;
mod client;
mod customers;
mod processes;
mod run;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use octoco::app::App;
use octoco::platform::error::BoxError;
use serde::Serialize;

use cases::Case;
use processes::Process;
use run::Measured;

#[derive(Args)]
pub(crate) struct Options {
    /// Where the service listens
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    connections: Vec<usize>,
    #[arg(long, value_delimiter = ',', value_enum, default_value = "balances,list,one,withdrawals,hot,zipf,deposits")]
    cases: Vec<Case>,
    #[arg(long, default_value_t = 100)]
    customers: usize,
    /// Whose processor time is told: `name=pid`, with all that it has started
    #[arg(long)]
    process: Vec<Process>,
    /// Open loop: so many a second, whatever becomes of those before
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Serialize)]
struct Result {
    case: Case,
    #[serde(flatten)]
    measured: Measured,
    /// Milliseconds of processor time a good answer, by process.
    processor_ms: serde_json::Map<String, serde_json::Value>,
    /// Megabytes, after the case.
    resident_mb: serde_json::Map<String, serde_json::Value>,
    /// What the books say of a case that moved money.
    books: Option<cases::Books>,
}

/// Whether every case went well and every book balances.
pub(crate) async fn run(app: &App, options: &Options) -> std::result::Result<bool, BoxError> {
    let customers = customers::make(app, options.customers).await?;
    let (mut results, mut good) = (Vec::new(), true);
    for case in &options.cases {
        for connections in &options.connections {
            let (warm_up, lasting) = (Duration::from_secs(options.warm_up), Duration::from_secs(options.seconds));
            let (address, connections, rate) = (options.address, *connections, options.rate);
            let load = run::Load { address, connections, warm_up, lasting, rate };
            let before = processes::spent(&options.process)?;
            let measured = run::run(load, case.wanted(), case.ask(&customers)).await?;
            let processor_ms = processes::each(&before, &processes::spent(&options.process)?, measured.good);
            let books = cases::check(app, *case, &customers).await?;
            good &= measured.bad == 0 && books.is_none_or(|books| books.balance());
            let resident_mb = processes::resident(&options.process)?;
            results.push(Result { case: *case, measured, processor_ms, resident_mb, books });
        }
    }
    println!("{}", serde_json::to_string_pretty(&results)?);
    Ok(good)
}
