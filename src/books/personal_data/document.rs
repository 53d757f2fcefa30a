//! The document of all that is held about a person, as it is sent: [`PersonalData`] as JSON, of which the three lists that may be long come last.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{BankAccountData, NoteData, PersonalData, WebhookData, store};
use crate::app::App;
use crate::books::files::Pages;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::{notes, users};
use crate::money::balances::{self, routes::BalanceView};
use crate::money::bank_accounts;
use crate::platform::error::{Error, Result};
use crate::platform::http::download::Tag;
use crate::webhooks::inbox;

/// Each may have some 30 kB of words.
const PAGE_ROWS: i64 = 100;
/// How the document ends before any of the lists.
const LISTS: &str = r#"},"webhooks":[]}"#;

/// A document that is about to be sent.
pub struct Document {
    /// Of all that is held, whenever it was taken out.
    pub tag: Tag,
    /// All that is short, up to the first long list.
    pub about: String,
    pub rest: Rest,
}

/// What of a document is still to be sent: what is first of a list has no comma before it.
pub struct Rest {
    part: Part,
    user_id: Uuid,
    after: Uuid,
    comma: &'static str,
    deliveries: VecDeque<Uuid>,
}

enum Part {
    Acts,
    Transactions,
    Webhooks,
    Nothing,
}

/// Everything about a person, on the record.
pub async fn export(app: &App, actor: &Actor, user_id: Uuid) -> Result<Document> {
    users::find(app, user_id).await?;
    let accounts = bank_accounts::list_with_deleted(app, user_id).await?;
    let balances = balances::balances(app, user_id).await?;
    let notes = notes::all(app, user_id).await?;
    let objects = store::provider_ids(&app.db, user_id).await?;
    let deliveries: VecDeque<Uuid> = inbox::about(app, &objects).await?.into();
    let data = PersonalData {
        exported_at: app.clock.now(),
        bank_accounts: accounts.into_iter().map(BankAccountData::from).collect(),
        balances: balances.into_iter().map(BalanceView::from).collect(),
        notes: notes.into_iter().map(|note| NoteData { text: note.text, created_at: note.created_at }).collect(),
        rows: store::rows(&app.db, user_id).await?,
        webhooks: Vec::new(),
    };
    let fingerprint = store::fingerprint(&app.db, user_id, &objects).await?;
    let about = serde_json::to_string(&data).map_err(Error::internal)?;
    let about = about.strip_suffix(LISTS).ok_or_else(|| Error::internal("the long lists are not the last"))?;
    let counted = json!({"bank_accounts": data.bank_accounts.len(), "webhooks": deliveries.len()});
    audit::record(app, &app.db, Entry::of(actor, "user.data_exported", "user", user_id).with(counted)).await?;
    Ok(Document {
        tag: data.tag(&fingerprint)?,
        about: format!(r#"{about},"acts":["#),
        rest: Rest { part: Part::Acts, user_id, after: Uuid::nil(), comma: "", deliveries },
    })
}

impl PersonalData {
    fn tag(&self, fingerprint: &str) -> Result<Tag> {
        let Self { exported_at: _, rows, bank_accounts, balances, notes, webhooks: _ } = self;
        let held = serde_json::to_vec(&(rows, bank_accounts, balances, notes, fingerprint)).map_err(Error::internal)?;
        Ok(Tag::weak(&held))
    }
}

impl Pages for Rest {
    async fn next(&mut self, app: &App) -> Result<Option<Vec<u8>>> {
        let (rows, next, heading) = match self.part {
            Part::Acts => {
                let acts = store::acts_after(&app.db, self.user_id, self.after, PAGE_ROWS).await?;
                (acts, Part::Transactions, r#"],"transactions":["#)
            }
            Part::Transactions => {
                let transactions = store::transactions_after(&app.db, self.user_id, self.after, PAGE_ROWS).await?;
                (transactions, Part::Webhooks, r#"]},"webhooks":["#)
            }
            Part::Webhooks => return self.next_webhook(app).await,
            Part::Nothing => return Ok(None),
        };
        let Some(last) = rows.last() else {
            (self.part, self.after, self.comma) = (next, Uuid::nil(), "");
            return Ok(Some(heading.into()));
        };
        self.after = last.id;
        listed(&mut self.comma, rows.iter().map(|row| &row.told)).map(Some)
    }
}

impl Rest {
    async fn next_webhook(&mut self, app: &App) -> Result<Option<Vec<u8>>> {
        let Some(id) = self.deliveries.pop_front() else {
            self.part = Part::Nothing;
            return Ok(Some("]}".into()));
        };
        let (row, content) = inbox::find(app, id).await?;
        let delivery = WebhookData { row, body: content.map(|content| content.whole()) };
        listed(&mut self.comma, [delivery]).map(Some)
    }
}

/// The next ones of a list.
fn listed(comma: &mut &'static str, items: impl IntoIterator<Item = impl Serialize>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend_from_slice(comma.as_bytes());
        serde_json::to_writer(&mut bytes, &item).map_err(Error::internal)?;
        *comma = ",";
    }
    Ok(bytes)
}
