//! The simulated Revio beside the service: what it tells, and what it has.

use std::net::SocketAddr;

use octoco::app::App;
use octoco::platform::error::BoxError;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::client::{Client, Request};

pub(crate) struct Revio {
    pub(crate) address: SocketAddr,
    key: String,
}

#[derive(Clone, Copy)]
pub(crate) struct Stands {
    pub(crate) purchases: i64,
    pub(crate) paid_out_minor: i64,
}

impl Stands {
    pub(crate) fn since(self, before: Self) -> Self {
        let (purchases, paid_out) = (self.purchases - before.purchases, self.paid_out_minor - before.paid_out_minor);
        Self { purchases, paid_out_minor: paid_out }
    }
}

impl Revio {
    pub(crate) fn of(app: &App) -> Result<Self, BoxError> {
        let url = &app.config.revio_base_url;
        let address = url.socket_addrs(|| None)?.first().copied().ok_or("Revio has no address")?;
        Ok(Self { address, key: app.config.revio_api_key.expose_secret().to_owned() })
    }

    /// Of which objects it sends webhooks by itself: of purchases the bench does.
    pub(crate) async fn tell_of(&self, object: &str) -> Result<(), BoxError> {
        let webhooks = self.ask("GET", "/_sim/webhooks/", "").await?;
        for webhook in webhooks.as_array().into_iter().flatten() {
            let path = format!("/api/v1/webhooks/{}/", webhook["id"].as_str().unwrap_or_default());
            let events = ["created", "pending", "success", "failed"].map(|what| format!("{object}.{what}"));
            self.ask("PATCH", &path, &json!({"all_events": false, "events": events}).to_string()).await?;
        }
        Ok(())
    }

    pub(crate) async fn stands(&self) -> Result<Stands, BoxError> {
        let purchases = self.ask("GET", "/_sim/status/", "").await?["purchases"].as_i64().unwrap_or(0);
        let paid_out = self.ask("GET", "/_sim/totals/?currency=ZAR", "").await?["paid_out"].as_i64();
        Ok(Stands { purchases, paid_out_minor: paid_out.unwrap_or(0) })
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, BoxError> {
        let mut client = Client::connect(self.address).await?;
        let answer = client.ask(&Request { method, path, token: &self.key, headers: "", body }.bytes()).await?;
        let said = String::from_utf8_lossy(answer.body);
        if answer.status >= 300 {
            return Err(format!("{method} {path}: {} {said}", answer.status).into());
        }
        Ok(serde_json::from_str(&said)?)
    }
}
