//! The ledger against a real TigerBeetle. `./dev test` starts one and sets the variables that `harness` and `server` read.

mod away;
mod basics;
mod books;
mod chains;
mod eviction;
mod harness;
mod ids;
mod journals;
mod model;
mod money;
mod payout_notes;
mod races;
mod reading;
mod refusals;
mod server;
mod suspense_items;
mod velocity_limit;
