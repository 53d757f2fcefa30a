//! What a call that decides must say. The calls themselves are in `withdrawals/approval/routes.rs`, `adjustments/routes.rs`,
//! `journals/routes.rs` and `requests/routes.rs`.

use uuid::Uuid;

use super::{Approval, ApprovalDecision, SubjectHash};
use crate::identity::staff::Staff;
use crate::platform::{
    error::{Error, Result, Wrong},
    http::Fields,
    permissions::Permission,
};

/// The bodies of calls that decide: the hash of what was seen, under the name that it was shown with, and a note.
macro_rules! decision_bodies {
    ($($body:ident { $hash:ident, note: $($note:tt)+ })+) => {$(
        #[derive(serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        struct $body {
            /// As it was shown: what is decided about is exactly that.
            #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
            $hash: String,
            /// For the audit log: why. No personal data.
            #[schema(min_length = 1, max_length = 500)]
            note: $($note)+,
        }

        impl $body {
            fn decide<P: crate::platform::permissions::Permission>(
                self,
                staff: crate::identity::staff::Staff<P>,
            ) -> crate::platform::error::Result<crate::money::approvals::ApprovalDecision> {
                crate::money::approvals::routes::decide(staff, (stringify!($hash), &self.$hash), self.note.into())
            }
        }
    )+};
}

pub(crate) use decision_bodies;

pub(crate) fn decide<P: Permission>(
    staff: Staff<P>,
    (field, hash): (&'static str, &str),
    note: Option<String>,
) -> Result<ApprovalDecision> {
    let mut fields = Fields::default();
    let seen = SubjectHash::parse(hash);
    if seen.is_none() {
        fields.wrong(field, Wrong::Format("must have 64 hexadecimal digits"));
    }
    let note = note.map(|note| parse_note(&mut fields, &note));
    Ok(ApprovalDecision::of(staff, fields.finish_with(seen)?, note))
}

pub fn parse_note(fields: &mut Fields, note: &str) -> String {
    fields.text("note", note, 1..=500)
}

/// The same of a command that takes one.
pub fn note_of_command(note: &str) -> Result<String, String> {
    let mut fields = Fields::default();
    let note = parse_note(&mut fields, note);
    match fields.finish() {
        Err(Error::Invalid(wrong)) => Err(wrong.into_iter().map(|of| of.message).collect::<Vec<_>>().join("; ")),
        _ => Ok(note),
    }
}

pub fn take_of(approvals: &mut Vec<Approval>, row: Uuid) -> Vec<Approval> {
    approvals.extract_if(.., |approval| approval.subject_id == row).collect()
}
