//! Logs and metrics: set up once by `main.rs`. Every Prometheus metric is declared in `telemetry/metrics.rs` and nowhere else.

mod declare;
mod metrics;
pub mod words;

use std::any::Any;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::platform::config::LogFormat;

pub use metrics::{AuditGauges, Finance, FootingGauges, Leaving, Metrics, ReadModel, Reconciliation, RevioCalls};

/// Where logs go: standard output, one JSON object a line (or text for people). `RUST_LOG` filters.
pub fn init_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_current_span(true)).init(),
        LogFormat::Text => registry.with(fmt::layer()).init(),
    }
    log_panics();
}

/// Panics go where logs go, as one line, with the request's id if there is one. Standard error would have them in whole.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, text = panic_text(panic.payload()), "panic");
    }));
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
        log_panics();
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
}
