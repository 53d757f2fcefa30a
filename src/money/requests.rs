//! What a member of staff alone could turn against the company: a role, the end of a freeze, the opening of closed accounts. One asks
//! for it (the maker), another agrees (the checker), and neither is the one whom it is about. Stopping is safe and stays one person's
//! act: freezing, closing, taking a role away. Why so: docs/decisions/030.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> pending: ask (nothing happens yet)
//!     pending --> approved: approve (and it is done, in the same SQL transaction)
//!     pending --> declined: decline
//!     pending --> expired: expire (nobody decided in 7 days), or who it is about was frozen or closed again (restrictions)
//! ```
//!
//! Whoever has a shell on the service's host needs nobody ([`grant_by_operator`]): there must be a first admin, and such a person could
//! write the row itself. It is on record as the operator's.
//!
//! Staff hold no wallet. Only somebody without money, debts or anything under way gets a staff role, and from then on nothing is begun for
//! him (`transactions::writes`) and nothing credited (`receivables::make_available`).

pub mod routes;
mod store;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::staff::StaffMember;
use crate::identity::users::{self, User};
use crate::money::approvals::{self, ApprovalDecision, DECIDED_WITHIN, SubjectHash};
use crate::money::{restrictions, transactions};
use crate::platform::error::{Decline, Error, Reason, Result};
use crate::platform::permissions::{Permission, Role, UsersFreeze, UsersManageRoles};
use crate::platform::text_enum::text_enum;

pub use store::{Filter, Request};

text_enum! {
    #[schema(as = RequestKind)]
    pub enum Kind {
        Role = "role",
        Unfreeze = "unfreeze",
        Reopen = "reopen",
    }
}

text_enum! {
    #[schema(as = RequestState)]
    pub enum State {
        Pending = "pending",
        Approved = "approved",
        Declined = "declined",
        Expired = "expired",
    }
}

impl Kind {
    /// Who may ask for it, and agree to it.
    fn roles(self) -> &'static [Role] {
        match self {
            Self::Role => UsersManageRoles::ROLES,
            Self::Unfreeze | Self::Reopen => UsersFreeze::ROLES,
        }
    }

    fn lifts(self) -> Option<restrictions::Kind> {
        match self {
            Self::Role => None,
            Self::Unfreeze => Some(restrictions::Kind::Freeze),
            Self::Reopen => Some(restrictions::Kind::Closure),
        }
    }
}

impl Request {
    /// What the checker approves.
    pub fn hash(&self) -> SubjectHash {
        let name = |role: Option<Role>| role.map_or("", Role::name);
        SubjectHash::of(&[
            b"request",
            self.id.as_bytes(),
            self.kind.name().as_bytes(),
            self.user_id.as_bytes(),
            name(self.role_before).as_bytes(),
            name(self.role).as_bytes(),
            self.requested_by.as_bytes(),
        ])
    }

    fn about(&self) -> serde_json::Value {
        json!({"request": self.id, "kind": self.kind, "role": self.role})
    }
}

pub enum Changed {
    /// What only takes away was done at once.
    Done(User),
    Asked(Request),
}

/// A role that may do less than the present one is given at once; one that may do more is asked for.
pub async fn change_role(app: &App, by: &StaffMember, user_id: Uuid, role: Role) -> Result<Changed> {
    if by.id == user_id {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    let user = users::find(app, user_id).await?;
    if role.exceeds(user.role) {
        look_at_wallet(app, &user, role).await?;
        return Ok(Changed::Asked(ask(app, by, (user_id, Kind::Role), Some((user.role, role))).await?));
    }
    let mut tx = app.db.begin().await?;
    users::lock_roles(&mut *tx).await?;
    users::lock_in_order(&mut tx, &[user_id], &[by.id]).await?;
    let before = users::change_role_within(app, &mut tx, &by.actor, (user_id, role)).await?;
    // Both are looked at behind the lock: another role was given meanwhile, or the maker's own was taken away.
    if role.exceeds(before) {
        return Err(Error::StaleState);
    }
    approvals::require_maker(app, &mut tx, by.id, Kind::Role.roles()).await?;
    tx.commit().await?;
    Ok(Changed::Done(users::find(app, user_id).await?))
}

/// # Errors
/// [`Error::NotFound`] when there is nothing of the kind to be lifted; [`Error::Forbidden`] for oneself.
pub async fn ask_to_lift(app: &App, by: &StaffMember, user_id: Uuid, kind: Kind) -> Result<Request> {
    if by.id == user_id {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    users::find(app, user_id).await?;
    ask(app, by, (user_id, kind), None).await
}

/// `→ pending`. What is asked for already is not asked for twice.
async fn ask(
    app: &App,
    by: &StaffMember,
    (user_id, kind): (Uuid, Kind),
    roles: Option<(Role, Role)>,
) -> Result<Request> {
    let now = app.clock.now();
    let request = Request {
        id: app.clock.row_id(),
        kind,
        user_id,
        role_before: roles.map(|(before, _)| before),
        role: roles.map(|(_, role)| role),
        requested_by: by.id,
        state: State::Pending,
        created_at: now,
        expires_at: now + DECIDED_WITHIN,
        decided_by: None,
        decided_at: None,
        note: None,
    };
    let mut tx = app.db.begin().await?;
    // Nobody imposes another restriction meanwhile, which would end this request.
    lock_people(&mut tx, kind, user_id, &[by.id]).await?;
    if let Some(restriction) = kind.lifts()
        && !restrictions::is_imposed(&mut *tx, user_id, restriction).await?
    {
        return Err(Error::NotFound("restriction"));
    }
    approvals::require_maker(app, &mut tx, by.id, kind.roles()).await?;
    expire_within(app, &mut tx).await?;
    if !store::insert_once(&mut *tx, &request).await? {
        tx.commit().await?;
        return store::find_pending(&app.db, &request).await?.ok_or(Error::StaleState);
    }
    let entry = Entry::of(&by.actor, "request.created", "user", user_id);
    audit::record(app, &mut *tx, entry.with(request.about())).await?;
    tx.commit().await?;
    Ok(request)
}

/// Whom a request is about, and those whose word it goes by: before the request, as who restricts somebody does.
async fn lock_people(tx: &mut PgConnection, kind: Kind, user_id: Uuid, staff: &[Uuid]) -> Result<()> {
    match kind {
        Kind::Unfreeze => Ok(users::lock_shared(tx, &[staff, &[user_id]].concat()).await?),
        Kind::Role => users::lock_in_order(tx, &[user_id], staff).await,
        Kind::Reopen => {
            users::lock_in_order(tx, &[user_id], staff).await?;
            // Whose data is erased never comes again: what came into reopened accounts would be nobody's.
            if users::lock_unless_erased(tx, user_id).await? { Ok(()) } else { Err(Error::StaleState) }
        }
    }
}

/// `pending → approved`, and it is done. A repeat by the same person finishes what was left half way.
pub async fn approve(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Request> {
    let request = find_as_seen(app, decision, id).await?;
    if request.state != State::Approved || request.decided_by != Some(decision.by) {
        carry_out(app, decision, &request).await?;
    }
    if request.kind.lifts().is_some() {
        restrictions::finish_lifting(app, request.user_id).await?;
    }
    find(app, id).await
}

async fn carry_out(app: &App, decision: &ApprovalDecision, request: &Request) -> Result<()> {
    let roles = request.kind.roles();
    let looked = match request.role {
        Some(role) => look_at_wallet(app, &users::find(app, request.user_id).await?, role).await?,
        None => None,
    };
    if request.kind.lifts().is_some() {
        // What is only half imposed is imposed first: the ledger undoes just what it has done.
        restrictions::step_all(app, request.user_id).await?;
    }
    let mut tx = app.db.begin().await?;
    if request.kind == Kind::Role {
        // First, as `change_role` does: else who is asked for here and who takes a role away there each wait for the other.
        users::lock_roles(&mut *tx).await?;
    }
    lock_people(&mut tx, request.kind, request.user_id, &[decision.by, request.requested_by]).await?;
    let entry = decide(app, &mut tx, decision, (request, State::Approved)).await?;
    approvals::require_approver(app, &mut tx, decision.by, roles).await?;
    // Whoever asked for it must still be somebody who may.
    if !approvals::may_still(&mut tx, request.requested_by, roles, request.created_at).await? {
        return Err(Error::StaleState);
    }
    match (request.kind.lifts(), request.role) {
        (Some(kind), _) => {
            restrictions::begin_lifting(app, &mut tx, &decision.actor, (request.user_id, kind)).await?;
        }
        (None, Some(role)) => {
            let before = give_role(app, &mut tx, &decision.actor, (request.user_id, role), looked).await?;
            if Some(before) != request.role_before {
                return Err(Error::StaleState);
            }
        }
        (None, None) => return Err(Error::internal(format!("request {} is for no role", request.id))),
    }
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

/// `pending → declined`. Nothing happens, so a role of any age may say so.
pub async fn decline(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Request> {
    let request = find_as_seen(app, decision, id).await?;
    let mut tx = app.db.begin().await?;
    users::lock_shared(&mut *tx, &[decision.by]).await?;
    let entry = decide(app, &mut tx, decision, (&request, State::Declined)).await?;
    approvals::require_maker(app, &mut tx, decision.by, request.kind.roles()).await?;
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    find(app, id).await
}

/// What is decided about, if this person may and it is what they saw.
async fn find_as_seen(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Request> {
    let request = find(app, id).await?;
    if decision.by == request.requested_by || decision.by == request.user_id {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    if request.hash() == decision.seen { Ok(request) } else { Err(Error::StaleState) }
}

/// `pending →`, if nobody decided before and it is not too late; what goes on record with it.
async fn decide(
    app: &App,
    tx: &mut PgConnection,
    decision: &ApprovalDecision,
    (request, to): (&Request, State),
) -> Result<Entry> {
    if !store::decide(&mut *tx, (request.id, to), decision, app.clock.now()).await? {
        return Err(Error::StaleState);
    }
    let action = if to == State::Approved { "request.approved" } else { "request.declined" };
    let (before, mut after) = (request.about(), request.about());
    after["note"] = json!(decision.note);
    Ok(Entry::of(&decision.actor, action, "user", request.user_id).change(before, after))
}

/// Gives a role alone: for the command line.
pub async fn grant_by_operator(app: &App, user_id: Uuid, role: Role) -> Result<()> {
    let looked = look_at_wallet(app, &users::find(app, user_id).await?, role).await?;
    let mut tx = app.db.begin().await?;
    give_role(app, &mut tx, &Actor::operator(), (user_id, role), looked).await?;
    tx.commit().await?;
    Ok(())
}

/// How many moves the rows of an empty wallet had made before the ledger was asked; `None`: nobody becomes staff who was not.
///
/// # Errors
/// [`Error::AccountNotEmpty`] when somebody who holds money, owes some or has something under way is to become staff; [`Error::Declined`] of
/// who is closed, and so could not be frozen.
async fn look_at_wallet(app: &App, user: &User, role: Role) -> Result<Option<i64>> {
    if user.role.is_staff() || !role.is_staff() {
        return Ok(None);
    }
    if restrictions::is_closed(app, user.id).await? {
        return Err(Error::declined(Decline::AccountClosed));
    }
    let moves = transactions::count_moves(&app.db, user.id).await?;
    restrictions::require_unused(app, user.id).await?;
    Ok(Some(moves))
}

/// The role before. Since the wallet was looked at nothing may have moved: the user's row is locked, so nothing new begins either.
async fn give_role(
    app: &App,
    tx: &mut PgConnection,
    actor: &Actor,
    (user_id, role): (Uuid, Role),
    looked: Option<i64>,
) -> Result<Role> {
    let before = users::change_role_within(app, tx, actor, (user_id, role)).await?;
    if role.is_staff() && !before.is_staff() {
        let moves = looked.ok_or(Error::StaleState)?;
        if restrictions::is_imposed(&mut *tx, user_id, restrictions::Kind::Closure).await? {
            return Err(Error::declined(Decline::AccountClosed));
        }
        if transactions::count_moves(&mut *tx, user_id).await? != moves {
            return Err(Error::AccountNotEmpty);
        }
    }
    Ok(before)
}

/// `pending → expired`, all there are; the worker calls it.
pub async fn expire(app: &App) -> Result<()> {
    let mut tx = app.db.begin().await?;
    expire_within(app, &mut tx).await?;
    Ok(tx.commit().await?)
}

async fn expire_within(app: &App, tx: &mut PgConnection) -> Result<()> {
    for request in store::expire(&mut *tx, app.clock.now()).await? {
        let entry = Entry::of(&Actor::system(), "request.expired", "user", request.user_id);
        audit::record(app, &mut *tx, entry.with(request.about())).await?;
    }
    Ok(())
}

pub async fn find(app: &App, id: Uuid) -> Result<Request> {
    store::find(&app.db, id, app.clock.now()).await?.ok_or(Error::NotFound("request"))
}

/// Brings the gauge of those that wait for a second person up to date.
pub async fn measure(app: &App) -> Result<()> {
    app.queue().report(&[store::depth(&app.db, app.clock.now()).await?]);
    Ok(())
}

/// Newest first.
pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Request>> {
    Ok(store::list(&app.db, filter, app.clock.now()).await?)
}
