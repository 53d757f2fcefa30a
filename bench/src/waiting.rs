//! Thousands who wait on one process that serves: what memory it has, and what others notice. Two figures are promised: 200 MB, and a 99th
//! percentile of other calls within twice of an idle process's.
//!
//! ```text
//! idle    another route, called by eight at once
//! open    long polls and event streams, each on a connection of its own; each poll is asked again when it was answered
//! loaded  the same route; meanwhile fifty rows a second are noted, which all streams of their owners are told
//! move    every row at once: how long until every poll was answered
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use octoco::app::App;
use octoco::platform::error::BoxError;
use octoco::processes::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

const USERS: usize = 500;
const CALLERS: usize = 8;
const CALLS: usize = 2_500;
const RESIDENT_MAX: u64 = 200;
/// What a machine's scheduler does to a percentile of a few milliseconds.
const NOISE: Duration = Duration::from_millis(2);
const NOTED_EVERY: Duration = Duration::from_millis(200);
const NOTED: i64 = 10;
const PATIENCE: Duration = Duration::from_secs(120);
const OPENED_AT_ONCE: usize = 100;

#[derive(Args)]
pub(crate) struct Options {
    /// Where the process serves, as host:port
    #[arg(long)]
    address: String,
    #[arg(long)]
    pid: u32,
    #[arg(long, default_value_t = 5_000)]
    polls: usize,
    #[arg(long, default_value_t = 2_000)]
    streams: usize,
}

#[derive(Default)]
struct Counts {
    polling: AtomicUsize,
    answered: AtomicUsize,
    listening: AtomicUsize,
    told: AtomicUsize,
    broken: AtomicUsize,
}

/// Somebody with a row.
struct User {
    token: String,
    row: Uuid,
}

pub(crate) async fn run(app: &App, options: &Options) -> Result<bool, BoxError> {
    server::raise_file_limit();
    let users = users(app).await?;
    let empty = resident(options.pid);
    let idle = percentile(&options.address, &users[0].token).await?;
    let (counts, mut waiting, begun) = (Arc::new(Counts::default()), JoinSet::new(), Instant::now());
    for number in 0..options.polls + options.streams {
        let user = &users[number % USERS];
        let poll = number < options.polls;
        let path = if poll {
            format!("/v1/transactions/{}?wait=30&state_not=awaiting_payment", user.row)
        } else {
            "/v1/events".to_owned()
        };
        let request = request(&path, &user.token);
        waiting.spawn(wait(options.address.clone(), request, poll, Arc::clone(&counts)));
        if number % OPENED_AT_ONCE == 0 {
            pause(Duration::from_millis(20)).await;
        }
    }
    let all = || {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        count(&counts.polling) >= options.polls && count(&counts.listening) >= options.streams
    };
    until(all).await?;
    pause(Duration::from_secs(5)).await;
    println!("   {} long polls and {} streams are open after {:.1?}", options.polls, options.streams, begun.elapsed());
    let noting = note(app);
    let loaded = tokio::select! {
        loaded = percentile(&options.address, &users[0].token) => loaded?,
        failed = noting => return Err(failed),
    };
    let told = counts.told.load(Ordering::Relaxed);
    let (answered, began) = (counts.answered.load(Ordering::Relaxed), Instant::now());
    let moved = "update transactions set state = 'failed', states = states || ' failed', moved_at = moved_at || $1::timestamptz,
                        updated_at = $1, version = version + 1 where state = 'awaiting_payment'";
    sqlx::query(moved).bind(app.clock.now()).execute(&app.db).await?;
    until(|| counts.answered.load(Ordering::Relaxed) >= answered + options.polls).await?;
    let took = began.elapsed();
    let (full, broken) = (resident(options.pid), counts.broken.load(Ordering::Relaxed));
    waiting.shutdown().await;
    println!("   resident {empty} MB idle, {full} MB at most with all of them; wanted: {RESIDENT_MAX} MB");
    println!(
        "   99th percentile of GET /v1/bank-accounts: {idle:.1?} idle, {loaded:.1?} loaded; wanted: twice at most"
    );
    println!(
        "   {told} events were told meanwhile; every poll was answered {took:.1?} after its row; {broken} broke off"
    );
    Ok(full <= RESIDENT_MAX && loaded <= idle * 2 + NOISE && broken == 0 && told > 0)
}

/// People with a session and a deposit that waits for its payment.
async fn users(app: &App) -> Result<Vec<User>, BoxError> {
    let now = app.clock.now();
    let ids: Vec<Uuid> = (0..USERS).map(|_| app.clock.user_id()).collect();
    let rows: Vec<Uuid> = (0..USERS).map(|_| app.clock.row_id()).collect();
    sqlx::query(
        "with people as (insert into users (id, email, full_name, password_hash, created_at)
                         select id, id || '@example.com', 'Nobody', 'none', $3 from unnest($1::uuid[]) as t (id) returning id)
         insert into sessions (id, user_id, created_at, expires_at) select id, id, $3, 'infinity' from people",
    )
    .bind(&ids)
    .bind(&rows)
    .bind(now)
    .execute(&app.db)
    .await?;
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, moved_at, amount_minor, currency, updated_at, provider_id)
         select id, user_id, 'deposit', 'awaiting_payment', 'initiated awaiting_payment', array[$3::timestamptz], 100, 'ZAR', $3,
                gen_random_uuid() from unnest($1::uuid[], $2::uuid[]) as t (user_id, id)",
    )
    .bind(&ids)
    .bind(&rows)
    .bind(now)
    .execute(&app.db)
    .await?;
    let user = |(id, row): (Uuid, Uuid)| User { token: app.tokens.sign(id, id, "user", now), row };
    Ok(ids.into_iter().zip(rows).map(user).collect())
}

/// Some rows again and again, as a hold does.
async fn note(app: &App) -> BoxError {
    let note = "update transactions set version = version + 1, noted_at = $1
                 where id in (select id from transactions where state = 'awaiting_payment' order by random() limit $2)";
    loop {
        if let Err(error) = sqlx::query(note).bind(app.clock.now()).bind(NOTED).execute(&app.db).await {
            return error.into();
        }
        pause(NOTED_EVERY).await;
    }
}

fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: octoco\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// One connection for as long as it is wanted.
async fn wait(address: String, request: String, poll: bool, counts: Arc<Counts>) {
    let broken = async {
        let mut stream = TcpStream::connect(&address).await?;
        let mut buffer = vec![0; 4096];
        loop {
            stream.write_all(request.as_bytes()).await?;
            if poll {
                counts.polling.fetch_add(1, Ordering::Relaxed);
                answer(&mut stream, &mut buffer).await?;
                counts.answered.fetch_add(1, Ordering::Relaxed);
                // What is not open any more is not asked for again.
                pause(Duration::from_secs(1)).await;
                continue;
            }
            let mut heard = false;
            loop {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return Ok::<(), BoxError>(());
                }
                let text = String::from_utf8_lossy(&buffer[..read]);
                if !heard {
                    heard = true;
                    if !text.starts_with("HTTP/1.1 200") {
                        return Err(text.lines().next().unwrap_or_default().to_owned().into());
                    }
                    counts.listening.fetch_add(1, Ordering::Relaxed);
                }
                counts.told.fetch_add(text.matches("event: transaction.updated").count(), Ordering::Relaxed);
            }
        }
    };
    let ended = broken.await;
    if counts.broken.fetch_add(1, Ordering::Relaxed) == 0 {
        println!("   the first that broke off: {ended:?}");
    }
}

/// The whole of one answer with a length.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
    let mut read = 0;
    loop {
        if read == buffer.len() {
            buffer.resize(2 * read, 0);
        }
        let more = stream.read(&mut buffer[read..]).await?;
        if more == 0 {
            return Err("closed".into());
        }
        read += more;
        let text = std::str::from_utf8(&buffer[..read])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{head} {body}").into());
        }
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            return Ok(());
        }
    }
}

async fn percentile(address: &str, token: &str) -> Result<Duration, BoxError> {
    let calls = async || {
        let (mut stream, mut buffer) = (TcpStream::connect(address).await?, vec![0; 4096]);
        let request = request("/v1/bank-accounts", token);
        let mut took = Vec::with_capacity(CALLS / CALLERS);
        for _ in 0..CALLS / CALLERS {
            let began = Instant::now();
            stream.write_all(request.as_bytes()).await?;
            answer(&mut stream, &mut buffer).await?;
            took.push(began.elapsed());
        }
        Ok::<_, BoxError>(took)
    };
    let mut all = Vec::new();
    for took in join_all((0..CALLERS).map(|_| calls())).await {
        all.extend(took?);
    }
    all.sort_unstable();
    all.get(all.len() * 99 / 100).copied().ok_or_else(|| "no call".into())
}

/// The highest that it was, in MB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes / 1000)
}

async fn until(holds: impl Fn() -> bool) -> Result<(), BoxError> {
    let wait = async {
        while !holds() {
            pause(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| "not all wait, or not all were answered".into())
}

#[expect(clippy::disallowed_methods, reason = "a measurement waits")]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}
