//! Four eyes: who decided about a row that waits for it, about exactly what, and whether that is enough. `withdrawals` (above a
//! threshold), `adjustments`, `journals` and `manual_review` (a release) say what is decided about and what follows. `requests`,
//! `restrictions`, `finance` and `books` keep rows of their own, and ask here who may.
//!
//! An approval names a hash over everything that it is about, so one that was given for another amount or another
//! destination is worth nothing. It counts once, for 24 hours, and only while its giver may approve: has the role, for a day already, and
//! is not frozen. That is looked at when it is given, and again when money is to move, in the SQL transaction that says so ([`still_approved`]).

pub mod routes;
mod store;

use aws_lc_rs::digest;
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::{audit::Actor, staff::Staff, users};
use crate::money::{subject::Subject, transactions::Approved};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Reason, Result};
use crate::platform::permissions::{Permission, Role};

pub use store::Approval;

const APPROVAL_LIFE: TimeDelta = TimeDelta::hours(24);
pub const DECIDED_WITHIN: TimeDelta = TimeDelta::days(7);
/// A role that is younger approves nothing: whoever gives himself a second account must wait until somebody has seen it.
const ROLE_AGE_MIN: TimeDelta = TimeDelta::hours(24);

/// SHA-256 over everything that is decided about. Staff see it and send it back; logs never have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubjectHash([u8; 32]);

impl SubjectHash {
    /// Each part is framed by its length, so that no two lists of parts are the same bytes.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            let length = u64::try_from(part.len()).expect("a length fits");
            hash.update(&length.to_be_bytes());
            hash.update(part);
        }
        Self(hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }

    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// What a member of staff says, about what they saw.
#[derive(Clone)]
pub struct ApprovalDecision {
    pub by: Uuid,
    pub actor: Actor,
    pub seen: SubjectHash,
    pub note: Option<String>,
    /// The roles that may say so: whoever lost theirs since does not count.
    pub(super) roles: &'static [Role],
}

impl ApprovalDecision {
    pub fn of<P: Permission>(staff: Staff<P>, seen: SubjectHash, note: Option<String>) -> Self {
        Self { by: staff.user_id, actor: staff.actor, seen, note, roles: P::ROLES }
    }
}

/// What was proposed, by whom, and whose word it takes.
pub struct Proposal {
    pub subject: Subject,
    pub hash: SubjectHash,
    pub maker: Uuid,
    pub created_at: DateTime,
    pub maker_roles: &'static [Role],
    pub checker_roles: &'static [Role],
}

/// Whether those whose word a proposal goes by may still give it.
pub enum Entitled {
    Yes,
    MakerIsNot,
    CheckersAreNot,
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().copied().map(Role::name).map(str::to_owned).collect()
}

/// That somebody may approve at this moment; it stays so until the end of the transaction.
///
/// # Errors
/// [`Error::Forbidden`] with the reason.
pub async fn require_approver(app: &App, tx: &mut PgConnection, who: Uuid, roles: &[Role]) -> Result<()> {
    refused(why_not(tx, who, roles, app.clock.now() - ROLE_AGE_MIN).await?)
}

/// Refuses unless `who` may ask for something now; it stays so until the transaction ends.
///
/// # Errors
/// [`Error::Forbidden`] with the reason.
pub async fn require_maker(app: &App, tx: &mut PgConnection, who: Uuid, roles: &[Role]) -> Result<()> {
    refused(why_not(tx, who, roles, app.clock.now()).await?)
}

fn refused(reason: Option<Reason>) -> Result<()> {
    reason.map_or(Ok(()), |reason| Err(Error::Forbidden(reason)))
}

/// Whether `who` has had such a role ever since, and is not frozen; it stays so until the transaction ends.
pub async fn may_still(tx: &mut PgConnection, who: Uuid, roles: &[Role], since: DateTime) -> Result<bool> {
    Ok(why_not(tx, who, roles, since).await?.is_none())
}

async fn why_not(tx: &mut PgConnection, who: Uuid, roles: &[Role], since: DateTime) -> Result<Option<Reason>> {
    users::lock_shared(&mut *tx, &[who]).await?;
    let entitlement = store::entitlement(&mut *tx, who, &names(roles), since).await?;
    Ok(match entitlement {
        Some(person) if !person.has_role => Some(Reason::MissingPermission),
        Some(person) if person.is_frozen => Some(Reason::StaffFrozen),
        Some(person) if !person.for_long => Some(Reason::RoleTooNew),
        Some(_) => None,
        None => Some(Reason::MissingPermission),
    })
}

pub struct ApprovalCount {
    /// False when the same person's same approval was there already.
    pub recorded: bool,
    pub given: i64,
    /// Set when they are enough: they are used now, and the row's move must carry this.
    pub approved: Option<Approved>,
}

/// Counts one approval. The caller holds the row's lock: of two that are the last ones at once, the second sees the first.
///
/// # Errors
/// [`Error::Forbidden`] when its giver may not approve, or not yet.
pub async fn approve(
    app: &App,
    tx: &mut PgConnection,
    subject: Subject,
    decision: &ApprovalDecision,
    needed: i64,
) -> Result<ApprovalCount> {
    require_approver(app, tx, decision.by, decision.roles).await?;
    let now = app.clock.now();
    let approval = store::New { id: app.clock.row_id(), subject, decision, now, expires_at: Some(now + APPROVAL_LIFE) };
    let recorded = store::approve(&mut *tx, &approval).await?;
    let standing = store::standing(&mut *tx, &approval, &names(decision.roles), now - ROLE_AGE_MIN).await?;
    let given = i64::try_from(standing.len()).unwrap_or(i64::MAX);
    let until = standing.iter().map(|approval| approval.expires_at).min();
    let approved = match until {
        Some(until) if given >= needed => {
            let ids: Vec<Uuid> = standing.iter().map(|approval| approval.id).collect();
            store::use_up(&mut *tx, &ids, now).await?;
            Some(Approved { hash: decision.seen.0, until })
        }
        Some(_) | None => None,
    };
    Ok(ApprovalCount { recorded, given, approved })
}

/// Records a refusal, with its note. What follows is the caller's move, in the same SQL transaction.
pub async fn decline(app: &App, tx: &mut PgConnection, subject: Subject, decision: &ApprovalDecision) -> Result<()> {
    require_maker(app, tx, decision.by, decision.roles).await?;
    let refusal = store::New { id: app.clock.row_id(), subject, decision, now: app.clock.now(), expires_at: None };
    Ok(store::decline(tx, &refusal).await?)
}

/// Maker and checkers are looked at for the last time, in the SQL transaction that says that the row goes on: nobody loses a role or is
/// frozen between the two. From then on it is only a matter of what the ledger did.
pub async fn still_entitled(app: &App, tx: &mut PgConnection, proposal: &Proposal) -> Result<Entitled> {
    let people = [vec![proposal.maker], deciders(&mut *tx, &[proposal.subject]).await?].concat();
    users::lock_shared(&mut *tx, &people).await?;
    if !may_still(&mut *tx, proposal.maker, proposal.maker_roles, proposal.created_at).await? {
        return Ok(Entitled::MakerIsNot);
    }
    // All who let it go on, however many were needed then: what was proposed since does not change that.
    let needed = store::count_used(&mut *tx, proposal.subject).await?.max(1);
    let is_approved =
        still_approved(app, tx, (proposal.subject, &proposal.hash), needed, proposal.checker_roles).await?;
    Ok(if is_approved { Entitled::Yes } else { Entitled::CheckersAreNot })
}

/// Who approved any of them: whoever locks others besides locks them together.
pub async fn deciders(tx: &mut PgConnection, subjects: &[Subject]) -> Result<Vec<Uuid>> {
    Ok(store::deciders(tx, &subjects.iter().map(|subject| subject.id()).collect::<Vec<_>>()).await?)
}

/// Whether `needed` of those who let the row go on may still approve, by one of the roles: right before it does, in the SQL transaction that
/// says that it does. The caller has locked the [`deciders`]: nobody's role is taken away and nobody is frozen between the two.
pub async fn still_approved(
    app: &App,
    tx: &mut PgConnection,
    (subject, hash): (Subject, &SubjectHash),
    needed: i64,
    roles: &[Role],
) -> Result<bool> {
    let since = app.clock.now() - ROLE_AGE_MIN;
    let counting = store::used(&mut *tx, (subject, &hash.0), &names(roles), since).await?;
    Ok(i64::try_from(counting.len()).is_ok_and(|count| count >= needed))
}

/// What of an approval still stands at the moment when money is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalValidity {
    Yes,
    /// It is for this very thing, and too old.
    Expired,
    /// There is none, or it was given for something else.
    No,
}

pub async fn validity(app: &App, subject: Subject, hash: &SubjectHash) -> Result<ApprovalValidity> {
    Ok(match store::approved(&app.db, subject.id()).await? {
        Some((approved, until)) if approved == hash.0 && app.clock.now() < until => ApprovalValidity::Yes,
        Some((approved, _)) if approved == hash.0 => ApprovalValidity::Expired,
        Some(_) | None => ApprovalValidity::No,
    })
}

/// Of transactions and journals.
pub async fn list(app: &App, rows: &[Uuid]) -> Result<Vec<Approval>> {
    Ok(store::list(&app.db, rows).await?)
}

/// How long a row may still wait for a decision; `None` = it is too late. It waits since it last moved.
pub fn time_left(app: &App, moved_at: DateTime) -> Option<TimeDelta> {
    let left = moved_at + DECIDED_WITHIN - app.clock.now();
    (left > TimeDelta::zero()).then_some(left)
}
