//! `GET /v1/events`.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::{collections::VecDeque, pin::Pin};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::frames::Ended;
use super::{Opened, Since, count_end};
use crate::app::App;
use crate::identity::caller::Waiter;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::Query;
use crate::platform::problems::Problems;
use crate::platform::waiting::{Place, Stream};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// As the header `Last-Event-ID`, which comes first, for clients that cannot set one.
    #[param(example = "1772442000000000", pattern = "^[0-9]{1,17}$")]
    last_event_id: Option<String>,
}

impl EventsQuery {
    fn since(&self, headers: &HeaderMap) -> Result<Option<Since>> {
        let wrong = || Wrong::Format("must be the id of an event");
        // A browser that has heard no id sends an empty one.
        let sent =
            headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?")).filter(|text| !text.is_empty());
        let sent =
            sent.map(|text| Since::parse(text).ok_or_else(|| Error::header("Last-Event-ID", wrong()))).transpose()?;
        // Also where it does not count it is looked at.
        let asked = self.last_event_id.as_deref();
        let asked = asked.map(|text| Since::parse(text).ok_or_else(|| Error::parameter("last_event_id", wrong())));
        Ok(sent.or(asked.transpose()?))
    }
}

/// What happens to my rows and balances
///
/// Server-sent events, as long as the connection stands: `transaction.updated` (a row as in `/v1/transactions`, with its `version`),
/// `balance.updated` (an entry of `/v1/balances`), `reset` (too much happened while you were away: load your lists anew),
/// `session.ended` (`token_expired`: come back with a new token; `session_ended`: sign in), then we close. It begins from now: open it
/// first, load your lists then. With `Last-Event-ID` it begins with what changed since, at least once: a `version` that is not above
/// the last one was told before. Ids are good for a day. After 15 seconds of silence a comment is sent. Who listens in too many places
/// is told `rate_limited`, when all do `unavailable`.
#[utoipa::path(get, path = "/v1/events", tag = "events", security(("bearer" = [])),
    params(EventsQuery, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was heard", pattern = "^[0-9]{0,17}$")),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "Events, one after the other",
        example = "id: 1772442000000000\nevent: balance.updated\ndata: {\"currency\":\"ZAR\",\"posted\":150000,\"pending\":0,\"available\":150000,\"owed\":0,\"limits\":{\"once\":50000000,\"daily\":100000000,\"used\":0,\"remaining\":100000000}}\n\n"),
        Problems))]
async fn events(
    State(app): State<App>,
    waiter: Waiter,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let since = query.since(&headers)?;
    let Opened { first, live, place } = Box::pin(super::open(&app, waiter.tenure, since)).await?;
    let out = Out { first: first.into(), live, app, _place: place };
    let told = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // What stands between passes each event on as it comes.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((told, Body::from_stream(out)).into_response())
}

/// What goes out: its place is free when the client is gone, or when it was let go and has taken what was left.
struct Out {
    first: VecDeque<Bytes>,
    live: mpsc::Receiver<Bytes>,
    app: App,
    _place: Place<Stream>,
}

impl futures_util::Stream for Out {
    type Item = std::result::Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(frame) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.live.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // Who was let go is counted by whoever did.
        if !self.live.is_closed() {
            count_end(&self.app, Ended::Gone);
        }
    }
}
