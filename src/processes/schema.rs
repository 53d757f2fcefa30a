//! `octoco migrate`: brings the schema up to date as the role that owns it, and gives the service's role what it needs of it and no more
//! (`grant_to_service` in migrations/0008_retention.sql). Whoever has the service's password can then neither disable a trigger of the audit
//! log nor change, empty or drop it (docs/decisions/033).

mod store;

use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

use crate::app::App;
use crate::platform::error::BoxError;

pub async fn migrate(app: &App) -> Result<(), BoxError> {
    crate::MIGRATIONS.run(&mut *app.db.acquire().await?).await?;
    grant(app).await?;
    Ok(())
}

/// Also after tables were made anew. The role that it was given to; `None` where the service signs in as the owner.
pub async fn grant(app: &App) -> Result<Option<String>, BoxError> {
    let options = app.config.database_url.expose_secret().parse::<PgConnectOptions>();
    let options = options.map_err(|_| "DATABASE_URL cannot be used by the driver")?;
    let service = options.get_username();
    if store::is_ours(&app.db, service).await? {
        return Ok(None);
    }
    store::grant(&app.db, service).await?;
    Ok(Some(service.to_owned()))
}
