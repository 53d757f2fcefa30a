//! A faithful local Revio: purchases, payouts, a hosted checkout page and signed webhooks, with every way they can go wrong.
//! The service's tests start it in their own process on port 0 (`start`); `./dev up` runs the binary. It shares no code with
//! the service, so that it checks the wire format independently.
//!
//! Comments say how sure a behaviour is: DOC-R documented by Revio, DOC-S by a sister deployment of the same gateway, CODE seen
//! in public client code, RUN checked on a public signed sample, INF inferred by us, `?` unknown and guessed.
//!
//! ```text
//! sim.rs, control.rs        the handle, in process and over HTTP
//! server.rs                 mounts api.rs (+ api/), page.rs, control.rs
//! shared.rs                 world behind a lock, clock, faults, logs
//! world.rs                  books, events, delayed effects; saved by store.rs
//! purchases.rs (+ purchases/)  payments.rs  payouts.rs  webhooks.rs    the nouns, as functions on the world
//! transfers.rs strangers.rs   settlements, top-ups, the bank's side; what nobody of ours did
//! balances.rs statements.rs csv.rs    what Revio says of the whole account, and how its files and the bank's are written
//! movements.rs              every movement of money, whatever is said about it
//! outbox.rs, sender.rs      what is to be delivered; delivering it
//! faults.rs settings.rs overrides.rs    what goes wrong; what can be switched; what is said in place of the truth
//! clock.rs keys.rs wire.rs fields.rs errors.rs options.rs
//! ```

mod api;
mod balances;
mod clock;
mod control;
mod csv;
mod errors;
mod faults;
mod fields;
mod keys;
mod movements;
mod options;
mod outbox;
mod overrides;
mod page;
mod payments;
mod payouts;
mod purchases;
mod sender;
mod server;
mod settings;
mod shared;
mod sim;
mod statements;
mod store;
mod strangers;
mod transfers;
mod webhooks;
mod wire;
mod world;

pub use clock::Clock;
pub use control::endpoints;
pub use csv::{Headings, Unit};
pub use errors::SimError;
pub use faults::{Fault, FaultKind, Moment, Scope, When};
pub use keys::KeyBits;
pub use movements::{Movement, MovementKind};
pub use options::{BRAND_ID, COMPANY_ID, Deliveries, LIVE_KEY, Options, TEST_KEY};
pub use outbox::RETRY_MINUTES;
pub use overrides::Override;
pub use payouts::PayoutOutcome;
pub use purchases::Pay;
pub use sender::DeliveryReport;
pub use settings::{DoneWord, ErrorShape, FeeAtPaid, PayoutBehaviour, RefundMode, Settings};
pub use shared::Call;
pub use sim::{Event, Sim, start};
pub use statements::{LineChange, StatementSettings};
pub use strangers::{Change, Stranger};
pub use transfers::{BankLine, BankQuery, NewTransfer};
pub use webhooks::Webhook;
pub use world::Totals;
