//! From spans of the log to traces, and from its error lines to errors that may be told outside: a layer beside that of the log, which
//! is there only where somebody listens.
//!
//! A row's id is its trace's id. So the request that wrote the row, the steps of whichever process has it, and the webhooks about it are
//! one trace without anything that travels with the row, and every process decides alike whether it is kept. What happens in one
//! process under one root (a request, a step) is gathered until the root ends: by then it is known which row it was about.
//!
//! ```text
//! request ─┬─ revio (create_purchase)          root: id = the row's, as it wrote the row
//!          └─ ledger (create_transfers)
//! step ──── transaction ─┬─ revio (payout)     root: below the request's
//!                        └─ ledger
//! ```

use std::mem;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use uuid::Uuid;

use super::allowed::{Fields, Taken};

/// Of one root: a batch of reads may make more calls than anybody reads.
const SPANS_MAX: usize = 200;
/// What probes and scrapes ask is nobody's question.
const UNTOLD: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// By themselves they are of tasks that look at everything again and again.
const CALLS: [&str; 2] = ["revio", "ledger"];

/// Who hears of them.
pub(super) trait Listener: Send + Sync {
    fn trace(&self, trace: &Trace);
    fn error(&self, error: &LoggedError);
}

/// All that one process did under one root; the root is the last.
pub(super) struct Trace {
    pub(super) id: u128,
    pub(super) spans: Vec<Span>,
}

pub(super) struct Span {
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) fields: Fields,
    pub(super) failed: bool,
}

/// An error of the log.
pub(super) struct LoggedError {
    pub(super) message: String,
    pub(super) target: &'static str,
    /// Of the event itself and of all spans around it.
    pub(super) fields: Fields,
    /// Where it is about a row.
    pub(super) trace: Option<u128>,
    pub(super) at: SystemTime,
}

impl Trace {
    pub(super) fn root(&self) -> Option<&Span> {
        self.spans.last()
    }

    /// How the root is called where many are listed.
    pub(super) fn title(root: &Span) -> String {
        let words = [root.fields.get("method"), root.fields.get("route"), root.fields.get("queue")];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        if words.is_empty() { root.name.to_owned() } else { words.join(" ") }
    }
}

/// The span under which everything about a row hangs: the request that wrote it has this id.
fn root_of(row: u128) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = row.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// What is gathered under one root.
#[derive(Default)]
struct Gathered {
    spans: Mutex<Vec<Span>>,
    row: OnceLock<u128>,
    /// The row that it wrote.
    begun: OnceLock<u128>,
}

/// A span that has not ended.
struct Open {
    id: u64,
    parent: Option<u64>,
    began: SystemTime,
    fields: Fields,
    failed: bool,
    gathered: Arc<Gathered>,
}

pub(super) struct Collector {
    pub(super) listeners: Vec<Arc<dyn Listener>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut taken = Taken::default();
        attributes.record(&mut taken);
        let above = span
            .parent()
            .and_then(|parent| parent.extensions().get::<Open>().map(|open| (open.id, Arc::clone(&open.gathered))));
        let (parent, gathered) = above.map_or_else(|| (None, Arc::default()), |(id, all)| (Some(id), all));
        gathered.note_row(&taken);
        let (began, fields) = (now(), taken.fields);
        let open = Open { id: rand::random::<u64>() | 1, parent, began, fields, failed: false, gathered };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut taken = Taken::default();
        values.record(&mut taken);
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            open.gathered.note_row(&taken);
            taken.fields.iter().for_each(|(name, value)| open.fields.set(name, value));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let mut taken = Taken::default();
        event.record(&mut taken);
        let failed = *event.metadata().level() == Level::ERROR;
        let span = context.event_span(event);
        if let Some(open) = span.as_ref().map(SpanRef::extensions_mut).as_mut().and_then(|all| all.get_mut::<Open>()) {
            open.failed |= failed;
            open.gathered.note_row(&taken);
            // What a request was and how it ended stands in the line that ends it.
            for name in ["method", "route", "status", "code"] {
                taken.fields.get(name).into_iter().for_each(|value| open.fields.set(name, value));
            }
        }
        if failed {
            self.tell(event.metadata().target(), taken, span);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let Open { id, parent, began, fields, failed, gathered } = open;
        let ended = Span { id, parent, name: span.name(), began, ended: now(), fields, failed };
        if parent.is_some() {
            let mut spans = gathered.spans.lock().unwrap_or_else(PoisonError::into_inner);
            if spans.len() < SPANS_MAX {
                spans.push(ended);
            }
            return;
        }
        let probe = ended.fields.get("route").is_some_and(|route| UNTOLD.contains(&route));
        if !probe && !CALLS.contains(&ended.name) {
            let trace = gathered.into_trace(ended);
            self.listeners.iter().for_each(|listener| listener.trace(&trace));
        }
    }
}

impl Collector {
    fn tell<S: for<'a> LookupSpan<'a>>(&self, target: &'static str, taken: Taken, span: Option<SpanRef<'_, S>>) {
        let (mut fields, mut trace) = (Fields::default(), None);
        // The nearest has the last word.
        for around in span.iter().flat_map(|span| span.scope().from_root()) {
            if let Some(open) = around.extensions().get::<Open>() {
                trace = open.gathered.row.get().copied();
                open.fields.iter().for_each(|(name, value)| fields.set(name, value));
            }
        }
        taken.fields.iter().for_each(|(name, value)| fields.set(name, value));
        let is_panic = taken.message == super::PANIC && !taken.text.is_empty();
        let message = if is_panic { format!("{}: {}", super::PANIC, taken.text) } else { taken.message };
        let trace = trace.or_else(|| row_of(&fields));
        let error = LoggedError { message, target, fields, trace, at: now() };
        self.listeners.iter().for_each(|listener| listener.error(&error));
    }
}

fn row_of(fields: &Fields) -> Option<u128> {
    fields.get("transaction.id").and_then(|id| Uuid::try_parse(id).ok()).map(|id| id.as_u128())
}

impl Gathered {
    /// The first row that is named is the one that it is about.
    fn note_row(&self, taken: &Taken) {
        if let Some(row) = row_of(&taken.fields) {
            self.row.get_or_init(|| row);
            if taken.begins {
                self.begun.get_or_init(|| row);
            }
        }
    }

    fn into_trace(self: Arc<Self>, mut root: Span) -> Trace {
        let mut spans = mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(row) = self.row.get() {
            if self.begun.get() == Some(row) {
                let own = mem::replace(&mut root.id, root_of(*row));
                spans.iter_mut().filter(|span| span.parent == Some(own)).for_each(|span| span.parent = Some(root.id));
            } else {
                root.parent = Some(root_of(*row));
            }
        }
        spans.push(root);
        Trace { id: self.row.get().copied().unwrap_or_else(rand::random), spans }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "collectors order spans of many processes by the wall clock, as a log does its lines"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
