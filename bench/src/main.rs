//! `./dev bench` runs this on parts of its own: made-up transactions by the million, and what the service takes to read them
//! back. Settings come from the environment, as for the service. Exit status 1 where a figure is not what it must be.

#![expect(clippy::print_stdout, reason = "a measurement with a printed result")]

mod lists;
mod load;
mod projector;
mod reconciliation;
mod seed;
mod waiting;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use octoco::app::App;
use octoco::platform::config::Config;
use octoco::platform::error::BoxError;
use octoco::platform::telemetry::Telemetry;

#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fills an empty database with made-up transactions; needs REVIO_TEST_MODE=yes
    Seed {
        #[arg(long, default_value_t = 1_000_000)]
        transactions: i64,
    },
    /// Times every kind of page on what `seed` made
    Lists {
        /// Calls of each kind
        #[arg(long, default_value_t = 200)]
        calls: usize,
    },
    /// Calls of many callers at once to a service that runs; settings are the service's
    Load(load::Options),
    /// How fast the ledger is copied into PostgreSQL, and how far behind the copy is under load
    Projector {
        #[arg(long, default_value_t = 1_000_000)]
        transfers: usize,
    },
    /// How long a daily reconciliation takes, and what memory
    Reconciliation {
        #[arg(long, default_value_t = 1_000_000)]
        transfers: usize,
        /// Deposits that wait for their payment
        #[arg(long, default_value_t = 100_000)]
        open: usize,
    },
    /// What thousands who wait cost a process that serves, and others
    Waiting(waiting::Options),
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let cli = Cli::parse();
    let config = Config::from_env()?;
    Telemetry::start(config.log_format, &config.collectors)?;
    let url = config.database_url.clone();
    let app = App::connect(config, &url).await?;
    let good = match cli.command {
        Command::Seed { transactions } => seed::run(&app, transactions).await.map(|()| true),
        Command::Lists { calls } => lists::run(&app, calls).await,
        Command::Load(options) => load::run(&app, &options).await,
        Command::Projector { transfers } => projector::run(&app, transfers).await,
        Command::Reconciliation { transfers, open } => reconciliation::run(&app, transfers, open).await,
        Command::Waiting(options) => waiting::run(&app, &options).await,
    };
    app.ledger.clone().close().await;
    Ok(if good? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
