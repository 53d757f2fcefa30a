//! Octoco keeps customers' money. This is the map; `docs/` has the pictures.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`], [`clock`], [`telemetry`], [`crash`] | settings, time, logs and metrics, where a process may die |
//! | [`vault`], [`tokens`], [`keys`], [`limits`] | sealed data, sign-in tokens, new secrets, rate limits |
//! | [`permissions`], [`access`] | who may do what; what a token cannot know |
//! | [`revio`] | the provider's HTTP API and its signature |
//! | [`error`], [`problems`] | the one error; every code that it can have |
//! | [`app`], [`wake`] | what everything runs on |
//! | [`audit`] | who did what: append-only, hash-chained |
//! | [`http`] | what every route shares |
//! | [`users`], [`sessions`], [`bank_accounts`], [`accounts`] | people, sign-ins, destinations, balances |
//! | [`transactions`] | the row behind every movement of money |
//! | [`restrictions`] | frozen and closed accounts |
//! | [`deposits`], [`withdrawals`], [`reversals`] | the flows: one function an arrow |
//! | [`held`] | rows that wait for a person |
//! | [`inbox`] | Revio's webhooks |
//! | [`admin`] | what staff see of no noun's own |
//! | [`health`], [`contract`], [`docs`] | is it alive; the OpenAPI document; the page that shows it |
//! | [`router`], [`worker`] | every route; every background task |
//!
//! A noun is `noun.rs` (the procedure), `noun/routes.rs` (HTTP) and `noun/store.rs` (SQL). Modules import only from lines
//! above their own; `tests/tidy.rs` checks it.

pub mod access;
pub mod accounts;
pub mod admin;
pub mod app;
pub mod audit;
pub mod bank_accounts;
pub mod clock;
pub mod config;
pub mod contract;
pub mod crash;
pub mod deposits;
pub mod docs;
pub mod error;
pub mod health;
pub mod held;
pub mod http;
pub mod inbox;
pub mod keys;
pub mod limits;
pub mod permissions;
pub mod problems;
pub mod restrictions;
pub mod reversals;
pub mod revio;
pub mod router;
pub mod sessions;
pub mod telemetry;
pub mod tokens;
pub mod transactions;
pub mod users;
pub mod vault;
pub mod wake;
pub mod withdrawals;
pub mod worker;

/// The schema, in order; `octoco migrate` and the tests apply it.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();
