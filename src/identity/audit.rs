//! Who did what: an append-only log of sign-ins, refusals, role changes, staff's calls and decisions about money.
//!
//! [`record`] writes the row inside the transaction of the change that it tells of, any number at once and without a lock. [`seal`]
//! (the worker, every few seconds) chains the rows that are not chained yet; [`verify`] computes every link again. A link's hash
//! covers the hash of the link before it and every field of its row, so that a change of an old row shows. Chaining inside `record`
//! would make every sign-in wait in one line; until a row is chained only the triggers and privileges of the table protect it, and
//! `octoco_queue_age_seconds{queue="audit"}` says for how long.
//!
//! The service's role does not own these tables (migrations/0008_retention.sql): PostgreSQL itself refuses it to change, empty or drop
//! them. Whoever owns them can also write a whole new chain. Against that `audit::watch` notes the head in the ledger and compares with what
//! was noted before, and [`seal`] tells the head to the process's log, which is kept elsewhere: `octoco audit verify --head
//! POSITION:HASH` compares with it. What a caller may have refused fills the log no faster than [`record_refusal`] lets it.

mod chain;
pub mod pack;
mod refusals;
mod store;
mod watch;

use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::app::App;
use crate::platform::{error::Result, permissions::Role, queue, slow_reads};

pub use chain::Head;
pub use refusals::record_refusal;
pub use store::{Filter, Row};
pub use watch::{accept_head, noted_in_ledger, watch};

/// The name of an actor who did not prove to be anybody.
const NOBODY: &str = "nobody";
const SEAL_BATCH: i64 = 500;
const VERIFY_BATCH: i64 = 2_000;
const PRUNE_BATCH: i64 = 1_000;

/// What an older PostgreSQL would give back. The log of the process, also of a command, is kept elsewhere and tells what to do once more.
const TAKEN_AWAY: [&str; 17] = [
    "user.role_changed", "user.erased", "user.email_changed", "restriction.requested", "bank_account.deleted",
    "totp.reset", "totp.disabled", "totp.recovery_code_used", "service_account.key_revoked",
    "service_account.key_rotated", "service_account.changed", "webhook_endpoint.changed", "webhook_endpoint.deleted",
    "webhook_endpoint.secret_rotated", "period.closed", "statement.imported", "statement.taken_out",
];

#[derive(Debug, Clone)]
pub struct Actor {
    /// A user's id, `service:` and a service account's, `system`, `operator` or `nobody`.
    name: String,
    role: Option<Role>,
    origin: Origin,
}

#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub request_id: Option<String>,
    pub address: Option<String>,
}

impl Actor {
    /// The service itself: a background task, or the command line.
    pub fn system() -> Self {
        Self { name: "system".to_owned(), role: None, origin: Origin::default() }
    }

    /// Whoever has a shell on the service's host: alone, and so on record as such.
    pub fn operator() -> Self {
        Self { name: "operator".to_owned(), ..Self::system() }
    }

    /// `role` where it was read just now.
    pub fn user(id: Uuid, role: Option<Role>, origin: Origin) -> Self {
        Self { name: id.to_string(), role, origin }
    }

    /// A machine, by its service account.
    pub fn service(account_id: Uuid, origin: Origin) -> Self {
        Self { name: format!("service:{account_id}"), role: None, origin }
    }

    /// Somebody who did not prove to be anybody.
    pub fn nobody(origin: Origin) -> Self {
        Self { name: NOBODY.to_owned(), role: None, origin }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn user_id(&self) -> Option<Uuid> {
        self.name.parse().ok()
    }

    pub fn is_user(&self, id: Uuid) -> bool {
        self.name == id.to_string()
    }
}

/// One thing that happened: `Entry::of(&actor, "user.role_changed", "user", id).change(before, after)`.
#[derive(Debug, Clone)]
pub struct Entry {
    actor: Actor,
    action: &'static str,
    object_kind: &'static str,
    object_id: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Entry {
    /// `action` is `noun.past_participle`.
    pub fn of(actor: &Actor, action: &'static str, object_kind: &'static str, object_id: impl ToString) -> Self {
        let object_id = object_id.to_string();
        Self { actor: actor.clone(), action, object_kind, object_id, before: None, after: None }
    }

    /// What was and what is: states, roles, amounts and ids; never a secret and never personal data.
    pub fn change(self, before: Value, after: Value) -> Self {
        Self { before: Some(before), after: Some(after), ..self }
    }

    pub fn with(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }
}

/// Writes the entry. Given the transaction of the change that it tells of, both are there or neither.
pub async fn record(app: &App, db: impl PgExecutor<'_>, entry: Entry) -> Result<()> {
    if TAKEN_AWAY.contains(&entry.action) {
        let Entry { action, object_kind, object_id, .. } = &entry;
        tracing::info!(
            audit.action = action,
            object.kind = object_kind,
            object.id = object_id,
            "taken away, or changed for good"
        );
    }
    let row = Row {
        id: app.clock.row_id(),
        at: app.clock.now(),
        actor: entry.actor.name,
        actor_role: entry.actor.role.map(|role| role.name().to_owned()),
        action: entry.action.to_owned(),
        object_kind: entry.object_kind.to_owned(),
        object_id: entry.object_id,
        before: entry.before.map(|value| value.to_string()),
        after: entry.after.map(|value| value.to_string()),
        request_id: entry.actor.origin.request_id,
        address: entry.actor.origin.address,
        pruned: None,
    };
    Ok(store::insert(db, &row).await?)
}

/// What the worker does every few seconds. True when there may be more.
pub async fn step(app: &App) -> Result<bool> {
    let counted = refusals::tell_the_rest(app).await?;
    Ok(seal(app).await? || counted)
}

/// Forgets who read what where that is longer ago than `RETENTION` says; the rows stay, and the chain holds. True when there may be more.
pub async fn prune_reads(app: &App) -> Result<bool> {
    let before = app.clock.now() - app.config.retention.audit_reads;
    let rows = store::old_reads(&app.db, before, PRUNE_BATCH).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let contents: Vec<Vec<u8>> = rows.iter().map(chain::content).collect();
    let pruned = if ids.is_empty() { 0 } else { store::prune(&app.db, &ids, &contents).await? };
    Ok(pruned == PRUNE_BATCH)
}

/// Says so where the service is signed in as the owner of its tables: its password is then the end of the log.
pub async fn warn_of_ownership(app: &App) -> Result<()> {
    if store::is_owned(&app.db).await? {
        tracing::warn!(
            "the role of DATABASE_URL owns the audit log: give migrations a role of their own (MIGRATION_DATABASE_URL)"
        );
    }
    Ok(())
}

/// Chains the rows that wait. True when there may be more; false also when another process is at it.
pub async fn seal(app: &App) -> Result<bool> {
    let mut tx = app.db.begin().await?;
    if !store::lock(&mut *tx).await? {
        return Ok(false);
    }
    let rows = store::unsealed(&mut *tx, SEAL_BATCH).await?;
    if rows.is_empty() {
        return Ok(false);
    }
    let links = chain::links(store::head(&mut *tx).await?, &rows);
    let head = Head::at(links.last().expect("a link for each row"));
    store::insert_links(&mut *tx, &links).await?;
    store::dequeue(&mut *tx, &links).await?;
    store::move_head(&mut *tx, &head).await?;
    tx.commit().await?;
    tracing::info!(audit.head = %head, rows = rows.len(), "audit rows chained");
    Ok(queue::is_full(rows.len(), SEAL_BATCH))
}

#[derive(Debug, PartialEq, Eq)]
pub enum ChainCheck {
    Intact {
        head: Head,
        unsealed: i64,
    },
    Broken {
        position: i64,
        /// The row that it should be the link of, as far as it can be told.
        entry_id: Option<Uuid>,
        reason: &'static str,
    },
}

/// Computes every link again. `noted` is a head that was written down before.
pub async fn verify(app: &App, noted: Option<&Head>) -> Result<ChainCheck> {
    let end = store::head(&app.db).await?;
    let mut head = Head::start();
    if let Err(broken) = walk(app, &mut head, end.position, usize::MAX, noted).await? {
        return Ok(broken);
    }
    let broken = |reason| Ok(ChainCheck::Broken { position: end.position, entry_id: None, reason });
    if head != end {
        return broken("the last link is not the one that the head names");
    }
    if noted.is_some_and(|noted| noted.position > end.position) {
        return broken("the chain ends before the head that was noted");
    }
    let counts = store::counts(&app.db).await?;
    if counts.rows != counts.links.saturating_add(counts.unsealed) {
        return broken("there are rows that are neither chained nor waiting for it");
    }
    Ok(ChainCheck::Intact { head, unsealed: counts.unsealed })
}

/// Computes the links behind `head`, which is moved, up to `end` or for so many batches.
async fn walk(
    app: &App,
    head: &mut Head,
    end: i64,
    batches: usize,
    noted: Option<&Head>,
) -> Result<std::result::Result<(), ChainCheck>> {
    for _ in 0..batches {
        if head.position >= end {
            break;
        }
        let links = store::links_after(&app.db, head.position, VERIFY_BATCH.min(end - head.position)).await?;
        let ids: Vec<Uuid> = links.iter().map(|link| link.entry_id).collect();
        let rows = store::find_all(&app.db, &ids).await?;
        if let Err(broken) = chain::check(head, &links, &rows, noted) {
            return Ok(Err(broken));
        }
    }
    Ok(Ok(()))
}

pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Row>> {
    Ok(store::list(&app.db, filter).await?)
}

/// The same for one of staff, who may ask for what no index answers; `about` is a customer: what was done to them, and who of the staff looked, as
/// far back as `RETENTION` keeps who read what.
///
/// # Errors
/// `TooBroad`; `TurnedAway` when the turn does not come in time.
pub async fn search(app: &App, caller: Uuid, about: Option<Uuid>, filter: &Filter) -> Result<Vec<Row>> {
    if !filter.is_narrow() {
        return Ok(store::search(&app.db, about, filter).await?);
    }
    let mut read = app.slow_reads.begin(caller, &app.db, app.config.list_deadline).await?;
    store::search(&mut *read.tx, about, filter).await.map_err(slow_reads::too_broad)
}

pub async fn measure(app: &App) -> Result<()> {
    let waiting = store::waiting(&app.db).await?;
    let age = waiting.oldest.map(|at| app.clock.now() - at);
    app.metrics.waiting("audit", "unsealed", waiting.rows, age);
    watch::measure(app).await?;
    Ok(())
}
