//! `GET/POST /v1/admin/journals`, `GET /v1/admin/journals/{id}` and what is said of one: `approve`, `decline`, `arrived`, `returned`, `resolve`.

use axum::{extract::State as AppState, http::StatusCode, response::IntoResponse};
use chrono::{NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::kinds::{Facts, Side};
use super::{
    Arrival, Evidence, EvidenceKind, Failure, Filter, Journal, JournalFailureView, Kind, NewJournal, OpenAccount,
    Outcome, Resolution, State,
};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::money::approvals::routes::{decision_bodies, parse_note, take_of};
use crate::money::approvals::{self, Approval};
use crate::money::transactions::routes::parse_amount;
use crate::platform::error::{Result, Wrong};
use crate::platform::http::{
    Fields, IdempotencyKey, Json, Page, Path, Query, fields, json::Object, located, page, page_query, replayed,
};
use crate::platform::permissions::{HeldResolve, JournalsApprove, JournalsCreate, JournalsRead};
use crate::platform::{clock::DateTime, problems::Problems};

const TEXT_CHARS_MAX: usize = 500;
const REFERENCE_CHARS_MAX: usize = 255;
/// Nothing of ours is older.
const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a date");

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, propose))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(decline))
        .routes(routes!(arrived))
        .routes(routes!(returned))
        .routes(routes!(resolve))
}

/// What proves it; the file itself is kept elsewhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EvidenceBody {
    #[schema(value_type = EvidenceKind, example = "provider_statement")]
    kind: String,
    /// The statement's line, the number of the invoice; of `provider_object` the object's id. No personal data.
    #[schema(min_length = 1, max_length = 255, example = "2026-03 line 17")]
    reference: String,
    /// SHA-256 of the file.
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    sha256: String,
    /// The day that it is of: not to come.
    #[schema(value_type = NaiveDate, example = "2026-03-02")]
    date: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewJournalBody {
    #[schema(value_type = Kind)]
    kind: String,
    /// Minor units (cents).
    #[schema(example = 2_500, minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount: i64,
    #[schema(example = "ZAR")]
    currency: String,
    /// Where the kind leaves one side open: `provider_invoice`, `suspense_in` and `suspense_return` name `provider_balance` or `bank`, a
    /// `result` the account that is emptied.
    #[schema(value_type = Option<OpenAccount>)]
    account: Option<String>,
    /// Of a `write_off`: whose debt.
    user_id: Option<Uuid>,
    /// Of a `suspense_return` or `suspense_release`: what is cleared. See `/v1/admin/suspense-items`.
    item_id: Option<Uuid>,
    #[schema(value_type = EvidenceBody)]
    evidence: Object<EvidenceBody>,
    /// Why; the checker approves it too. No personal data.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

impl NewJournalBody {
    fn parse(&self, app: &App) -> Result<NewJournal> {
        let mut fields = Fields::default();
        let kind: Option<Kind> = fields.word("kind", Some(&self.kind));
        let amount = parse_amount(&mut fields, self.amount, app.currency(&self.currency));
        let account: Option<OpenAccount> = fields.word("account", self.account.as_deref());
        let reason = fields.text("reason", &self.reason, 1..=TEXT_CHARS_MAX);
        if let Some(kind) = kind {
            self.check_names(&mut fields, kind, account);
        }
        let evidence = self.evidence.0.parse(app, &mut fields, kind);
        let ((kind, amount), evidence) = fields.finish_with(kind.zip(amount).zip(evidence))?;
        let (user_id, item_id) = (self.user_id, self.item_id);
        Ok(NewJournal { kind, amount, account, user_id, item_id, evidence, reason })
    }

    /// Whether it names what its kind needs, and nothing else.
    fn check_names(&self, fields: &mut Fields, kind: Kind, account: Option<OpenAccount>) {
        let Facts { accounts, credit, .. } = kind.facts();
        let said = account.is_some_and(|account| accounts.contains(&account));
        let names: Vec<_> = accounts.iter().map(|account| account.name().to_owned()).collect();
        let others = format!("must be {} for {}", names.join(" or "), kind.name());
        let not_for_it = || (Wrong::Conflict("kind", ""), format!("is not for {}", kind.name()));
        let wrong = match (accounts.is_empty(), &self.account) {
            (true, Some(_)) => Some(not_for_it()),
            (false, None) => Some((Wrong::Required, others)),
            (false, Some(_)) if account.is_some() && !said => Some((Wrong::OneOf(names), others)),
            _ => None,
        };
        if let Some((wrong, message)) = wrong {
            fields.say("account", wrong, message);
        }
        for (field, named, needed) in [
            ("user_id", self.user_id.is_some(), credit == Side::Receivable),
            ("item_id", self.item_id.is_some(), kind.clears_suspense()),
        ] {
            match (named, needed) {
                (false, true) => fields.say(field, Wrong::Required, format!("is required for {}", kind.name())),
                (true, false) => {
                    let (wrong, message) = not_for_it();
                    fields.say(field, wrong, message);
                }
                _ => {}
            }
        }
    }
}

impl EvidenceBody {
    fn parse(&self, app: &App, fields: &mut Fields, of: Option<Kind>) -> Option<Evidence> {
        let kind: Option<EvidenceKind> = fields.word("evidence.kind", Some(&self.kind));
        if let Some((of, kind)) = of.zip(kind)
            && !of.facts().evidence.contains(&kind)
        {
            let names: Vec<_> = of.facts().evidence.iter().map(|kind| kind.name().to_owned()).collect();
            let message = format!("must be {} for {}", names.join(" or "), of.name());
            fields.say("evidence.kind", Wrong::OneOf(names), message);
        }
        let reference = fields.text("evidence.reference", &self.reference, 1..=REFERENCE_CHARS_MAX);
        // Spelled as Revio spells its ids, by which it is found again.
        let reference = reference.parse::<Uuid>().map_or(reference, |id| id.to_string());
        if kind == Some(EvidenceKind::ProviderObject) && reference.parse::<Uuid>().is_err() {
            fields.wrong("evidence.reference", Wrong::Format("must be the id of Revio's object"));
        }
        let sha256 = parse_sha256(fields, "evidence.sha256", &self.sha256);
        let date = parse_day(app, fields, "evidence.date", &self.date);
        let ((kind, sha256), date) = kind.zip(sha256).zip(date)?;
        Some(Evidence { kind, reference, sha256, date })
    }
}

fn parse_sha256(fields: &mut Fields, field: &'static str, text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Some(bytes),
        Err(_) => {
            fields.wrong(field, Wrong::Format("must have 64 hexadecimal digits"));
            None
        }
    }
}

/// A day on which it may have been so somewhere in the world.
fn parse_day(app: &App, fields: &mut Fields, field: &'static str, text: &str) -> Option<NaiveDate> {
    let today = (app.clock.now() + TimeDelta::hours(14)).date_naive();
    let day = fields::day(text).filter(|day| (FIRST_DAY..=today).contains(day));
    if day.is_none() {
        fields.wrong(field, Wrong::Format("must be a date as in 2026-03-01, and not to come"));
    }
    day
}

/// The line that says so: Revio's or the bank's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ArrivalBody {
    /// No personal data.
    #[schema(min_length = 1, max_length = 255, example = "2026-03-04 line 3")]
    reference: String,
    /// SHA-256 of the file.
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    sha256: String,
    #[schema(value_type = NaiveDate, example = "2026-03-04")]
    date: String,
}

impl ArrivalBody {
    fn parse(&self, app: &App, outcome: Outcome) -> Result<Arrival> {
        let mut fields = Fields::default();
        let reference = fields.text("reference", &self.reference, 1..=REFERENCE_CHARS_MAX);
        let sha256 = parse_sha256(&mut fields, "sha256", &self.sha256);
        let date = parse_day(app, &mut fields, "date", &self.date);
        let (sha256, date) = fields.finish_with(sha256.zip(date))?;
        Ok(Arrival { outcome, reference, sha256, date })
    }
}

decision_bodies! {
    ApproveJournalBody { journal_hash, note: Option<String> }
    DeclineJournalBody { journal_hash, note: String }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveJournalBody {
    #[schema(value_type = Resolution)]
    action: String,
    /// For the audit log: why. No personal data.
    #[schema(min_length = 1, max_length = 500)]
    note: String,
}

#[derive(Serialize, ToSchema)]
struct EvidenceView {
    kind: EvidenceKind,
    reference: String,
    sha256: String,
    date: NaiveDate,
}

#[derive(Serialize, ToSchema)]
struct ArrivalView {
    outcome: Outcome,
    reference: String,
    sha256: String,
    date: NaiveDate,
}

#[derive(Serialize, ToSchema)]
struct JournalView {
    id: Uuid,
    kind: Kind,
    state: State,
    /// Minor units (cents).
    #[schema(example = 2_500)]
    amount: i64,
    #[schema(example = "ZAR")]
    currency: &'static str,
    /// The accounts, as the chart names them.
    #[schema(example = "bank")]
    debit: &'static str,
    #[schema(example = "provider_balance")]
    credit: &'static str,
    account: Option<OpenAccount>,
    user_id: Option<Uuid>,
    item_id: Option<Uuid>,
    evidence: EvidenceView,
    /// Up to 20 other journals that name the same line of the same file: look whether it is booked already.
    same_evidence: Vec<Uuid>,
    reason: String,
    /// The maker.
    requested_by: Uuid,
    failure_reason: Option<Failure>,
    failure: Option<JournalFailureView>,
    /// Why a person must look: see `resolve`.
    held_reason: Option<String>,
    /// Over everything that is approved: send it back with the decision.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    journal_hash: String,
    /// How many people besides the maker must approve it, by today's thresholds.
    approvals_needed: i64,
    /// What was decided, oldest first.
    approvals: Vec<Approval>,
    /// Of money on its way: since when, until when it should be there, and what was said of it.
    sent_at: Option<DateTime>,
    expected_on: Option<NaiveDate>,
    arrival: Option<ArrivalView>,
    created_at: DateTime,
    updated_at: DateTime,
    ended_at: Option<DateTime>,
}

impl JournalView {
    fn of(app: &App, journal: Journal, approvals: &mut Vec<Approval>) -> Self {
        let (hash, approvals_needed) = (journal.hash(), journal.needed(app));
        let (debit, credit) = journal.side_names();
        let Evidence { kind, reference, sha256, date } = journal.evidence;
        Self {
            id: journal.id,
            kind: journal.kind,
            state: journal.state,
            amount: journal.amount.minor(),
            currency: journal.amount.currency().code(),
            debit,
            credit,
            account: journal.account,
            user_id: journal.user_id,
            item_id: journal.item_id,
            evidence: EvidenceView { kind, reference, sha256: hex::encode(sha256), date },
            same_evidence: journal.same_evidence,
            reason: journal.reason,
            requested_by: journal.requested_by,
            failure_reason: journal.failure,
            failure: journal.failure.map(JournalFailureView::from),
            held_reason: journal.held_reason,
            journal_hash: hash.hex(),
            approvals_needed,
            approvals: take_of(approvals, journal.id),
            sent_at: journal.sent_at,
            expected_on: journal.expected_on,
            arrival: journal.arrival.map(|Arrival { outcome, reference, sha256, date }| ArrivalView {
                outcome,
                reference,
                sha256: hex::encode(sha256),
                date,
            }),
            created_at: journal.created_at,
            updated_at: journal.updated_at,
            ended_at: journal.ended_at,
        }
    }

    async fn with_approvals(app: &App, journal: Journal) -> Result<Json<Self>> {
        let mut approvals = approvals::list(app, &[journal.id]).await?;
        Ok(Json(Self::of(app, journal, &mut approvals)))
    }
}

page_query! {
    struct JournalQuery {
        #[param(inline, value_type = Option<Kind>)]
        kind: Option<String>,
        #[param(inline, value_type = Option<State>)]
        state: Option<String>,
        /// Only those that a person must look at, or only the others.
        held: Option<bool>,
    }
}

/// The company's journals
///
/// Newest first. Needs `journals.read`.
#[utoipa::path(get, path = "/v1/admin/journals", tag = "staff", security(("bearer" = ["journals.read"])),
    params(JournalQuery),
    responses((status = 200, body = Page<JournalView>), Problems))]
async fn list(
    AppState(app): AppState<App>,
    _staff: Staff<JournalsRead>,
    Query(query): Query<JournalQuery>,
) -> Result<Json<Page<JournalView>>> {
    let mut fields = Fields::of_query();
    let kind = fields.word("kind", query.kind.as_deref());
    let state = fields.word("state", query.state.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let page = super::list(&app, &Filter { kind, state, held: query.held, before, limit }).await?;
    let ids: Vec<Uuid> = page.iter().map(|journal| journal.id).collect();
    let mut approvals = approvals::list(&app, &ids).await?;
    let views = page.into_iter().map(|journal| JournalView::of(&app, journal, &mut approvals)).collect();
    Ok(Json(Page::by_id(views, limit, |view: &JournalView| view.id)))
}

/// Propose a journal
///
/// Nothing moves until somebody else approves it. Needs `journals.create`. The key is the proposer's own. Audited.
#[utoipa::path(post, path = "/v1/admin/journals", tag = "staff", security(("bearer" = ["journals.create"])),
    request_body = NewJournalBody,
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters", max_length = 255)),
    responses((status = 201, body = JournalView),
        (status = 403, description = "`forbidden`: also for what one owes oneself"),
        (status = 404, description = "`not_found`: there is no such customer"),
        (status = 422, description = "`idempotency_key_reused`"), Problems))]
async fn propose(
    AppState(app): AppState<App>,
    staff: Staff<JournalsCreate>,
    key: IdempotencyKey,
    Json(body): Json<NewJournalBody>,
) -> Result<impl IntoResponse> {
    let proposed = super::propose(&app, &staff.member(), body.parse(&app)?, key).await?;
    let place = located(format_args!("/v1/admin/journals/{}", proposed.journal.id));
    let view = JournalView::with_approvals(&app, proposed.journal).await?;
    Ok((StatusCode::CREATED, place, replayed(proposed.replayed), view))
}

/// One journal
///
/// Needs `journals.read`.
#[utoipa::path(get, path = "/v1/admin/journals/{id}", tag = "staff", security(("bearer" = ["journals.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = JournalView), Problems))]
async fn show(
    AppState(app): AppState<App>,
    _staff: Staff<JournalsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<JournalView>> {
    JournalView::with_approvals(&app, super::find(&app, id).await?).await
}

/// Approve a journal
///
/// With enough approvals it is booked at once: `completed`, `in_transit`, or `rejected` with the reason; `cancelled` when who proposed it
/// may not any more. Needs `journals.approve`, and never its maker. Audited.
#[utoipa::path(post, path = "/v1/admin/journals/{id}/approve", tag = "staff", security(("bearer" = ["journals.approve"])),
    params(("id" = Uuid, Path)), request_body = ApproveJournalBody,
    responses((status = 200, body = JournalView),
        (status = 403, description = "`forbidden`: also for its maker, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not what was seen"), Problems))]
async fn approve(
    AppState(app): AppState<App>,
    staff: Staff<JournalsApprove>,
    Path(id): Path<Uuid>,
    Json(body): Json<ApproveJournalBody>,
) -> Result<Json<JournalView>> {
    let journal = super::approve(&app, &body.decide(staff)?, id).await?;
    JournalView::with_approvals(&app, journal).await
}

/// Decline a journal
///
/// Nothing moves. Needs `journals.approve`, and never its maker. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/journals/{id}/decline", tag = "staff", security(("bearer" = ["journals.approve"])),
    params(("id" = Uuid, Path)), request_body = DeclineJournalBody,
    responses((status = 200, body = JournalView),
        (status = 403, description = "`forbidden`: also for its maker"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not what was seen"), Problems))]
async fn decline(
    AppState(app): AppState<App>,
    staff: Staff<JournalsApprove>,
    Path(id): Path<Uuid>,
    Json(body): Json<DeclineJournalBody>,
) -> Result<Json<JournalView>> {
    let journal = super::decline(&app, &body.decide(staff)?, id).await?;
    JournalView::with_approvals(&app, journal).await
}

/// It has arrived
///
/// Of a settlement or float top-up that is `in_transit`: it is posted. The same line again changes nothing. Needs `journals.create`, and
/// never its maker. Audited.
#[utoipa::path(post, path = "/v1/admin/journals/{id}/arrived", tag = "staff", security(("bearer" = ["journals.create"])),
    params(("id" = Uuid, Path)), request_body = ArrivalBody,
    responses((status = 200, body = JournalView),
        (status = 403, description = "`forbidden`: also for its maker, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`stale_state`: it is not on its way, or something else was said of it"), Problems))]
async fn arrived(
    AppState(app): AppState<App>,
    staff: Staff<JournalsCreate>,
    Path(id): Path<Uuid>,
    Json(body): Json<ArrivalBody>,
) -> Result<Json<JournalView>> {
    land(&app, &staff, id, body.parse(&app, Outcome::Arrived)?).await
}

/// It came back
///
/// As `arrived`, with the line that says that it did not arrive: it is voided. Needs `journals.create`, and never its maker. Audited.
#[utoipa::path(post, path = "/v1/admin/journals/{id}/returned", tag = "staff", security(("bearer" = ["journals.create"])),
    params(("id" = Uuid, Path)), request_body = ArrivalBody,
    responses((status = 200, body = JournalView),
        (status = 403, description = "`forbidden`: also for its maker, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`stale_state`: it is not on its way, or something else was said of it"), Problems))]
async fn returned(
    AppState(app): AppState<App>,
    staff: Staff<JournalsCreate>,
    Path(id): Path<Uuid>,
    Json(body): Json<ArrivalBody>,
) -> Result<Json<JournalView>> {
    land(&app, &staff, id, body.parse(&app, Outcome::Returned)?).await
}

async fn land(app: &App, staff: &Staff<JournalsCreate>, id: Uuid, arrival: Arrival) -> Result<Json<JournalView>> {
    let journal = super::land(app, &staff.member(), id, arrival).await?;
    JournalView::with_approvals(app, journal).await
}

/// Resolve a journal on hold
///
/// `retry` lets it go on, `dismiss` ends it while the ledger was not asked, or has lost what it held. Needs `held.resolve`. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/journals/{id}/resolve", tag = "staff", security(("bearer" = ["held.resolve"])),
    params(("id" = Uuid, Path)), request_body = ResolveJournalBody,
    responses((status = 200, body = JournalView),
        (status = 409, description = "`stale_state`: it is not on hold"), Problems))]
async fn resolve(
    AppState(app): AppState<App>,
    staff: Staff<HeldResolve>,
    Path(id): Path<Uuid>,
    Json(body): Json<ResolveJournalBody>,
) -> Result<Json<JournalView>> {
    let mut fields = Fields::default();
    let how = fields.word("action", Some(&body.action));
    let note = parse_note(&mut fields, &body.note);
    let journal = super::resolve(&app, &staff.actor, id, fields.finish_with(how)?, &note).await?;
    JournalView::with_approvals(&app, journal).await
}
