//! How a simulator is started. Built by `main.rs` from its flags and by tests from `Options::default()`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;

/// The defaults are fixed, so that a test can name them; they are secrets of nothing.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// How URLs for browsers begin (`checkout_url`); default: as the caller of the API addressed us.
    pub public_url: Option<String>,
    pub test_key: String,
    pub live_key: String,
    pub brand_id: Uuid,
    pub company_id: Uuid,
    pub deliveries: Deliveries,
    /// When set, everything is loaded from it at start, and saved to it shortly after each change and at shutdown.
    pub state_file: Option<PathBuf>,
    /// PEM of the RSA key of every webhook registered; default: each gets a fresh one.
    pub webhook_private_key_pem: Option<String>,
    /// For faults that strike by chance.
    pub seed: u64,
    pub clock: Clock,
}

/// Who sends webhooks, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliveries {
    /// At once, and again by the schedule; `minute` is how long one minute of the schedule lasts (really 60 s).
    Automatic { minute: Duration },
    /// Only in `Sim::deliver`, by the simulator's clock.
    Manual,
}

/// `Options::default().test_key`
pub const TEST_KEY: &str = "test-secret-key";
/// `Options::default().live_key`
pub const LIVE_KEY: &str = "live-secret-key";
/// `Options::default().brand_id`
pub const BRAND_ID: Uuid = Uuid::from_u128(0x0b4a_6d00_0000_4000_8000_0000_0000_0001);
/// `Options::default().company_id`
pub const COMPANY_ID: Uuid = Uuid::from_u128(0x0c0a_6d00_0000_4000_8000_0000_0000_0001);

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            test_key: TEST_KEY.to_owned(),
            live_key: LIVE_KEY.to_owned(),
            brand_id: BRAND_ID,
            company_id: COMPANY_ID,
            deliveries: Deliveries::Automatic { minute: Duration::from_secs(60) },
            state_file: None,
            webhook_private_key_pem: None,
            seed: 1,
            clock: Clock::system(),
        }
    }
}
