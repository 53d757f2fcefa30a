//! Erasing somebody: one asks, another does it.

use chrono::TimeDelta;
use ledger::Account;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Erasure};
use crate::app::App;
use crate::identity::audit::{self, Entry};
use crate::identity::sessions::{self, Ending};
use crate::identity::staff::StaffMember;
use crate::identity::{notes, repeats, totp, users};
use crate::money::restrictions::{self, Kind, State};
use crate::money::{approvals, bank_accounts, transactions};
use crate::platform::error::{Error, Reason, Result};
use crate::platform::permissions::{Permission, Role, UsersErase};
use crate::webhooks::{inbox, outgoing};

/// What was asked for longer ago is asked for anew.
const ASKED_FOR: TimeDelta = TimeDelta::days(7);

/// Objects in one statement.
const PRUNED_AT_ONCE: i64 = 1_000;

/// What a call came to.
pub struct Done {
    pub erasure: Erasure,
    /// False: it waits for somebody else.
    pub erased: bool,
}

/// Asks for an erasure, or does the one that somebody else has asked for. A repeat changes nothing.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] for staff, who lose their role first, and so for oneself, and by whoever is frozen or, to do it,
/// has the role for less than a day; [`Error::AccountNotClosed`]; [`Error::AccountNotEmpty`] when something of theirs is open, or owed.
pub async fn erase(app: &App, by: &StaffMember, user_id: Uuid, note: &str) -> Result<Done> {
    let user = users::find(app, user_id).await?;
    if user.role != Role::User {
        return Err(Error::Forbidden(Reason::StaffAccount));
    }
    if let Some(erasure) = store::find(&app.db, user_id).await?.filter(|erasure| erasure.erased_at.is_some()) {
        return Ok(Done { erasure, erased: true });
    }
    refuse_what_is_open(app, &mut *app.db.acquire().await?, user_id).await?;
    // The ledger itself, and so not within the transaction; there its copy is looked at once more.
    restrictions::require_unused(app, user_id).await?;
    let asked_by = store::find(&app.db, user_id).await?.map_or(by.id, |asked| asked.requested_by);
    let mut tx = app.db.begin().await?;
    users::lock_in_order(&mut tx, &[user_id], &[by.id, asked_by]).await?;
    if users::lock(&mut *tx, user_id).await? != Some(Role::User) {
        return Err(Error::Forbidden(Reason::StaffAccount));
    }
    if !second_person(app, &mut tx, by, user_id, note).await? {
        let erasure = store::find(&mut *tx, user_id).await?.ok_or(Error::StaleState)?;
        tx.commit().await?;
        return Ok(Done { erasure, erased: false });
    }
    // Locked, so that whoever reopens an account or gives a role at this moment does so before or after.
    refuse_what_is_open(app, &mut tx, user_id).await?;
    // Before the sessions, as whoever ends an enrolment locks them.
    totp::erase(&mut tx, user_id).await?;
    let ended = sessions::end_all(app, &mut *tx, user_id, None, Ending::Erased).await?;
    let objects = store::provider_ids(&mut *tx, user_id).await?;
    inbox::empty_about(&mut *tx, &objects).await?;
    outgoing::forget_about(&mut tx, user_id).await?;
    bank_accounts::erase(app, &mut tx, user_id).await?;
    notes::erase(&mut *tx, user_id).await?;
    repeats::forget_about(&mut *tx, user_id).await?;
    store::erase(&mut tx, user_id, app.clock.now()).await?;
    let done = store::finish(&mut *tx, user_id, by.id, app.clock.now()).await?;
    let erasure = done.ok_or(Error::StaleState)?;
    let entry = Entry::of(&by.actor, "user.erased", "user", user_id);
    audit::record(app, &mut *tx, entry.with(json!({"requested_by": erasure.requested_by, "note": note}))).await?;
    tx.commit().await?;
    ended.announce(app);
    Ok(Done { erasure, erased: true })
}

/// What Revio tells of somebody who was erased meanwhile goes as well, once it has had its effect. Whether there is more.
pub async fn prune(app: &App) -> Result<bool> {
    let objects = store::told_of_erased(&app.db, PRUNED_AT_ONCE).await?;
    inbox::empty_about(&app.db, &objects).await?;
    Ok(i64::try_from(objects.len()).is_ok_and(|found| found >= PRUNED_AT_ONCE))
}

/// Whether somebody else has asked for this before, and both may: who asks has had the role ever since, who does it for a day, and neither
/// is frozen (docs/decisions/030). Who asks first since it was closed, or again after it was forgotten or its maker may not any more, is noted.
async fn second_person(app: &App, tx: &mut PgConnection, by: &StaffMember, user_id: Uuid, note: &str) -> Result<bool> {
    let (now, roles) = (app.clock.now(), UsersErase::ROLES);
    let in_force =
        restrictions::list_of(&mut *tx, user_id).await?.into_iter().filter(|row| row.state == State::InForce);
    let closed_at = in_force.filter(|row| row.kind == Kind::Closure).map(|row| row.created_at).max();
    // What was asked of an account that was open since was asked for other reasons.
    let stands = |asked: &Erasure| now - asked.requested_at < ASKED_FOR && Some(asked.requested_at) >= closed_at;
    if let Some(asked) = store::find(&mut *tx, user_id).await?.filter(stands)
        && approvals::may_still(&mut *tx, asked.requested_by, roles, asked.requested_at).await?
    {
        if asked.requested_by == by.id {
            return Ok(false);
        }
        approvals::require_approver(app, &mut *tx, by.id, roles).await?;
        return Ok(true);
    }
    approvals::require_maker(app, &mut *tx, by.id, roles).await?;
    store::ask(&mut *tx, user_id, by.id, note, now).await?;
    let entry = Entry::of(&by.actor, "user.erasure_requested", "user", user_id);
    audit::record(app, &mut *tx, entry.with(json!({"note": note}))).await?;
    Ok(false)
}

async fn refuse_what_is_open(app: &App, db: &mut PgConnection, user_id: Uuid) -> Result<()> {
    let restrictions = restrictions::list_of(&mut *db, user_id).await?;
    let closed = |currency| {
        let closes = |row: &&restrictions::Restriction| row.kind == Kind::Closure && row.state == State::InForce;
        restrictions.iter().filter(closes).any(|row| row.currency == currency)
    };
    if !app.config.currencies.iter().all(|currency| closed(*currency)) {
        return Err(Error::AccountNotClosed);
    }
    let receivables: Vec<Uuid> =
        app.config.currencies.iter().map(|currency| Account::receivable(user_id, *currency).id.as_uuid()).collect();
    let objects = store::provider_ids(&mut *db, user_id).await?;
    if transactions::has_open(&mut *db, user_id).await?
        || store::is_open(&mut *db, user_id, &receivables, &objects).await?
    {
        return Err(Error::AccountNotEmpty);
    }
    Ok(())
}
