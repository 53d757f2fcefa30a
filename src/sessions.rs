//! Sign-ins. A session is a family of refresh tokens; each token is used once and makes its successor.
//!
//! ```text
//! login ──> token 1 ──refresh──> token 2 ──refresh──> token 3 …      logout, reuse ──> family revoked
//! ```
//!
//! A token that was rotated and comes again is either a second tab (within [`GRACE`], and its successor still unused: it
//! gets the very same successor) or somebody's copy: then the whole family ends.

pub mod routes;
mod store;

use chrono::TimeDelta;
use secrecy::SecretString;
use uuid::Uuid;

use crate::app::App;
use crate::error::{Error, Result};
use crate::http::Visitor;
use crate::tokens::{REFRESH_SECS, RefreshToken};
use crate::users::{self, Email, User};

pub use store::Session;

const GRACE: TimeDelta = TimeDelta::seconds(10);

/// What a sign-in or a refresh gives out.
pub struct SignedIn {
    pub access_token: String,
    pub refresh_token: RefreshToken,
    pub user: User,
}

/// # Errors
/// [`Error::InvalidCredentials`].
pub async fn login(app: &App, visitor: &Visitor, email: &Email, password: SecretString) -> Result<SignedIn> {
    let user = users::authenticate(app, email, password).await?;
    let now = app.clock.now();
    let session = Session {
        id: app.clock.row_id(),
        user_agent: visitor.user_agent.clone(),
        address: Some(visitor.address.clone()),
        created_at: now,
        expires_at: now + TimeDelta::seconds(REFRESH_SECS),
    };
    let refresh_token = RefreshToken::random();
    let mut tx = app.db.begin().await?;
    store::insert(&mut *tx, user.id, &session).await?;
    store::insert_token(&mut *tx, &refresh_token.hash(), session.id, now).await?;
    tx.commit().await?;
    Ok(signed_in(app, user, session.id, refresh_token))
}

/// Exchanges a refresh token for its successor and a new access token.
///
/// # Errors
/// [`Error::Unauthenticated`], whatever is wrong with the token.
pub async fn refresh(app: &App, token: &RefreshToken) -> Result<SignedIn> {
    let now = app.clock.now();
    let hash = token.hash();
    let successor = app.tokens.successor(token);
    let Some(found) = store::find_token(&app.db, &hash).await? else { return Err(Error::Unauthenticated) };
    if found.revoked_at.is_some() || found.expires_at <= now {
        return Err(Error::Unauthenticated);
    }
    let expires_at = now + TimeDelta::seconds(REFRESH_SECS);
    let mut tx = app.db.begin().await?;
    let first = store::rotate_token(&mut *tx, &hash, now).await?;
    if first {
        store::insert_token(&mut *tx, &successor.hash(), found.session_id, now).await?;
        store::extend(&mut *tx, found.session_id, expires_at).await?;
    }
    tx.commit().await?;
    if !first && !same_moment(app, &hash, &successor).await? {
        tracing::warn!(session.id = %found.session_id, "a refresh token was used again; its family is revoked");
        store::revoke(&app.db, found.user_id, found.session_id, "refresh token reused", now).await?;
        return Err(Error::Unauthenticated);
    }
    let user = users::find(app, found.user_id).await?;
    Ok(signed_in(app, user, found.session_id, successor))
}

/// Whether a token that is rotated already comes from a second tab: just now, and its successor was not used yet.
async fn same_moment(app: &App, hash: &[u8], successor: &RefreshToken) -> Result<bool> {
    let rotated = store::find_token(&app.db, hash).await?.and_then(|token| token.rotated_at);
    let next = store::find_token(&app.db, &successor.hash()).await?;
    let fresh = rotated.is_some_and(|at| app.clock.now() - at <= GRACE);
    Ok(fresh && next.is_some_and(|next| next.rotated_at.is_none()))
}

/// Ends the session that a refresh token belongs to; nothing happens if there is none.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn logout(app: &App, token: &RefreshToken) -> Result<()> {
    if let Some(found) = store::find_token(&app.db, &token.hash()).await? {
        store::revoke(&app.db, found.user_id, found.session_id, "logged out", app.clock.now()).await?;
    }
    Ok(())
}

/// The sessions of a user that still live, newest first.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn list(app: &App, user_id: Uuid) -> Result<Vec<Session>> {
    Ok(store::list_for(&app.db, user_id, app.clock.now()).await?)
}

/// # Errors
/// [`Error::NotFound`] when it is not the user's, or ended already.
pub async fn revoke(app: &App, user_id: Uuid, session_id: Uuid) -> Result<()> {
    let revoked = store::revoke(&app.db, user_id, session_id, "revoked by the user", app.clock.now()).await?;
    if revoked { Ok(()) } else { Err(Error::NotFound("session")) }
}

fn signed_in(app: &App, user: User, session_id: Uuid, refresh_token: RefreshToken) -> SignedIn {
    let access_token = app.tokens.sign(user.id, session_id, &user.role, app.clock.now());
    SignedIn { access_token, refresh_token, user }
}
