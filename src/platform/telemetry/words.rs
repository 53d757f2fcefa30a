//! The words that labels of metrics may have, so that each series is there from a process's first moment and starts at 0: an alert
//! on an increase would not see a counter that begins at 1. Rooms above this one have these words as enums; `tests/it/metrics.rs`
//! compares. What callers, Revio or operators choose (routes, kinds of events, currencies) is not listed.

/// A label and its words; none of them where the words are not known beforehand.
pub(super) type Label = (&'static str, &'static [&'static str]);

pub const KINDS: &[&str] = &["deposit", "withdrawal", "refund", "chargeback", "chargeback_reversal", "adjustment"];
pub const STATES: &[&str] = &[
    "initiated", "awaiting_payment", "reserved", "awaiting_approval", "submitting", "submitted", "completed", "failed",
    "rejected", "expired", "cancelled",
];
/// What rows are stepped for: each kind of transaction, and the other queues.
pub const TASKS: &[&str] = &[
    "deposit", "withdrawal", "refund", "chargeback", "chargeback_reversal", "adjustment", "journal", "restrictions",
    "mails", "statements", "inbox", "outgoing",
];
/// Of a step, by the queue itself; some tasks have ends of their own besides.
pub const STEPS: &[&str] = &["done", "stale", "set_back", "failed", "crashed"];
pub const VERDICTS: &[&str] = &["accepted", "duplicate", "foreign", "stale", "bad_signature", "refused"];
pub const SESSIONS: &[&str] = &[
    "opened", "refused", "code_asked", "refreshed", "refresh_refused", "logged_out", "revoked", "staff",
    "token_reused", "password_reset", "password_changed", "email_changed", "second_factor_reset", "operator", "erased",
];
pub const MAILS: &[&str] = &[
    "email_verification", "password_reset", "email_change", "email_changed", "email_taken", "bank_account_added",
    "new_device", "password_changed", "second_factor_changed", "sessions_ended", "name_changed", "withdrawal",
    "deposit", "webhook_endpoint_disabled",
];
pub const FORMATS: &[&str] = &["csv", "jsonl", "xlsx"];
/// Whom a call to Revio is for, and how it ended.
pub const REVIO_CLASSES: &[&str] =
    &["executions", "payouts", "registrations", "webhooks", "deposits", "polling", "reconciliation"];
pub const REVIO_OUTCOMES: &[&str] = &["ok", "refused", "rate_limited", "unreadable", "no_answer"];
pub const REVIO_CALLS: &[&str] = &[
    "create_purchase", "purchase", "cancel_purchase", "payment", "create_payout", "payout", "execute_payout",
    "balance", "create_statement", "statement", "statement_file",
];
/// What TigerBeetle is asked to do (its own names), and how it ended: `unknown` is no answer in time.
pub const LEDGER_CALLS: &[&str] = &[
    "create_accounts", "create_transfers", "lookup_accounts", "lookup_transfers", "get_account_transfers",
    "get_account_balances", "query_transfers", "query_accounts",
];
pub const LEDGER_OUTCOMES: &[&str] = &["ok", "refused", "resolved", "contradiction", "unknown"];
pub const RUNS: &[&str] = &["quarter_hour", "daily", "statement", "manual"];
/// Each kind of break and the severities that it may have: what is medium is high after seven days, what heals by itself after one.
pub const BREAKS: &[(&str, &[&str])] = &[
    ("unbalanced", &["critical"]),
    ("row_without_transfer", &["critical"]),
    ("transfer_without_row", &["critical"]),
    ("amount_ledger", &["critical"]),
    ("state_ledger", &["critical"]),
    ("reservation_stale", &["high"]),
    ("copy_line", &["medium", "high"]),
    ("summary", &["medium", "high"]),
    ("paid_at_provider", &["info", "high"]),
    ("payout_paid", &["high"]),
    ("reversed_at_provider", &["high"]),
    ("not_paid_at_provider", &["critical"]),
    ("amount_provider", &["critical"]),
    ("currency_provider", &["critical"]),
    ("fee_provider", &["medium", "high"]),
    ("settlement_unbooked", &["medium", "high"]),
    ("duplicate_provider", &["critical"]),
    ("provider_only", &["high"]),
    ("bank_only", &["high"]),
    ("missing_on_statement", &["high"]),
    ("settlement_late", &["high"]),
    ("bank_missing", &["high"]),
    ("provider_balance", &["high"]),
    ("bank_balance", &["high"]),
    ("position_short", &["high"]),
    ("d1_late", &["high"]),
];
/// What may stay open too long: money in suspense, settlements and top-ups on their way, days without a statement, what customers owe,
/// journals that wait for their second person, reservations.
pub const OPEN_ITEMS: &[&str] = &["suspense", "settlement", "statement", "receivable", "journal", "reservation"];

pub(super) const KIND: Label = ("kind", KINDS);
