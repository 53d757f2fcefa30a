//! Traces to an OpenTelemetry collector (`OTEL_EXPORTER_OTLP_ENDPOINT`), as protobuf over HTTP.

use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use secrecy::ExposeSecret;

use super::outlet::{Counted, NotTaken, Outlet};
use super::spans::{Listener, LoggedError, Span, Trace};
use crate::platform::config::{Collector, Share};
use crate::platform::error::BoxError;

pub(super) struct Otlp {
    share: Share,
    pub(super) outlet: Outlet<Vec<SpanData>>,
}

impl Otlp {
    pub(super) fn open(collector: &Collector, environment: &str, counted: &Counted) -> Result<Self, BoxError> {
        let mut endpoint = collector.endpoint.clone();
        let path = format!("{}/v1/traces", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        let headers = collector.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        let exporter = SpanExporter::builder().with_http().with_http_client(super::http()?);
        let mut exporter = exporter.with_endpoint(endpoint.as_str()).with_headers(headers.collect()).build()?;
        let about = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("deployment.environment.name", environment.to_owned()),
        ];
        let resource = Resource::builder_empty().with_service_name("octoco").with_attributes(about).build();
        exporter.set_resource(&resource);
        let exporter = Arc::new(exporter);
        let take = move |traces: Vec<Vec<SpanData>>| {
            let exporter = Arc::clone(&exporter);
            async move { exporter.export(traces.concat()).await.map_err(|_| NotTaken) }
        };
        Ok(Self { share: collector.share, outlet: Outlet::open("otlp", counted, take) })
    }
}

impl Listener for Otlp {
    fn trace(&self, trace: &Trace) {
        if self.share.holds(trace.id) {
            self.outlet.put(|| trace.spans.iter().map(|span| data(trace.id, span)).collect());
        }
    }

    fn error(&self, _: &LoggedError) {}
}

fn data(trace: u128, span: &Span) -> SpanData {
    let (trace, id) = (TraceId::from(trace), SpanId::from(span.id));
    let kind = match span.name {
        "request" => SpanKind::Server,
        "revio" | "ledger" => SpanKind::Client,
        _ => SpanKind::Internal,
    };
    let name = if span.name == "request" || span.name == "step" { Trace::title(span).into() } else { span.name.into() };
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: false,
        span_kind: kind,
        name,
        start_time: span.began,
        end_time: span.ended,
        attributes: span.fields.iter().map(|(name, value)| KeyValue::new(name, value.to_owned())).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("octoco").build(),
    }
}
