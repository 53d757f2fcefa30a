//! Octoco's double-entry ledger: the only code that knows TigerBeetle. The service calls [`Ledger`]; nothing else here does I/O.
//!
//! One TigerBeetle *ledger number* a currency: base + ISO 4217 numeric code. The base is 0 in production and random per test,
//! so tests share one server without seeing each other. The number never leaves this crate.
//!
//! The chart of accounts (see [`AccountCode`] for flags):
//!
//! | code | name | normal side | one per |
//! |---|---|---|---|
//! | 1000 | `provider_balance` | debit | currency: what the provider holds for us |
//! | 1100 | `bank` | debit | currency |
//! | 1200 | `customer_receivable` | debit | customer and currency: what the customer owes us |
//! | 2000 | `customer_wallet` | credit | customer and currency: what we owe the customer |
//! | 2900 | `suspense` | credit | currency: not yet explained; never below zero |
//! | 3000 | `equity` | credit | currency |
//! | 4000 | `fee_income` | credit | currency |
//! | 5000 | `provider_fees` | debit | currency |
//! | 5100 | `chargeback_losses` | debit | currency |
//!
//! Besides, on ledger number base + 1 and no money: 9100 `velocity_limit` and 9000 `limit_source` (module `velocity_limit`), 9200 `payout_notes`
//! (module `payout_notes`), 9300 `audit_notes` (module `audit_notes`).
//!
//! Every id is derived (module `id`), so a repeated call collides with itself and changes nothing. Every result code is
//! mapped to what the caller must do (module `codes`). Every call ends within [`Options::deadline`]: the client underneath
//! never gives up by itself, so "no answer" is [`LedgerError::Unknown`], which is not "no": ask again with the same id.

#![deny(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

mod amount;
mod audit_notes;
mod balance;
mod calls;
mod chart;
mod client;
mod codes;
mod error;
mod id;
mod journals;
mod open_accounts;
mod payout_notes;
mod read;
mod session;
mod suspense_items;
mod transfer;
mod velocity_limit;

pub use amount::{Amount, AmountError, Currency};
pub use audit_notes::AuditNote;
pub use balance::{Balance, RecordedAccount};
pub use calls::Observed;
pub use chart::{Account, AccountCode, Side, TransferCode};
pub use client::{Ledger, Options, is_base};
pub use error::{ConnectError, LedgerError, Refusal, Resolution, UnknownCause};
pub use id::{AccountId, Leg, TransferId, row_id, row_of, user_id};
pub use journals::JournalStanding;
pub use payout_notes::{Reservation, WithdrawalStanding};
pub use suspense_items::Taken;
pub use transfer::{BATCH_MAX, Recorded, RecordedKind, Transfer};
pub use velocity_limit::VelocityLimit;
