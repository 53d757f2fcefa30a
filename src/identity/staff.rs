//! A caller who is staff: `staff: Staff<AuditRead>` in a handler's signature says which permission the route needs.
//!
//! The role is read at each call, never taken from the token. Every call is recorded before it is served, the refused ones
//! too, by the route and never by its query: that may hold what staff look for in people's data.

pub mod routes;

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::Caller;
use crate::platform::error::{Error, Result};
use crate::platform::permissions::Permission;

#[derive(Debug, Clone)]
pub struct Staff<P> {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub actor: Actor,
    permission: PhantomData<fn() -> P>,
}

impl<P: Permission> FromRequestParts<App> for Staff<P> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let role = app.access.role(caller.user_id, caller.session_id, app.clock.now()).await?;
        let role = role.ok_or(Error::Unauthenticated)?;
        let allowed = P::ROLES.contains(&role);
        let actor = Actor::user(caller.user_id, Some(role), caller.origin);
        let action = if allowed { "staff.called" } else { "staff.refused" };
        let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let call = json!({"method": parts.method.as_str(), "route": route, "path": parts.uri.path()});
        audit::record(app, &app.db, Entry::of(&actor, action, "permission", P::NAME).with(call)).await?;
        if !allowed {
            return Err(Error::Forbidden);
        }
        Ok(Self { user_id: caller.user_id, session_id: caller.session_id, actor, permission: PhantomData })
    }
}
