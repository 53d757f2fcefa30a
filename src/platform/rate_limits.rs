//! Rate limits: how often somebody may call, by address or by user. Redis counts, in one round trip (GCRA: a bucket that
//! refills evenly), so that all processes count together. Losing Redis costs no call and no money: from the first call that it does
//! not answer, each process goes by what it has counted itself (`rate_limits/local.rs`), which lets through as many times more as there
//! are processes. One call a second asks whether Redis is back and is the only one that waits for it; where it gets no answer either, the
//! next asks over another connection.
//!
//! Whoever is counted by address is counted by network (`http/address.rs`): of IPv6 a line at home has a whole /64. `budget` counts
//! our own calls to others.

mod budget;
mod local;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};

use crate::platform::config::{Counting, RateLimits};
use crate::platform::{http::address, text_enum::text_enum};
use local::Local;

pub use budget::{Budget, Wish};

/// How long Redis is left alone after it did not answer.
const AWAY: Duration = Duration::from_secs(1);
/// What a /48 of IPv6 may do, in allowances of one /64: a company's or a campus's people share one, and so do an attacker's 65,536.
const WIDER: u64 = 10;

text_enum! {
    pub enum Class {
        /// Sign in, register: by address; those on a known device by address too, and apart from the others, and apart again who refreshes or signs
        /// out. Apart again, before anything is looked up for it: whoever brings a cookie of a device.
        Auth = "auth",
        /// Sign in as somebody, from a device that is not known: by e-mail, over a minute …
        Guess = "guess",
        /// … and over an hour, so that a patient attacker is slowed down more.
        GuessLong = "guess_long",
        /// Sign in on a known device: by device, and by e-mail among known devices, over a minute …
        Device = "device",
        /// … and over an hour. What others do to the account without such a device does not count here.
        DeviceLong = "device_long",
        /// Register, over a day: by address. Each leaves a row for ever.
        Accounts = "accounts",
        /// Show a code of the second factor, or a recovery code, right or wrong: by user. Six digits are soon guessed.
        Code = "code",
        /// Have a mail sent without being signed in (forgotten password, registration), or to another address than the own one: by address,
        /// the latter by user too.
        MailsAsked = "mails_asked",
        /// The same, and for oneself, and for an address that nobody has proven: by mailbox, its own address apart from all others that reach it.
        /// Nobody's is flooded. A forgotten password by the address, too.
        MailsTo = "mails_to",
        /// Start a deposit or a withdrawal, add a bank account: by user, over a minute …
        Money = "money",
        /// … and over a day: each may leave a row for ever.
        MoneyLong = "money_long",
        /// Begin an export, by link or not: by user. Each leaves two lines in the audit log for ever.
        Exports = "exports",
        /// Everything else of a user; of a machine, by key, and by address before the key is looked up.
        Read = "read",
        /// Read as staff, by user, or as a machine, by service account: each call is on record for ever.
        Staff = "staff",
        Machine = "machine",
        /// Webhooks whose signature is wrong: by address. Only those are counted.
        Forgery = "forgery",
    }
}

impl Class {
    /// One call every so often, and how many of them may come at once.
    fn rate(self) -> Rate {
        let (per_minute, burst) = match self {
            // Less than one a minute.
            Self::MailsTo => return Rate { interval_micros: 10 * 60_000_000, burst: 3 },
            Self::Code => return Rate { interval_micros: 5 * 60_000_000, burst: 10 },
            Self::MailsAsked => (6, 20),
            Self::Auth => (300, 100),
            Self::Accounts => (3, 300),
            Self::Guess => (6, 10),
            Self::GuessLong | Self::DeviceLong => (1, 30),
            Self::Device => (10, 10),
            Self::Money => (600, 300),
            Self::MoneyLong => (6, 3_000),
            Self::Read => (3_000, 600),
            Self::Staff => (1_200, 600),
            Self::Machine => (300, 300),
            Self::Forgery => (30, 30),
            Self::Exports => (2, 60),
        };
        Rate { interval_micros: 60_000_000 / per_minute, burst }
    }
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    interval_micros: u64,
    burst: u64,
}

impl Rate {
    fn times(self, times: u64) -> Self {
        Self { interval_micros: self.interval_micros / times, burst: self.burst * times }
    }
}

/// Where a caller stands in a bucket, as the `RateLimit-*` headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLevel {
    /// Which bucket it is.
    pub class: Class,
    /// How many calls may come at once.
    pub limit: u64,
    pub remaining: u64,
    /// Seconds until the bucket is full again.
    pub reset_secs: u64,
    /// Seconds in which an empty bucket fills.
    pub window_secs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Unlimited,
    Allowed(BucketLevel, Counter),
    Refused { retry_after_secs: u64, standing: BucketLevel, counter: Counter },
}

text_enum! {
    pub enum Counter {
        Redis = "redis",
        /// This process alone: Redis is away.
        Process = "process",
    }
}

#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    class: Class,
    who: &'a str,
    rate: Rate,
}

pub struct Limiter {
    redis: Option<Redis>,
    counting: Counting,
    script: Script,
    local: Local,
    started: Instant,
    /// Milliseconds after `started` until which Redis is left alone.
    away_until: AtomicU64,
}

/// The connection to Redis, and what makes another: one that has fallen silent never ends by itself.
struct Redis {
    client: Client,
    config: ConnectionManagerConfig,
    connection: RwLock<ConnectionManager>,
}

impl Redis {
    /// Nothing is connected yet.
    fn new(url: &str, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let client = Client::open(url)?;
        let connection = RwLock::new(ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?);
        Ok(Self { client, config, connection })
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn leave_it(&self) {
        let Ok(new) = ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) else { return };
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

/// Keeps one number a key: the theoretical arrival time. Redis's own clock decides, so that all processes agree. Answers how
/// long to wait (0: allowed) and how far the arrival time is ahead.
const GCRA: &str = r"
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- Never further ahead than a bucket can be: else a clock that was put back would refuse whoever called before.
local arrival = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now), now + interval * burst)
local wait = arrival - interval * (burst - 1) - now
if wait > 0 then return {wait, arrival - now} end
arrival = arrival + interval
redis.call('SET', KEYS[1], string.format('%d', arrival), 'PX', math.ceil((arrival - now) / 1000))
return {0, arrival - now}
";

/// What a bucket says: how long to wait, and how far its arrival time is ahead of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    wait_micros: u64,
    ahead_micros: u64,
}

impl Limiter {
    /// Redis itself need not be there.
    pub fn new(url: &str, limits: RateLimits, counting: Counting) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(counting.connection))
            .set_response_timeout(Some(counting.answer))
            .set_number_of_retries(0);
        let redis = match limits {
            RateLimits::Off => None,
            RateLimits::Default => Some(Redis::new(url, config)?),
        };
        Ok(Self {
            redis,
            counting,
            script: Script::new(GCRA),
            local: Local::default(),
            started: Instant::now(),
            away_until: AtomicU64::new(0),
        })
    }

    /// Counts a call of somebody: a user, an account, a device, or an address.
    pub async fn check(&self, class: Class, who: &str) -> Answer {
        let rate = class.rate();
        let Some(networks) = address::Networks::of(who) else { return self.answer(Call { class, who, rate }).await };
        let near = self.answer(Call { class, who: &networks.near, rate }).await;
        match (&near, &networks.around) {
            (Answer::Allowed(..), Some(around)) => {
                near.tighter(self.answer(Call { class, who: around, rate: rate.times(WIDER) }).await)
            }
            _ => near,
        }
    }

    /// Whether Redis answers now; `true` where no limits are wanted.
    pub async fn ping(&self) -> bool {
        let Some(redis) = &self.redis else { return true };
        let mut connection = redis.connection();
        let ping = redis::cmd("PING");
        matches!(
            tokio::time::timeout(self.counting.connection, ping.query_async::<String>(&mut connection)).await,
            Ok(Ok(_))
        )
    }

    async fn answer(&self, call: Call<'_>) -> Answer {
        let Some(redis) = &self.redis else { return Answer::Unlimited };
        // Here too while Redis counts: whoever makes it late has no second bucket, full.
        let local = self.local.ask(call, self.started.elapsed());
        match if self.may_ask() { self.ask(redis, call).await } else { None } {
            Some(bucket) => bucket.answer(call, Counter::Redis),
            None => local.answer(call, Counter::Process),
        }
    }

    async fn ask(&self, redis: &Redis, call: Call<'_>) -> Option<Bucket> {
        let rate = call.rate;
        let mut script = self.script.key(format!("{}:{}:{}", self.counting.prefix, call.class.name(), call.who));
        script.arg(rate.interval_micros).arg(rate.burst);
        let mut connection = redis.connection();
        let answer = script.invoke_async::<(u64, u64)>(&mut connection);
        let answer = tokio::time::timeout(self.counting.connection, answer).await;
        let (wait_micros, ahead_micros) = self.heard(redis, answer)?;
        Some(Bucket { wait_micros, ahead_micros })
    }

    /// What Redis has answered; without an answer it is left alone for a while, and the second time in a row its connection is left: it is
    /// more than one late answer.
    fn heard<T, E>(&self, redis: &Redis, answer: Result<RedisResult<T>, E>) -> Option<T> {
        let heard = answer.ok().and_then(Result::ok);
        if heard.is_some() {
            self.away_until.store(0, Ordering::Relaxed);
        } else if self.away_until.swap(self.millis(AWAY), Ordering::Relaxed) != 0 {
            redis.leave_it();
        }
        heard
    }

    /// False while Redis is away. Once in [`AWAY`] one call gets through and finds out.
    fn may_ask(&self) -> bool {
        let until = self.away_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let (now, next) = (self.millis(Duration::ZERO), self.millis(AWAY));
        now >= until && self.away_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Milliseconds from the start to `ahead` of now; never 0.
    fn millis(&self, ahead: Duration) -> u64 {
        u64::try_from((self.started.elapsed() + ahead).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl Answer {
    /// What is told of a call that two buckets have counted.
    fn tighter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Allowed(one, _), Self::Allowed(two, _)) if one.remaining <= two.remaining => self,
            _ => other,
        }
    }
}

impl Bucket {
    fn answer(self, Call { class, rate, .. }: Call<'_>, counter: Counter) -> Answer {
        let used = self.ahead_micros.div_ceil(rate.interval_micros);
        let standing = BucketLevel {
            class,
            limit: rate.burst,
            remaining: rate.burst.saturating_sub(used),
            reset_secs: self.ahead_micros.div_ceil(1_000_000),
            window_secs: rate.interval_micros.saturating_mul(rate.burst).div_ceil(1_000_000),
        };
        match self.wait_micros {
            0 => Answer::Allowed(standing, counter),
            wait => Answer::Refused { retry_after_secs: wait.div_ceil(1_000_000), standing, counter },
        }
    }
}
