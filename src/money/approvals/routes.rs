//! How a decision looks wherever it is answered, and what a call that decides must say. The calls themselves are in
//! `withdrawals/approval/routes.rs` and `adjustments/routes.rs`.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Approval, SubjectHash};
use crate::platform::clock::DateTime;
use crate::platform::http::Fields;

/// Characters of a note.
pub const NOTE_CHARS_MAX: usize = 500;

#[derive(Serialize, ToSchema)]
pub struct ApprovalView {
    pub approver_id: Uuid,
    /// `approved` or `declined`.
    #[schema(example = "approved")]
    pub decision: String,
    pub note: Option<String>,
    pub created_at: DateTime,
    /// Approvals: from then on it does not count any more.
    pub expires_at: Option<DateTime>,
    /// When it let the row go on: each approval does so once.
    pub used_at: Option<DateTime>,
}

impl From<Approval> for ApprovalView {
    fn from(row: Approval) -> Self {
        Self {
            approver_id: row.approver_id,
            decision: row.decision,
            note: row.note,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
        }
    }
}

/// Those of one row, taken out of those of a page.
pub fn take_of(approvals: &mut Vec<Approval>, row: Uuid) -> Vec<ApprovalView> {
    approvals.extract_if(.., |approval| approval.transaction_id == row).map(ApprovalView::from).collect()
}

/// The hash that the caller saw.
pub fn parse_hash(fields: &mut Fields, field: &'static str, text: &str) -> Option<SubjectHash> {
    let hash = SubjectHash::parse(text);
    if hash.is_none() {
        fields.wrong(field, "must have 64 hexadecimal digits");
    }
    hash
}

/// The note of an approval, which may be missing.
pub fn parse_note(fields: &mut Fields, note: Option<&str>) -> Option<String> {
    note.map(|note| fields.text("note", note, 1..=NOTE_CHARS_MAX))
}
