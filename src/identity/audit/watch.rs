//! The watch over the chain, every quarter of an hour by whichever worker comes first, and by each at its start and once an hour:
//!
//! ```text
//! the last note in the ledger ─> is it still a link of the chain?  ─> the links since then ─> noted in the ledger
//! old rows, from where the last look ended ─> looked at again, so many at a time; after the last one from the beginning
//! ```
//!
//! PostgreSQL may be changed, or put back, by whoever owns it; the ledger takes nothing back. A chain that does not go through what was
//! noted, ends before it, or does not hold is told in the log and by `octoco_audit_chain_intact`, and nothing is noted any more until
//! it does. After a restore that is known, an operator notes the head that there is now ([`accept_head`]; docs/decisions/033).
//!
//! The service's role may write `audit_watch`: whose turn it is and what was seen. So that says to nobody that all is well: each process tells
//! what it saw itself, by its own clock, and what the table says of a break only besides.

use chrono::TimeDelta;
use ledger::AuditNote;
use serde_json::json;

use super::{Actor, ChainCheck, Entry, Head, record, store, verify, walk};
use crate::app::{App, AuditLook};
use crate::platform::clock::Moment;
use crate::platform::error::{Error, Result};

const PERIOD: TimeDelta = TimeDelta::minutes(15);
/// Of the links since the note and of the old ones, in one look: some seconds.
const BATCHES: usize = 10;
/// Without a look of its own for so long a process does not ask whose turn it is.
const OWN_PERIOD: TimeDelta = TimeDelta::hours(1);
/// By so much no clock of ours is ahead: such a row is not of when it says.
const AHEAD: TimeDelta = TimeDelta::hours(1);
/// Rows of this time are looked at whether they are, or will be, in the chain: what took one out of it did so since the last look.
const UNCHAINED: TimeDelta = TimeDelta::hours(1);

/// A look, if one is due. True when there is more to look at at once.
pub async fn watch(app: &App) -> Result<bool> {
    let (now, own) = (app.clock.now(), *app.audit_look.lock().await);
    // Who has seen it broken looks there again until it holds, wherever others are told to begin.
    let own_period = if own.broken_from.is_some() { PERIOD } else { OWN_PERIOD };
    let has_been = |moment: Option<Moment>, period| moment.is_none_or(|at| app.clock.elapsed(at) >= period);
    // One that fails is not tried again and again, nor is the others' turn taken by it.
    let is_due = has_been(own.at, own_period) && has_been(own.tried, PERIOD);
    let Some(position) = store::claim_watch(&app.db, now, now - PERIOD, is_due).await? else { return Ok(false) };
    app.audit_look.lock().await.tried = Some(app.clock.moment());
    let position = own.broken_from.unwrap_or(position);
    let (position, broken, more) = match look(app, position).await? {
        Ok((position, more)) => (position, None, more),
        Err(ChainCheck::Broken { position: at, entry_id, reason }) => {
            let row = entry_id.map(|id| id.to_string());
            tracing::error!(position = at, row, reason, "the audit chain is broken");
            (position, Some(format!("at {at}: {reason}")), false)
        }
        Err(ChainCheck::Intact { .. }) => (position, None, false),
    };
    let broken_from = broken.is_some().then_some(position);
    let at = Some(app.clock.moment());
    *app.audit_look.lock().await = AuditLook { at, tried: at, broken_from };
    if broken.is_none() {
        app.metrics.audit.verified_at.set(now.timestamp());
    }
    store::note_watch(&app.db, now, position, broken.as_deref(), more).await?;
    measure(app).await?;
    Ok(more)
}

/// How far old rows were looked at, and whether there are links since the note that were not.
async fn look(app: &App, position: i64) -> Result<std::result::Result<(i64, bool), ChainCheck>> {
    let (noted, end) = match noted(app).await? {
        Ok(noted) => noted,
        Err(broken) => return Ok(Err(broken)),
    };
    let mut head = noted.clone();
    if let Err(broken) = walk(app, &mut head, end.position, BATCHES, None).await? {
        return Ok(Err(broken));
    }
    let broken = |reason| Ok(Err(ChainCheck::Broken { position: end.position, entry_id: None, reason }));
    if head.position >= end.position && head != end {
        return broken("the last link is not the one that the head names");
    }
    if store::unchained(&app.db, app.clock.now() - UNCHAINED).await?.is_some() {
        return broken("there is a row that is neither chained nor waiting for it");
    }
    if let Some(ahead) = store::ahead(&app.db, noted.position, app.clock.now() + AHEAD).await? {
        let (position, entry_id, reason) = (ahead.position, Some(ahead.entry_id), "the row's time is still to come");
        return Ok(Err(ChainCheck::Broken { position, entry_id, reason }));
    }
    if head != noted {
        app.ledger.note_audit(app.clock.row_id(), note(&head)).await?;
    }
    let mut old = store::link_at(&app.db, position).await?.map_or_else(Head::start, |link| Head::at(&link));
    if let Err(broken) = walk(app, &mut old, head.position, BATCHES, None).await? {
        return Ok(Err(broken));
    }
    let looked_at = if old.position >= head.position { 0 } else { old.position };
    Ok(Ok((looked_at, head.position < end.position)))
}

/// The link that the ledger has a note of, the chain's start where there is none; and the head. That is read after the note: others look, too, and
/// a chain only grows.
async fn noted(app: &App) -> Result<std::result::Result<(Head, Head), ChainCheck>> {
    let note = app.ledger.last_audit_note().await?;
    let end = store::head(&app.db).await?;
    let Some(note) = note else { return Ok(Ok((Head::start(), end))) };
    let position = i64::try_from(note.position).map_err(Error::internal)?;
    let broken = |reason| Ok(Err(ChainCheck::Broken { position, entry_id: None, reason }));
    if position > end.position {
        return broken("the chain ends before the head that the ledger has a note of");
    }
    match store::link_at(&app.db, position).await? {
        Some(link) if link.hash.starts_with(&note.hash) => Ok(Ok((Head::at(&link), end))),
        Some(_) | None => broken("the link is not the one that the ledger has a note of"),
    }
}

/// Whether the chain goes through what the ledger has a note of.
pub async fn noted_in_ledger(app: &App) -> Result<std::result::Result<Head, ChainCheck>> {
    Ok(noted(app).await?.map(|(noted, _)| noted))
}

/// Notes the head as it is now, whatever was noted before: PostgreSQL was put back, and somebody says so. The chain must hold in itself.
pub async fn accept_head(app: &App, actor: &Actor, reason: &str) -> Result<ChainCheck> {
    let entry = Entry::of(actor, "audit.head_accepted", "audit", "head").with(json!({"note": reason}));
    record(app, &app.db, entry).await?;
    while super::seal(app).await? {}
    let verdict = verify(app, None).await?;
    if let ChainCheck::Intact { head, .. } = &verdict {
        app.ledger.note_audit(app.clock.row_id(), note(head)).await?;
        store::note_watch(&app.db, app.clock.now(), 0, None, false).await?;
    }
    Ok(verdict)
}

fn note(head: &Head) -> AuditNote {
    let mut hash = [0; 16];
    hash.iter_mut().zip(&head.hash).for_each(|(half, byte)| *half = *byte);
    AuditNote { position: head.position.unsigned_abs(), hash }
}

pub(super) async fn measure(app: &App) -> Result<()> {
    // What another process saw, or this one before it was started again.
    let told = store::broken(&app.db).await?.is_some();
    let seen = app.audit_look.lock().await.broken_from.is_some();
    app.metrics.audit.intact.set(i64::from(!told && !seen));
    Ok(())
}
