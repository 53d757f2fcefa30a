//! `GET /v1/transactions`, `GET /v1/transactions/{id}`, and the same for staff over everybody's rows.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::filter;
use super::views::{OwnDetail, StaffDetail};
use super::waiting::{self, Wanted};
use super::{FilterQuery, Paging, Scope, Selection, StaffQuery, StateAt};
use crate::app::App;
use crate::identity::caller::{Caller, Waiter};
use crate::identity::staff::Staff;
use crate::money::approvals;
use crate::money::transactions::routes::{StaffTransactionView, TransactionView};
use crate::money::transactions::{ShownState, Transaction};
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::json::written_query;
use crate::platform::http::page::{LIMIT_DEFAULT, LIMIT_MAX, Position};
use crate::platform::http::{Asked, Download, Fields, Json, Page, Path, Query};
use crate::platform::{permissions::TransactionsRead, problems::Problems};

/// Deeper pages are for cursors: an offset makes PostgreSQL count rows to throw away.
const PAGE_MAX: i64 = 1000;
/// Of a long poll: shorter than what stands between client and service closes a silent connection after.
const WAIT_SECS_MAX: i64 = 30;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(list_all)).routes(routes!(show_any))
}

#[derive(Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PagingQuery {
    /// From 1. Deeper than the last page is empty; deeper than 1000 is for cursors.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    page: Option<String>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    page_size: Option<String>,
    /// `next_cursor` or `prev_cursor` of another page, with the same filters and sort; instead of `page`.
    #[param(format = "cursor", max_length = 1024)]
    cursor: Option<String>,
    /// The page size, with a cursor.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `false`: `total` and `total_is` are null, and the page comes sooner: rows are not counted. Default `true`.
    #[param(value_type = Option<bool>)]
    total: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    /// Seconds to wait for another state, with `state_not`; the row as it is when they are over.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 30)]
    wait: Option<String>,
    /// With `wait`: states with commas. The answer comes as soon as the row's is none of these.
    #[param(example = "initiated,awaiting_payment")]
    state_not: Option<String>,
}

impl WaitQuery {
    fn parse(&self) -> Result<Option<Wanted>> {
        let mut fields = Fields::of_query();
        let (Some(wait), Some(states)) = (&self.wait, &self.state_not) else {
            match (&self.wait, &self.state_not) {
                (None, Some(_)) => fields.wrong("wait", Wrong::Required),
                (Some(_), None) => fields.wrong("state_not", Wrong::Required),
                _ => {}
            }
            return fields.finish().map(|()| None);
        };
        let seconds = within(&mut fields, "wait", Some(wait), 1, WAIT_SECS_MAX);
        let longest = Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
        let state_not: Vec<ShownState> = filter::list(&mut fields, "state_not", Some(states));
        fields.finish()?;
        Ok(Some(Wanted { longest, state_not }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnQuery {
    #[serde(flatten)]
    filter: FilterQuery,
    #[serde(flatten)]
    paging: PagingQuery,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllQuery {
    #[serde(flatten)]
    filter: FilterQuery,
    #[serde(flatten)]
    staff: StaffQuery,
    #[serde(flatten)]
    paging: PagingQuery,
}

impl PagingQuery {
    /// Whether the rows are to be counted.
    fn counts(&self, fields: &mut Fields) -> bool {
        let counts = self.total.as_deref().map_or(Some(true), |text| text.parse().ok());
        counts.unwrap_or_else(|| {
            fields.wrong("total", Wrong::Type("true or false"));
            true
        })
    }

    fn parse(&self, fields: &mut Fields) -> Paging {
        if self.page.is_some() && self.cursor.is_some() {
            fields.wrong("cursor", Wrong::Conflict("page", "cannot be used together with page"));
        }
        if self.page_size.is_some() && self.limit.is_some() {
            fields.wrong("limit", Wrong::Conflict("page_size", "cannot be used together with page_size"));
        }
        let (field, size) = match &self.limit {
            Some(limit) => ("limit", Some(limit.as_str())),
            None => ("page_size", self.page_size.as_deref()),
        };
        let size = within(fields, field, size, LIMIT_DEFAULT, LIMIT_MAX);
        match &self.page {
            Some(page) => Paging::Page { number: within(fields, "page", Some(page), 1, PAGE_MAX), size },
            None => Paging::Cursor { cursor: self.cursor.clone(), limit: size },
        }
    }
}

fn within(fields: &mut Fields, field: &'static str, text: Option<&str>, default: i64, max: i64) -> i64 {
    let value = text.map_or(Some(default), |text| text.parse().ok()).filter(|value| (1..=max).contains(value));
    value.unwrap_or_else(|| {
        fields.wrong(field, Wrong::Between(1, max));
        default
    })
}

/// The `Link` header (RFC 8288): `first`, `prev` and `next` in the caller's way of paging, with the same filters.
fn links(
    path: &str,
    filters: &[String],
    asked: &PagingQuery,
    (paging, page): (&Paging, &Position),
) -> Result<[(header::HeaderName, HeaderValue); 1]> {
    let size = page.page_size.to_string();
    let link = |rel: &str, own: PagingQuery| {
        let own = PagingQuery { total: asked.total.clone(), ..own };
        let parts: Vec<String> =
            filters.iter().cloned().chain([written_query(&own)]).filter(|part| !part.is_empty()).collect();
        format!("<{path}?{}>; rel=\"{rel}\"", parts.join("&"))
    };
    let numbered = |number: i64| PagingQuery {
        page: Some(number.to_string()),
        page_size: Some(size.clone()),
        ..PagingQuery::default()
    };
    let by_cursor =
        |cursor: Option<String>| PagingQuery { cursor, limit: Some(size.clone()), ..PagingQuery::default() };
    let (has_next, has_prev) = (page.next_cursor.is_some(), page.prev_cursor.is_some());
    let links = match paging {
        Paging::Page { number, .. } => [
            Some(link("first", numbered(1))),
            (*number > 1).then(|| link("prev", numbered(number.saturating_sub(1)))),
            (has_next && *number < PAGE_MAX).then(|| link("next", numbered(number.saturating_add(1)))),
        ],
        Paging::Cursor { .. } => [
            Some(link("first", by_cursor(None))),
            has_prev.then(|| link("prev", by_cursor(page.prev_cursor.clone()))),
            has_next.then(|| link("next", by_cursor(page.next_cursor.clone()))),
        ],
    };
    let value = links.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Ok([(header::LINK, HeaderValue::try_from(value).map_err(Error::internal)?)])
}

/// My transactions
///
/// Newest first unless `sort` says otherwise. `page` and `page_size`, or `cursor` and `limit`: the same rows in the same order.
/// A cursor belongs to its filters, its order and its caller.
#[utoipa::path(get, path = "/v1/transactions", tag = "transactions", security(("bearer" = [])),
    params(FilterQuery, PagingQuery),
    responses((status = 200, body = Page<TransactionView>, headers(("Link" = String, description = "`first`, `prev`, `next`"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn list(State(app): State<App>, caller: Caller, Query(query): Query<OwnQuery>) -> Result<impl IntoResponse> {
    let mut fields = Fields::of_query();
    let (filter, sort) = query.filter.parse(&mut fields, Scope::Own(caller.user_id));
    let (paging, counts) = (query.paging.parse(&mut fields), query.paging.counts(&mut fields));
    fields.finish()?;
    let page = super::list(&app, caller.user_id, Selection { filter, sort }, paging.clone(), counts).await?;
    let filters = [written_query(&query.filter)];
    let links = links("/v1/transactions", &filters, &query.paging, (&paging, &page.page))?;
    Ok((links, Json(page.map(TransactionView::from))))
}

/// Everybody's transactions
///
/// As `/v1/transactions`, over all customers or one. Needs `transactions.read`.
#[utoipa::path(get, path = "/v1/admin/transactions", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(FilterQuery, StaffQuery, PagingQuery),
    responses((status = 200, body = Page<StaffTransactionView>, headers(("Link" = String, description = "`first`, `prev`, `next`"))),
        (status = 422, description = "`query_too_broad`"), Problems))]
async fn list_all(
    State(app): State<App>,
    staff: Staff<TransactionsRead>,
    Query(query): Query<AllQuery>,
) -> Result<impl IntoResponse> {
    let mut fields = Fields::of_query();
    let (mut filter, sort) = query.filter.parse(&mut fields, Scope::All);
    query.staff.narrow(&mut fields, &mut filter);
    let (paging, counts) = (query.paging.parse(&mut fields), query.paging.counts(&mut fields));
    fields.finish()?;
    let page = super::list(&app, staff.user_id, Selection { filter, sort }, paging.clone(), counts).await?;
    let filters = [written_query(&query.filter), written_query(&query.staff)];
    let links = links("/v1/admin/transactions", &filters, &query.paging, (&paging, &page.page))?;
    Ok((links, Json(page.map(StaffTransactionView::from))))
}

/// One of my transactions
///
/// With every state that it came into and its transfers in the ledger. `ETag` and `If-None-Match` spare the body where nothing
/// has changed. With `wait` and `state_not` the answer comes when the state is another one (a long poll), or when the time is over:
/// look at the state, and ask again. Who waits in too many places is told `rate_limited`, when all do `unavailable`; `unauthenticated`
/// also when the session or the token ends while it waits.
#[utoipa::path(get, path = "/v1/transactions/{id}", tag = "transactions", security(("bearer" = [])),
    params(("id" = Uuid, Path), WaitQuery, ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = OwnDetail, headers(("ETag" = String))), (status = 304, description = "As it was"), Problems))]
async fn show(
    State(app): State<App>,
    waiter: Waiter,
    Path(id): Path<Uuid>,
    Query(query): Query<WaitQuery>,
    asked: Asked,
) -> Result<Response> {
    let wanted = query.parse()?;
    // Boxed, each of them: what a step needs is not kept for as long as the wait takes.
    let found = Box::new(Box::pin(super::find_own(&app, waiter.tenure.user, id)).await?);
    let wanted = wanted.filter(|wanted| wanted.state_not.contains(&found.0.shown_state()));
    let Some(wanted) = wanted else { return Box::pin(own_detail(&app, *found, &asked)).await };
    drop(found);
    let _turn = waiting::wait(&app, id, &wanted, waiter.tenure, &waiter.waits).await?;
    Box::pin(read_own(&app, waiter.tenure.user, id, &asked)).await
}

/// One transaction
///
/// With what Revio said of it and what staff decided about it. Needs `transactions.read`.
#[utoipa::path(get, path = "/v1/admin/transactions/{id}", tag = "staff", security(("bearer" = ["transactions.read"])),
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = StaffDetail, headers(("ETag" = String))), (status = 304, description = "As it was"), Problems))]
async fn show_any(
    State(app): State<App>,
    _staff: Staff<TransactionsRead>,
    Path(id): Path<Uuid>,
    asked: Asked,
) -> Result<Response> {
    let found = super::find(&app, id).await?;
    let events = super::events(&app, &found.0).await?;
    let approvals = approvals::list(&app, &[id]).await?;
    let links = super::links(&app, id).await?;
    let detail = super::detail(&app, found).await?;
    tagged(&asked, &StaffDetail::new(detail, events, approvals, links))
}

async fn read_own(app: &App, user: Uuid, id: Uuid, asked: &Asked) -> Result<Response> {
    let found = super::find_own(app, user, id).await?;
    own_detail(app, found, asked).await
}

async fn own_detail(app: &App, found: (Transaction, Vec<StateAt>), asked: &Asked) -> Result<Response> {
    let detail = super::detail(app, found).await?;
    tagged(asked, &OwnDetail::from(detail))
}

/// The body with a strong `ETag` from its bytes, or 304 where the caller has them already.
fn tagged(asked: &Asked, body: &impl Serialize) -> Result<Response> {
    let bytes = serde_json::to_vec(body).map_err(Error::internal)?;
    // It may be kept by the caller alone, and not be used without asking.
    Ok(Download::new("application/json", bytes).only_whole().cached("private, no-cache").answer(asked))
}
