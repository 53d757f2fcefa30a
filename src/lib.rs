//! Octoco keeps customers' money. This is the map; `docs/` has the pictures.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`], [`clock`], [`telemetry`], [`crash`] | settings, time, logs and metrics, where a process may die |
//! | [`vault`], [`tokens`], [`keys`], [`limits`], [`tls`] | sealed data, sign-in tokens, new secrets, rate limits, TLS |
//! | [`mailer`] | sends one mail |
//! | [`hashing`] | passwords become hashes, a bounded number at once |
//! | [`permissions`], [`access`] | who may do what; what a token cannot know |
//! | [`revio`] | the provider's HTTP API and its signature |
//! | [`error`], [`problems`] | the one error; every code that it can have |
//! | [`app`], [`wake`] | what everything runs on |
//! | [`audit`] | who did what: append-only, hash-chained |
//! | [`http`] | what every route shares |
//! | [`mails`] | mails that we owe somebody, until they are sent |
//! | [`users`], [`sessions`], [`bank_accounts`], [`accounts`] | people, sign-ins, destinations, balances |
//! | [`transactions`] | the row behind every movement of money |
//! | [`restrictions`] | frozen and closed accounts |
//! | [`approvals`] | four eyes: what staff decided about a row that waits for it |
//! | [`deposits`], [`withdrawals`], [`reversals`], [`adjustments`] | the flows: one function an arrow |
//! | [`history`] | lists of transactions; one with its whole life |
//! | [`held`] | rows that wait for a person |
//! | [`projector`] | the ledger copied into PostgreSQL, for lists and dashboards |
//! | [`statements`] | opening balance, movements, closing balance, from the ledger itself |
//! | [`exports`] | lists as files: streamed, or written in the background |
//! | [`inbox`] | Revio's webhooks |
//! | [`credentials`] | passwords that were forgotten or are to be changed |
//! | [`search`] | from any id, e-mail or key to the row, for staff |
//! | [`admin`] | what staff see of no noun's own |
//! | [`health`], [`contract`], [`docs`] | is it alive; the OpenAPI document; the page that shows it |
//! | [`router`], [`server`], [`worker`] | every route; every connection; every background task |
//! | [`seed`] | rows by the million, and how long lists of them take |
//!
//! A noun is `noun.rs` (the procedure), `noun/routes.rs` (HTTP) and `noun/store.rs` (SQL). Modules import only from lines
//! above their own; `tests/tidy.rs` checks it.

pub mod access;
pub mod accounts;
pub mod adjustments;
pub mod admin;
pub mod app;
pub mod approvals;
pub mod audit;
pub mod bank_accounts;
pub mod clock;
pub mod config;
pub mod contract;
pub mod crash;
pub mod credentials;
pub mod debts;
pub mod deposits;
pub mod docs;
pub mod error;
pub mod exports;
pub mod hashing;
pub mod health;
pub mod held;
pub mod history;
pub mod http;
pub mod inbox;
pub mod keys;
pub mod limits;
pub mod mailer;
pub mod mails;
pub mod permissions;
pub mod problems;
pub mod projector;
pub mod restrictions;
pub mod reversals;
pub mod revio;
pub mod router;
pub mod search;
pub mod seed;
pub mod server;
pub mod sessions;
pub mod statements;
pub mod telemetry;
pub mod tls;
pub mod tokens;
pub mod transactions;
pub mod users;
pub mod vault;
pub mod wake;
pub mod withdrawals;
pub mod worker;

/// The schema, in order; `octoco migrate` and the tests apply it.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();
