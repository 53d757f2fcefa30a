//! The command line: one binary, a subcommand for each process.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::{
    future::{Future, pending},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use octoco::finance::statement_files::StatementFiles;
use octoco::identity::audit::{Actor, warn_of_ownership};
use octoco::identity::notes::CustomerNotes;
use octoco::identity::rotation::{self, Cursor, Table};
use octoco::identity::users::{self, Email};
use octoco::identity::{repeats::KeptAnswers, second_factor, totp::SecondFactors};
use octoco::platform::keys;
use octoco::platform::telemetry::{LastLines, Telemetry};
use octoco::processes::{audit, reconcile, router, schema, worker};
use octoco::{
    app::App,
    books::projector,
    identity::sessions,
    money::approvals::routes::note_of_command,
    money::balances,
    money::bank_accounts::rotation::BankAccounts,
    money::requests,
    money::safe_mode,
    platform::config::Config,
    platform::error::{BoxError, Error},
    platform::permissions::Role,
    platform::signature::PublicKeys,
    processes::server::{self, Server},
    webhooks::{inbox::Webhooks, outgoing::OutgoingSecrets},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio::{net::TcpListener, task::JoinError, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// For how long the pool may give nobody a connection while PostgreSQL takes new ones.
const STUCK_POOL: Duration = Duration::from_secs(60);

/// Octoco keeps customers' money: accounts, deposits and withdrawals through Revio, on a double-entry ledger.
///
/// Settings come from the environment (`docs/operations.md`); each variable may also be given as NAME_FILE.
#[derive(Parser)]
#[command(name = "octoco", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers the HTTP API, and runs the background tasks too unless told otherwise
    Serve(Serve),
    /// Runs the background tasks only; any number of these may run
    Work,
    /// Brings the PostgreSQL schema up to date
    Migrate,
    /// Copies the whole ledger into PostgreSQL anew, beside the live copy, and puts it in its place
    RebuildReadModel {
        /// Only compares the copy with the ledger and names what differs: exit status 0 or 1
        #[arg(long, conflicts_with = "accept_lost")]
        verify: bool,
        /// Takes out of the copy what an older ledger has lost: only once it is written down
        #[arg(long)]
        accept_lost: bool,
    },
    Reconcile(reconcile::Options),
    /// Prints the OpenAPI document of the API
    Openapi,
    /// Secrets: new ones, and changing them
    #[command(subcommand)]
    Keys(Keys),
    /// Checks that an integrator can make without the service
    #[command(subcommand)]
    Webhook(Webhook),
    /// For operators
    #[command(subcommand)]
    Admin(Admin),
    /// Who is signed in
    #[command(subcommand)]
    Sessions(Sessions),
    /// The log of who did what
    #[command(subcommand)]
    Audit(audit::Command),
}

#[derive(Args)]
struct Serve {
    /// Run the background tasks in this process (the default)
    #[arg(long, conflicts_with = "without_worker")]
    with_worker: bool,
    /// Leave the background tasks to `octoco work`
    #[arg(long)]
    without_worker: bool,
}

#[derive(Subcommand)]
enum Keys {
    /// Prints a new JWT_PRIVATE_KEY and a new DATA_KEYS as NAME="value" lines
    Generate {
        /// The id of the data key: rows will carry it, so let it say when the key was made
        #[arg(long, default_value = "k1")]
        data_key_id: String,
    },
    /// Encrypts again, with the first of DATA_KEYS, what an older one has encrypted; may be stopped and run again at any time
    Rotate,
}

#[derive(Subcommand)]
enum Webhook {
    /// Says whether a signature is right for the body on standard input: exit status 0 or 1
    Verify {
        /// PEM file with one or several public keys
        #[arg(long)]
        public_key: PathBuf,
        /// What X-Signature holds
        #[arg(long)]
        signature: String,
    },
}

#[derive(Subcommand)]
enum Admin {
    /// Prints a customer's balances straight from the ledger, one JSON object a line
    LedgerBalances {
        #[arg(long)]
        email: String,
    },
    /// Ends the safe mode, once what a restored database has lost was looked at: payouts go on
    LeaveSafeMode {
        /// What was lost, and what became of it: for the audit log
        #[arg(long, value_parser = note_of_command)]
        note: String,
    },
    /// Takes a person's second factor away and ends all sessions; prints what one of staff enrols a new one with
    TotpReset {
        #[arg(long)]
        email: String,
    },
    /// Gives a user a role, above all the first admin: alone, and on record as the operator
    Grant {
        #[arg(long)]
        email: String,
        /// user, support, finance or admin
        #[arg(long, value_parser = |name: &str| Role::parse(name).ok_or("must be user, support, finance or admin"))]
        role: Role,
    },
}

#[derive(Subcommand)]
enum Sessions {
    /// Ends every session of everybody, as after a leak of JWT_PRIVATE_KEY; may be stopped and run again at any time
    EndAll,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Dropped after the runtime, whose tasks may have something to say.
    let _last = LastLines;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system has threads");
    let failed = match cli.command {
        Command::Reconcile(_) => reconcile::Outcome::NotFinished.into(),
        _ => ExitCode::FAILURE,
    };
    runtime.block_on(run(cli.command)).unwrap_or_else(|error| {
        say_error(&with_causes(&*error));
        failed
    })
}

async fn run(command: Command) -> Result<ExitCode, BoxError> {
    match command {
        Command::Serve(serve) => with_app(|app| self::serve(app, serve.with_worker || !serve.without_worker)).await,
        Command::Work => with_app(work).await,
        Command::Migrate => with_owner(migrate).await,
        Command::RebuildReadModel { verify: true, .. } => with_app(verify_read_model).await,
        Command::RebuildReadModel { accept_lost, .. } => with_owner(|app| rebuild_read_model(app, accept_lost)).await,
        Command::Reconcile(options) => with_app(|app| reconcile::command(app, options)).await,
        Command::Openapi => say(&serde_json::to_string_pretty(&router::openapi())?),
        Command::Keys(Keys::Generate { data_key_id }) => say(keys::environment_lines(&data_key_id).trim_end()),
        Command::Keys(Keys::Rotate) => with_app(rotate).await,
        Command::Webhook(Webhook::Verify { public_key, signature }) => verify(&public_key, &signature),
        Command::Admin(Admin::LedgerBalances { email }) => with_app(|app| ledger_balances(app, email)).await,
        Command::Admin(Admin::LeaveSafeMode { note }) => with_app(|app| leave_safe_mode(app, note)).await,
        Command::Admin(Admin::TotpReset { email }) => with_app(|app| reset_totp(app, email)).await,
        Command::Admin(Admin::Grant { email, role }) => with_app(|app| grant(app, email, role)).await,
        Command::Sessions(Sessions::EndAll) => with_app(end_all_sessions).await,
        Command::Audit(audit::Command::VerifyPack { file }) => audit::verify_pack(&file),
        Command::Audit(command) => with_app(|app| audit::run(app, command)).await,
    }
}

/// Reads the settings, sets up the logs, connects, runs, and lets go of the ledger at the end.
async fn with_app(body: impl AsyncFnOnce(App) -> Result<ExitCode, BoxError>) -> Result<ExitCode, BoxError> {
    with(Config::from_env()?, |config| config.database_url.clone(), body).await
}

/// The same as the role that owns the tables.
async fn with_owner(body: impl AsyncFnOnce(App) -> Result<ExitCode, BoxError>) -> Result<ExitCode, BoxError> {
    with(Config::from_env()?, |config| config.migration_database_url.clone(), body).await
}

async fn with(
    config: Config,
    url: fn(&Config) -> SecretString,
    body: impl AsyncFnOnce(App) -> Result<ExitCode, BoxError>,
) -> Result<ExitCode, BoxError> {
    let telemetry = Telemetry::start(config.log_format, &config.collectors)?;
    let shutdown = config.shutdown.saturating_sub(telemetry.time_to_close());
    let url = url(&config);
    let app = App::connect(Config { shutdown, ..config }, &url).await?;
    telemetry.count_in(&app.metrics);
    let result = body(app.clone()).await;
    app.ledger.clone().close().await;
    telemetry.close().await;
    result
}

async fn serve(app: App, with_worker: bool) -> Result<ExitCode, BoxError> {
    look_at_database(&app).await?;
    server::raise_file_limit();
    let listener = TcpListener::bind(app.config.listen_addr).await.map_err(|error| format!("LISTEN_ADDR: {error}"))?;
    let operators = server::bind_for_operators(&app).await?;
    let (address, operations) = (listener.local_addr()?, operators.local_addr()?);
    let stop = stop_on_signal()?;
    tracing::info!(%address, %operations, with_worker, "octoco serves");
    let mut tasks = if with_worker { worker::start(&app, &stop) } else { JoinSet::new() };
    accompany(&app, &stop, operators, &mut tasks);
    let server = Server::new(app.clone(), stop.clone()).run(listener);
    supervise(&app, &stop, tasks, server).await
}

async fn work(app: App) -> Result<ExitCode, BoxError> {
    look_at_database(&app).await?;
    let operators = server::bind_for_operators(&app).await?;
    let stop = stop_on_signal()?;
    tracing::info!(operations = %operators.local_addr()?, "octoco works");
    let mut tasks = worker::start(&app, &stop);
    accompany(&app, &stop, operators, &mut tasks);
    supervise(&app, &stop, tasks, stop.cancelled()).await
}

/// Before any task and any request. While PostgreSQL is away the process starts all the same, and pays nothing.
async fn look_at_database(app: &App) -> Result<(), BoxError> {
    if let Err(error) = app.footing.look(&app.db).await {
        tracing::warn!(error = error.chain(), "PostgreSQL's clock, durability and schema are not known yet");
        return Ok(());
    }
    if let Err(error) = warn_of_ownership(app).await {
        tracing::warn!(error = error.chain(), "whether the service owns its tables is not known yet");
    }
    schema::require_zone(app).await
}

/// What every process does: tells the workers what it wrote, keeps its counts and the time, answers operators, ends when it must.
fn accompany(app: &App, stop: &CancellationToken, operators: TcpListener, tasks: &mut JoinSet<&'static str>) {
    let (announced, stopped) = (app.clone(), stop.clone());
    tasks.spawn(async move {
        stopped.run_until_cancelled(announced.notifier.announce()).await;
        "announcements"
    });
    tasks.spawn(worker::write_counts(app.clone(), stop.clone()));
    let (measured, stopped) = (app.clone(), stop.clone());
    tasks.spawn(async move {
        stopped.run_until_cancelled(measured.footing.watch(&measured.db)).await;
        "footing"
    });
    for pool in [&app.db, &app.lists, app.batch_db.in_line()] {
        let (watched, stopped) = (pool.clone(), stop.clone());
        tasks.spawn(async move {
            stopped.run_until_cancelled(watched.watch(STUCK_POOL)).await;
            "a pool of PostgreSQL"
        });
    }
    let server = Server::for_operators(app.clone(), stop.clone());
    tasks.spawn(async move {
        server.run(operators).await;
        "operators"
    });
}

/// Until a stop is asked for; what is in hand then has a bounded time to end. A task that ends by itself is a failure.
async fn supervise(
    app: &App,
    stop: &CancellationToken,
    mut tasks: JoinSet<&'static str>,
    server: impl Future<Output = ()>,
) -> Result<ExitCode, BoxError> {
    let mut server = std::pin::pin!(server);
    tokio::select! {
        // In this order: on a stop the tasks and the server end too, and that is no failure of theirs.
        biased;
        () = stop.cancelled() => {}
        Some(ended) = tasks.join_next() => {
            // Not what a panic says: it may hold a value.
            let panicked = ended.as_ref().is_err_and(JoinError::is_panic);
            tracing::error!(task = ended.ok(), panicked, "a background task ended");
            return Ok(ExitCode::FAILURE);
        }
        () = &mut server => return Ok(ExitCode::SUCCESS),
    }
    tracing::info!("octoco stops: no new work, what is in hand ends");
    let finish = async {
        server.await;
        app.in_hand.close();
        app.in_hand.wait().await;
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(app.config.shutdown, finish).await.is_err() {
        tracing::warn!("work in hand did not end in time; its rows come due again");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever asks for it in which way: a terminal or a session that ends sends SIGHUP, and what is in hand ends all the same. Started so that it
/// is ignored (nohup), it stays so.
fn stop_on_signal() -> Result<CancellationToken, BoxError> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    let token = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "main owns the tasks, and this one ends with the process")]
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = async { match &mut hangup { Some(hangup) => _ = hangup.recv().await, None => pending().await } } => {}
        }
        token.cancel();
    });
    Ok(stop)
}

/// By the lowest bit of the signals that are ignored (proc(5)).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

async fn migrate(app: App) -> Result<ExitCode, BoxError> {
    schema::migrate(&app).await?;
    tracing::info!("the schema is up to date");
    Ok(ExitCode::SUCCESS)
}

fn verify(public_key: &PathBuf, signature: &str) -> Result<ExitCode, BoxError> {
    let keys = PublicKeys::from_pem(&std::fs::read_to_string(public_key)?)?;
    let mut body = Vec::new();
    io::stdin().lock().read_to_end(&mut body)?;
    match keys.verify(&body, std::iter::once(signature.as_bytes())) {
        Ok(()) => say("the signature is right"),
        Err(reason) => {
            say_error(&reason);
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn ledger_balances(app: App, email: String) -> Result<ExitCode, BoxError> {
    let user = users::find_by_email(&app, &Email::parse(&email)?).await?;
    for balance in balances::balances(&app, user.id).await? {
        say(&serde_json::to_string(&balances::routes::BalanceView::from(balance))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn grant(app: App, email: String, role: Role) -> Result<ExitCode, BoxError> {
    let user = users::find_by_email(&app, &Email::parse(&email)?).await?;
    requests::grant_by_operator(&app, user.id, role).await?;
    say(&format!("{} has the role {} now; it had {}", user.email, role.name(), user.role.name()))
}

async fn reset_totp(app: App, email: String) -> Result<ExitCode, BoxError> {
    let user = users::find_by_email(&app, &Email::parse(&email)?).await?;
    let reset = second_factor::reset(&app, &Actor::operator(), user.id).await?;
    match reset.enrolment_token {
        Some(token) => say(&format!("enrolment token, once and for 24 hours: {}", token.expose_secret())),
        None => say(&format!("{} has no second factor and needs no token for another: no staff", user.email)),
    }
}

async fn leave_safe_mode(app: App, note: String) -> Result<ExitCode, BoxError> {
    safe_mode::leave(&app, &Actor::operator(), &note).await?;
    say("the safe mode is over: payouts go on")
}

async fn rotate(app: App) -> Result<ExitCode, BoxError> {
    let keys = &app.config.data_keys;
    let mut uses = BTreeMap::<String, i64>::new();
    let tables = [
        rotate_table(&app, &BankAccounts(&app)).await?,
        rotate_table(&app, &Webhooks).await?,
        rotate_table(&app, &SecondFactors).await?,
        rotate_table(&app, &StatementFiles).await?,
        rotate_table(&app, &CustomerNotes).await?,
        rotate_table(&app, &KeptAnswers).await?,
        rotate_table(&app, &OutgoingSecrets).await?,
    ];
    for (id, rows) in tables.into_iter().flatten() {
        let all = uses.entry(id).or_default();
        *all = all.saturating_add(rows);
    }
    for (id, rows) in &uses {
        let what = match (id == keys.current_id(), keys.holds(id)) {
            (true, _) => "encrypts",
            (false, true) => "must stay in DATA_KEYS",
            (false, false) => "is not in DATA_KEYS: these cannot be decrypted",
        };
        say(&format!("key {id}: {rows} rows; it {what}"))?;
    }
    if uses.keys().all(|id| id == keys.current_id()) {
        return say("no row needs another key");
    }
    Ok(ExitCode::FAILURE)
}

/// How many rows need which key afterwards.
async fn rotate_table<T: Table>(app: &App, table: &T) -> Result<BTreeMap<String, i64>, BoxError> {
    let mut cursor = Cursor::default();
    while let Some(batch) = rotation::next(app, table, &mut cursor).await? {
        say(&format!("{} encrypted again with {}", batch.encrypted, app.config.data_keys.current_id()))?;
        for id in batch.closed {
            say_error(&format!("{} {id} cannot be decrypted", T::NOUN));
        }
    }
    Ok(rotation::uses(app, table).await?.into_iter().map(|key| (key.id, key.rows)).collect())
}

async fn end_all_sessions(app: App) -> Result<ExitCode, BoxError> {
    let (mut ended, mut after) = (0_u64, Some(Uuid::nil()));
    while let Some(last) = after {
        let (more, next) = sessions::end_everybodys(&app, last).await?;
        (ended, after) = (ended.saturating_add(more), next);
    }
    say(&format!("{ended} sessions ended"))
}

async fn rebuild_read_model(app: App, accept_lost: bool) -> Result<ExitCode, BoxError> {
    let rebuilt = match accept_lost {
        true => projector::rebuild_accepting_lost(&app).await?,
        false => projector::rebuild(&app).await?,
    };
    schema::grant(&app).await?;
    for (table, out, put) in rebuilt.changed {
        say(&format!("{table}: {out} rows taken out, {put} put in"))?;
    }
    say(&format!("the read model is what the ledger says; {} transfers", rebuilt.transfers))
}

async fn verify_read_model(app: App) -> Result<ExitCode, BoxError> {
    let report = projector::verify(&app).await?;
    for difference in &report.differences {
        say(&format!("{} {} {}", difference.what.name(), difference.id, difference.problem))?;
    }
    for day in &report.days {
        say(&format!("day {} in {} is not the sum of its transfers", day.day, day.currency))?;
    }
    for (transfer, row) in &report.orphans {
        say(&format!("transfer {transfer} belongs to row {row}, which is not there"))?;
    }
    let (transfers, accounts, orphaned) = (report.transfers, report.accounts, report.orphaned);
    let counted = format!("{transfers} transfers ({orphaned} without a row) and {accounts} accounts compared");
    if report.wrong() == 0 {
        return say(&format!("{counted}: the read model is what the ledger says"));
    }
    say_error(&format!("{counted}: {} differ; octoco rebuild-read-model mends them", report.wrong()));
    Ok(ExitCode::FAILURE)
}

/// In one line; some say their cause themselves, and the driver of PostgreSQL does not say whose it is.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let said = match error.downcast_ref::<Error>() {
        Some(ours) => ours.chain(),
        None if error.is::<sqlx::Error>() => format!("PostgreSQL: {error}"),
        None => error.to_string(),
    };
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    causes.fold(said, |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

fn say(text: &str) -> Result<ExitCode, BoxError> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// If standard error is closed, there is nobody to tell.
fn say_error(error: &dyn std::fmt::Display) {
    writeln!(io::stderr().lock(), "octoco: {error}").unwrap_or_default();
}
