//! All that we hold about a person: taken out for that person, or erased as far as the law lets it go.
//!
//! An erasure is asked for by one member of staff and done by another ([`erase`] called twice), when every account of the customer is
//! closed, nothing is owed and nothing is open. What says who somebody was goes: name, e-mail, bank details, mails, devices, what Revio's
//! events said, what staff's calls were answered. The row of the user stays under a pseudonym, with its id, because money refers to it:
//! transactions, the ledger and the audit log know only ids, and are kept (docs/decisions/034).

mod erasure;
pub mod routes;
mod store;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::{notes, users};
use crate::money::balances::{self, routes::BalanceView};
use crate::money::bank_accounts;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::http::download::Tag;
use crate::webhooks::inbox::{self, LogRow};

pub use erasure::{Done, erase};
pub use store::Erasure;

#[derive(Serialize, ToSchema)]
pub struct PersonalData {
    exported_at: DateTime,
    /// The rows about the person, by what they are.
    #[schema(value_type = Object)]
    rows: Value,
    /// With the numbers that are encrypted at rest; deleted ones too.
    bank_accounts: Vec<BankAccountData>,
    balances: Vec<BalanceView>,
    /// What staff wrote down about the person.
    notes: Vec<NoteData>,
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

/// Everything about a person, on the record.
pub async fn export(app: &App, actor: &Actor, user_id: Uuid) -> Result<PersonalData> {
    users::find(app, user_id).await?;
    let rows = store::rows(&app.db, user_id).await?;
    let accounts = bank_accounts::list_with_deleted(app, user_id).await?;
    let balances = balances::balances(app, user_id).await?;
    let notes = notes::all(app, user_id).await?;
    let webhooks = inbox::about(app, &store::provider_ids(&app.db, user_id).await?).await?;
    let counted = json!({"bank_accounts": accounts.len(), "webhooks": webhooks.len()});
    audit::record(app, &app.db, Entry::of(actor, "user.data_exported", "user", user_id).with(counted)).await?;
    Ok(PersonalData {
        exported_at: app.clock.now(),
        rows,
        bank_accounts: accounts.into_iter().map(BankAccountData::from).collect(),
        balances: balances.into_iter().map(BalanceView::from).collect(),
        notes: notes.into_iter().map(|note| NoteData { text: note.text, created_at: note.created_at }).collect(),
        webhooks: webhooks
            .into_iter()
            .map(|(row, content)| WebhookData { row, body: content.map(|content| content.whole()) })
            .collect(),
    })
}

impl PersonalData {
    /// Of all that is held, whenever it was taken out.
    fn tag(&self) -> Result<Tag> {
        let Self { exported_at: _, rows, bank_accounts, balances, notes, webhooks } = self;
        let held = serde_json::to_vec(&(rows, bank_accounts, balances, notes, webhooks)).map_err(Error::internal)?;
        Ok(Tag::weak(&held))
    }
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
