//! What staff write down about a customer: read by whoever of them comes next. Never changed and never taken back, for it may be what somebody
//! acted on; a correction is another note. The text is encrypted (`encryption`): people write down what they were told. An erasure removes
//! the notes, and whoever is told all that we hold is told them too (`books/personal_data.rs`).

pub mod routes;
mod store;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Entry};
use crate::identity::staff::StaffMember;
use crate::identity::users;
use crate::platform::clock::DateTime;
use crate::platform::encryption::CannotDecrypt;
use crate::platform::error::{Error, Result};
use crate::platform::http::{IdempotencyKey, RequestHash};

pub use store::{CustomerNotes, erase};

#[derive(Serialize, ToSchema)]
#[schema(as = NoteView)]
pub struct Note {
    pub id: Uuid,
    /// Who of the staff wrote it.
    pub author_id: Uuid,
    #[schema(example = "Called: waits for the refund of order 77, told 3 days")]
    pub text: String,
    pub created_at: DateTime,
}

/// Of one customer; `before` = older than this one.
#[derive(Debug, Clone)]
pub struct Filter {
    pub user_id: Uuid,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// Writes a note, on the record without its text. The note, and whether the author's key made it before.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::KeyReused`]; [`Error::StaleState`] where the data of whom it is about is erased.
pub async fn write(
    app: &App,
    by: &StaffMember,
    user_id: Uuid,
    text: &str,
    key: Option<IdempotencyKey>,
) -> Result<(Note, bool)> {
    users::find(app, user_id).await?;
    let hash = RequestHash::of("customer_note", &(user_id, text));
    if let Some(repeat) = find_repeat(app, by.id, key.as_ref(), &hash).await? {
        return Ok((repeat, true));
    }
    let (id, created_at) = (app.clock.row_id(), app.clock.now());
    let content = app.config.data_keys.encrypt(id, text.as_bytes()).map_err(Error::internal)?;
    let keyed = key.as_ref().map(|key| (key.as_str(), hash.as_bytes()));
    let row = store::New { id, user_id, author_id: by.id, content: &content, keyed, created_at };
    let mut tx = app.db.begin().await?;
    if !users::lock_unless_erased(&mut *tx, user_id).await? {
        return Err(Error::StaleState);
    }
    if !store::insert(&mut *tx, &row).await? {
        tx.rollback().await?;
        let repeat = find_repeat(app, by.id, key.as_ref(), &hash).await?;
        return repeat.map(|note| (note, true)).ok_or_else(|| Error::internal("the row of an idempotency key is gone"));
    }
    let entry = Entry::of(&by.actor, "customer_note.written", "user", user_id).with(json!({"note": id}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    Ok((Note { id, author_id: by.id, text: text.to_owned(), created_at }, false))
}

async fn find_repeat(app: &App, by: Uuid, key: Option<&IdempotencyKey>, hash: &RequestHash) -> Result<Option<Note>> {
    let Some(key) = key else { return Ok(None) };
    let Some((row, of_key)) = store::find_by_key(&app.db, by, key.as_str()).await? else { return Ok(None) };
    hash.require_same(&of_key)?;
    open(app, row).map(Some)
}

/// Newest first.
///
/// # Errors
/// [`Error::NotFound`] when there is no such customer.
pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Note>> {
    users::find(app, filter.user_id).await?;
    latest(app, filter).await
}

/// The same of a customer who is known to be there.
pub async fn latest(app: &App, filter: &Filter) -> Result<Vec<Note>> {
    store::list(&app.db, filter).await?.into_iter().map(|row| open(app, row)).collect()
}

/// Every one about somebody who asks for all that we hold.
pub async fn all(app: &App, user_id: Uuid) -> Result<Vec<Note>> {
    latest(app, &Filter { user_id, before: None, limit: i64::MAX }).await
}

fn open(app: &App, row: store::Row) -> Result<Note> {
    let (id, encrypted) = (row.id, row.encrypted());
    let plain = app.config.data_keys.decrypt(id, &encrypted).map_err(Error::internal)?;
    let text = String::from_utf8(plain).map_err(|_| Error::internal(CannotDecrypt))?;
    Ok(Note { id, author_id: row.author_id, text, created_at: row.created_at })
}
