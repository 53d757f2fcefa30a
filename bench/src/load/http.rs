//! A caller of the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use octoco::platform::error::BoxError;

use super::client::Client;
use super::run::{self, Outcome};

/// The next call, or that there is none any more.
pub(crate) type Ask = dyn Fn() -> Option<Vec<u8>> + Send + Sync;

pub(crate) struct Caller {
    address: SocketAddr,
    client: Option<Client>,
    wanted: u16,
    ask: Arc<Ask>,
    /// For how long it was told to stay away.
    pause: Duration,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, wanted: u16, ask: Arc<Ask>) -> Self {
        Self { address, client: None, wanted, ask, pause: Duration::ZERO }
    }

    async fn asked(&mut self, request: &[u8]) -> Result<Outcome, BoxError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.address).await?,
        };
        let answer = client.ask(request).await?;
        let outcome = match (answer.status, answer.head.retry_after) {
            (status, _) if status == self.wanted => Outcome::Good,
            (503, Some(seconds)) => {
                self.pause = Duration::from_secs(seconds);
                Outcome::TurnedAway
            }
            (status, _) => Outcome::Bad(format!("{status} {}", String::from_utf8_lossy(answer.body))),
        };
        if !answer.head.closes {
            self.client = Some(client);
        }
        Ok(outcome)
    }
}

impl run::Caller for Caller {
    async fn call(&mut self) -> Result<Outcome, BoxError> {
        let Some(request) = (self.ask)() else { return Ok(Outcome::Nothing) };
        Ok(self.asked(&request).await.unwrap_or_else(|error| Outcome::Bad(format!("no answer: {error}"))))
    }

    async fn turned_away(&mut self) {
        tokio::time::sleep_until(tokio::time::Instant::now() + self.pause).await;
    }
}
