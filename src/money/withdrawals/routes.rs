//! `POST /v1/withdrawals`, `POST /v1/withdrawals/{id}/cancel`.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{NewWithdrawal, cancelling};
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
struct NewWithdrawalBody {
    /// Minor units (cents).
    #[schema(example = 50_000, minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount: i64,
    #[schema(example = "ZAR", format = "iso-4217", pattern = "^[A-Z]{3}$")]
    currency: String,
    bank_account_id: Uuid,
    /// For the customer's own list; it can be searched for.
    #[schema(example = "Savings", min_length = 1, max_length = 140)]
    description: Option<String>,
    #[serde(default)]
    #[schema(schema_with = metadata::new_metadata)]
    metadata: NewMetadata,
    /// Required from a customer with a second factor where the amount and those of 24 hours that needed none are above the threshold: a code
    /// of it, or a recovery code.
    #[schema(value_type = Option<String>, example = "492039", max_length = 40)]
    totp_code: Option<SecretString>,
}

impl NewWithdrawalBody {
    fn parse(&self, app: &App) -> Result<NewWithdrawal> {
        let mut fields = Fields::default();
        let amount = parse_amount(&mut fields, self.amount, app.customer_currency(&self.currency));
        let description = parse_description(&mut fields, self.description.as_deref());
        let metadata = self.metadata.parse(&mut fields);
        let amount = fields.finish_with(amount)?;
        let totp_code = self.totp_code.clone();
        Ok(NewWithdrawal { amount, bank_account_id: self.bank_account_id, description, metadata, totp_code })
    }
}

/// Withdraw
///
/// The amount is reserved before this answers, or refused; the payout follows by itself. 503 where that is not known in time: the same call
/// with the same key tells it. The same key with the same body answers the same withdrawal as it stands now, and the same refusal if it
/// was refused. Customers with a second factor show a code where a withdrawal, with those of 24 hours that needed none, is above a threshold
/// (`GET /v1/config`); it is no part of the body that the key is for.
#[utoipa::path(post, path = "/v1/withdrawals", tag = "withdrawals", security(("bearer" = [])),
    request_body = NewWithdrawalBody,
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 202, body = TransactionView, description = "Its amount is reserved",
            example = examples::withdrawal_reserved),
        (status = 401, description = "`invalid_credentials`: the code is wrong"),
        (status = 403, description = "`email_not_verified`, `totp_required`"),
        (status = 404, description = "`not_found`: there is no such bank account of yours"),
        (status = 422, description = "`insufficient_funds`, `limit_exceeded`, `account_frozen`, `account_closed`, `staff_account`, `idempotency_key_reused`"), Problems))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    Json(body): Json<NewWithdrawalBody>,
) -> Result<impl IntoResponse> {
    let requested = super::request(&app, &caller, body.parse(&app)?, key).await?;
    Ok(asked(StatusCode::ACCEPTED, requested))
}

/// Cancel a withdrawal
///
/// Possible until its payout begins: `initiated`, `reserved`, `awaiting_approval`. The amount is available again once it is `cancelled`, less
/// what is owed, which it repays first (`repaid`): mostly at once; 202 while the ledger's word is awaited, or Revio's on a payout that is
/// registered, and it goes on by itself. Also while withdrawals are frozen: the money stays in the wallet. Repeating it changes nothing.
#[utoipa::path(post, path = "/v1/withdrawals/{id}/cancel", tag = "withdrawals", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = TransactionView, description = "It is cancelled",
            example = examples::withdrawal_cancelled),
        (status = 202, body = TransactionView, description = "It is called off, and the amount is not available yet",
            example = examples::withdrawal_called_off),
        (status = 409, description = "`not_cancellable`: its payout has begun or it has ended, `stale_state`"), Problems))]
async fn cancel(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Cancelled> {
    cancelling::cancel(&app, caller.user_id, id).await.map(Cancelled)
}
