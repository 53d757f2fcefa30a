//! What a call can end in, grouped by what the caller must do. The service matches on these; only `codes` makes most of them.

/// Match on the variant; `Display` is for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A business "no". The transfer id is spent: another attempt needs another row.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The reservation was posted, voided or expired before. Compare with what was wanted.
    #[error("the reservation was resolved before: {0}")]
    AlreadyResolved(Resolution),
    /// Our bug: stop the row and alert. The name is TigerBeetle's code or one of ours.
    #[error("the ledger contradicts the request: {0}")]
    Contradiction(&'static str),
    /// It may or may not have happened, or may yet happen. Ask again with the same id.
    #[error("outcome unknown: {0}")]
    Unknown(UnknownCause),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("insufficient funds")]
    InsufficientFunds,
    /// Reserving from a wallet that was never opened: no funds either.
    #[error("no such account")]
    NoSuchAccount,
    #[error("account closed")]
    AccountClosed,
    /// The customer's velocity limit is shut: nothing may leave the wallet.
    #[error("withdrawals are frozen")]
    Frozen,
    /// More than may leave the wallet within the velocity limit's time.
    #[error("limit exceeded")]
    LimitExceeded,
    /// This id was refused before, for whatever reason; the row knows which if the answer was seen then.
    #[error("refused before")]
    SpentId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Resolution {
    #[error("posted")]
    Posted,
    #[error("voided")]
    Voided,
    /// Cannot happen to reservations made here: they have no timeout.
    #[error("expired")]
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCause {
    #[error("no answer by the deadline")]
    Deadline,
    /// Not even sent: too many requests are in flight.
    #[error("too many requests in flight")]
    Overloaded,
    /// The cluster ended our session, and the replacement's too, or no replacement could be opened.
    #[error("session evicted")]
    Evicted,
    #[error("the ledger client is closed")]
    Closed,
}

/// Why a client could not be made. Says nothing about whether the cluster is there: only an answer does.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the ledger base must be a multiple of 1000, at most 4294966000")]
    Base,
    #[error("the most requests in flight must be 1 to 4294967295")]
    InFlightMax,
    #[error("invalid TigerBeetle address {0:?}: want host:port or port")]
    Address(String),
    #[error("cannot resolve TigerBeetle address {address:?}")]
    Resolve { address: String, source: std::io::Error },
    #[error("cannot make a TigerBeetle client")]
    Client(#[source] tigerbeetle_unofficial::error::NewClientError),
}
