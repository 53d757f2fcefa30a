//! The service on real parts: PostgreSQL (a database for each test), TigerBeetle (a ledger base for each test), Redis, and
//! the Revio simulator over real HTTP. `./dev test` starts the parts. Each file is named as the noun that it tests.

mod access;
mod audit;
mod contract;
mod deposits;
mod harness;
mod health;
mod held;
mod inbox;
mod limits;
mod requests;
mod restrictions;
mod reversals;
mod routes;
mod sessions;
mod sign_in;
mod storms;
mod transactions;
mod users;
mod withdrawals;
