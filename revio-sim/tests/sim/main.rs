//! The simulator seen from outside: over HTTP as the service sees it, through `Sim` as the service's tests do. One file a noun.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy does not see outside of `#[test]`")]

mod deliveries;
mod faults;
mod finance;
mod harness;
mod overrides;
mod payouts;
mod purchases;
mod refunds;
mod state;
