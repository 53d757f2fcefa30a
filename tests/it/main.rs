//! The service on real parts: PostgreSQL (a database for each test), TigerBeetle (a ledger base for each test), Redis, and
//! the Revio simulator over real HTTP. `./dev test` starts the parts. Each file is named as the noun that it tests.

mod access;
mod adjustments;
mod approvals;
mod audit;
mod bank_accounts;
mod binary;
mod browsers;
mod connections;
mod crashes;
mod credentials;
mod deposits;
mod guessing;
mod harness;
mod health;
mod held;
mod history;
mod inbox;
mod limits;
mod mailbox;
mod mails;
mod projector;
mod requests;
mod restrictions;
mod reversals;
mod routes;
mod search;
mod secrets;
mod sessions;
mod sign_in;
mod statements;
mod storms;
mod transactions;
mod users;
mod verification;
mod withdrawals;
