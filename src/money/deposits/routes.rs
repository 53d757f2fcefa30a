//! `POST /v1/deposits`, `POST /v1/deposits/{id}/cancel`.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{NewDeposit, cancelling};
use crate::app::App;
use crate::identity::caller::Caller;
use crate::money::transactions::routes::{Cancelled, TransactionView, asked, parse_amount, parse_description};
use crate::money::transactions::{NewMetadata, examples, metadata};
use crate::platform::http::{Fields, IdempotencyKey, Json, Path};
use crate::platform::{error::Result, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(cancel))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDepositBody {
    /// Minor units (cents).
    #[schema(example = 150_000, minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount: i64,
    #[schema(example = "ZAR", format = "iso-4217", pattern = "^[A-Z]{3}$")]
    currency: String,
    /// For the customer's own list; it can be searched for.
    #[schema(example = "Rent for March", min_length = 1, max_length = 140)]
    description: Option<String>,
    #[serde(default)]
    #[schema(schema_with = metadata::new_metadata)]
    metadata: NewMetadata,
}

impl NewDepositBody {
    fn parse(&self, app: &App) -> Result<NewDeposit> {
        let mut fields = Fields::default();
        let amount = parse_amount(&mut fields, self.amount, app.customer_currency(&self.currency));
        let description = parse_description(&mut fields, self.description.as_deref());
        let metadata = self.metadata.parse(&mut fields);
        Ok(NewDeposit { amount: fields.finish_with(amount)?, description, metadata })
    }
}

/// Start a deposit
///
/// Send the payer to `checkout_url`. Where it is still null, the provider does not answer: ask for the transaction again.
/// The same key with the same body answers the same deposit as it stands now.
#[utoipa::path(post, path = "/v1/deposits", tag = "deposits", security(("bearer" = [])), request_body = NewDepositBody,
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 201, body = TransactionView),
        (status = 403, description = "`email_not_verified`"),
        (status = 409, description = "`too_many_open_deposits`"),
        (status = 422, description = "`account_closed`, `staff_account`, `idempotency_key_reused`"),
        (status = 503, description = "`provider_unavailable`"), Problems))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    Json(body): Json<NewDepositBody>,
) -> Result<impl IntoResponse> {
    let opened = super::open(&app, &caller, body.parse(&app)?, key).await?;
    Ok(asked(StatusCode::CREATED, opened))
}

/// Cancel a deposit
///
/// The provider is asked to take no money for it any more. 202 while its word is awaited: the deposit goes on to `cancelled` by itself, or to
/// `completed` where the payer was faster; ask for the transaction. Repeating it changes nothing.
#[utoipa::path(post, path = "/v1/deposits/{id}/cancel", tag = "deposits", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = TransactionView, description = "It is cancelled",
            example = examples::deposit_cancelled),
        (status = 202, body = TransactionView, description = "It is called off, and the provider's word is awaited",
            example = examples::deposit_called_off),
        (status = 409, description = "`not_cancellable`: it is paid or has ended, `stale_state`"), Problems))]
async fn cancel(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Cancelled> {
    cancelling::cancel(&app, caller.user_id, id).await.map(Cancelled)
}
