//! All that we hold about a person: taken out for that person, or erased as far as the law lets it go.
//!
//! An erasure is asked for by one member of staff and done by another ([`erase`] called twice), when every account of the customer is
//! closed, nothing is owed and nothing is open. What says who somebody was goes: name, e-mail, bank details, mails, devices, what Revio's
//! events said, what staff's calls were answered. The row of the user stays under a pseudonym, with its id, because money refers to it:
//! transactions, the ledger and the audit log know only ids, and are kept (docs/decisions/034).
//!
//! What is taken out is one document, sent while it is read, for a customer makes as many rows as they like, with as many words:
//!
//! ```text
//! about  all that is short ─> acts, page by page ─> transactions, page by page ─> what the provider told us, one by one ─> whole
//! ```

mod document;
mod erasure;
pub mod routes;
mod store;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::money::balances::routes::BalanceView;
use crate::money::bank_accounts;
use crate::platform::clock::DateTime;
use crate::webhooks::inbox::LogRow;

pub use document::{Document, export};
pub use erasure::{Done, erase, prune};
pub use store::Erasure;

#[derive(Serialize, ToSchema)]
pub struct PersonalData {
    exported_at: DateTime,
    /// With the numbers that are encrypted at rest; deleted ones too.
    bank_accounts: Vec<BankAccountData>,
    balances: Vec<BalanceView>,
    /// What staff wrote down about the person.
    notes: Vec<NoteData>,
    /// The rows about the person, by what they are.
    #[schema(value_type = Object)]
    rows: Value,
    /// What the payment provider told us about the person's payments.
    webhooks: Vec<WebhookData>,
}

#[derive(Serialize, ToSchema)]
struct BankAccountData {
    id: Uuid,
    bank_name: String,
    account_number: String,
    branch_code: String,
    account_holder: String,
    created_at: DateTime,
}

#[derive(Serialize, ToSchema)]
struct NoteData {
    text: String,
    created_at: DateTime,
}

#[derive(Serialize, ToSchema)]
struct WebhookData {
    #[serde(flatten)]
    row: LogRow,
    /// Null once it was pruned.
    body: Option<String>,
}

impl From<bank_accounts::BankAccount> for BankAccountData {
    fn from(account: bank_accounts::BankAccount) -> Self {
        Self {
            id: account.id,
            bank_name: account.bank_name,
            account_number: account.details.account_number,
            branch_code: account.details.branch_code,
            account_holder: account.details.account_holder,
            created_at: account.created_at,
        }
    }
}
