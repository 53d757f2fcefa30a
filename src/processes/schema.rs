//! `octoco migrate`: brings the schema up to date as the role that owns it, and gives the service's role what it needs of it and no more
//! (`grant_to_service` in migrations/0008_retention.sql). Whoever has the service's password can then neither disable a trigger of the audit
//! log nor change, empty or drop it (docs/decisions/033). Dashboards get a role that reads the schema `reporting` and nothing else
//! (`grant_to_reporting` in 0012, docs/decisions/039).

mod scram;
mod store;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::app::App;
use crate::books::projector;
use crate::platform::error::BoxError;

/// What dashboards sign in as.
const READER: &str = "grafana";

pub async fn migrate(app: &App) -> Result<(), BoxError> {
    crate::MIGRATIONS.run(&mut *app.db.acquire().await?).await?;
    if projector::keep_in(app, &app.config.reporting_time_zone).await? {
        tracing::info!(zone = app.config.reporting_time_zone, "the days of the ledger were added up anew");
    }
    grant(app).await?;
    Ok(())
}

/// Also after tables were made anew. The role that it was given to; `None` where the service signs in as the owner.
pub async fn grant(app: &App) -> Result<Option<String>, BoxError> {
    for currency in &app.config.currencies {
        store::add_currency(&app.db, currency.code(), i32::from(currency.exponent())).await?;
    }
    let options = app.config.database_url.expose_secret().parse::<PgConnectOptions>();
    let options = options.map_err(|_| "DATABASE_URL cannot be used by the driver")?;
    let service = options.get_username();
    let ours = store::is_ours(&app.db, service).await?;
    if !ours {
        store::grant(&app.db, service).await?;
    }
    admit_reader(app, READER, app.config.grafana_database_password.as_ref()).await?;
    Ok((!ours).then(|| service.to_owned()))
}

/// With a password the role is made if need be; without one, it gets its rights if it is there.
pub async fn admit_reader(app: &App, role: &str, password: Option<&SecretString>) -> Result<(), BoxError> {
    match password {
        Some(password) => {
            let verifier = scram::verifier(password.expose_secret(), rand::random());
            Ok(store::admit_reader(&app.db, role, &verifier).await?)
        }
        None if store::is_there(&app.db, role).await? => Ok(store::grant_to_reader(&app.db, role).await?),
        None => Ok(()),
    }
}
