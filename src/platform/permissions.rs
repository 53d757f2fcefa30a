//! Who may do what: the one table of roles and permissions. A permission is a type, so that a handler's signature says which
//! one it needs (`staff: Staff<AuditRead>`), and the compiler takes no other permission in its place. Customers have
//! no permission of this table: what they may do is decided by ownership, in the query.

use crate::platform::text_enum::text_enum;

text_enum! {
    pub enum Role {
        /// A customer.
        User = "user",
        Support = "support",
        Finance = "finance",
        Admin = "admin",
    }
}

impl Role {
    pub fn is_staff(self) -> bool {
        self != Self::User
    }

    /// What it may do, by name.
    pub fn permissions(self) -> Vec<&'static str> {
        let mut names: Vec<&str> =
            ALL.iter().filter(|(_, roles)| roles.contains(&self)).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }

    /// Whether it may do something that the other may not.
    pub fn exceeds(self, other: Self) -> bool {
        ALL.iter().any(|(_, roles)| roles.contains(&self) && !roles.contains(&other))
    }
}

/// Something that staff may be allowed to do. `NAME` also stands in the OpenAPI document, at each route that needs it.
pub trait Permission: Send + Sync + 'static {
    const NAME: &'static str;
    const ROLES: &'static [Role];
    /// Whether its acts need a password or a code given a moment ago (`identity/staff.rs`).
    const STEP_UP: bool;
}

const STAFF: &[Role] = &[Role::Support, Role::Finance, Role::Admin];
const MONEY: &[Role] = &[Role::Finance, Role::Admin];
const ADMIN: &[Role] = &[Role::Admin];

macro_rules! steps_up {
    () => {
        false
    };
    (stepping_up) => {
        true
    };
}

macro_rules! permissions {
    ($($(#[doc = $doc:literal])* $permission:ident = $name:literal for $roles:ident $($step_up:ident)?,)+) => {
        $(
            $(#[doc = $doc])*
            pub struct $permission;

            impl Permission for $permission {
                const NAME: &'static str = $name;
                const ROLES: &'static [Role] = $roles;
                const STEP_UP: bool = steps_up!($($step_up)?);
            }
        )+

        /// Every permission with the roles that have it, for tests and documents.
        pub const ALL: &[(&str, &[Role])] = &[$(($name, $roles)),+];

        /// What each is for, in a sentence.
        pub const MEANINGS: &[(&str, &str)] = &[$(($name, concat!($($doc),*))),+];

        /// Whether the acts of a permission need a step-up.
        pub fn needs_step_up(name: &str) -> bool {
            [$(($name, steps_up!($($step_up)?))),+].contains(&(name, true))
        }
    };
}

permissions! {
    /// See customers: name, e-mail, role, sessions, masked bank accounts, mails, restrictions.
    UsersRead = "users.read" for STAFF,
    /// Freeze and close a customer; ask for the end of either.
    UsersFreeze = "users.freeze" for MONEY,
    /// Freeze a customer until somebody who may lift it has looked: so many in a day, and nothing else.
    UsersProtect = "users.protect" for STAFF,
    /// End all sessions of a customer.
    UsersEndSessions = "users.end_sessions" for STAFF,
    /// Have the link that verifies an e-mail sent again.
    UsersResendVerification = "users.resend_verification" for STAFF,
    /// See what staff wrote down about a customer.
    NotesRead = "notes.read" for STAFF,
    /// Write something down about a customer.
    NotesWrite = "notes.write" for STAFF,
    /// Take out all that we hold about somebody, for that person.
    UsersExportData = "users.export_data" for ADMIN stepping_up,
    /// Have a closed customer's personal data erased: one asks, another one does it.
    UsersErase = "users.erase" for ADMIN stepping_up,
    /// Ask for roles and take them away: only those who have all permissions anyway.
    UsersManageRoles = "users.manage_roles" for ADMIN stepping_up,
    /// See what waits for a second person: roles, unfreezing, reopening.
    RequestsRead = "requests.read" for STAFF,
    /// Approve or decline what somebody else asked for; only whoever may ask for it, too.
    RequestsDecide = "requests.decide" for MONEY stepping_up,
    /// Take somebody's second factor away, so that another can be enrolled.
    UsersResetTotp = "users.reset_totp" for ADMIN stepping_up,
    /// See everybody's deposits, withdrawals and balances.
    TransactionsRead = "transactions.read" for STAFF,
    /// Find anything by an id, a reference or an e-mail.
    SearchAll = "search.all" for STAFF,
    /// See Revio's calls: verdicts, errors, and of bodies what is about nobody.
    WebhooksRead = "webhooks.read" for STAFF,
    /// See all of a body: names, e-mails, account numbers.
    WebhooksReadWhole = "webhooks.read_whole" for MONEY,
    /// Run a stored event again. It asks Revio and moves nothing that Revio does not confirm, so support may.
    WebhooksReplay = "webhooks.replay" for STAFF,
    /// Say that nothing is to become of an event.
    WebhooksDismiss = "webhooks.dismiss" for MONEY,
    /// Say that nothing is to become of a mail that did not go out.
    MailsDismiss = "mails.dismiss" for STAFF,
    /// See what waits for a person.
    HeldRead = "held.read" for STAFF,
    /// Decide what becomes of a held row: this moves money.
    HeldResolve = "held.resolve" for MONEY,
    /// Say that what a restored database has lost was looked at: payouts go on.
    SafeModeLeave = "safe_mode.leave" for ADMIN,
    /// Approve or decline a withdrawal above the threshold.
    WithdrawalsApprove = "withdrawals.approve" for MONEY stepping_up,
    /// See corrections.
    AdjustmentsRead = "adjustments.read" for STAFF,
    /// Propose a correction.
    AdjustmentsCreate = "adjustments.create" for MONEY stepping_up,
    /// Approve a correction that somebody else proposed.
    AdjustmentsApprove = "adjustments.approve" for MONEY stepping_up,
    /// See the company's journals.
    JournalsRead = "journals.read" for STAFF,
    /// Propose a journal, and say that money on its way has arrived or come back.
    JournalsCreate = "journals.create" for MONEY stepping_up,
    /// Approve a journal that somebody else proposed.
    JournalsApprove = "journals.approve" for MONEY stepping_up,
    /// Import statements of Revio's and the bank's.
    StatementsImport = "statements.import" for MONEY,
    /// Start a reconciliation.
    ReconciliationRun = "reconciliation.run" for MONEY,
    /// See trial balances and closed months.
    PeriodsRead = "periods.read" for MONEY,
    /// Ask for a month to be closed.
    PeriodsClose = "periods.close" for MONEY stepping_up,
    /// Close a month that somebody else asked to close.
    PeriodsApprove = "periods.approve" for MONEY stepping_up,
    /// See runs and breaks.
    ReconciliationRead = "reconciliation.read" for STAFF,
    /// Close a break with a note.
    ReconciliationResolve = "reconciliation.resolve" for MONEY,
    /// See where webhooks of ours go, and what became of them.
    WebhookEndpointsRead = "webhook_endpoints.read" for STAFF,
    /// Say where webhooks of ours go, and sign them with another secret.
    WebhookEndpointsManage = "webhook_endpoints.manage" for ADMIN stepping_up,
    /// Let a webhook of ours go out again.
    WebhookEndpointsReplay = "webhook_endpoints.replay" for STAFF,
    /// See machines and their keys, without what makes them keys.
    ServiceAccountsRead = "service_accounts.read" for MONEY,
    /// Give machines scopes and keys: only those who have all permissions anyway.
    ServiceAccountsManage = "service_accounts.manage" for ADMIN stepping_up,
    /// Read who did what. Not support: the log says what staff did.
    AuditRead = "audit.read" for MONEY,
    /// Take a month of the log out as a file.
    AuditExport = "audit.export" for MONEY,
}
