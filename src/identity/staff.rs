//! A caller who is staff, or a machine with a key (`service_keys`): `staff: Staff<AuditRead>` in a handler's signature says which
//! permission the route needs.
//!
//! The role is read at each call, never taken from the token, and with it what the session has shown: a second factor that somebody else
//! let the person enrol (`STAFF_TOTP`), and for acts of some permissions a password or a code given a moment ago (`STAFF_STEP_UP`). Every
//! call is recorded before it is served, the refused ones too (as [`audit::record_refusal`] lets them), by the route and never by its
//! query: that may hold what staff look for in people's data. Only the customer whom the call concerns is named, by the id: so it can be
//! told who looked at somebody.

pub mod routes;
mod store;

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::{HeaderValue, Method, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::{self, Caller};
use crate::identity::quota::Quota;
use crate::identity::repeats::{self, Answer, Begun, Call};
use crate::identity::service_keys;
use crate::platform::access::SessionStanding;
use crate::platform::config::{StaffTotp, StepUp};
use crate::platform::error::{Error, Reason, Result};
use crate::platform::http;
use crate::platform::permissions::{Permission, Role};
use crate::platform::rate_limits::Class;

/// Where the id in the path is a customer's own.
const OF_CUSTOMERS: [&str; 2] = ["/v1/admin/users/", "/v1/admin/customers/"];

/// How long a password or a code that was given stands for the person.
pub const STEP_UP_LIFE: TimeDelta = TimeDelta::minutes(5);

#[derive(Debug, Clone)]
pub struct Staff<P> {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub actor: Actor,
    pub quota: Quota,
    role: Role,
    /// Whether a password or a code was given in the session a moment ago.
    stepped_up: bool,
    is_frozen: bool,
    /// What a machine may do; `None` for a person.
    scopes: Option<Vec<String>>,
    call: Value,
    /// Of a call that came with a key.
    claim: Option<Uuid>,
    permission: PhantomData<fn() -> P>,
}

/// Who of the staff acts: their id, and how the audit log names them.
#[derive(Debug, Clone)]
pub struct StaffMember {
    pub id: Uuid,
    pub actor: Actor,
}

impl<P> Staff<P> {
    pub fn member(&self) -> StaffMember {
        StaffMember { id: self.user_id, actor: self.actor.clone() }
    }

    /// Whether the role has another permission too, for what is shown only to those. Nothing is recorded: nobody asked for it.
    pub fn has<Q: Permission>(&self) -> bool {
        match &self.scopes {
            Some(scopes) => require_scope(scopes, Q::NAME).is_ok(),
            None => Q::ROLES.contains(&self.role),
        }
    }

    /// A second permission, for more than what the route gives with its own: decided and recorded like that one.
    ///
    /// # Errors
    /// [`Error::MissingPermission`], [`Error::TotpRequired`].
    pub async fn also<Q: Permission>(&self, app: &App) -> Result<()> {
        let decided = match &self.scopes {
            Some(scopes) => require_scope(scopes, Q::NAME),
            None => {
                let standing = standing(app, self.user_id, self.session_id).await?;
                may::<Q>(app, &standing.ok_or(Error::Unauthenticated)?)
            }
        };
        admit::<Q>(app, &self.quota, &self.actor, decided, &self.call).await
    }

    /// Whoever it is, unless it is a machine.
    pub fn person(&self) -> Option<Uuid> {
        self.scopes.is_none().then_some(self.user_id)
    }

    /// The service account, if it is one.
    pub fn service_account(&self) -> Option<Uuid> {
        self.scopes.is_some().then_some(self.user_id)
    }

    /// The id of what the call makes. With a key it is the same for whoever takes the call over, and so what was made is found and not made
    /// again.
    pub fn new_row(&self, app: &App) -> Uuid {
        self.claim.unwrap_or_else(|| app.clock.row_id())
    }

    /// For a call that needs a step-up while others of its kind, or of its permission, do not: it is more than looking.
    ///
    /// # Errors
    /// [`Error::StepUpRequired`]; [`Error::Forbidden`] for whoever is frozen.
    pub fn require_step_up(&self) -> Result<()> {
        if self.is_frozen {
            return Err(Error::Forbidden(Reason::StaffFrozen));
        }
        if self.stepped_up { Ok(()) } else { Err(Error::StepUpRequired) }
    }
}

/// Who was let in, and for what: an answer that takes long asks before each part of it whether that still holds.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    pub user_id: Uuid,
    pub session_id: Uuid,
    is_machine: bool,
    /// By its name, and who has it; `None` for what is the caller's own.
    permission: Option<(&'static str, &'static [Role])>,
}

impl From<&Caller> for Admitted {
    fn from(caller: &Caller) -> Self {
        Self::owner(caller.user_id, caller.session_id)
    }
}

impl<P: Permission> From<&Staff<P>> for Admitted {
    fn from(staff: &Staff<P>) -> Self {
        let permission = Some((P::NAME, P::ROLES));
        Self { user_id: staff.user_id, session_id: staff.session_id, is_machine: staff.person().is_none(), permission }
    }
}

impl Admitted {
    pub fn owner(user_id: Uuid, session_id: Uuid) -> Self {
        Self { user_id, session_id, is_machine: false, permission: None }
    }

    pub fn person<P: Permission>(user_id: Uuid, session_id: Uuid) -> Self {
        Self { permission: Some((P::NAME, P::ROLES)), ..Self::owner(user_id, session_id) }
    }

    /// # Errors
    /// As the call itself would be refused by now: [`Error::Unauthenticated`] when the session has ended or the key is revoked,
    /// [`Error::MissingPermission`] when the role or the scope was taken away.
    pub async fn require(&self, app: &App) -> Result<()> {
        if self.is_machine {
            let scopes = service_keys::scopes(app, self.session_id).await?.ok_or(Error::Unauthenticated)?;
            return self.permission.map_or(Ok(()), |(name, _)| require_scope(&scopes, name));
        }
        let standing = standing(app, self.user_id, self.session_id).await?.ok_or(Error::Unauthenticated)?;
        self.permission.map_or(Ok(()), |permission| may_by(app, &standing, permission))
    }
}

/// What somebody is at this moment, and what the session has shown; `None` when it has ended, one of staff sooner than others.
pub async fn standing(app: &App, user_id: Uuid, session_id: Uuid) -> Result<Option<SessionStanding>> {
    let now = app.clock.now();
    app.access.standing((user_id, session_id), now, app.config.staff.oldest_session(now)).await
}

/// Whether somebody may do what a permission is for.
pub fn may<P: Permission>(app: &App, standing: &SessionStanding) -> Result<()> {
    may_by(app, standing, (P::NAME, P::ROLES))
}

fn may_by(app: &App, standing: &SessionStanding, (name, roles): (&'static str, &[Role])) -> Result<()> {
    if !roles.contains(&standing.role) {
        return Err(Error::MissingPermission(name));
    }
    let shown = standing.second_factor || app.config.staff.totp == StaffTotp::Optional;
    if shown { Ok(()) } else { Err(Error::TotpRequired) }
}

fn has_stepped_up(app: &App, standing: &SessionStanding) -> bool {
    let recent = standing.stepped_up_at.is_some_and(|at| app.clock.now() < at + STEP_UP_LIFE);
    recent || app.config.staff.step_up == StepUp::Off
}

/// Whoever is frozen looks, and does nothing: whoever was stopped does not stop the others. Looking needs no step-up; where it is more than that,
/// the route asks itself ([`Staff::require_step_up`]).
fn decide<P: Permission>(app: &App, standing: &SessionStanding, method: &Method) -> Result<()> {
    may::<P>(app, standing)?;
    if method.is_safe() {
        return Ok(());
    }
    if standing.is_frozen {
        return Err(Error::Forbidden(Reason::StaffFrozen));
    }
    if !P::STEP_UP || has_stepped_up(app, standing) { Ok(()) } else { Err(Error::StepUpRequired) }
}

/// Why a call of staff or of a machine is not served.
#[derive(Debug)]
pub enum Unserved {
    Refused(Error),
    /// It came with a key, and was served before.
    Repeat(Answer),
}

impl From<Error> for Unserved {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl IntoResponse for Unserved {
    fn into_response(self) -> Response {
        let Answer { status, content_type, location, body } = match self {
            Self::Refused(error) => return error.into_response(),
            Self::Repeat(answer) => answer,
        };
        let mut response = (http::replayed(true), body).into_response();
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        response.headers_mut().remove(header::CONTENT_TYPE);
        for (name, value) in [(header::CONTENT_TYPE, content_type), (header::LOCATION, location)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Whether a machine has been given the permission.
fn require_scope(scopes: &[String], name: &'static str) -> Result<()> {
    if scopes.iter().any(|scope| scope == name) { Ok(()) } else { Err(Error::MissingPermission(name)) }
}

/// Before a key is looked up: what looks like one is soon made.
pub async fn count_key(app: &App, parts: &Parts) -> Result<()> {
    let origin = caller::origin(app, parts);
    let address = origin.address.as_deref().unwrap_or_default();
    Quota::of(parts).count(app, Class::Read, &format!("key:{address}")).await
}

impl<P: Permission> Staff<P> {
    /// A machine, by its key. There is nobody to ask for a code, and a permission to read lets no machine call a route that writes: that is
    /// another refusal than the lack of a scope, which somebody could give it.
    async fn machine(parts: &Parts, app: &App, token: &str) -> Result<Self, Unserved> {
        let (quota, origin) = (Quota::of(parts), caller::origin(app, parts));
        let address = origin.address.as_deref().unwrap_or_default();
        count_key(app, parts).await?;
        let Some(known) = service_keys::check(app, token).await? else {
            quota.count(app, Class::Auth, address).await?;
            return Err(Error::Unauthenticated.into());
        };
        quota.count_call(app, &parts.method, &format!("service {}", known.key_id)).await?;
        let writes = ["webhook_endpoints.manage", "webhook_endpoints.replay"].contains(&P::NAME);
        let decided = if parts.method.is_safe() || writes {
            require_scope(&known.scopes, P::NAME)
        } else {
            Err(Error::Forbidden(Reason::NotForMachines))
        };
        let (actor, (call, customer)) = (Actor::service(known.account_id, origin), call(app, parts).await?);
        admit::<P>(app, &quota, &actor, decided, &call).await?;
        let claim = once(app, parts, (known.account_id, customer)).await?;
        Ok(Self {
            user_id: known.account_id,
            session_id: known.key_id,
            actor,
            quota,
            role: Role::User,
            stepped_up: false,
            is_frozen: false,
            scopes: Some(known.scopes),
            call,
            claim,
            permission: PhantomData,
        })
    }
}

/// What the log says of a call, and whom it concerns.
async fn call(app: &App, parts: &Parts) -> Result<(Value, Option<Uuid>)> {
    let route = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let path = route.as_deref().map(|route| recorded_path(route, parts.uri.path()));
    let mut call = json!({"method": parts.method.as_str(), "route": route, "path": path});
    let customer = concerned(app, route.as_deref().unwrap_or_default(), parts).await?;
    if let Some(customer) = customer {
        call["customer"] = json!(customer);
    }
    Ok((call, customer))
}

/// The path, as far as it names rows and months: what is typed there besides may be an e-mail, and nothing is taken out of the log again.
fn recorded_path(route: &str, path: &str) -> String {
    let is_month = |value: &str| {
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        value
            .split_once('-')
            .is_some_and(|(year, month)| (year.len(), month.len()) == (4, 2) && is_digits(year) && is_digits(month))
    };
    let segments = route.split('/').zip(path.split('/'));
    let shown = segments.map(|(name, value)| match name.starts_with('{') {
        true if value.parse::<Uuid>().is_ok() || is_month(value) => value,
        _ => name,
    });
    shown.collect::<Vec<&str>>().join("/")
}

impl<P: Permission> FromRequestParts<App> for Staff<P> {
    type Rejection = Unserved;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Unserved> {
        if let Ok(token) = caller::bearer(parts)
            && service_keys::is_meant(token)
        {
            return Self::machine(parts, app, token).await;
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        let standing = standing(app, caller.user_id, caller.session_id).await?.ok_or(Error::Unauthenticated)?;
        let decided = decide::<P>(app, &standing, &parts.method);
        let actor = Actor::user(caller.user_id, Some(standing.role), caller.origin);
        let (call, customer) = call(app, parts).await?;
        admit::<P>(app, &caller.quota, &actor, decided, &call).await?;
        let claim = once(app, parts, (caller.user_id, customer)).await?;
        let stepped_up = has_stepped_up(app, &standing);
        Ok(Self {
            user_id: caller.user_id,
            session_id: caller.session_id,
            actor,
            quota: caller.quota,
            role: standing.role,
            stepped_up,
            is_frozen: standing.is_frozen,
            scopes: None,
            call,
            claim,
            permission: PhantomData,
        })
    }
}

/// Claims the key of a call that came with one, for the person or the machine that is calling. The claim.
async fn once(app: &App, parts: &Parts, who: (Uuid, Option<Uuid>)) -> Result<Option<Uuid>, Unserved> {
    let Some(call) = parts.extensions.get::<Call>() else { return Ok(None) };
    match repeats::begin(app, who, call).await? {
        Begun::Claimed(claim) => Ok(Some(claim)),
        Begun::Answered(answer) => Err(Unserved::Repeat(answer)),
    }
}

/// Whom a call concerns, if it is one customer: the one in its path or its query, or the one whose transaction, request or event it is.
async fn concerned(app: &App, route: &str, parts: &Parts) -> Result<Option<Uuid>> {
    let named = route.split('/').zip(parts.uri.path().split('/')).find(|(name, _)| *name == "{id}");
    let id = named.and_then(|(_, id)| decoded(id)?.parse::<Uuid>().ok());
    let pairs: Vec<(String, String)> =
        parts.uri.query().and_then(|query| serde_urlencoded::from_str(query).ok()).unwrap_or_default();
    let of = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).and_then(|(_, id)| id.parse::<Uuid>().ok());
    match id {
        // Of the audit log: whose lines; and of other lists what they are about.
        None => match (of("user_id").or_else(|| of("subject")), of("object_id")) {
            (None, Some(object)) => Ok(store::customer_of(&app.db, object).await?),
            (customer, _) => Ok(customer),
        },
        Some(id) if OF_CUSTOMERS.iter().any(|start| route.starts_with(start)) => Ok(Some(id)),
        Some(id) => Ok(store::customer_of(&app.db, id).await?),
    }
}

/// A segment of a path as the handler reads it.
fn decoded(segment: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&format!("id={segment}")).ok()?;
    pairs.into_iter().next().map(|(_, id)| id)
}

/// On the record before it is served, or refused. Reads are counted once more, a machine's by its account: each row stays.
async fn admit<P: Permission>(
    app: &App,
    quota: &Quota,
    actor: &Actor,
    decided: Result<()>,
    call: &Value,
) -> Result<()> {
    let entry = |action| Entry::of(actor, action, "permission", P::NAME).with(call.clone());
    if decided.is_ok() {
        let class = if actor.user_id().is_some() { Class::Staff } else { Class::Machine };
        if call["method"] == "GET" || call["method"] == "HEAD" {
            quota.count(app, class, actor.name()).await?;
        }
        return audit::record(app, &app.db, entry("staff.called")).await;
    }
    audit::record_refusal(app, entry("staff.refused")).await?;
    decided
}
