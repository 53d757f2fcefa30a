//! Every environment variable of the service: one struct, read and checked together at start by `main.rs`.
//!
//! Each variable may also be given as `NAME_FILE`, the path of a file that holds the value (secrets from a mount).

mod amounts;
mod collectors;
mod doors;
mod reader;
mod reporting;
mod retention;
mod urls;

use std::{collections::BTreeMap, env::VarError, net::SocketAddr, ops::RangeInclusive, time::Duration};

use chrono::TimeDelta;
use ipnet::IpNet;
use ledger::{Amount, Currency};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::platform::http::address::{Proxies, parse_network};
use crate::platform::mailer::{Sender, SmtpUrl, Way};
use crate::platform::outbound::Reach;
use crate::platform::{encryption::DataKeys, signature::PublicKeys, text_enum::text_enum, tls::Tls, tokens::Tokens};
use amounts::{parse_currencies, parse_ledger_base, some_of};
use doors::parse_hours;
use urls::{
    check_database_url, check_redis_url, origin_of, parse_frontend_url, parse_origins, parse_public_url,
    parse_revio_url,
};

pub use amounts::{Thresholds, WithdrawalLimit};
pub use collectors::{Collector, Collectors, SentrySettings, Share};
pub use doors::{NoticeMails, StaffDoors, StaffTotp, StepUp};
use reader::Reader;
pub use reporting::Reporting;
pub use retention::Retention;

/// What a name stands for; `None` = not set. [`Config::from_env`] reads the process's environment.
pub type Source<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

#[derive(Debug)]
pub struct Config {
    /// `LISTEN_ADDR`: where the API listens. Default `127.0.0.1:8080`.
    pub listen_addr: SocketAddr,
    /// `OPS_ADDR`: where operators ask, in the clear: `/healthz`, `/readyz`, `/metrics`. Default `127.0.0.1:8081`, or any free port
    /// there when that one is taken, as by another process on this machine.
    pub ops_addr: Option<SocketAddr>,
    /// `PUBLIC_URL`: how the world reaches the API, without a slash at the end. Default `http://127.0.0.1:8080`.
    pub public_url: String,
    /// `DATABASE_URL`: PostgreSQL.
    pub database_url: SecretString,
    /// `MIGRATION_DATABASE_URL`: the same database as the role that owns the tables, for `octoco migrate` and
    /// `octoco rebuild-read-model` alone. Default `DATABASE_URL`.
    pub migration_database_url: SecretString,
    pub reporting: Reporting,
    /// `REDIS_URL`: rate limits, and the budget of calls to Revio.
    pub redis_url: SecretString,
    /// `TIGERBEETLE_ADDRESSES`: the replicas in order, `host:port` with commas.
    pub tigerbeetle_addresses: String,
    /// `TIGERBEETLE_CLUSTER_ID`. Default 0.
    pub tigerbeetle_cluster_id: u128,
    /// `LEDGER_BASE`: added to each currency's ledger number; 0 in production.
    pub ledger_base: u32,
    /// `CURRENCIES`: those of the books, ISO 4217 with commas. Default `ZAR`.
    pub currencies: Vec<Currency>,
    /// `CUSTOMER_CURRENCIES`: those of them in which customers pay in and take out. Default: all.
    pub customer_currencies: Vec<Currency>,
    /// `APPROVAL_THRESHOLDS`: `CUR:one` or `CUR:one:two` in minor units, with commas: a withdrawal that brings its customer's sum of 24
    /// hours above `one` needs one approval, above `two` two. `off` or `CUR:off`: none. Default: `config/amounts.rs`.
    pub approval_thresholds: Thresholds,
    /// `ADJUSTMENT_THRESHOLDS`: `CUR:two` likewise: corrections of a customer within 24 hours above it need two checkers. Else one.
    pub adjustment_thresholds: Thresholds,
    /// `WITHDRAWAL_LIMITS`: `CUR:once:daily` in minor units, with commas; `off` or `CUR:off`: none. Default likewise.
    pub withdrawal_limits: BTreeMap<Currency, WithdrawalLimit>,
    /// `BANK_ACCOUNT_COOLING_HOURS`: a withdrawal to a bank account younger than that needs an approval, 1 to 120, or `off`. Default 24.
    pub bank_account_cooling: Option<TimeDelta>,
    /// `CUSTOMER_TOTP_THRESHOLDS`: `CUR:amount` in minor units, with commas: customers with a second factor are asked for a code when
    /// their withdrawals of 24 hours are above it. Default: the first of `APPROVAL_THRESHOLDS`; without one each withdrawal.
    pub customer_totp_thresholds: Thresholds,
    pub staff: StaffDoors,
    /// `REVIO_BASE_URL`: ends in `/api/v1/`; http only to this host or in test mode.
    pub revio_base_url: reqwest::Url,
    /// `REVIO_API_KEY`: can do anything on the account at Revio.
    pub revio_api_key: SecretString,
    /// `REVIO_BRAND_ID`.
    pub revio_brand_id: Uuid,
    /// `REVIO_CALL_SECS` (default 8) and `REVIO_EXECUTE_SECS` (default 30): how long a call waits for its answer, 1 to 40.
    pub revio_deadlines: Deadlines,
    /// `REVIO_CALLS_PER_SECOND`: how often all processes together call Revio. Default 15: its limits are nowhere documented.
    pub revio_calls_per_second: u32,
    /// `RECONCILIATION_CALLS_PER_SECOND`: how many of them at most are reconciliation's. Default 5.
    pub reconciliation_calls_per_second: u32,
    /// `OPEN_DEPOSITS_MAX`: how many unpaid deposits a customer may have at once. Default 10.
    pub open_deposits_max: i64,
    /// `REVIO_TEST_MODE`: whether the key is a test key; events of the other mode are refused. Default no.
    pub revio_test_mode: bool,
    /// `OUTGOING_WEBHOOKS_ALLOW_PRIVATE`: whether our webhooks may go to http and to private addresses; `yes` only in test mode. Default no.
    pub outgoing_reach: Reach,
    /// `REVIO_WEBHOOK_PUBLIC_KEYS`: one or several PEM public keys, all valid at once.
    pub revio_webhook_public_keys: PublicKeys,
    /// `REVIO_COMPANY_ID`: events of another company are foreign. Not checked when not set.
    pub revio_company_id: Option<Uuid>,
    /// `REVIO_COMPANY_PUBLIC_KEYS`: what signs `success_callback` (`GET /public_key/`). Without it that endpoint believes nobody.
    pub revio_company_public_keys: PublicKeys,
    /// `WEBHOOK_FRESHNESS_HOURS`: older events are not acted on. Default 72; at least 37, since legal retries are that old.
    pub webhook_freshness: TimeDelta,
    /// `REVIO_ALLOWED_NETWORKS`: CIDR blocks with commas; when set, webhooks from elsewhere are refused.
    pub revio_allowed_networks: Vec<IpNet>,
    /// `TRUSTED_PROXIES`: CIDR blocks with commas; from these the caller's address is read from `CLIENT_ADDRESS_HEADER`:
    /// `x-forwarded-for` (default), `x-real-ip` or `forwarded`.
    pub proxies: Proxies,
    /// `CORS_ORIGINS`: the origins of frontends whose pages may use the cookie routes, with commas. Default `PUBLIC_URL`'s own.
    pub cors_origins: Vec<String>,
    /// `JWT_PRIVATE_KEY`: Ed25519 in PKCS#8 PEM, one or several: the first signs, all check. `octoco keys generate` makes one.
    pub jwt_private_key: SecretString,
    /// `DATA_KEYS`: `id:base64` pairs with commas, the first encrypts, all decrypt.
    pub data_keys: DataKeys,
    pub mail: MailSettings,
    /// `LOG_FORMAT`: `json` (default) or `text`.
    pub log_format: LogFormat,
    pub collectors: Collectors,
    /// `RETENTION`: how long what nobody needs any more is kept.
    pub retention: Retention,
    /// `RATE_LIMITS`: `default` or `off` (load tests).
    pub rate_limits: RateLimits,
    pub counting: Counting,
    /// A page of a list that takes longer was asked for too broadly; nothing of ours waits for it. Set by no variable.
    pub list_deadline: Duration,
    /// `DATABASE_DURABILITY`: what PostgreSQL must promise of a commit before anything is paid out: `local` (default), `standby`, `none`.
    pub database_durability: Durability,
    /// `DATABASE_CONNECTIONS_MAX`: of one process, beside the one that hears wake-ups. Default 10: eight processes, two releases of
    /// two that serve and two that work, fit under PostgreSQL's usual 100. Three of ten are for lists, three for what is written in batches.
    pub database_connections_max: u32,
    /// `SHUTDOWN_SECS`: how long a stop waits for work in hand. Default 25.
    pub shutdown: Duration,
    pub server: Server,
}

#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Reads, and calls that create an object which moves no money yet; somebody may be waiting for the answer.
    pub call: Duration,
    /// The execution of a payout: slow at some acquirers, and a lost answer costs minutes of waiting.
    pub execute: Duration,
}

/// How the API is served (`processes/server.rs`).
#[derive(Debug)]
pub struct Server {
    /// `TLS_CERT` and `TLS_KEY`: PEM of the chain and of its key; with them the API speaks TLS 1.3 itself. Default: plain HTTP,
    /// and TLS is the edge's.
    pub tls: Option<Tls>,
    /// `CONNECTIONS_MAX`: open at once in one process, besides a few for webhooks and probes. Default 800; stay well below the
    /// limit of open files.
    pub connections_max: usize,
    /// `REQUESTS_MAX`: requests in hand at once in one process, webhooks and probes aside; more are told 503. Default 512.
    pub requests_max: usize,
}

#[derive(Debug)]
pub struct MailSettings {
    /// `SMTP_URL` (the mail server), else `MAIL_FOLDER` (mails become files), else mails go nowhere and are listed as dead letters.
    pub way: Way,
    /// `MAIL_FROM`: whom mails are from, `address` or `Name <address>`. Required with `SMTP_URL`.
    pub from: Sender,
    /// `SMTP_SECS`: how long the mail server may take over one mail, 1 to 40. Default 10.
    pub deadline: Duration,
    /// `FRONTEND_URL`: where the pages are that links in mails lead to, without a slash at the end. Default `PUBLIC_URL`.
    pub frontend_url: String,
    /// `REQUIRE_VERIFIED_EMAIL`: whether only people with a verified e-mail may move money. Default no.
    pub require_verified_email: bool,
    /// `NOTICE_MAILS`: whether people are told of what was done with their account. Default `on`.
    pub notices: NoticeMails,
}

/// How Redis is asked by the rate limits. No operator needs another: tests do.
#[derive(Debug, Clone)]
pub struct Counting {
    /// What every key begins with; processes that share it count together.
    pub prefix: String,
    /// A limiter that answers later than this is worse than none.
    pub answer: Duration,
    /// The first connection takes longer than an answer; only the call that asks whether Redis is back waits for it.
    pub connection: Duration,
}

impl Default for Counting {
    fn default() -> Self {
        let (answer, connection) = (Duration::from_millis(20), Duration::from_millis(50));
        Self { prefix: "octoco:limit".to_owned(), answer, connection }
    }
}

text_enum! {
    pub enum Durability {
        /// It is on this server's disk.
        Local = "local",
        /// It is on a standby's disk too: a failover loses nothing that was answered.
        Standby = "standby",
        /// Nothing: databases that may be lost.
        None = "none",
    }
}

text_enum! {
    pub enum LogFormat {
        Json = "json",
        Text = "text",
    }
}

text_enum! {
    pub enum RateLimits {
        Default = "default",
        Off = "off",
    }
}

/// All that is wrong with the configuration, one line a variable. Never holds a value: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not usable:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

/// The execution of a payout fits into a step, and a step into its lease.
const DEADLINE_SECS: RangeInclusive<i64> = 1..=40;
/// Revio's last try of a delivery is 36 h 26 min after its first (`docs/provider.md`, tries).
const FRESHNESS_HOURS: RangeInclusive<i64> = 37..=8760;
/// A request must not wait for the background.
const DATABASE_CONNECTIONS: RangeInclusive<i64> = 4..=1000;
const PLACES: RangeInclusive<i64> = 1..=100_000;
const CALLS_PER_SECOND: RangeInclusive<i64> = 1..=1_000_000;
const OPEN_DEPOSITS: RangeInclusive<i64> = 1..=100_000;
/// Well within the days that a withdrawal waits for approval.
const COOLING_HOURS_MAX: i64 = 120;
const STAFF_SESSION_HOURS_MAX: i64 = 12;

/// A struct whose fields are all read before any of them is missed, so that one start names all that is wrong.
macro_rules! all_of {
    ($name:ident { $($field:ident: $value:expr),+ $(,)? }) => {{
        $(let $field = $value;)+
        Some($name { $($field: $field?),+ })
    }};
}

impl Config {
    /// Of the lists, and of the batches.
    pub fn connections_beside_max(&self) -> u32 {
        self.database_connections_max * 3 / 10
    }

    pub fn connections_of_main_max(&self) -> u32 {
        self.database_connections_max - 2 * self.connections_beside_max()
    }

    /// Of the main ones: reads that may take long. The others are everybody else's.
    pub fn slow_reads_max(&self) -> usize {
        usize::try_from(self.connections_of_main_max() / 2).unwrap_or(usize::MAX)
    }

    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_source(&environment)
    }

    pub fn from_source(source: Source<'_>) -> Result<Self, ConfigError> {
        let mut read = Reader { source, wrong: Vec::new() };
        let config = Self::read(&mut read);
        match config {
            Some(config) if read.wrong.is_empty() => Ok(config),
            _ => Err(ConfigError(read.wrong)),
        }
    }

    /// Whether a page from there may call us: our own, or a frontend's of `CORS_ORIGINS`.
    pub fn knows_origin(&self, origin: &str) -> bool {
        origin_of(&self.public_url).is_ok_and(|own| own == origin)
            || self.cors_origins.iter().any(|known| known == origin)
    }

    /// `None`: as much as the wallet holds.
    pub fn withdrawal_limit(&self, currency: Currency) -> Option<WithdrawalLimit> {
        self.withdrawal_limits.get(&currency).copied()
    }

    /// Those of the books, as SQL takes them.
    pub fn currency_codes(&self) -> Vec<String> {
        self.currencies.iter().map(|currency| currency.code().to_owned()).collect()
    }

    /// Above which sum of what needed none in 24 hours customers with a second factor are asked for a code.
    pub fn customer_totp_threshold(&self, currency: Currency) -> Option<Amount> {
        self.customer_totp_thresholds.first(currency).or_else(|| self.approval_thresholds.first(currency))
    }

    fn read(read: &mut Reader<'_>) -> Option<Self> {
        all_of!(Self {
            listen_addr: read.parsed("LISTEN_ADDR", Some("127.0.0.1:8080")),
            ops_addr: read.checked("OPS_ADDR", Some(""), parse_optional_address),
            public_url: read.checked("PUBLIC_URL", Some("http://127.0.0.1:8080"), parse_public_url),
            database_url: read.secret("DATABASE_URL", check_database_url),
            migration_database_url: read.secret_or("MIGRATION_DATABASE_URL", database_url.as_ref(), check_database_url),
            reporting: read.reporting(),
            redis_url: read.secret("REDIS_URL", check_redis_url),
            tigerbeetle_addresses: read.text("TIGERBEETLE_ADDRESSES", None),
            tigerbeetle_cluster_id: read.parsed("TIGERBEETLE_CLUSTER_ID", Some("0")),
            ledger_base: read.checked("LEDGER_BASE", Some("0"), parse_ledger_base),
            currencies: read.checked("CURRENCIES", Some("ZAR"), parse_currencies),
            customer_currencies: read.checked("CUSTOMER_CURRENCIES", Some(""), |of| some_of(of, currencies.as_deref())),
            approval_thresholds: read
                .checked("APPROVAL_THRESHOLDS", Some(""), |value| Thresholds::parse(value, currencies.as_deref())),
            adjustment_thresholds: read.checked("ADJUSTMENT_THRESHOLDS", Some(""), |value| {
                Thresholds::parse_of_adjustments(value, currencies.as_deref())
            }),
            withdrawal_limits: read
                .checked("WITHDRAWAL_LIMITS", Some(""), |value| WithdrawalLimit::parse(value, currencies.as_deref())),
            bank_account_cooling: read
                .checked("BANK_ACCOUNT_COOLING_HOURS", Some("24"), |value| parse_hours(value, COOLING_HOURS_MAX)),
            customer_totp_thresholds: read.checked("CUSTOMER_TOTP_THRESHOLDS", Some(""), |value| {
                Thresholds::parse_of_codes(value, currencies.as_deref())
            }),
            staff: all_of!(StaffDoors {
                totp: read.checked("STAFF_TOTP", Some("required"), str::parse),
                step_up: read.checked("STAFF_STEP_UP", Some("required"), str::parse),
                session: read
                    .checked("STAFF_SESSION_HOURS", Some("12"), |value| parse_hours(value, STAFF_SESSION_HOURS_MAX)),
            }),
            revio_test_mode: read.checked("REVIO_TEST_MODE", Some("no"), parse_yes_or_no),
            outgoing_reach: read.outgoing_reach(revio_test_mode),
            revio_base_url: read
                .checked("REVIO_BASE_URL", None, |value| parse_revio_url(value, revio_test_mode == Some(true))),
            revio_api_key: read.secret("REVIO_API_KEY", check_api_key),
            revio_brand_id: read.parsed("REVIO_BRAND_ID", None),
            revio_deadlines: all_of!(Deadlines {
                call: read.number("REVIO_CALL_SECS", "8", DEADLINE_SECS).map(Duration::from_secs),
                execute: read.number("REVIO_EXECUTE_SECS", "30", DEADLINE_SECS).map(Duration::from_secs),
            }),
            revio_calls_per_second: read.number("REVIO_CALLS_PER_SECOND", "15", CALLS_PER_SECOND),
            reconciliation_calls_per_second: read.number("RECONCILIATION_CALLS_PER_SECOND", "5", CALLS_PER_SECOND),
            open_deposits_max: read.number("OPEN_DEPOSITS_MAX", "10", OPEN_DEPOSITS),
            revio_webhook_public_keys: read.checked("REVIO_WEBHOOK_PUBLIC_KEYS", None, PublicKeys::from_pem),
            revio_company_id: read.checked("REVIO_COMPANY_ID", Some(""), parse_optional_id),
            revio_company_public_keys: read.checked("REVIO_COMPANY_PUBLIC_KEYS", Some(""), parse_optional_keys),
            webhook_freshness: read.number("WEBHOOK_FRESHNESS_HOURS", "72", FRESHNESS_HOURS).map(TimeDelta::hours),
            revio_allowed_networks: read.checked("REVIO_ALLOWED_NETWORKS", Some(""), parse_networks),
            proxies: all_of!(Proxies {
                trusted: read.checked("TRUSTED_PROXIES", Some(""), parse_networks),
                header: read.checked("CLIENT_ADDRESS_HEADER", Some("x-forwarded-for"), |value| {
                    value.to_ascii_lowercase().parse()
                }),
            }),
            cors_origins: read.checked("CORS_ORIGINS", Some(""), parse_origins),
            jwt_private_key: read.secret("JWT_PRIVATE_KEY", Tokens::check_keys),
            data_keys: read.checked("DATA_KEYS", None, DataKeys::parse),
            mail: read.mail(public_url.as_deref()),
            log_format: read.checked("LOG_FORMAT", Some("json"), str::parse),
            collectors: read.collectors(),
            retention: read.checked("RETENTION", Some(""), Retention::parse),
            rate_limits: read.checked("RATE_LIMITS", Some("default"), str::parse),
            counting: Some(Counting::default()),
            list_deadline: Some(Duration::from_secs(2)),
            database_durability: read.checked("DATABASE_DURABILITY", Some("local"), str::parse),
            database_connections_max: read.number("DATABASE_CONNECTIONS_MAX", "10", DATABASE_CONNECTIONS),
            shutdown: read.parsed("SHUTDOWN_SECS", Some("25")).map(Duration::from_secs),
            server: read.server(),
        })
    }
}

impl Reader<'_> {
    fn server(&mut self) -> Option<Server> {
        all_of!(Server {
            tls: self.tls(),
            connections_max: self.number("CONNECTIONS_MAX", "800", PLACES),
            requests_max: self.number("REQUESTS_MAX", "512", PLACES),
        })
    }

    fn outgoing_reach(&mut self, test_mode: Option<bool>) -> Option<Reach> {
        match self.checked("OUTGOING_WEBHOOKS_ALLOW_PRIVATE", Some("no"), parse_yes_or_no)? {
            true if test_mode != Some(true) => {
                self.fail("OUTGOING_WEBHOOKS_ALLOW_PRIVATE", "is only for REVIO_TEST_MODE")
            }
            true => Some(Reach::Anywhere),
            false => Some(Reach::Public),
        }
    }

    /// `Some(None)`: plain HTTP.
    fn tls(&mut self) -> Option<Option<Tls>> {
        let (chain, key) = (self.text("TLS_CERT", Some("")), self.text("TLS_KEY", Some("")).map(SecretString::from));
        let (chain, key) = (chain?, key?);
        match (chain.is_empty(), key.expose_secret().is_empty()) {
            (true, true) => Some(None),
            (false, true) => self.fail("TLS_KEY", "is required with TLS_CERT"),
            (true, false) => self.fail("TLS_CERT", "is required with TLS_KEY"),
            (false, false) => match Tls::from_pem(&chain, key.expose_secret()) {
                Ok(tls) => Some(Some(tls)),
                Err((name, reason)) => self.fail(name, &reason),
            },
        }
    }

    fn mail(&mut self, public_url: Option<&str>) -> Option<MailSettings> {
        all_of!(MailSettings {
            way: self.mail_way(),
            from: {
                let to_people = matches!(way, Some(Way::Smtp(_)));
                self.checked("MAIL_FROM", (!to_people).then_some("octoco@localhost"), Sender::parse)
            },
            deadline: self.number("SMTP_SECS", "10", DEADLINE_SECS).map(Duration::from_secs),
            frontend_url: {
                self.checked("FRONTEND_URL", Some(public_url.unwrap_or("http://127.0.0.1:8080")), parse_frontend_url)
            },
            require_verified_email: match self.checked("REQUIRE_VERIFIED_EMAIL", Some("no"), parse_yes_or_no) {
                Some(true) if matches!(way, Some(Way::Nowhere)) => {
                    self.fail("REQUIRE_VERIFIED_EMAIL", "needs SMTP_URL or MAIL_FOLDER: nobody could verify anything")
                }
                required => required,
            },
            notices: self.checked("NOTICE_MAILS", Some("on"), str::parse),
        })
    }

    fn mail_way(&mut self) -> Option<Way> {
        let smtp = self.checked("SMTP_URL", Some(""), |url| match url {
            "" => Ok(None),
            url => SmtpUrl::parse(url).map(Some),
        });
        let folder = self.text("MAIL_FOLDER", Some(""));
        match (smtp?, folder?.as_str()) {
            (Some(url), _) => Some(Way::Smtp(url)),
            (None, "") => Some(Way::Nowhere),
            (None, folder) => Some(Way::Folder(folder.into())),
        }
    }
}

/// `NAME`, or the contents of the file that `NAME_FILE` names. An empty value counts as not set.
fn environment(name: &str) -> Result<Option<String>, String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    let read = |name: &str| match std::env::var(name) {
        Err(VarError::NotUnicode(_)) => Err("is not UTF-8".to_owned()),
        read => Ok(read.ok().filter(|value| !value.is_empty())),
    };
    if let Some(value) = read(name)? {
        return Ok(Some(value));
    }
    let Some(path) = read(&format!("{name}_FILE"))? else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        // Shortened in place: a copy would leave the secret in memory that nobody wipes.
        Ok(mut value) => {
            value.truncate(value.trim_end().len());
            if value.is_empty() { Err(format!("is empty in the file that {name}_FILE names")) } else { Ok(Some(value)) }
        }
        Err(error) => Err(format!("cannot be read from the file that {name}_FILE names: {error}")),
    }
}

/// `RUST_LOG`. No setting like the others: logs are there for whatever is wrong with those.
pub fn log_filter() -> Result<Option<String>, String> {
    environment("RUST_LOG")
}

/// It goes into a header.
fn check_api_key(value: &str) -> Result<(), String> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("holds something that is not a visible ASCII character".to_owned())
    }
}

fn parse_optional_address(value: &str) -> Result<Option<SocketAddr>, String> {
    if value.is_empty() {
        Ok(None)
    } else {
        value.parse().map(Some).map_err(|_| "is not a valid SocketAddr".to_owned())
    }
}

fn parse_optional_id(value: &str) -> Result<Option<Uuid>, String> {
    if value.is_empty() { Ok(None) } else { value.parse().map(Some).map_err(|_| "is not a UUID".to_owned()) }
}

fn parse_optional_keys(value: &str) -> Result<PublicKeys, String> {
    if value.is_empty() { Ok(PublicKeys::none()) } else { PublicKeys::from_pem(value) }
}

fn parse_networks(value: &str) -> Result<Vec<IpNet>, String> {
    let blocks = value.split(',').map(str::trim).filter(|block| !block.is_empty());
    blocks.map(|block| parse_network(block).ok_or("holds something that is not a CIDR block".to_owned())).collect()
}

fn parse_yes_or_no(value: &str) -> Result<bool, String> {
    match value {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("must be yes or no".to_owned()),
    }
}
