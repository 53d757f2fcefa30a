//! Logs, metrics, and what of errors and traces may leave the house: set up once by `main.rs`. Every Prometheus metric is declared in
//! `telemetry/metrics.rs` and nowhere else; what may leave is listed in `telemetry/allowed.rs`.
//!
//! ```text
//! spans and lines ─┬─> the log ─> memory ─> one thread ─> JSON on standard output
//!                  └─> collector (only where SENTRY_DSN or OTEL_EXPORTER_OTLP_ENDPOINT is set): allowed fields ─> outlet ─> sentry | otlp
//! ```

mod allowed;
mod declare;
mod log;
mod metrics;
mod otlp;
mod outlet;
mod sentry;
mod spans;
pub mod words;

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{Targets, dynamic_filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::platform::config::{self, Collectors, LogFormat};
use crate::platform::error::BoxError;
use log::Log;
use otlp::Otlp;
use outlet::Counted;
use sentry::Sentry;
use spans::{Collector, Listener};

pub use metrics::{All, AuditGauges, Finance, FootingGauges, Leaving, Metrics, ReadModel, Reconciliation, RevioCalls};

/// The message of a panic's line.
const PANIC: &str = "panic";
/// How long a stop waits until what was told last is out.
const CLOSE: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(2);
/// How long the end waits until the last lines of the log are out.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Waits for the last lines of the log when it is dropped, however the process ends: `main` has it before anything that logs.
pub struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        log::flush(LAST_LINES);
    }
}

/// What leaves the house, if anything does.
#[derive(Clone)]
pub struct Telemetry {
    sentry: Option<Arc<Sentry>>,
    otlp: Option<Arc<Otlp>>,
    counted: Counted,
}

impl Telemetry {
    /// Logs from here on, and beside them what leaves.
    pub fn start(format: LogFormat, collectors: &Collectors) -> Result<Self, BoxError> {
        let telemetry = Self::open(collectors)?;
        init_logs(format, &telemetry, &log::start(&telemetry.counted)?);
        Ok(telemetry)
    }

    /// Within a runtime: a task for each of the two takes things out.
    pub fn open(collectors: &Collectors) -> Result<Self, BoxError> {
        let (counted, environment) = (Counted::default(), collectors.environment.as_str());
        let sentry = collectors.sentry.as_ref().map(|to| Sentry::open(to, environment, &counted)).transpose()?;
        let otlp = collectors.otlp.as_ref().map(|to| Otlp::open(to, environment, &counted)).transpose()?;
        Ok(Self { sentry: sentry.map(Arc::new), otlp: otlp.map(Arc::new), counted })
    }

    /// To be put beside that of the log; `None` where nobody listens, so that nothing is gathered.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Option<impl Layer<S> + use<S>> {
        let sentry = self.sentry.clone().map(|sentry| -> Arc<dyn Listener> { sentry });
        let otlp = self.otlp.clone().map(|otlp| -> Arc<dyn Listener> { otlp });
        let listeners: Vec<_> = sentry.into_iter().chain(otlp).collect();
        // Asked at each span: a filter that is asked once for a callsite may be answered by what was left of another line's answer.
        let asked = |about: &Metadata<'_>| if is_ours(about) { Interest::sometimes() } else { Interest::never() };
        let filter = dynamic_filter_fn(|about, _: &Context<'_, S>| is_ours(about));
        let filter = filter.with_max_level_hint(Level::DEBUG).with_callsite_filter(asked);
        (!listeners.is_empty()).then(|| Collector { listeners }.with_filter(filter))
    }

    /// From here on what leaves is counted.
    pub fn count_in(&self, metrics: &Metrics) {
        self.counted.get_or_init(|| metrics.leaving.clone());
    }

    /// What a stop must leave of its time for [`Telemetry::close`] and [`LastLines`].
    pub fn time_to_close(&self) -> Duration {
        if self.sentry.is_some() || self.otlp.is_some() { CLOSE + LAST_LINES } else { LAST_LINES }
    }

    /// Waits until everything is out, a moment at most.
    pub async fn close(&self) {
        let all = async {
            if let Some(sentry) = &self.sentry {
                sentry.outlet.end().await;
            }
            if let Some(otlp) = &self.otlp {
                otlp.outlet.end().await;
            }
        };
        if tokio::time::timeout(CLOSE, all).await.is_err() {
            tracing::warn!("the last errors and traces did not get out in time");
        }
    }
}

/// Of libraries nothing leaves: their fields are their authors' choice.
fn is_ours(about: &Metadata<'_>) -> bool {
    let room = about.target().split("::").next();
    *about.level() <= Level::DEBUG && matches!(room, Some("octoco" | "ledger"))
}

/// For both ways out: their answers hold nothing of ours, and a redirect leads nowhere.
fn http() -> Result<reqwest::Client, BoxError> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    Ok(client.connect_timeout(CONNECT).timeout(2 * CONNECT).build()?)
}

/// Where logs go: standard output, one JSON object a line (or text for people). `RUST_LOG` filters.
fn init_logs(format: LogFormat, telemetry: &Telemetry, log: &Log) {
    let wanted = config::log_filter().ok().and_then(|wanted| filter(wanted.as_deref()));
    let (is_read, filter) = (wanted.is_some(), wanted.unwrap_or_else(usual_filter));
    let registry = tracing_subscriber::registry();
    match telemetry.layer() {
        None => registry.with(filter).with(lines(format, log)).init(),
        // What the log leaves out may be of a trace all the same.
        Some(collector) => registry.with(lines(format, log).with_filter(filter)).with(collector).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
    if !is_read {
        tracing::warn!("RUST_LOG cannot be read as targets and levels; the log is as if it were not set");
    }
}

/// By target and level, which is settled once for each line of the source: what is in a span would have to be looked at in each.
/// `None` = it cannot be read, or means spans or fields, which would silence all targets.
fn filter(wanted: Option<&str>) -> Option<Targets> {
    let Some(wanted) = wanted else { return Some(usual_filter()) };
    if wanted.contains(['[', '{']) { None } else { wanted.parse().ok() }
}

fn usual_filter() -> Targets {
    Targets::new().with_default(Level::INFO).with_target("sqlx", Level::WARN)
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat, log: &Log) -> Box<dyn Layer<S> + Send + Sync> {
    let log = log.clone();
    let layer = fmt::layer().with_writer(move || log.clone());
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => layer.boxed(),
    }
}

/// Panics go where logs go, as one line, with the request's id if there is one. Standard error would have them in whole.
pub fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    tracing::error!(place, text = panic_text(panic.payload()), "panic");
}

/// What may be told of a panic: its text if that stands in the source. A text that was put together may hold a value, and a
/// value may be a secret or somebody's name; the place in the source is enough to find it.
pub fn panic_text(panic: &(dyn Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("a text with values in it, which are not told")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_place_and_without_its_values() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(fmt::layer().json().with_writer(move || writer.clone()));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        tracing::subscriber::with_default(subscriber, || {
            std::panic::catch_unwind(|| panic!("a literal")).expect_err("it panicked");
            let secret = "62001234567";
            std::panic::catch_unwind(|| panic!("no such account: {secret}")).expect_err("it panicked");
            let wrong: Result<(), String> = Err(secret.to_owned());
            std::panic::catch_unwind(|| wrong.clone().expect("it parses")).expect_err("it panicked");
        });
        std::panic::set_hook(before);
        let text = String::from_utf8(written.0.lock().expect("nobody panicked").clone()).expect("text");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(text.matches("src/platform/telemetry.rs:").count(), 3, "{text}");
        assert!(text.contains("a literal") && !text.contains("62001234567"), "{text}");
    }

    /// Nanoseconds that a call's span and what is recorded on it take, on the best of several rounds: other work is no fault of it.
    fn cost_of_a_call() -> u128 {
        const TIMES: u32 = 20_000;
        let round = |_| {
            let started = std::time::Instant::now();
            for _ in 0..TIMES {
                let span = tracing::debug_span!("ledger", call = "create_transfers", outcome = tracing::field::Empty);
                span.in_scope(|| std::hint::black_box(1));
                span.record("outcome", "ok");
            }
            (started.elapsed() / TIMES).as_nanos()
        };
        (0..10).map(round).min().expect("there were some")
    }

    #[test]
    fn a_filter_by_spans_or_without_sense_is_none() {
        for read in ["debug", "octoco=trace", "warn,octoco::money=debug,sqlx=off"] {
            assert!(filter(Some(read)).is_some(), "{read}");
        }
        for not_read in ["octoco=loud", "[step]=debug", "octoco[step{id=1}]=debug", "info,[{id}]=trace", "a=b=c"] {
            assert!(filter(Some(not_read)).is_none(), "{not_read}");
        }
        assert_eq!(filter(None), Some(usual_filter()));
    }

    #[tokio::test]
    async fn where_nobody_listens_nothing_is_gathered_and_a_calls_span_costs_next_to_nothing() {
        let settings = |dsn: &'static str| {
            let read = move |name: &str| Ok((name == "SENTRY_DSN" && !dsn.is_empty()).then(|| dsn.to_owned()));
            Collectors::from_source(&read).expect("the settings are usable")
        };
        let log = || {
            let json = fmt::layer().json().with_writer(std::io::sink);
            tracing_subscriber::registry().with(usual_filter()).with(json)
        };
        let nobody = Telemetry::open(&settings("")).expect("nothing to open");
        assert!(nobody.layer::<tracing_subscriber::Registry>().is_none());
        let off = tracing::subscriber::with_default(log(), cost_of_a_call);
        let somebody = Telemetry::open(&settings("http://key@127.0.0.1:1/1")).expect("an address");
        let json = fmt::layer().json().with_writer(std::io::sink).with_filter(usual_filter());
        let both = tracing_subscriber::registry().with(json).with(somebody.layer());
        let on = tracing::subscriber::with_default(both, cost_of_a_call);
        println!("a call's span: {off} ns switched off, {on} ns gathered");
        assert!(off < 1_000 && off * 3 < on, "{off} ns, {on} ns");
    }
}
