//! `GET`, `POST /v1/admin/reconciliation/runs`, `GET /v1/admin/reconciliation/runs/{id}`, `GET /v1/admin/reconciliation/breaks`, `GET
//! /v1/admin/reconciliation/breaks/{id}`, `POST /v1/admin/reconciliation/breaks/{id}/assign`, `/note`, `/resolve`, `/accept`.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::breaks::{self, Break, BreakState, Code, Filter, NewNote, Note, Resolution};
use super::found::{BreakType, Owner, ReconciliationLeg, Severity};
use super::report::{self, Report};
use super::run::{Run, RunKind, RunState};
use super::runs;
use crate::app::App;
use crate::finance::trial_balance;
use crate::identity::staff::Staff;
use crate::platform::error::{Result, Wrong};
use crate::platform::http::{Asked, Fields, Json, Page, Path, Query, download::Parts, located, page, page_query};
use crate::platform::permissions::{ReconciliationRead, ReconciliationResolve, ReconciliationRun};
use crate::platform::{clock::DateTime, problems::Problems, text_enum::text_enum};

const NOTE_CHARS_MAX: usize = 500;
/// More days than any break is old.
const AGE_DAYS_MAX: i64 = 36_500;
/// Seconds until it is worth looking at a run again.
const LOOK_AGAIN_SECS: u64 = 10;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, start))
        .routes(routes!(show_run))
        .routes(routes!(list_breaks))
        .routes(routes!(show_break))
        .routes(routes!(assign))
        .routes(routes!(note))
        .routes(routes!(resolve))
        .routes(routes!(accept))
}

text_enum! {
    #[schema(as = ReconciliationFormat)]
    pub enum Format {
        Json = "json",
        Csv = "csv",
    }
}

text_enum! {
    /// Those that a person may start.
    #[schema(as = NewReconciliationRunKind)]
    pub enum NewKind {
        QuarterHour = "quarter_hour",
        Daily = "daily",
        Manual = "manual",
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRunBody {
    #[schema(value_type = NewKind, example = "manual")]
    kind: String,
    /// `manual`: what changed since this time is looked at: RFC 3339, or a date, which is its first moment in UTC. Default: two days.
    since: Option<String>,
}

page_query! { struct PageQuery {} }

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FormatQuery {
    /// Default `json`.
    #[param(inline, value_type = Option<Format>)]
    format: Option<String>,
}

page_query! {
    struct BreakQuery {
        #[param(value_type = Option<BreakState>)]
        state: Option<String>,
        #[serde(rename = "type")]
        #[param(value_type = Option<BreakType>)]
        kind: Option<String>,
        #[param(value_type = Option<Severity>)]
        severity: Option<String>,
        #[param(value_type = Option<Owner>)]
        owner: Option<String>,
        /// In days.
        #[param(minimum = 0, maximum = 36500)]
        min_age: Option<i64>,
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReconciliationRun)]
struct RunView {
    id: Uuid,
    kind: RunKind,
    legs: Vec<String>,
    state: RunState,
    since: DateTime,
    until: DateTime,
    #[schema(value_type = String, format = Date)]
    accounting_day: NaiveDate,
    /// A user's id, `system` or `operator`.
    requested_by: String,
    started_at: DateTime,
    finished_at: Option<DateTime>,
    /// What was looked at and what came of it, by name.
    #[schema(value_type = Object)]
    counts: Value,
    /// Sums that were compared, by currency and name; minor units as text.
    #[schema(value_type = Object)]
    sums: Value,
    /// Of the report as JSON, to the byte; null while it runs.
    report_sha256: Option<String>,
    /// Why it failed, or what its last step met.
    error: Option<String>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        // What a run meets stands in words of ours; where it is not over the state says so.
        let error = (run.state == RunState::Failed).then(|| "the run was given up; the log says why".to_owned());
        Self {
            id: run.id,
            kind: run.kind,
            legs: run.legs,
            state: run.state,
            since: run.since,
            until: run.until,
            accounting_day: run.accounting_day,
            requested_by: run.requested_by,
            started_at: run.started_at,
            finished_at: run.finished_at,
            counts: run.counts,
            sums: run.sums,
            report_sha256: run.report_sha256.map(hex::encode),
            error,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Break)]
struct BreakView {
    id: Uuid,
    #[serde(rename = "type")]
    kind: BreakType,
    severity: Severity,
    leg: ReconciliationLeg,
    state: BreakState,
    #[schema(example = "ZAR")]
    currency: Option<String>,
    /// What there should be and what there is; minor units (cents). Null where it is not a matter of sums.
    #[schema(example = 150_000)]
    expected: Option<i64>,
    #[schema(example = 0)]
    actual: Option<i64>,
    /// Actual less expected, one that is null counting as nothing; null where both are.
    #[schema(example = -150_000)]
    difference: Option<i64>,
    transaction_id: Option<Uuid>,
    journal_id: Option<Uuid>,
    transfer_id: Option<Uuid>,
    /// Revio's object.
    provider_id: Option<Uuid>,
    /// Of a statement.
    line_id: Option<Uuid>,
    account_code: Option<i32>,
    /// Since when it differs; the age counts from here.
    since: DateTime,
    first_seen_at: DateTime,
    last_seen_at: DateTime,
    sightings: i32,
    opened_at: Option<DateTime>,
    ended_at: Option<DateTime>,
    reopened: i32,
    heal_attempts: i32,
    owner: Owner,
    assigned_to: Option<Uuid>,
    /// Facts, none of them about a person.
    #[schema(value_type = Object)]
    evidence: Value,
    /// The run that looked at it last.
    last_run_id: Uuid,
    /// Who wants to accept it: somebody else agrees.
    acceptance_by: Option<Uuid>,
    acceptance_note: Option<String>,
    resolution: Option<Code>,
    resolution_note: Option<String>,
    resolved_by: Option<Uuid>,
    accepted_by: Option<Uuid>,
    journal: Option<Uuid>,
    adjustment: Option<Uuid>,
}

impl From<Break> for BreakView {
    fn from(found: Break) -> Self {
        Self {
            difference: found.difference(),
            id: found.id,
            kind: found.kind,
            severity: found.severity,
            leg: found.leg,
            state: found.state,
            currency: found.currency,
            expected: found.expected_minor,
            actual: found.actual_minor,
            transaction_id: found.transaction_id,
            journal_id: found.journal_id,
            transfer_id: found.transfer_id,
            provider_id: found.provider_id,
            line_id: found.line_id,
            account_code: found.account_code,
            since: found.since,
            first_seen_at: found.first_seen_at,
            last_seen_at: found.last_seen_at,
            sightings: found.sightings,
            opened_at: found.opened_at,
            ended_at: found.ended_at,
            reopened: found.reopened,
            heal_attempts: found.heal_attempts,
            owner: found.owner,
            assigned_to: found.assigned_to,
            evidence: found.evidence,
            last_run_id: found.last_run_id,
            acceptance_by: found.acceptance_by,
            acceptance_note: found.acceptance_note,
            resolution: found.resolution,
            resolution_note: found.resolution_note,
            resolved_by: found.resolved_by,
            accepted_by: found.accepted_by,
            journal: found.resolving_journal_id,
            adjustment: found.resolving_adjustment_id,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct BreakWithNotes {
    #[serde(flatten)]
    found: BreakView,
    /// The latest, newest first.
    notes: Vec<Note>,
}

async fn with_notes(app: &App, found: Break) -> Result<Json<BreakWithNotes>> {
    let notes = breaks::notes(app, found.id).await?;
    Ok(Json(BreakWithNotes { found: found.into(), notes }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssignBody {
    #[schema(value_type = Owner)]
    owner: String,
    /// Who of staff has it in hand; null = nobody yet.
    assigned_to: Option<Uuid>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NoteBody {
    /// No personal data.
    #[schema(min_length = 1, max_length = 500, example = "asked Revio, ticket 4711")]
    note: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveBreakBody {
    /// `booked` names the finished journal or correction of the sum that differs, and so does `our_error` where money is in it. `accepted`: it
    /// stays as it is, once somebody else has agreed.
    #[schema(value_type = Code, example = "provider_error")]
    code: String,
    /// What was found. No personal data.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "Revio confirmed that it was paid twice and has sent it back"
    )]
    note: String,
    journal_id: Option<Uuid>,
    adjustment_id: Option<Uuid>,
}

/// Runs
///
/// Newest first. Needs `reconciliation.read`.
#[utoipa::path(get, path = "/v1/admin/reconciliation/runs", tag = "staff", security(("bearer" = ["reconciliation.read"])),
    params(PageQuery), responses((status = 200, body = Page<RunView>), Problems))]
async fn list_runs(
    State(app): State<App>,
    _staff: Staff<ReconciliationRead>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RunView>>> {
    let mut fields = Fields::of_query();
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let rows = runs::list(&app, before, limit).await?;
    Ok(Json(Page::by_id(rows, limit, |run| run.id)))
}

/// Start a run
///
/// The background works on it. Needs `reconciliation.run`.
#[utoipa::path(post, path = "/v1/admin/reconciliation/runs", tag = "staff", security(("bearer" = ["reconciliation.run"])),
    request_body = NewRunBody,
    responses((status = 202, body = RunView, headers(("Retry-After" = u64, description = "Seconds to wait before the first look"))),
        (status = 409, description = "`stale_state`: another run is under way"), Problems))]
async fn start(
    State(app): State<App>,
    staff: Staff<ReconciliationRun>,
    Json(body): Json<NewRunBody>,
) -> Result<impl IntoResponse> {
    let mut fields = Fields::default();
    let kind: Option<NewKind> = fields.word("kind", Some(&body.kind));
    let since = body.since.as_deref().and_then(|time| fields.moment("since", time));
    if since.is_some() && kind.is_some_and(|kind| kind != NewKind::Manual) {
        fields.wrong("since", Wrong::Conflict("kind", "is only for a manual run"));
    } else if since.is_some_and(|since| since > app.clock.now()) {
        fields.wrong("since", "has not come yet");
    }
    let kind = match fields.finish_with(kind)? {
        NewKind::QuarterHour => RunKind::QuarterHour,
        NewKind::Daily => RunKind::Daily,
        NewKind::Manual => RunKind::Manual,
    };
    let run = runs::start_by(&app, &staff.actor, (staff.new_row(&app), kind), since).await?;
    app.notifier.wake();
    Ok(accepted(run))
}

fn accepted(run: Run) -> impl IntoResponse {
    let place = located(format_args!("/v1/admin/reconciliation/runs/{}", run.id));
    let again = (run.state == RunState::Running).then(|| [(header::RETRY_AFTER, HeaderValue::from(LOOK_AGAIN_SECS))]);
    (StatusCode::ACCEPTED, place, again, Json(RunView::from(run)))
}

/// A run's report
///
/// As it was written when the run was finished, to the byte: `report_sha256` of the run is of the JSON. As CSV its breaks. Where there is none
/// the run is answered, with 202: its `state` tells whether one is to come (`running`: ask again after `Retry-After`) or never will
/// (`failed`). Needs `reconciliation.read`.
#[utoipa::path(get, path = "/v1/admin/reconciliation/runs/{id}", tag = "staff",
    security(("bearer" = ["reconciliation.read"])), params(("id" = Uuid, Path), FormatQuery),
    responses((status = 200, content((Report = "application/json"), (String = "text/csv"))), Parts,
        (status = 202, body = RunView, description = "There is no report: it is not finished, or has failed",
            headers(("Retry-After" = u64, description = "Seconds to wait before the next look; not of a run that has failed"))), Problems))]
async fn show_run(
    State(app): State<App>,
    _staff: Staff<ReconciliationRead>,
    Path(id): Path<Uuid>,
    Query(query): Query<FormatQuery>,
    asked: Asked,
) -> Result<Response> {
    let mut fields = Fields::of_query();
    let format = fields.word("format", query.format.as_deref()).unwrap_or(Format::Json);
    fields.finish()?;
    let run = runs::find(&app, id).await?;
    let Some(report) = runs::stored_report(&app, run.id).await? else { return Ok(accepted(run).into_response()) };
    let file = match format {
        Format::Json => trial_balance::routes::json(report),
        Format::Csv => {
            trial_balance::routes::csv(format!("reconciliation-{id}.csv"), report::csv(&report::read(&report)?)?)
        }
    };
    Ok(file.answer(&asked))
}

/// Breaks
///
/// Newest first. Needs `reconciliation.read`.
#[utoipa::path(get, path = "/v1/admin/reconciliation/breaks", tag = "staff",
    security(("bearer" = ["reconciliation.read"])), params(BreakQuery),
    responses((status = 200, body = Page<BreakView>), Problems))]
async fn list_breaks(
    State(app): State<App>,
    _staff: Staff<ReconciliationRead>,
    Query(query): Query<BreakQuery>,
) -> Result<Json<Page<BreakView>>> {
    let mut fields = Fields::of_query();
    let state = fields.word("state", query.state.as_deref());
    let kind = fields.word("type", query.kind.as_deref());
    let severity = fields.word("severity", query.severity.as_deref());
    let owner = fields.word("owner", query.owner.as_deref());
    if query.min_age.is_some_and(|days| !(0..=AGE_DAYS_MAX).contains(&days)) {
        fields.wrong("min_age", Wrong::Between(0, AGE_DAYS_MAX));
    }
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let since = query.min_age.map(|days| app.clock.now() - TimeDelta::days(days));
    let filter = Filter { state, kind, severity, owner, since, before, limit };
    Ok(Json(Page::by_id(breaks::list(&app, &filter).await?, limit, |found| found.id)))
}

/// One break
///
/// With its notes. Needs `reconciliation.read`.
#[utoipa::path(get, path = "/v1/admin/reconciliation/breaks/{id}", tag = "staff",
    security(("bearer" = ["reconciliation.read"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = BreakWithNotes), Problems))]
async fn show_break(
    State(app): State<App>,
    _staff: Staff<ReconciliationRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<BreakWithNotes>> {
    with_notes(&app, breaks::find(&app, id).await?).await
}

/// Give a break to a team
///
/// And to somebody of it. Needs `reconciliation.resolve`. Audited.
#[utoipa::path(post, path = "/v1/admin/reconciliation/breaks/{id}/assign", tag = "staff",
    security(("bearer" = ["reconciliation.resolve"])), params(("id" = Uuid, Path)), request_body = AssignBody,
    responses((status = 200, body = BreakWithNotes), Problems))]
async fn assign(
    State(app): State<App>,
    staff: Staff<ReconciliationResolve>,
    Path(id): Path<Uuid>,
    Json(body): Json<AssignBody>,
) -> Result<Json<BreakWithNotes>> {
    let mut fields = Fields::default();
    let owner = fields.word("owner", Some(&body.owner));
    let owner = fields.finish_with(owner)?;
    with_notes(&app, breaks::assign(&app, &staff.actor, id, owner, body.assigned_to).await?).await
}

/// Note something about a break
///
/// Needs `reconciliation.resolve`. Audited.
#[utoipa::path(post, path = "/v1/admin/reconciliation/breaks/{id}/note", tag = "staff",
    security(("bearer" = ["reconciliation.resolve"])), params(("id" = Uuid, Path)), request_body = NoteBody,
    responses((status = 200, body = BreakWithNotes), Problems))]
async fn note(
    State(app): State<App>,
    staff: Staff<ReconciliationResolve>,
    Path(id): Path<Uuid>,
    Json(body): Json<NoteBody>,
) -> Result<Json<BreakWithNotes>> {
    let mut fields = Fields::default();
    let note = fields.text("note", &body.note, 1..=NOTE_CHARS_MAX);
    fields.finish()?;
    let new = NewNote { id: staff.new_row(&app), break_id: id, author: staff.actor.name(), text: &note };
    with_notes(&app, breaks::note(&app, &staff.actor, &new).await?).await
}

/// Say what became of a break
///
/// `accepted` leaves it open until somebody else has agreed (`/accept`). Needs `reconciliation.resolve`. Audited.
#[utoipa::path(post, path = "/v1/admin/reconciliation/breaks/{id}/resolve", tag = "staff",
    security(("bearer" = ["reconciliation.resolve"])), params(("id" = Uuid, Path)), request_body = ResolveBreakBody,
    responses((status = 200, body = BreakWithNotes), (status = 409, description = "`stale_state`: it has ended"), Problems))]
async fn resolve(
    State(app): State<App>,
    staff: Staff<ReconciliationResolve>,
    Path(id): Path<Uuid>,
    Json(body): Json<ResolveBreakBody>,
) -> Result<Json<BreakWithNotes>> {
    let mut fields = Fields::default();
    let code = fields.word("code", Some(&body.code));
    let note = fields.text("note", &body.note, 1..=NOTE_CHARS_MAX);
    if body.journal_id.is_some() && body.adjustment_id.is_some() {
        fields.wrong("adjustment_id", Wrong::Conflict("journal_id", "must not be given with journal_id"));
    }
    let code: Code = fields.finish_with(code)?;
    let resolution = Resolution { code, note, journal_id: body.journal_id, adjustment_id: body.adjustment_id };
    with_notes(&app, breaks::resolve(&app, &staff.member(), id, &resolution).await?).await
}

/// Agree that a break stays as it is
///
/// By somebody else than who asked for it, who has had the role for 24 hours. Needs `reconciliation.resolve`. Audited.
#[utoipa::path(post, path = "/v1/admin/reconciliation/breaks/{id}/accept", tag = "staff",
    security(("bearer" = ["reconciliation.resolve"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = BreakWithNotes),
        (status = 409, description = "`stale_state`: nobody asks for that who still may, or it has ended"), Problems))]
async fn accept(
    State(app): State<App>,
    staff: Staff<ReconciliationResolve>,
    Path(id): Path<Uuid>,
) -> Result<Json<BreakWithNotes>> {
    with_notes(&app, breaks::accept(&app, &staff.member(), id).await?).await
}
