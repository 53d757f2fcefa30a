//! One question for staff, whatever they were given: an id of ours, an id of a ledger transfer, an id of Revio's, an e-mail, words
//! of a name, an idempotency key or the id of a call (`request_id`). Each answer names what it is and where to read it. Nothing is searched
//! that an index does not answer, and of each kind only the first few are told.
//!
//! Words of descriptions are for `/v1/admin/transactions?q=`.

pub mod routes;
mod store;

use ledger::Leg;
use uuid::Uuid;

use crate::app::App;
use crate::books::history::filter::ids_beginning;
use crate::money::transactions::RequestMark;
use crate::platform::{error::Result, text_enum::text_enum};

pub use store::Hit;

/// Of one kind of answer.
const HITS_MAX: i64 = 10;
/// A shorter beginning of an e-mail is everybody's.
const EMAIL_CHARS_MIN: usize = 3;

text_enum! {
    #[schema(as = HitType)]
    pub enum What {
        Transaction = "transaction",
        /// One of the company's.
        Journal = "journal",
        /// A transfer in the ledger; it is read with its transaction or journal.
        Transfer = "transfer",
        User = "user",
        Webhook = "webhook",
        /// An entry of the audit log; only for those who may read it.
        AuditEntry = "audit_entry",
    }
}

/// # Errors
/// When PostgreSQL or, for the id of a transfer, the ledger does not answer.
pub async fn find(app: &App, text: &str, reads_audit: bool) -> Result<Vec<Hit>> {
    let email = Some(text.to_lowercase()).filter(|email| email.chars().count() >= EMAIL_CHARS_MIN);
    let mut hits = Vec::new();
    if let Some(ids) = ids_beginning(text) {
        hits = store::by_id(&app.db, ids, HITS_MAX).await?;
        if let Ok(id) = text.parse::<Uuid>()
            && let Some(leg) = Leg::from_byte(id.as_bytes()[15])
            && let row = if leg.is_journals() { What::Journal } else { What::Transaction }
            && let Some(hit) = hits.iter_mut().find(|hit| hit.what == row && hit.matched == "id")
            // An id that a row could have made is no proof of a transfer.
            && app.ledger.has(ledger::row_of(id), &[leg]).await?
        {
            (hit.what, hit.id) = (What::Transfer, id);
        }
    }
    hits.extend(store::by_text(&app.db, text, email.as_deref(), HITS_MAX).await?);
    hits.extend(store::by_name(&app.db, text, HITS_MAX).await?);
    hits.extend(store::by_request(&app.db, text, RequestMark::rows_near(text), reads_audit, HITS_MAX).await?);
    Ok(hits)
}
