//! The service from outside, over HTTP, while it runs as it does in production: how many calls a second, how long each waits, and what
//! processor time they cost. `deploy/dev/bench_load.py` starts the parts, runs this, and measures PostgreSQL and TigerBeetle alone beside it.
//!
//! ```text
//! customers   people with a wallet, money, a history and a bank account, written straight into PostgreSQL and the ledger; anew for each case
//! cases       each warmed up, then timed; afterwards what was answered, the rows and the ledger must agree, or there is no figure
//! effects     of webhooks and of whole withdrawals: what the rows say of when it was booked, once nothing is under way any more
//! result      one JSON document on standard output
//! ```

#![expect(clippy::float_arithmetic, clippy::as_conversions, reason = "rates and latencies, not money")]

mod books;
mod cases;
mod client;
mod costs;
mod customers;
mod effects;
mod http;
mod ledger;
mod processes;
mod receipts;
mod revio;
mod run;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use octoco::app::App;
use octoco::platform::error::BoxError;
use octoco::processes::server;
use serde::Serialize;

use books::Books;
use cases::Case;
use costs::Costs;
use customers::Customers;
use effects::Effect;
use processes::Process;
use revio::Revio;
use run::{Load, Measured};

#[derive(Args)]
pub(crate) struct Options {
    /// Where the service listens; callers take turns where there are several
    #[arg(long, required = true, value_delimiter = ',')]
    address: Vec<SocketAddr>,
    /// Where it and its workers tell operators their metrics: then calls of the ledger and of Revio are told apart
    #[arg(long, value_delimiter = ',')]
    operations: Vec<SocketAddr>,
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
    /// Webhooks or withdrawals of a case that is followed to its end
    #[arg(long, default_value_t = 20_000)]
    orders: u64,
    /// Whose processor time is told: `name=pid`, with all that it has started
    #[arg(long)]
    process: Vec<Process>,
    /// Open loop: so many a second, whatever becomes of those before
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Serialize)]
struct CaseResult {
    case: Case,
    #[serde(flatten)]
    measured: Measured,
    /// What became of it, as the rows say; `None` where the answer is all.
    effect: Option<Effect>,
    /// What a good answer costs the parts.
    costs: BTreeMap<&'static str, f64>,
    /// Milliseconds of processor time a good answer, by process.
    processor_ms: serde_json::Map<String, serde_json::Value>,
    /// Megabytes, after the case.
    resident_mb: serde_json::Map<String, serde_json::Value>,
    /// What must agree.
    books: Books,
}

/// Whether every case went well and every book balances.
pub(crate) async fn run(app: &App, options: &Options) -> Result<bool, BoxError> {
    server::raise_file_limit();
    let revio = Revio::of(app)?;
    revio.tell_of("payout").await?;
    let (mut results, mut good) = (Vec::new(), true);
    for case in &options.cases {
        for connections in &options.connections {
            let result = one(app, options, (*case, *connections), &revio).await?;
            good &= result.measured.bad == 0 && result.books.balance();
            results.push(result);
        }
    }
    println!("{}", serde_json::to_string_pretty(&results)?);
    Ok(good)
}

async fn one(
    app: &App,
    options: &Options,
    (case, connections): (Case, usize),
    revio: &Revio,
) -> Result<CaseResult, BoxError> {
    let customers = Customers::make(app, case.customers(options.customers)).await?;
    let (warm_up, lasting) = match case.is_followed() {
        true => (Duration::ZERO, effects::PATIENCE),
        false => (Duration::from_secs(options.warm_up), Duration::from_secs(options.seconds)),
    };
    let load = Load { connections, warm_up, lasting, rate: options.rate };
    let orders = options.orders;
    let asked = match case {
        Case::Transfer | Case::Reserve => None,
        Case::Receipts => Some(receipts::prepare(app, (options.address[0], revio), &customers, orders).await?),
        _ => Some(case.ask(&customers, case.is_followed().then_some(orders))),
    };
    let own = processes::own("bench");
    let watched: Vec<Process> = options.process.iter().cloned().chain([own]).collect();
    let (begun, cost) = (app.clock.now(), Costs::now(app, &options.operations).await?);
    let (before, stood) = (processes::spent(&watched)?, revio.stands().await?);
    let measured = match asked {
        Some(ask) => {
            let address = |number| options.address[number % options.address.len()];
            run::run(load, |number| http::Caller::new(address(number), case.wanted(), Arc::clone(&ask))).await
        }
        None => run::run(load, |_| ledger::Caller::new(app, case == Case::Reserve, &customers)).await,
    }?;
    let effect = if case.is_followed() { Some(effects::follow(app, case, &customers, begun).await?) } else { None };
    let processor_ms = processes::each(&before, &processes::spent(&watched)?, measured.good);
    let costs = Costs::now(app, &options.operations).await?.each(&cost, measured.good);
    let moved = revio.stands().await?.since(stood);
    let books = Books::of(app, case, &customers, (measured.good, moved)).await?;
    let resident_mb = processes::resident(&watched)?;
    Ok(CaseResult { case, measured, effect, costs, processor_ms, resident_mb, books })
}
