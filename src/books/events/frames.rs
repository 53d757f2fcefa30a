//! How an event goes out (WHATWG HTML, 9.2): lines of `field: value`, ended by an empty one. JSON has no line breaks of its own.

use hyper::body::Bytes;
use serde::Serialize;

use crate::money::balances::routes::BalanceView;
use crate::money::transactions::{Transaction, routes::TransactionView};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

/// How long a client waits before it comes back.
const RETRY_MILLIS: u32 = 3_000;

text_enum! {
    /// How a stream ended.
    pub(super) enum Ended {
        /// The client went away.
        Gone = "gone",
        Slow = "slow",
        Session = "session",
        Stopped = "stopped",
        /// Whether sessions have ended could not be read.
        Blind = "blind",
    }
}

text_enum! {
    /// Why a stream is over for this token: get another one, or sign in.
    pub(super) enum Over {
        TokenExpired = "token_expired",
        SessionEnded = "session_ended",
    }
}

/// What `transaction.updated` carries.
#[derive(Serialize)]
struct TransactionEvent {
    #[serde(flatten)]
    transaction: TransactionView,
    /// Rises with each change of the row: what is not above the last one was told before.
    version: i32,
}

fn id(at: DateTime) -> i64 {
    at.timestamp_micros()
}

fn event(at: DateTime, name: &str, data: &impl Serialize) -> Result<Bytes> {
    let data = serde_json::to_string(data).map_err(Error::internal)?;
    Ok(Bytes::from(format!("id: {}\nevent: {name}\ndata: {data}\n\n", id(at))))
}

/// Goes out at once, so that the client knows from where it can go on.
pub(super) fn hello(at: DateTime) -> Bytes {
    Bytes::from(format!("retry: {RETRY_MILLIS}\nid: {}\n\n", id(at)))
}

/// All up to there was told.
pub(super) fn position(at: DateTime) -> Bytes {
    Bytes::from(format!("id: {}\n\n", id(at)))
}

/// Nothing has happened, and the connection stands.
pub(super) fn heartbeat(at: DateTime) -> Bytes {
    Bytes::from(format!(": nothing new\nid: {}\n\n", id(at)))
}

pub(super) fn reset(at: DateTime) -> Bytes {
    Bytes::from(format!("id: {}\nevent: reset\ndata: {{}}\n\n", id(at)))
}

pub(super) fn transaction(at: DateTime, row: Transaction) -> Result<Bytes> {
    let version = row.version;
    event(at, "transaction.updated", &TransactionEvent { transaction: row.into(), version })
}

pub(super) fn balance(at: DateTime, balance: &BalanceView) -> Result<Bytes> {
    event(at, "balance.updated", balance)
}

/// Without an id: where the client was stays what it was.
pub(super) fn session_ended(why: Over) -> Bytes {
    Bytes::from(format!("event: session.ended\ndata: {{\"reason\":\"{}\"}}\n\n", why.name()))
}
