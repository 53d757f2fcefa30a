//! One question for staff, whatever they were given: an id of ours, an id of a ledger transfer, an id of Revio's, an e-mail or
//! an idempotency key. Each answer names what it is and where to read it. Nothing is searched that an index does not answer,
//! and of each kind only the first few are told.
//!
//! Words of descriptions are for `/v1/admin/transactions?q=`.

pub mod routes;
mod store;

use ledger::{Leg, TransferId};
use uuid::Uuid;

use crate::app::App;
use crate::books::history::filter::{ids_beginning, row_of};
use crate::platform::error::Result;

/// Of one kind of answer.
const HITS_MAX: i64 = 10;
/// A shorter beginning of an e-mail is everybody's.
const EMAIL_CHARS_MIN: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Transaction,
    /// A transfer in the ledger; it is read with its transaction.
    Transfer,
    User,
    Webhook,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub what: What,
    pub id: Uuid,
    /// By which of its fields it was found.
    pub matched: &'static str,
    /// What tells it from others of its kind.
    pub label: String,
}

/// # Errors
/// When PostgreSQL or, for the id of a transfer, the ledger does not answer.
pub async fn find(app: &App, text: &str) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    let mut add = |what, matched, found: Vec<store::Found>| {
        hits.extend(found.into_iter().map(|found| Hit { what, id: found.id, matched, label: found.label }));
    };
    if let Some(ids) = ids_beginning(text) {
        let whole = text.parse::<Uuid>().ok();
        let leg = whole.and_then(|id| Some((id, Leg::from_byte(id.as_bytes()[15])?)));
        let rows = store::transactions_by_id(&app.db, ids, HITS_MAX).await?;
        match leg {
            Some((transfer, leg)) if !rows.is_empty() && is_booked(app, transfer, leg).await? => {
                add(What::Transfer, "id", rows.into_iter().map(|row| store::Found { id: transfer, ..row }).collect());
            }
            _ => add(What::Transaction, "id", rows),
        }
        add(What::Transaction, "provider_id", store::transactions_by_provider(&app.db, ids, HITS_MAX).await?);
        add(What::User, "id", store::users_by_id(&app.db, ids, HITS_MAX).await?);
        add(What::User, "restriction_id", store::users_by_restriction(&app.db, ids, HITS_MAX).await?);
        add(What::Webhook, "id", store::webhooks_by_id(&app.db, ids, HITS_MAX).await?);
        add(What::Webhook, "object_id", store::webhooks_by_object(&app.db, ids, HITS_MAX).await?);
    }
    add(What::Transaction, "idempotency_key", store::transactions_by_key(&app.db, text, HITS_MAX).await?);
    if text.chars().count() >= EMAIL_CHARS_MIN {
        add(What::User, "email", store::users_by_email(&app.db, &text.to_lowercase(), HITS_MAX).await?);
    }
    Ok(hits)
}

/// Whether the ledger has the transfer: an id that a row could have made is no proof of one.
async fn is_booked(app: &App, id: Uuid, leg: Leg) -> Result<bool> {
    Ok(!app.ledger.lookup(&[TransferId::of(row_of(id), leg)]).await?.is_empty())
}
