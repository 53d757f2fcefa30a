//! PostgreSQL's advisory locks: whoever has one does alone, of all processes, what it is for. Two of one number do not compile. Those that are made
//! of a text are not among them: who changes roles (`identity/users/store.rs`), each payment's (`money/provider_objects/store.rs`), and in
//! migrations each customer's open deposits (`has_room_for_deposit`) and the grants (`grant_to_service`, `grant_to_reporting`).

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum AdvisoryLock {
    /// Rows of the audit log are chained.
    Audit = 0x6175_6469_7400,
    /// A month is closed.
    Periods = 0x7065_7269_6f64,
    /// The live read model is written.
    Projector = 0x7072_6f6a_6563,
    /// Another read model is built beside it.
    Rebuild = 0x7265_6275_696c,
    /// A service account or a key is made, while they are counted.
    ServiceAccounts = 0x7365_7276_6963,
    /// Slots are counted.
    Slots = 0x0073_6c6f_7473,
    /// Events of ours are made from what the books say.
    OutgoingSources = 0x6f75_7467_6f00,
    /// An endpoint is made, enabled or rotated.
    OutgoingEndpoints = 0x6f75_7467_6f01,
}

impl AdvisoryLock {
    #[expect(clippy::as_conversions, reason = "the number that it was given above")]
    pub const fn number(self) -> i64 {
        self as i64
    }
}
