//! What a refusal tells besides its code: which of the things that a 403 can mean it is, and the numbers behind a 422. They are read
//! for telling only, by whoever makes the [`super::Error`]; nothing is decided by them.

use crate::platform::{clock::DateTime, text_enum::text_enum};

text_enum! {
    /// Which of the things that a 403 can mean it is; stable.
    #[schema(as = ForbiddenReason)]
    pub enum Reason {
        /// The caller's role, or its key, lacks `permission`.
        MissingPermission = "missing_permission",
        /// Whatever its scopes are, a machine calls what reads, and what keeps webhook endpoints of its own.
        NotForMachines = "not_for_machines",
        /// A page of another origin made the call: `CORS_ORIGINS` names those that may.
        OtherOrigin = "other_origin",
        /// Webhooks: calls are taken from certain networks only.
        AddressNotAllowed = "address_not_allowed",
        /// It is about the caller: own role, own restriction, own correction.
        OwnAccount = "own_account",
        /// Who asked for it, or whom it is about, does not decide about it.
        OwnApproval = "own_approval",
        /// To approve, a role must be 24 hours old.
        RoleTooNew = "role_too_new",
        /// One of staff who is frozen approves nothing and asks for nothing.
        StaffFrozen = "staff_frozen",
        /// It cannot be done to one of staff: the role goes first.
        StaffAccount = "staff_account",
        /// Staff enrol a second factor with a token that another one has made, and take none away themselves.
        EnrolmentByAnother = "enrolment_by_another",
        /// The e-mail is not verified.
        EmailNotVerified = "email_not_verified",
        /// Staff: the session has shown no second factor. Customers: the call needs a code of it.
        SecondFactorMissing = "second_factor_missing",
        /// The password or a code must have been given in the last 5 minutes.
        StepUpRequired = "step_up_required",
    }
}

text_enum! {
    /// What a limit counts.
    #[schema(as = LimitPeriod)]
    pub enum Period {
        /// One withdrawal.
        Once = "once",
        /// All of any 24 hours.
        Day = "24_hours",
        /// Those that are open at the same time.
        Open = "open",
    }
}

/// The numbers of a refusal, as far as they could be read: amounts in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub currency: Option<String>,
    pub available: Option<i64>,
    pub limit: Option<i64>,
    pub used: Option<i64>,
    pub period: Option<Period>,
    /// `Some(None)`: waiting does not help.
    pub resets_at: Option<Option<DateTime>>,
}
