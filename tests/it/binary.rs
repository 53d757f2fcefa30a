//! The real binary as a process of its own: what it prints is all that anybody sees of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;

use octoco::platform::keys;
use octoco::platform::permissions::Role;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::mpsc;

use crate::harness::{PATIENCE, TestApp, environment};
use crate::second_factor::SWITCHED_OFF;

pub(crate) type Settings = BTreeMap<&'static str, String>;

/// Everything that it needs, on the test's own database; Revio does not answer.
pub(crate) fn settings(db: &PgPool, database_password: &str) -> Settings {
    let options = db.connect_options();
    let (user, database) = (options.get_username(), options.get_database().expect("a database for each test"));
    let database =
        format!("postgres://{user}:{database_password}@{}:{}/{database}", options.get_host(), options.get_port());
    let mut settings = BTreeMap::from([
        ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
        ("OPS_ADDR", "127.0.0.1:0".to_owned()),
        ("DATABASE_URL", database),
        ("DATABASE_DURABILITY", "none".to_owned()),
        ("REDIS_URL", environment("TEST_REDIS_URL")),
        ("TIGERBEETLE_ADDRESSES", environment("TEST_TIGERBEETLE_ADDRESSES")),
        ("LEDGER_BASE", (rand::random_range(1..4_000_000_u32) * 1000).to_string()),
        ("REVIO_BASE_URL", "http://127.0.0.1:1/api/v1/".to_owned()),
        ("REVIO_API_KEY", "key".to_owned()),
        ("REVIO_BRAND_ID", revio_sim::BRAND_ID.to_string()),
        ("REVIO_WEBHOOK_PUBLIC_KEYS", PUBLIC_KEY.to_owned()),
        ("JWT_PRIVATE_KEY", keys::new_jwt_private_key()),
        ("DATA_KEYS", DATA_KEYS.clone()),
    ]);
    settings.extend(SWITCHED_OFF.map(|(name, value)| (name, value.to_owned())));
    settings
}

/// Of all that begin in one database.
static DATA_KEYS: LazyLock<String> = LazyLock::new(|| keys::new_data_key("k1"));

/// Nobody has its private half.
const PUBLIC_KEY: &str = include_str!("public_key.pem");

fn command(arguments: &[&str], settings: &Settings) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_octoco"));
    command
        .args(arguments)
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end. All that it printed, and how it ended.
pub(crate) async fn run(arguments: &[&str], settings: &Settings) -> (String, ExitStatus) {
    let mut command = command(arguments, settings);
    let ended = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("it ends");
    let printed = [ended.stdout, ended.stderr].concat();
    (String::from_utf8_lossy(&printed).into_owned(), ended.status)
}

/// `octoco serve` or `octoco work`, running.
pub(crate) struct Serving {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    printed: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// Of the API.
    pub(crate) address: String,
    /// Where operators ask.
    pub(crate) operations: String,
}

impl Serving {
    pub(crate) async fn start(settings: &Settings) -> Self {
        let (mut serving, line) = Self::running("serve", settings, "octoco serves").await;
        serving.address = line["address"].as_str().expect("an address").to_owned();
        serving
    }

    /// `octoco work`.
    pub(crate) async fn work(settings: &Settings) -> Self {
        Self::running("work", settings, "octoco works").await.0
    }

    async fn running(what: &str, settings: &Settings, begins: &str) -> (Self, Value) {
        let mut child = command(&[what], settings).spawn().expect("it starts");
        let (sender, lines) = mpsc::unbounded_channel();
        let printed = Arc::new(Mutex::new(String::new()));
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let readers =
            vec![collect(stdout, Arc::clone(&printed), sender.clone()), collect(stderr, Arc::clone(&printed), sender)];
        let mut serving = Self { child, lines, printed, readers, address: String::new(), operations: String::new() };
        let line = serving.line(begins).await;
        serving.operations = line["operations"].as_str().expect("an address").to_owned();
        (serving, line)
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of the log.
    pub(crate) async fn line(&mut self, message: &str) -> Value {
        while let Some(line) = self.lines.recv().await {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            if line["message"] == message {
                return line;
            }
        }
        panic!("it ended without {message:?}: {}", self.printed.lock().expect("nobody panicked"));
    }

    /// Asks it to stop. All that it ever printed, and how it ended.
    pub(crate) async fn stop(self) -> (String, ExitStatus) {
        self.stop_by("TERM").await
    }

    async fn stop_by(mut self, signal: &str) -> (String, ExitStatus) {
        send(&self.child, signal);
        let ended = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().expect("it ends");
            for reader in self.readers {
                reader.join().expect("it reads to the end");
            }
            (self.printed, status)
        });
        let (printed, status) = ended.await.expect("it ends");
        let printed = printed.lock().expect("nobody panicked").clone();
        (printed, status)
    }
}

fn send(child: &Child, signal: &str) {
    // The shell's own `kill`: there may be no other.
    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
    assert!(kill.expect("there is a shell").success());
}

#[sqlx::test]
async fn whichever_signal_asks_it_to_stop_what_is_in_hand_ends_first(db: PgPool) {
    // Under `nohup`, by the lowest bit of the signals that are ignored (proc(5)), it goes on at a SIGHUP.
    let own = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let ignored = own.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask").trim();
    let ignores_hangup = u64::from_str_radix(ignored, 16).expect("hexadecimal") & 1 == 1;
    let settings = settings(&db, "any");
    for signal in ["HUP", "INT", "TERM"].into_iter().skip(usize::from(ignores_hangup)) {
        let (printed, status) = Serving::start(&settings).await.stop_by(signal).await;
        assert!(status.success() && printed.contains("octoco stops"), "{signal}: {printed}");
    }
}

/// What a pipe takes before somebody reads.
const PIPE_BYTES: usize = 64 * 1024;

#[sqlx::test]
async fn where_nobody_reads_the_log_it_goes_on_answering_and_stops_when_it_is_asked_to(db: PgPool) {
    let mut child = command(&["serve"], &settings(&db, "any")).stderr(Stdio::null()).spawn().expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let begins = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while !line.contains("octoco serves") {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("it prints") > 0, "it ended");
        }
        (line, stdout)
    });
    // From here on nobody reads.
    let (line, mut stdout) = begins.await.expect("it begins");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let address = format!("http://{}", line["address"].as_str().expect("an address"));
    let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
    let each = "x".repeat(64);
    for _ in 0..600 {
        let call = client.get(format!("{address}/v1/me")).header("x-request-id", &each);
        call.send().await.expect("whatever becomes of the line, it answers");
    }
    for path in ["/healthz", "/readyz"] {
        client.get(format!("{address}{path}")).send().await.expect("it answers");
    }
    send(&child, "TERM");
    let ended = tokio::task::spawn_blocking(move || (child.wait().expect("it ends"), child));
    let (status, _) = tokio::time::timeout(PATIENCE, ended).await.expect("it stops").expect("it ends");
    assert!(status.success(), "{status}");
    let mut left = Vec::new();
    stdout.read_to_end(&mut left).expect("it is closed");
    // Lines go in pieces, and a pipe begins a page for each that does not fit into the last one.
    assert!(left.len() >= PIPE_BYTES / 2, "the pipe was full: {} bytes", left.len());
}

/// Whoever runs it by a timer takes 1 for breaks that are open.
#[sqlx::test]
async fn a_reconciliation_that_cannot_ask_postgresql_is_not_finished(db: PgPool) {
    let mut away = settings(&db, "any");
    away.insert("DATABASE_URL", "postgres://user:any@127.0.0.1:1/database".to_owned());
    let (printed, status) = run(&["reconcile"], &away).await;
    assert_eq!(status.code(), Some(2), "{printed}");
}

/// It has no key to repeat, and whoever runs it must know what to start.
#[sqlx::test]
async fn a_command_says_which_part_does_not_answer(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let (mut no_database, mut no_ledger) = (settings(&db, "any"), settings(&db, "any"));
    no_database.insert("DATABASE_URL", "postgres://user:any@127.0.0.1:1/database".to_owned());
    no_ledger.insert("TIGERBEETLE_ADDRESSES", "127.0.0.1:1".to_owned());
    let balances = ["admin", "ledger-balances", "--email", customer.email.as_str()];
    for (part, arguments, without) in [
        ("PostgreSQL", &balances[..], &no_database),
        ("PostgreSQL", &["migrate"][..], &no_database),
        ("TigerBeetle", &balances[..], &no_ledger),
    ] {
        let (printed, status) = run(arguments, without).await;
        assert!(!status.success() && printed.contains(&format!("octoco: {part}")), "{arguments:?}: {printed}");
        assert!(!printed.contains("the same key"), "{arguments:?}: {printed}");
    }
}

/// They stand in the audit log for good, as those of the API do.
#[tokio::test]
async fn a_note_of_a_command_is_taken_by_the_rule_of_the_api() {
    let (nothing, too_long) = (Settings::new(), "x".repeat(501));
    for command in [["admin", "leave-safe-mode"], ["audit", "accept-head"]] {
        for note in ["", " ", "\u{200b}", "two\nlines", too_long.as_str()] {
            let (printed, status) = run(&[command[0], command[1], "--note", note], &nothing).await;
            assert_eq!(status.code(), Some(2), "{command:?} {note:?}: {printed}");
            assert!(printed.contains("--note") && printed.contains("must "), "{command:?} {note:?}: {printed}");
        }
        let (printed, status) = run(&[command[0], command[1], "--note", "looked at"], &nothing).await;
        assert_eq!(status.code(), Some(1), "only the settings are missing: {printed}");
    }
}

/// After a restore it is asked for what to do once more, and no process that serves has it.
#[sqlx::test]
async fn what_an_operator_takes_away_stands_in_what_the_command_prints(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (finance, settings) = (t.staff(Role::Finance).await, settings(&db, "any"));
    let email = finance.email.as_str();
    for (arguments, action) in [
        (&["admin", "totp-reset", "--email", email][..], "totp.reset"),
        (&["admin", "grant", "--email", email, "--role", "user"][..], "user.role_changed"),
    ] {
        let (printed, status) = run(arguments, &settings).await;
        assert!(status.success(), "{arguments:?}: {printed}");
        let lines = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told: Vec<_> = lines.filter(|line| line["audit.action"] == action).collect();
        assert!(told.len() == 1 && told[0]["object.id"] == finance.id.to_string(), "{action}: {printed}");
    }
}

fn collect(
    from: impl Read + Send + 'static,
    printed: Arc<Mutex<String>>,
    lines: mpsc::UnboundedSender<String>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            printed.lock().expect("nobody panicked").push_str(&format!("{line}\n"));
            // Nobody may wait for lines any more.
            lines.send(line).unwrap_or_default();
        }
    })
}
