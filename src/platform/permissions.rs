//! Who may do what: the one table of roles and permissions. A permission is a type, so that a handler's signature says which
//! one it needs (`staff: Staff<AuditRead>`, see `http/staff.rs`), and a route without a decision cannot compile into one with
//! another's.
//!
//! Customers have no permission of this table: what they may do is decided by ownership, in the query.

use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Role {
    /// A customer.
    User,
    Support,
    Finance,
    Admin,
}

pub const ROLES: [Role; 4] = [Role::User, Role::Support, Role::Finance, Role::Admin];

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Support => "support",
            Self::Finance => "finance",
            Self::Admin => "admin",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        ROLES.into_iter().find(|role| role.name() == name)
    }
}

/// Something that staff may be allowed to do. `NAME` also stands in the OpenAPI document, at each route that needs it.
pub trait Permission: Send + Sync + 'static {
    const NAME: &'static str;
    const ROLES: &'static [Role];
}

const STAFF: &[Role] = &[Role::Support, Role::Finance, Role::Admin];
const MONEY: &[Role] = &[Role::Finance, Role::Admin];
const ADMIN: &[Role] = &[Role::Admin];

/// Every permission with the roles that have it, for tests and documents.
pub const ALL: [(&str, &[Role]); 16] = [
    row::<UsersRead>(),
    row::<UsersFreeze>(),
    row::<UsersManageRoles>(),
    row::<TransactionsRead>(),
    row::<SearchAll>(),
    row::<WebhooksRead>(),
    row::<WebhooksReplay>(),
    row::<HeldRead>(),
    row::<HeldResolve>(),
    row::<WithdrawalsApprove>(),
    row::<AdjustmentsRead>(),
    row::<AdjustmentsCreate>(),
    row::<AdjustmentsApprove>(),
    row::<ReconciliationRead>(),
    row::<ReconciliationResolve>(),
    row::<AuditRead>(),
];

const fn row<P: Permission>() -> (&'static str, &'static [Role]) {
    (P::NAME, P::ROLES)
}

/// See customers: name, e-mail, role, sessions.
pub struct UsersRead;

impl Permission for UsersRead {
    const NAME: &'static str = "users.read";
    const ROLES: &'static [Role] = STAFF;
}

/// Freeze, unfreeze and close a customer.
pub struct UsersFreeze;

impl Permission for UsersFreeze {
    const NAME: &'static str = "users.freeze";
    const ROLES: &'static [Role] = MONEY;
}

/// Give and take roles: only those who have all permissions anyway.
pub struct UsersManageRoles;

impl Permission for UsersManageRoles {
    const NAME: &'static str = "users.manage_roles";
    const ROLES: &'static [Role] = ADMIN;
}

/// See everybody's deposits, withdrawals and balances.
pub struct TransactionsRead;

impl Permission for TransactionsRead {
    const NAME: &'static str = "transactions.read";
    const ROLES: &'static [Role] = STAFF;
}

/// Find anything by an id, a reference or an e-mail.
pub struct SearchAll;

impl Permission for SearchAll {
    const NAME: &'static str = "search.all";
    const ROLES: &'static [Role] = STAFF;
}

/// See Revio's calls: bodies, verdicts, errors.
pub struct WebhooksRead;

impl Permission for WebhooksRead {
    const NAME: &'static str = "webhooks.read";
    const ROLES: &'static [Role] = STAFF;
}

/// Run a stored event again. It asks Revio and moves nothing that Revio does not confirm, so support may.
pub struct WebhooksReplay;

impl Permission for WebhooksReplay {
    const NAME: &'static str = "webhooks.replay";
    const ROLES: &'static [Role] = STAFF;
}

/// See what waits for a person.
pub struct HeldRead;

impl Permission for HeldRead {
    const NAME: &'static str = "held.read";
    const ROLES: &'static [Role] = STAFF;
}

/// Decide what becomes of a held row: this moves money.
pub struct HeldResolve;

impl Permission for HeldResolve {
    const NAME: &'static str = "held.resolve";
    const ROLES: &'static [Role] = MONEY;
}

/// Approve or decline a withdrawal above the threshold.
pub struct WithdrawalsApprove;

impl Permission for WithdrawalsApprove {
    const NAME: &'static str = "withdrawals.approve";
    const ROLES: &'static [Role] = MONEY;
}

/// See corrections.
pub struct AdjustmentsRead;

impl Permission for AdjustmentsRead {
    const NAME: &'static str = "adjustments.read";
    const ROLES: &'static [Role] = STAFF;
}

/// Propose a correction.
pub struct AdjustmentsCreate;

impl Permission for AdjustmentsCreate {
    const NAME: &'static str = "adjustments.create";
    const ROLES: &'static [Role] = MONEY;
}

/// Approve a correction that somebody else proposed.
pub struct AdjustmentsApprove;

impl Permission for AdjustmentsApprove {
    const NAME: &'static str = "adjustments.approve";
    const ROLES: &'static [Role] = MONEY;
}

/// See runs and breaks.
pub struct ReconciliationRead;

impl Permission for ReconciliationRead {
    const NAME: &'static str = "reconciliation.read";
    const ROLES: &'static [Role] = STAFF;
}

/// Close a break with a note.
pub struct ReconciliationResolve;

impl Permission for ReconciliationResolve {
    const NAME: &'static str = "reconciliation.resolve";
    const ROLES: &'static [Role] = MONEY;
}

/// Read who did what. Not support: the log says what staff did.
pub struct AuditRead;

impl Permission for AuditRead {
    const NAME: &'static str = "audit.read";
    const ROLES: &'static [Role] = MONEY;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_no_permission_is_a_customers() {
        let names: BTreeSet<_> = ALL.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), ALL.len());
        for (name, roles) in ALL {
            assert!(!roles.contains(&Role::User) && roles.contains(&Role::Admin), "{name}");
        }
    }

    #[test]
    fn a_role_is_read_back_from_its_name() {
        for role in ROLES {
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        assert_eq!(Role::parse("Admin"), None);
    }
}
