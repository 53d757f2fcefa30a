//! One page about a customer, for whoever of the staff speaks with that customer: who it is, whether anything is in the way, what there is,
//! what is under way, who was here before. And what support does there: ends sessions, has the verification sent again.
//!
//! Each part has its own permission. A part that the caller may not see, or that cannot be read just now, is null, and the page says which and
//! why; so one part that is away does not hide the others. Every list is short and names the whole one.

pub mod routes;
mod store;

use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};
use uuid::Uuid;

use crate::app::App;
use crate::identity::notes::{self, Note};
use crate::identity::users::{self, User};
use crate::money::balances::{self, CustomerBalance};
use crate::platform::error::Result;

pub use store::{BankAccount, Facts, Look, Mail, Open, Restriction, Session};

/// Of each list.
const ROWS_MAX: i64 = 20;
/// What stands for an address: whoever knows more than that knows where somebody lives.
const NETWORK_BITS: (u8, u8) = (24, 48);

/// What of the page somebody may see.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    pub money: bool,
    pub held: bool,
    pub notes: bool,
    pub looks: bool,
}

pub struct Customer {
    pub user: User,
    pub facts: Facts,
    pub restrictions: Vec<Restriction>,
    pub bank_accounts: Vec<BankAccount>,
    pub sessions: Vec<Session>,
    pub mails: Vec<Mail>,
    /// Of each: `None` = not to be seen.
    pub money: Option<Vec<CustomerBalance>>,
    pub open: Option<Vec<Open>>,
    pub held: Option<Vec<Open>>,
    pub notes: Option<Vec<Note>>,
    pub looks: Option<Vec<Look>>,
    /// The ledger does not answer.
    pub money_is_away: bool,
}

/// # Errors
/// [`crate::platform::error::Error::NotFound`].
pub async fn page(app: &App, id: Uuid, sight: Sight) -> Result<Customer> {
    let user = users::find(app, id).await?;
    let money = if sight.money { Some(balances::balances(app, id).await) } else { None };
    if let Some(Err(error)) = &money {
        tracing::warn!(error = error.chain(), "the balances of a customer cannot be told");
    }
    let money_is_away = matches!(money, Some(Err(_)));
    let filter = notes::Filter { user_id: id, before: None, limit: ROWS_MAX };
    Ok(Customer {
        user,
        facts: store::facts(&app.db, id).await?,
        restrictions: store::restrictions(&app.db, id).await?,
        bank_accounts: store::bank_accounts(&app.db, id, ROWS_MAX).await?,
        sessions: store::sessions(&app.db, id, app.clock.now(), ROWS_MAX).await?,
        mails: store::mails(&app.db, id, ROWS_MAX).await?,
        money: money.and_then(Result::ok),
        open: if sight.money { Some(store::open(&app.db, id, ROWS_MAX).await?) } else { None },
        held: if sight.held { Some(store::held(&app.db, id, ROWS_MAX).await?) } else { None },
        notes: if sight.notes { Some(notes::latest(app, &filter).await?) } else { None },
        looks: if sight.looks { Some(store::looks(&app.db, id, ROWS_MAX).await?) } else { None },
        money_is_away,
    })
}

/// The network that an address is of.
fn network(address: &str) -> Option<String> {
    let (v4, v6) = NETWORK_BITS;
    match address.parse().ok()? {
        IpAddr::V4(address) => Ipv4Net::new(address, v4).ok().map(|net| net.trunc().to_string()),
        IpAddr::V6(address) => Ipv6Net::new(address, v6).ok().map(|net| net.trunc().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn of_an_address_only_the_network_is_shown() {
        assert_eq!(network("203.0.113.77").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(network("2001:db8:1:2::3").as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(network("unknown"), None);
    }
}
