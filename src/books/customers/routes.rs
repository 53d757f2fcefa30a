//! `GET /v1/admin/customers/{id}`, `POST …/sessions/end`, `POST …/resend-verification`. The notes are `identity/notes`, the protective freeze is
//! `money/restrictions`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{BankAccount, Customer, Look, Mail, Open, Restriction, Session, Sight};
use crate::app::App;
use crate::identity::notes::Note;
use crate::identity::users::routes::UserView;
use crate::identity::{emails, sessions, staff::Staff};
use crate::money::balances::routes::BalanceView;
use crate::platform::http::{Json, Path};
use crate::platform::permissions::{
    AuditRead, HeldRead, NotesRead, Permission, TransactionsRead, UsersEndSessions, UsersRead, UsersResendVerification,
};
use crate::platform::text_enum::text_enum;
use crate::platform::{clock::DateTime, error::Result, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(end_sessions)).routes(routes!(resend_verification))
}

/// Lists hold at most 20 rows each.
#[derive(Serialize, ToSchema)]
struct CustomerPage {
    profile: UserView,
    state: CustomerState,
    /// Null: see `withheld`.
    balances: Option<Vec<BalanceView>>,
    /// Newest first; without those that were deleted.
    bank_accounts: Vec<BankAccount>,
    /// Those that live, newest first.
    sessions: Vec<CustomerSession>,
    /// Newest first, without their text.
    mails: Vec<Mail>,
    /// Rows that go on by themselves or wait for an approval, newest first. Null: see `withheld`.
    open: Option<Vec<Open>>,
    /// Rows that wait for a person, newest first. Null: see `withheld`.
    held: Option<Vec<Open>>,
    /// Newest first. Null: see `withheld`.
    notes: Option<Vec<Note>>,
    /// Calls of staff that concerned the customer, this one too, newest first. Null: see `withheld`.
    staff_calls: Option<Vec<Look>>,
    /// Which parts are null, and why.
    withheld: Vec<Withheld>,
    links: Links,
}

#[derive(Serialize, ToSchema)]
struct CustomerState {
    email_verified: bool,
    /// Whether any account is frozen, or about to be.
    frozen: bool,
    closed: bool,
    second_factor_since: Option<DateTime>,
    /// When everything that says who it was went.
    erased_at: Option<DateTime>,
    /// By currency; without those that nothing is in the way of.
    restrictions: Vec<Restriction>,
}

#[derive(Serialize, ToSchema)]
struct CustomerSession {
    id: Uuid,
    user_agent: Option<String>,
    /// Of the address that it was begun from.
    #[schema(example = "203.0.113.0/24")]
    network: Option<String>,
    created_at: DateTime,
    /// To about a quarter of an hour.
    last_used_at: Option<DateTime>,
    expires_at: DateTime,
}

text_enum! {
    #[schema(as = WithheldReason)]
    enum Why {
        /// The caller's role lacks the permission.
        MissingPermission = "missing_permission",
        /// A part of the service does not answer just now.
        Unavailable = "unavailable",
    }
}

#[derive(Serialize, ToSchema)]
struct Withheld {
    #[schema(example = "staff_calls")]
    part: &'static str,
    reason: Why,
    /// The one that is missing.
    #[schema(example = "audit.read")]
    permission: Option<&'static str>,
}

/// Where the whole lists are.
#[derive(Serialize, ToSchema)]
struct Links {
    transactions: String,
    held: String,
    mails: String,
    notes: String,
    restrictions: String,
    audit: String,
}

impl Links {
    fn of(id: Uuid) -> Self {
        Self {
            transactions: format!("/v1/admin/transactions?user_id={id}"),
            held: format!("/v1/admin/transactions?user_id={id}&held=true"),
            mails: format!("/v1/admin/mails?user_id={id}"),
            notes: format!("/v1/admin/customers/{id}/notes"),
            restrictions: format!("/v1/admin/users/{id}/restrictions"),
            audit: format!("/v1/admin/audit?subject={id}"),
        }
    }
}

impl From<Session> for CustomerSession {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            user_agent: session.user_agent,
            network: session.address.as_deref().and_then(super::network),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
        }
    }
}

/// Which parts the caller's role does not show, or the ledger.
fn withheld(customer: &Customer) -> Vec<Withheld> {
    let hidden = [
        (customer.open.is_none(), "balances", TransactionsRead::NAME),
        (customer.open.is_none(), "open", TransactionsRead::NAME),
        (customer.held.is_none(), "held", HeldRead::NAME),
        (customer.notes.is_none(), "notes", NotesRead::NAME),
        (customer.looks.is_none(), "staff_calls", AuditRead::NAME),
    ];
    let hidden = hidden.into_iter().filter(|(is_hidden, ..)| *is_hidden);
    let hidden = hidden.map(|(_, part, permission)| Withheld {
        part,
        reason: Why::MissingPermission,
        permission: Some(permission),
    });
    let away = Withheld { part: "balances", reason: Why::Unavailable, permission: None };
    hidden.chain(Some(away).filter(|_| customer.money_is_away)).collect()
}

impl CustomerPage {
    fn of(customer: Customer) -> Self {
        let withheld = withheld(&customer);
        let has = |kind| customer.restrictions.iter().any(|row| row.kind == kind);
        Self {
            state: CustomerState {
                email_verified: customer.user.email_verified_at.is_some(),
                frozen: has(crate::money::restrictions::Kind::Freeze),
                closed: has(crate::money::restrictions::Kind::Closure),
                second_factor_since: customer.facts.second_factor_since,
                erased_at: customer.facts.erased_at,
                restrictions: customer.restrictions,
            },
            links: Links::of(customer.user.id),
            profile: customer.user.into(),
            balances: customer.money.map(|all| all.into_iter().map(BalanceView::from).collect()),
            bank_accounts: customer.bank_accounts,
            sessions: customer.sessions.into_iter().map(CustomerSession::from).collect(),
            mails: customer.mails,
            open: customer.open,
            held: customer.held,
            notes: customer.notes,
            staff_calls: customer.looks,
            withheld,
        }
    }
}

/// One customer
///
/// All that somebody needs who speaks with the customer, in one call. A part that the caller may not see is null and stands in `withheld`;
/// so do the balances while the ledger does not answer. Needs `users.read`; the parts `transactions.read`, `held.read`, `notes.read`,
/// `audit.read`. Audited: who looked at a customer is told by `GET /v1/admin/audit?subject=`.
#[utoipa::path(get, path = "/v1/admin/customers/{id}", tag = "staff", security(("bearer" = ["users.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = CustomerPage), Problems))]
async fn show(State(app): State<App>, staff: Staff<UsersRead>, Path(id): Path<Uuid>) -> Result<Json<CustomerPage>> {
    let sight = Sight {
        money: staff.has::<TransactionsRead>(),
        held: staff.has::<HeldRead>(),
        notes: staff.has::<NotesRead>(),
        looks: staff.has::<AuditRead>(),
    };
    let customer = super::page(&app, id, sight).await?;
    Ok(Json(CustomerPage::of(customer)))
}

#[derive(Serialize, ToSchema)]
struct SessionsEnded {
    #[schema(example = 2)]
    sessions_ended: usize,
}

/// End all sessions of a customer
///
/// Within 10 seconds no access token of theirs is worth anything. The customer is told by mail. Not for staff. Needs `users.end_sessions`.
/// Audited.
#[utoipa::path(post, path = "/v1/admin/customers/{id}/sessions/end", tag = "staff",
    security(("bearer" = ["users.end_sessions"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = SessionsEnded), Problems))]
async fn end_sessions(
    State(app): State<App>,
    staff: Staff<UsersEndSessions>,
    Path(id): Path<Uuid>,
) -> Result<Json<SessionsEnded>> {
    Ok(Json(SessionsEnded { sessions_ended: sessions::end_customers(&app, &staff.actor, id).await? }))
}

#[derive(Serialize, ToSchema)]
struct VerificationResent {
    /// Then nothing is sent.
    already_verified: bool,
}

/// Send a customer the link that verifies the e-mail
///
/// Counted with what the customer asks for, so that no mailbox is flooded. Needs `users.resend_verification`. Audited.
#[utoipa::path(post, path = "/v1/admin/customers/{id}/resend-verification", tag = "staff",
    security(("bearer" = ["users.resend_verification"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = VerificationResent), (status = 409, description = "`stale_state`: the customer is erased"), Problems))]
async fn resend_verification(
    State(app): State<App>,
    staff: Staff<UsersResendVerification>,
    Path(id): Path<Uuid>,
) -> Result<Json<VerificationResent>> {
    let sent = emails::resend_for(&app, &staff.quota, &staff.actor, id).await?;
    Ok(Json(VerificationResent { already_verified: !sent }))
}
