//! `octoco migrate`: brings the schema up to date as the role that owns it, and gives the service's role what it needs of it and no more
//! (`grant_to_service` in migrations/0048_temporary.sql). Whoever has the service's password can then neither disable a trigger of the audit
//! log nor change, empty or drop it (docs/decisions/033). Dashboards get a role that reads the schema `reporting` and nothing else
//! (`grant_to_reporting` in 0012, docs/decisions/039).

mod scram;
mod store;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::app::App;
use crate::books::projector;
use crate::platform::error::BoxError;

/// What dashboards sign in as.
const READER: &str = "grafana";
/// Between two tries, so that whoever waited for the same goes first.
const PAUSE: Duration = Duration::from_secs(3);
/// What PostgreSQL calls it when a lock was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

pub async fn migrate(app: &App) -> Result<(), BoxError> {
    apply(app).await?;
    if projector::keep_in(app, &app.config.reporting.time_zone).await? {
        tracing::info!(zone = app.config.reporting.time_zone, "the days of the ledger were added up anew");
    }
    grant(app).await?;
    Ok(())
}

/// Whose days a process counts in is what the database keeps them by.
pub async fn require_zone(app: &App) -> Result<(), BoxError> {
    let wanted = &app.config.reporting.time_zone;
    match projector::zone(app).await {
        Ok(kept) if kept == *wanted => {}
        Ok(kept) => {
            return Err(format!(
                "REPORTING_TIME_ZONE is {wanted}, and the database has the days of {kept}: run octoco migrate"
            )
            .into());
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "by which zone the database keeps its days is not known yet")
        }
    }
    Ok(())
}

/// A migration may take as long as it needs: an index of a large table does. But it waits for no lock for long, since all who come later
/// wait behind it: it lets go and tries again, for as long as somebody has what it needs, and as long as another one migrates.
async fn apply(app: &App) -> Result<(), BoxError> {
    loop {
        let mut db = app.db.acquire().await?.detach();
        match apply_once(&mut db).await {
            Err(error) if is_locked_out(&error) => {
                tracing::warn!(%error, "another one migrates, or somebody has a lock that the migration needs: it is tried again");
                // With it goes the lock of whoever migrates.
                db.close().await?;
                pause().await;
            }
            applied => {
                let closed = db.close().await;
                return Ok(applied.and(closed.map_err(MigrateError::from))?);
            }
        }
    }
}

async fn apply_once(db: &mut PgConnection) -> Result<(), MigrateError> {
    store::be_patient(db).await?;
    let mut ours = Migrator::with_migrations(crate::MIGRATIONS.iter().cloned().collect());
    // Those of a later release, which this one takes the place of again.
    ours.set_ignore_missing(true);
    ours.run(db).await
}

fn is_locked_out(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(sqlx::Error::Database(error))
        | MigrateError::ExecuteMigration(sqlx::Error::Database(error), _) => {
            error.code().as_deref() == Some(LOCK_NOT_AVAILABLE)
        }
        _ => false,
    }
}

#[expect(clippy::disallowed_methods, reason = "the command waits, and nothing else is there to be waited for")]
async fn pause() {
    tokio::time::sleep(PAUSE).await;
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
    admit_reader(app, READER, app.config.reporting.grafana_password.as_ref()).await?;
    Ok((!ours).then(|| service.to_owned()))
}

/// With a password the role is made if need be; without one, it gets its rights if it is there.
pub async fn admit_reader(app: &App, role: &str, password: Option<&SecretString>) -> Result<(), BoxError> {
    match password {
        Some(password) => {
            let verifier = scram::verifier(password.expose_secret(), rand::random());
            let what_to_do = "All else is done. Where the owner may not make roles, leave the setting out, and let a superuser call once in this database";
            store::admit_reader(&app.db, role, &verifier).await.map_err(|error| {
                format!("GRAFANA_DATABASE_PASSWORD, for the role {role}: {error}. {what_to_do}: select admit_reader('{role}', '…')").into()
            })
        }
        None if store::is_there(&app.db, role).await? => Ok(store::grant_to_reader(&app.db, role).await?),
        None => Ok(()),
    }
}
