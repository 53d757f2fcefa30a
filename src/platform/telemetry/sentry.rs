//! Errors, panics among them, and traces to Sentry (`SENTRY_DSN`). Each event is put together here from what may leave (`allowed`) and
//! from nothing else: no request, no user, no host, no stack, no breadcrumbs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use sentry::protocol::{
    Context, Envelope, Event, Level, Span as Child, SpanId, SpanStatus, TraceContext, TraceId, Transaction,
};
use sentry::types::Dsn;

use super::allowed::Fields;
use super::outlet::{Counted, NotTaken, Outlet};
use super::spans::{Listener, LoggedError, Span, Trace};
use crate::platform::config::{SentrySettings, Share};
use crate::platform::error::BoxError;

/// It takes one event a call.
const AT_ONCE: usize = 8;
const RELEASE: &str = concat!("octoco@", env!("CARGO_PKG_VERSION"));
const AGENT: &str = concat!("octoco/", env!("CARGO_PKG_VERSION"));

pub(super) struct Sentry {
    share: Share,
    environment: String,
    pub(super) outlet: Outlet<Envelope>,
}

impl Sentry {
    pub(super) fn open(settings: &SentrySettings, environment: &str, counted: &Counted) -> Result<Self, BoxError> {
        // What the parser says of an address may quote it.
        let dsn = settings.dsn.expose_secret().parse::<Dsn>().map_err(|_| "SENTRY_DSN is no DSN")?;
        let (http, url) = (super::http()?, dsn.envelope_api_url().to_string());
        let auth = Arc::new(dsn.to_auth(Some(AGENT)).to_string());
        let take = move |envelopes: Vec<Envelope>| {
            let (http, url, auth) = (http.clone(), url.clone(), Arc::clone(&auth));
            let bring = move |envelope: Envelope| {
                let mut body = Vec::new();
                let written = envelope.to_writer(&mut body);
                let request = http.post(&url).header("X-Sentry-Auth", auth.as_str());
                let request = request.header(CONTENT_TYPE, "application/x-sentry-envelope").body(body);
                async move {
                    written.map_err(|_| NotTaken)?;
                    // 429 as any other: it is left alone for a while.
                    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
                    answer.map(drop).map_err(|_| NotTaken)
                }
            };
            stream::iter(envelopes).map(Ok).try_for_each_concurrent(AT_ONCE, bring)
        };
        let outlet = Outlet::open("sentry", counted, take);
        Ok(Self { share: settings.share, environment: environment.to_owned(), outlet })
    }

    fn transaction(&self, trace: &Trace, root: &Span) -> Transaction<'static> {
        let (trace_id, below) = (trace_id(trace.id), trace.spans.iter().filter(|span| span.id != root.id));
        let context = TraceContext {
            span_id: span_id(root.id),
            trace_id,
            parent_span_id: root.parent.map(span_id),
            op: Some(root.name.to_owned()),
            status: Some(status(root)),
            ..TraceContext::default()
        };
        let child = |span: &Span| Child {
            span_id: span_id(span.id),
            trace_id,
            parent_span_id: span.parent.map(span_id),
            op: Some(span.name.to_owned()),
            description: span.fields.get("call").map(str::to_owned),
            start_timestamp: span.began,
            timestamp: Some(span.ended),
            status: Some(status(span)),
            tags: tags(&span.fields),
            ..Child::default()
        };
        Transaction {
            name: Some(Trace::title(root)),
            release: Some(RELEASE.into()),
            environment: Some(Cow::Owned(self.environment.clone())),
            tags: tags(&root.fields),
            start_timestamp: root.began,
            timestamp: Some(root.ended),
            spans: below.map(child).collect(),
            contexts: BTreeMap::from([("trace".to_owned(), Context::Trace(Box::new(context)))]),
            ..Transaction::default()
        }
    }
}

impl Listener for Sentry {
    fn trace(&self, trace: &Trace) {
        if let Some(root) = trace.root().filter(|_| self.share.holds(trace.id)) {
            self.outlet.put(|| self.transaction(trace, root).into());
        }
    }

    fn error(&self, error: &LoggedError) {
        self.outlet.put(|| {
            let context = error.trace.map(|id| {
                let context = TraceContext { trace_id: trace_id(id), ..TraceContext::default() };
                ("trace".to_owned(), Context::Trace(Box::new(context)))
            });
            let event = Event {
                level: Level::Error,
                message: Some(error.message.clone()),
                logger: Some(error.target.to_owned()),
                timestamp: error.at,
                release: Some(RELEASE.into()),
                environment: Some(Cow::Owned(self.environment.clone())),
                tags: tags(&error.fields),
                contexts: context.into_iter().collect(),
                ..Event::default()
            };
            event.into()
        });
    }
}

fn trace_id(id: u128) -> TraceId {
    TraceId::from(id.to_be_bytes())
}

fn span_id(id: u64) -> SpanId {
    SpanId::from(id.to_be_bytes())
}

fn status(span: &Span) -> SpanStatus {
    if span.failed { SpanStatus::InternalError } else { SpanStatus::Ok }
}

fn tags(fields: &Fields) -> BTreeMap<String, String> {
    fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
