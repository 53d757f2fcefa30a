//! Rate limits: how often somebody may call, by address or by user. Redis counts, in one round trip (GCRA: a bucket that
//! refills evenly). Losing Redis costs the limit, never the call and never money: the answer is then *allowed*, counted in
//! `octoco_rate_limit_answers_total`.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};

use crate::config::RateLimits;

/// A limiter that answers later than this is worse than none.
const REDIS_DEADLINE: Duration = Duration::from_millis(50);

/// What a caller does, and how often it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Sign in, register, refresh: by address.
    Auth,
    /// Start a deposit or a withdrawal, add a bank account: by user.
    Money,
    /// Everything else of a user.
    Read,
    /// Webhooks whose signature is wrong: by address. Only those are counted.
    Forgery,
}

impl Class {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Money => "money",
            Self::Read => "read",
            Self::Forgery => "forgery",
        }
    }

    /// Calls a minute, and how many of them may come at once.
    fn rate(self) -> (u64, u64) {
        match self {
            Self::Auth => (30, 20),
            Self::Money => (120, 60),
            Self::Read => (600, 200),
            Self::Forgery => (30, 30),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Allowed,
    Refused {
        retry_after_secs: u64,
    },
    /// Redis did not answer in time; the call goes on.
    Unavailable,
}

pub struct Limiter {
    redis: Option<ConnectionManager>,
    script: Script,
}

/// Keeps one number a key: the theoretical arrival time. Redis's own clock decides, so that all processes agree.
const GCRA: &str = r"
local interval, burst, counts = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = arrival - interval * (burst - 1) - now
if wait > 0 then return wait end
if not counts then return 0 end
redis.call('SET', KEYS[1], string.format('%d', arrival + interval), 'PX', math.ceil((arrival + interval - now) / 1000))
return 0
";

impl Limiter {
    /// # Errors
    /// When the URL is not one of Redis's. Redis itself need not be there.
    pub fn new(url: &str, limits: RateLimits) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(REDIS_DEADLINE))
            .set_response_timeout(Some(REDIS_DEADLINE))
            .set_number_of_retries(0);
        let redis = match limits {
            RateLimits::Off => None,
            RateLimits::Default => Some(ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?),
        };
        Ok(Self { redis, script: Script::new(GCRA) })
    }

    /// Counts one call of `who`.
    pub async fn check(&self, class: Class, who: &str) -> Answer {
        self.ask(class, who, 1).await
    }

    /// Whether a call of `who` would be allowed; counts nothing.
    pub async fn peek(&self, class: Class, who: &str) -> Answer {
        self.ask(class, who, 0).await
    }

    async fn ask(&self, class: Class, who: &str, count: u8) -> Answer {
        let Some(redis) = &self.redis else { return Answer::Allowed };
        let (per_minute, burst) = class.rate();
        let interval_micros = 60_000_000 / per_minute;
        let mut call = self.script.key(format!("octoco:limit:{}:{who}", class.name()));
        call.arg(interval_micros).arg(burst).arg(count);
        let mut connection = redis.clone();
        match tokio::time::timeout(REDIS_DEADLINE, call.invoke_async::<u64>(&mut connection)).await {
            Ok(Ok(0)) => Answer::Allowed,
            Ok(Ok(wait_micros)) => Answer::Refused { retry_after_secs: wait_micros.div_ceil(1_000_000) },
            Ok(Err(_)) | Err(_) => Answer::Unavailable,
        }
    }

    /// Whether Redis answers now; `true` where no limits are wanted.
    pub async fn ping(&self) -> bool {
        let Some(redis) = &self.redis else { return true };
        let mut connection = redis.clone();
        let ping = redis::cmd("PING");
        matches!(tokio::time::timeout(REDIS_DEADLINE, ping.query_async::<String>(&mut connection)).await, Ok(Ok(_)))
    }
}
