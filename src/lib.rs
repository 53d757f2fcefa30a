//! Octoco keeps customers' money. This is the map: eight rooms and one file (`app`), the lowest first. Each imports only from those before
//! it in this list; `tests/tidy.rs` checks that, and `docs/architecture.md` has the picture.
//!
//! | room | what lives there |
//! |---|---|
//! | [`platform`] | what every part stands on and what knows no customer's row: clock, queue, HTTP, errors, limits, encryption, tokens |
//! | [`provider`] | Revio, the payment provider: its API, what its objects look like, when to leave it alone |
//! | [`app`] | what the service is made of: one `App`, handed to every room after it |
//! | [`identity`] | who is calling and what they may do: users, sessions, credentials, roles, the audit log, mails |
//! | [`money`] | every movement of money and what stops one: deposits, withdrawals, refunds, corrections, approvals, frozen customers |
//! | [`webhooks`] | what Revio tells us (`inbox`): verified, stored, acted on; and what we tell others' servers (`outgoing`) |
//! | [`books`] | reading it all back: balances over time, statements, pages of history, search, exports |
//! | [`finance`] | whether it is all there: reconciliation, statements of Revio and the bank, trial balance, closed months |
//! | [`processes`] | what runs: the router, the connections, the background tasks, health |
//!
//! A noun is `noun.rs` (the procedure), `noun/routes.rs` (HTTP) and `noun/store.rs` (SQL); four have a `writes.rs` besides: what concurrent
//! calls write together.

/// What every part stands on.
pub mod platform {
    // Ended sessions and present roles: what a token cannot know.
    pub mod access;
    // What one process does alone.
    pub mod advisory_lock;
    // Concurrent calls share one statement and one commit.
    pub mod batcher;
    // The time, which is PostgreSQL's, and ids that carry it; tests stop it.
    pub mod clock;
    // Every setting.
    pub mod config;
    // Named points at which tests let a step die.
    pub mod crash;
    // PostgreSQL: the pool, and how it is left when it falls silent.
    pub mod database;
    // SHA-256.
    pub mod digest;
    // Personal data at rest.
    pub mod encryption;
    // The one error, and the problem document that it becomes.
    pub mod error;
    // Clocks that agree and a database that forgets nothing: else no payout begins.
    pub mod footing;
    // Passwords become hashes, a bounded number at once.
    pub mod hashing;
    // Bodies, queries, paths, pages, idempotency keys.
    pub mod http;
    // New secrets.
    pub mod keys;
    // Sends one mail.
    pub mod mailer;
    // Wakes the workers of every process.
    pub mod notifier;
    // The OpenAPI document, made whole from what routes say.
    pub mod openapi;
    // Roles, and what each may do.
    pub mod permissions;
    // Every code that an error can have.
    pub mod problems;
    // Calls to addresses that others have named.
    pub mod outbound;
    // Claim, lease, deadline, a panic caught, retries, giving up: once, for every row that is a job.
    pub mod queue;
    // How often somebody may do what, counted in Redis.
    pub mod rate_limits;
    // A number that only rises: tells a crash of PostgreSQL from an older database.
    pub mod rising;
    // So many places for each caller or address.
    pub mod shares;
    // RSA signatures over raw bytes.
    pub mod signature;
    // Turns for reads that may take long: never all connections.
    pub mod slow_reads;
    // What strangers cause without end: counted, and the first few kept.
    pub mod tally;
    // Logs and metrics.
    pub mod telemetry;
    // One shape for enums that are words in SQL, JSON and OpenAPI.
    pub(crate) mod text_enum;
    // TLS 1.3, where the service speaks it itself.
    pub mod tls;
    // Access tokens, refresh tokens, links in mails.
    pub mod tokens;
    // Time zones: whose days a caller means; on which days banks work.
    pub mod zone;
    // Callers who wait for news: places, counted apart from requests in hand.
    pub mod waiting;
}

/// Revio, the payment provider.
pub mod provider {
    // Its HTTP client; `revio/objects.rs` its objects, `revio/accounts.rs` balance and statements, `revio/breaker.rs` when to
    // leave it alone, `revio/budget.rs` how often it is called.
    pub mod revio;
}

pub mod app;

/// Who is calling, and what they may do.
pub mod identity {
    // Who did what: append-only, hash-chained.
    pub mod audit;
    // Who is calling: with a token, without one, with a verified e-mail.
    pub mod caller;
    // The refresh cookie, and which pages may make a browser send it.
    pub mod cookies;
    // Passwords that were forgotten or are to be changed.
    pub mod credentials;
    // Proving an e-mail, and changing it.
    pub mod emails;
    // What mails are counted under.
    pub mod mailbox;
    // Mails that we owe somebody, until they are sent.
    pub mod mails;
    // What staff write down about customers.
    pub mod notes;
    // Counting a call against a rate limit.
    pub mod quota;
    // Acts of staff and machines with an idempotency key: done once, answered again.
    pub mod repeats;
    // What an older data key has encrypted, encrypted again.
    pub mod rotation;
    // Enrolling a second factor, taking it away, showing it again.
    pub mod second_factor;
    // Machines and what they may do.
    pub mod service_accounts;
    // Their keys: what one looks like, and whose it is.
    pub mod service_keys;
    // Sign-ins, refresh tokens, signing out.
    pub mod sessions;
    // A caller with a permission.
    pub mod staff;
    // The second factor itself: codes of an authenticator, recovery codes.
    pub mod totp;
    // People and their roles.
    pub mod users;
}

/// Every movement of money, and what stops one.
pub mod money {
    // Corrections by staff: one proposes, another approves.
    pub mod adjustments;
    // Four eyes: what staff decided about a row that waits for it; which withdrawals wait is in `withdrawals/approval.rs`.
    pub mod approvals;
    // What the ledger holds for a customer.
    pub mod balances;
    // Where withdrawals go.
    pub mod bank_accounts;
    // What a frontend must know before anybody signs in (`/v1/config`).
    pub mod client_config;
    // Money in, one function an arrow.
    pub mod deposits;
    // What Revio's word on money must say before it is booked.
    pub mod evidence;
    // The company's own entries: settlements, float, fees, losses, own funds. One proposes, another approves.
    pub mod journals;
    // Rows on hold: listed for a person, and resolved (`/v1/admin/held`).
    pub mod manual_review;
    // Who I am, what I may and what restricts me (`/v1/me`); a new name.
    pub mod profile;
    // What Revio keeps of payments and takes for payouts.
    pub mod provider_fees;
    // What Revio said of each of its objects.
    pub mod provider_objects;
    // What reasons mean in words: to customers, to staff.
    pub mod reasons;
    // What a wallet does not cover, the customer owes.
    pub mod receivables;
    // Frozen and closed customers.
    pub mod restrictions;
    // What one of the staff asks for and another must agree to: roles, unfreezing, reopening (`/v1/admin/requests`).
    pub mod requests;
    // Refunds, chargebacks, chargebacks won.
    pub mod reversals;
    // PostgreSQL is behind the ledger: nothing is paid.
    pub mod safe_mode;
    // What is decided about and what clears suspense: a transaction or a journal.
    pub mod subject;
    // Money that came and is nobody's yet, item by item.
    pub mod suspense;
    // The row behind every movement, and how it moves from state to state.
    pub mod transactions;
    // Money out, one function an arrow; what Revio says after the end is in `withdrawals/late_outcomes.rs`.
    pub mod withdrawals;
}

/// What Revio tells us, and what we tell others.
pub mod webhooks {
    // Verified, stored once, acted on later; the delivery log and its dead letters (`/v1/admin/webhooks`).
    pub mod inbox;
    // What we tell others' servers: endpoints, events, deliveries.
    pub mod outgoing;
    // Deliveries that Revio did not sign: counted by network, the first few kept.
    pub mod refused;
}

/// Reading it all back.
pub mod books {
    // One page about a customer, for staff, and what support does there.
    pub mod customers;
    // What happens to a customer's rows and balances, told as it happens (server-sent events).
    pub mod events;
    // Lists as files.
    pub mod exports;
    // What the files of exports and statements have in common.
    pub mod files;
    // Lists of transactions; one with its whole life.
    pub mod history;
    // The company's journals as a file.
    pub mod journal_export;
    // All that we hold about a person: taken out, or erased.
    pub mod personal_data;
    // The ledger copied into PostgreSQL: the read model.
    pub mod projector;
    // From any id, e-mail or key to the row, for staff.
    pub mod search;
    // How many rows came into which state, by quarters of an hour: for dashboards.
    pub mod slots;
    // Opening balance, movements, closing balance, from the ledger itself.
    pub mod statements;
}

/// Whether it is all there.
pub mod finance {
    // Days of the accounts.
    pub mod days;
    // Months that are closed: checked, frozen, chained, printed again.
    pub mod periods;
    // Whether rows, ledger, Revio and the bank say the same: runs, breaks, healing.
    pub mod reconciliation;
    // Files of Revio's and the bank's: read, matched, kept encrypted; what they say that the books do not.
    pub mod statement_files;
    // Every account at the end of any day, debits equal to credits.
    pub mod trial_balance;
}

/// What runs.
pub mod processes {
    // `octoco audit`.
    pub mod audit;
    // One log line and the metrics of each request.
    pub mod access_log;
    // The page that shows the OpenAPI document.
    pub mod docs;
    // Security headers and CORS of every answer.
    pub mod headers;
    // `/healthz`, `/readyz`; `/metrics` for operators.
    pub mod health;
    // How many requests are in hand at once.
    pub mod load;
    // `octoco reconcile`.
    pub mod reconcile;
    // Refuses a query where an operation takes none.
    pub mod queries;
    // Which acts of staff and machines take an idempotency key.
    pub mod repeats;
    // Every route and every layer.
    pub mod router;
    // `octoco migrate`: the schema by its owner, and what the service may do with it.
    pub mod schema;
    // Every connection and its deadlines.
    pub mod server;
    // Those who bring news to callers who wait.
    pub mod waiting;
    // Every background task.
    pub mod worker;
}

/// The schema, in order; `octoco migrate` and the tests apply it.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();
