//! Whether rows, ledger, Revio and the bank say the same: every quarter of an hour, at each day's end, and when somebody asks.
//!
//! ```text
//! runs ─> stages ─┬─> inside     rows, ledger, its copy, summaries
//!                 ├─> provider   Revio's objects; balances: its balance, position, D+1
//!                 ├─> others     what files say: part of the provider leg, and the bank leg
//!                 └─> found ─> breaks (two looks) ─> healing ─> report
//! ```
//!
//! The worker calls [`step`]; staff and `octoco reconcile` start runs. What each type of difference means stands in the table of [`found`].
//! It decides about nothing: what is healed is healed by the flows, asking Revio, and the rest is for people.

mod balances;
pub mod breaks;
pub mod found;
mod healing;
mod inside;
mod measure;
mod provider;
pub mod report;
pub mod routes;
pub mod run;
pub mod runs;
mod stages;
mod subjects;
mod summaries;

pub use breaks::{Break, BreakState};
pub use found::{BreakType, Compared, Found, Heals, Owner, ReconciliationLeg, Rule, Severity, Window};
pub use measure::measure;
pub use run::{Run, RunKind, RunState};
pub use runs::{New, Step, start, step, work};
pub use stages::OtherLeg;
