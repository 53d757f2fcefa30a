//! The binary `revio-sim`: reads its flags, starts the library's simulator, and runs until it is told to stop.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use revio_sim::{Clock, Deliveries, Options, PayoutBehaviour, Sim, endpoints};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// A local Revio (payment provider): purchases with a hosted checkout page, payouts, signed webhooks, and faults on demand.
///
/// The API is at http://LISTEN/api/v1/ and wants `Authorization: Bearer KEY`; the key says whether test or live data are meant.
/// Open a purchase's `checkout_url` in a browser to pay it. No real money moves.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
struct Flags {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "REVIO_SIM_LISTEN", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How `checkout_url` begins, if browsers reach the simulator by another address than the service does
    #[arg(long, env = "REVIO_SIM_PUBLIC_URL")]
    public_url: Option<String>,
    /// API key of test mode
    #[arg(long, env = "REVIO_SIM_TEST_KEY", default_value = revio_sim::TEST_KEY)]
    test_key: String,
    /// API key of live mode
    #[arg(long, env = "REVIO_SIM_LIVE_KEY", default_value = revio_sim::LIVE_KEY)]
    live_key: String,
    /// The brand that purchases and payouts must name
    #[arg(long, env = "REVIO_SIM_BRAND_ID", default_value_t = revio_sim::BRAND_ID)]
    brand_id: Uuid,
    /// The company that every object belongs to
    #[arg(long, env = "REVIO_SIM_COMPANY_ID", default_value_t = revio_sim::COMPANY_ID)]
    company_id: Uuid,
    /// File that keeps everything over a restart; without it everything is forgotten. Not for load tests: it is written whole
    #[arg(long, env = "REVIO_SIM_STATE_FILE")]
    state_file: Option<PathBuf>,
    /// Register this webhook for all test events at start, unless it is registered already; may be repeated
    #[arg(long = "webhook", value_name = "URL", env = "REVIO_SIM_WEBHOOKS", value_delimiter = ',')]
    webhooks: Vec<String>,
    /// Sign all webhooks with this RSA private key (PEM file) instead of a fresh one each
    #[arg(long, value_name = "FILE", env = "REVIO_SIM_WEBHOOK_KEY_FILE")]
    webhook_key_file: Option<PathBuf>,
    /// Write the public key (PEM) of the first --webhook to this file
    #[arg(long, value_name = "FILE", requires = "webhooks")]
    public_key_out: Option<PathBuf>,
    /// How long one minute of the webhook retry schedule lasts, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    minute_ms: u64,
    /// Send webhooks only on POST /_sim/deliver/
    #[arg(long)]
    manual: bool,
    /// Executed payouts are `pending` for so many seconds; 0: paid at once. Unset: as the state file says, else at once
    #[arg(long, value_name = "SECS")]
    payout_secs: Option<i64>,
    /// Fee on payments made on the hosted page, in hundredths of a percent
    #[arg(long, value_name = "BP")]
    fee_basis_points: Option<i64>,
    /// Seed of the faults that strike by chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = parse_flags();
    let filter =
        tracing_subscriber::EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "revio-sim cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn parse_flags() -> Flags {
    let width = endpoints().map(|(call, _)| call.len()).max().unwrap_or(0);
    let lines: String = endpoints().map(|(call, does)| format!("  {call:width$}  {does}\n")).collect();
    let after =
        format!("Control API (no key, JSON):\n{lines}\nFaults and settings are described in revio-sim/README.md.");
    let matches = Flags::command().after_help(after).get_matches();
    Flags::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    let pem = flags.webhook_key_file.as_ref().map(fs::read_to_string).transpose()?;
    let minute = Duration::from_millis(flags.minute_ms);
    let options = Options {
        listen: flags.listen,
        public_url: flags.public_url.clone(),
        test_key: flags.test_key.clone(),
        live_key: flags.live_key.clone(),
        brand_id: flags.brand_id,
        company_id: flags.company_id,
        deliveries: if flags.manual { Deliveries::Manual } else { Deliveries::Automatic { minute } },
        state_file: flags.state_file.clone(),
        webhook_private_key_pem: pem,
        seed: flags.seed,
        clock: Clock::system(),
    };
    let sim = revio_sim::start(options).await?;
    prepare(&sim, &flags)?;
    writeln!(io::stdout(), "revio-sim: {} (seed {})", sim.base_url(), flags.seed)?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    sim.shutdown().await;
    Ok(())
}

/// What the flags say about the world itself, which may come from a state file.
fn prepare(sim: &Sim, flags: &Flags) -> io::Result<()> {
    let mut settings = sim.settings();
    if let Some(secs) = flags.payout_secs {
        settings.payouts = if secs == 0 { PayoutBehaviour::Succeed } else { PayoutBehaviour::PendThenSucceed { secs } };
    }
    settings.fee_basis_points = flags.fee_basis_points.unwrap_or(settings.fee_basis_points);
    sim.set_settings(settings);
    for (index, callback) in flags.webhooks.iter().enumerate() {
        let known = sim.webhooks().into_iter().find(|webhook| webhook.callback == *callback);
        let webhook = known.unwrap_or_else(|| sim.register_webhook(callback));
        if let Some(file) = flags.public_key_out.as_ref().filter(|_| index == 0) {
            fs::write(file, webhook.public_key)?;
        }
    }
    Ok(())
}
