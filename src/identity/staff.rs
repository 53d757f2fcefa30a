//! A caller who is staff, or a machine with a key (`service_keys`): `staff: Staff<AuditRead>` in a handler's signature says which permission the route needs.
//!
//! The role is read at each call, never taken from the token, and with it what the session has shown: a second factor that somebody else
//! let the person enrol (`STAFF_TOTP`), and for acts of some permissions a password or a code given a moment ago (`STAFF_STEP_UP`). Every
//! call is recorded before it is served, the refused ones too (as [`audit::record_refusal`] lets them), by the route and never by its query: that may hold what staff look
//! for in people's data.

pub mod routes;

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::{Method, request::Parts};
use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::{self, Caller};
use crate::identity::quota::Quota;
use crate::identity::service_keys;
use crate::platform::access::Standing;
use crate::platform::config::{StaffTotp, StepUp};
use crate::platform::error::{Error, Result};
use crate::platform::permissions::Permission;
use crate::platform::rate_limits::Class;

/// Longer paths are cut in the log: no route of ours has one.
const PATH_CHARS_MAX: usize = 200;

/// How long a password or a code that was given stands for the person.
pub const STEP_UP_LIFE: TimeDelta = TimeDelta::minutes(5);

#[derive(Debug, Clone)]
pub struct Staff<P> {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub actor: Actor,
    /// Whether a password or a code was given in the session a moment ago.
    stepped_up: bool,
    /// What a machine may do; `None` for a person.
    scopes: Option<Vec<String>>,
    call: Value,
    permission: PhantomData<fn() -> P>,
}

impl<P> Staff<P> {
    /// A second permission, for more than what the route gives with its own: decided and recorded like that one.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::TotpRequired`].
    pub async fn also<Q: Permission>(&self, app: &App) -> Result<()> {
        let decided = match &self.scopes {
            Some(scopes) => within::<Q>(scopes),
            None => {
                let standing = standing(app, self.user_id, self.session_id).await?;
                may::<Q>(app, &standing.ok_or(Error::Unauthenticated)?)
            }
        };
        admit::<Q>(app, &self.actor, decided, &self.call).await
    }

    /// Whoever it is, unless it is a machine.
    pub fn person(&self) -> Option<Uuid> {
        self.scopes.is_none().then_some(self.user_id)
    }

    /// For an act that needs a step-up while others of its permission do not.
    ///
    /// # Errors
    /// [`Error::StepUpRequired`].
    pub fn require_step_up(&self) -> Result<()> {
        if self.stepped_up { Ok(()) } else { Err(Error::StepUpRequired) }
    }
}

/// What somebody is at this moment, and what the session has shown; `None` when it has ended, one of staff sooner than others.
pub async fn standing(app: &App, user_id: Uuid, session_id: Uuid) -> Result<Option<Standing>> {
    let now = app.clock.now();
    app.access.standing((user_id, session_id), now, app.config.staff.oldest_session(now)).await
}

/// Whether somebody may do what a permission is for.
pub fn may<P: Permission>(app: &App, standing: &Standing) -> Result<()> {
    if !P::ROLES.contains(&standing.role) {
        return Err(Error::Forbidden);
    }
    let shown = standing.second_factor || app.config.staff.totp == StaffTotp::Optional;
    if shown { Ok(()) } else { Err(Error::TotpRequired) }
}

fn has_stepped_up(app: &App, standing: &Standing) -> bool {
    let recent = standing.stepped_up_at.is_some_and(|at| app.clock.now() < at + STEP_UP_LIFE);
    recent || app.config.staff.step_up == StepUp::Off
}

/// Looking needs no step-up.
fn decide<P: Permission>(app: &App, standing: &Standing, method: &Method) -> Result<()> {
    may::<P>(app, standing)?;
    let enough = !P::STEP_UP || method.is_safe() || has_stepped_up(app, standing);
    if enough { Ok(()) } else { Err(Error::StepUpRequired) }
}

/// Whether a machine has been given the permission.
fn within<P: Permission>(scopes: &[String]) -> Result<()> {
    if scopes.iter().any(|scope| scope == P::NAME) { Ok(()) } else { Err(Error::Forbidden) }
}

impl<P: Permission> Staff<P> {
    /// A machine, by its key. There is nobody to ask for a code, and a permission to read lets no machine call a route that writes.
    async fn machine(parts: &Parts, app: &App, token: &str) -> Result<Self> {
        let (quota, origin) = (Quota::of(parts), caller::origin(app, parts));
        let Some(known) = service_keys::check(app, token).await? else {
            quota.count(app, Class::Auth, origin.address.as_deref().unwrap_or_default()).await?;
            return Err(Error::Unauthenticated);
        };
        let classes: &[Class] = if parts.method.is_safe() { &[Class::Read] } else { &[Class::Money, Class::MoneyLong] };
        for class in classes {
            quota.count(app, *class, &format!("service {}", known.key_id)).await?;
        }
        let writes = ["webhook_endpoints.manage", "webhook_endpoints.replay"].contains(&P::NAME);
        let fits = parts.method.is_safe() || writes;
        let decided = if fits { within::<P>(&known.scopes) } else { Err(Error::Forbidden) };
        let (actor, call) = (Actor::service(known.account_id, origin), call(parts));
        admit::<P>(app, &actor, decided, &call).await?;
        let (user_id, session_id, scopes) = (known.account_id, known.key_id, Some(known.scopes));
        Ok(Self { user_id, session_id, actor, stepped_up: false, scopes, call, permission: PhantomData })
    }
}

/// What the log says of a call.
fn call(parts: &Parts) -> Value {
    let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let path: String = parts.uri.path().chars().take(PATH_CHARS_MAX).collect();
    json!({"method": parts.method.as_str(), "route": route, "path": path})
}

impl<P: Permission> FromRequestParts<App> for Staff<P> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if let Ok(token) = caller::bearer(parts)
            && service_keys::is_meant(token)
        {
            return Self::machine(parts, app, token).await;
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        let standing = standing(app, caller.user_id, caller.session_id).await?.ok_or(Error::Unauthenticated)?;
        let decided = decide::<P>(app, &standing, &parts.method);
        let actor = Actor::user(caller.user_id, Some(standing.role), caller.origin);
        let call = call(parts);
        admit::<P>(app, &actor, decided, &call).await?;
        let stepped_up = has_stepped_up(app, &standing);
        Ok(Self {
            user_id: caller.user_id,
            session_id: caller.session_id,
            actor,
            stepped_up,
            scopes: None,
            call,
            permission: PhantomData,
        })
    }
}

/// On the record before it is served, or refused.
async fn admit<P: Permission>(app: &App, actor: &Actor, decided: Result<()>, call: &Value) -> Result<()> {
    let entry = |action| Entry::of(actor, action, "permission", P::NAME).with(call.clone());
    if decided.is_ok() {
        return audit::record(app, &app.db, entry("staff.called")).await;
    }
    audit::record_refusal(app, entry("staff.refused")).await?;
    decided
}
