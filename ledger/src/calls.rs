//! What is told of each request to TigerBeetle: its name, how it ended and how long it took ([`Ledger::observed`]), and a span around
//! it. Every request of `client` and `read` goes through here to `session`.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tigerbeetle_unofficial::error::SendError;
use tracing::Instrument;
use tracing::field::Empty;

use crate::client::Ledger;
use crate::codes::{self, Call};
use crate::error::LedgerError;
use crate::session::Session;

/// One request, answered or given up.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    /// TigerBeetle's own name of it.
    pub call: &'static str,
    /// `ok`, `refused`, `resolved`, `contradiction` or `unknown`.
    pub outcome: &'static str,
    pub took: Duration,
}

pub(crate) type Observer = Arc<dyn Fn(Observed) + Send + Sync>;

impl Ledger {
    /// The same client, whose requests are told to `observer`.
    pub fn observed(self, observer: impl Fn(Observed) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// A request that is answered or not.
    pub(crate) async fn request<T, F, Fut>(&self, call: &'static str, send: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Fn(Arc<Session>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, SendError>> + Send,
    {
        self.judged(call, send, |_| Ok(())).await
    }

    /// A request whose answer may be a "no": `judge` says which.
    pub(crate) async fn judged<T, F, Fut>(
        &self,
        call: &'static str,
        send: F,
        judge: impl Fn(&T) -> Result<(), LedgerError>,
    ) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Fn(Arc<Session>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, SendError>> + Send,
    {
        let span = tracing::debug_span!("ledger", call, outcome = Empty);
        let started = Instant::now();
        let answer = self.connection.request(send).instrument(span.clone()).await;
        let outcome = name(answer.as_ref().map_err(|error| *error).and_then(judge));
        span.record("outcome", outcome);
        if let Some(observer) = &self.observer {
            observer(Observed { call, outcome, took: started.elapsed() });
        }
        answer
    }
}

/// What the codes of a chain of transfers come to: that of the one that has the cause. Whether an account should have been there is
/// for the caller to say.
pub(crate) fn judge_transfers(failed: &[u32]) -> Result<(), LedgerError> {
    let cause = failed.iter().find(|code| !codes::is_sibling(**code));
    cause.map_or(Ok(()), |code| codes::transfer_outcome(*code, Call::Reserve))
}

fn name(ended: Result<(), LedgerError>) -> &'static str {
    match ended {
        Ok(()) => "ok",
        Err(LedgerError::Refused(_)) => "refused",
        Err(LedgerError::AlreadyResolved(_)) => "resolved",
        Err(LedgerError::Contradiction(_)) => "contradiction",
        Err(LedgerError::Unknown(_)) => "unknown",
    }
}
