//! `POST`, `GET /v1/bank-accounts`, `DELETE /v1/bank-accounts/{id}`. Numbers leave only masked.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{BankAccount, Details, NewBankAccount, branch_codes};
use crate::app::App;
use crate::identity::caller::Caller;
use crate::platform::error::{Error, Result};
use crate::platform::http::{Fields, IdempotencyKey, Json, Page, Path, located, replayed};
use crate::platform::{clock::DateTime, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(add, list)).routes(routes!(show, delete))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBankAccountBody {
    /// Digits; spaces of any width, tabs and dashes are ignored.
    #[schema(
        example = "62001234567",
        pattern = r"^[\t-\r \-\u0085\u00a0\u00ad\u1680\u2000-\u2015\u2028-\u202f\u205f-\u206f\u2212\u3000\ufe58\ufe63\ufeff\uff0d]*(?:[0-9][\t-\r \-\u0085\u00a0\u00ad\u1680\u2000-\u2015\u2028-\u202f\u205f-\u206f\u2212\u3000\ufe58\ufe63\ufeff\uff0d]*){5,34}$"
    )]
    account_number: String,
    #[schema(
        example = "250655",
        pattern = r"^[\t-\r \-\u0085\u00a0\u00ad\u1680\u2000-\u2015\u2028-\u202f\u205f-\u206f\u2212\u3000\ufe58\ufe63\ufeff\uff0d]*(?:[0-9][\t-\r \-\u0085\u00a0\u00ad\u1680\u2000-\u2015\u2028-\u202f\u205f-\u206f\u2212\u3000\ufe58\ufe63\ufeff\uff0d]*){3,11}$"
    )]
    branch_code: String,
    #[schema(example = "Thandi Nkosi", min_length = 1, max_length = 128)]
    account_holder: String,
    #[schema(example = "FNB", min_length = 1, max_length = 64)]
    bank_name: String,
    /// Of a customer with a second factor: a code of it, or a recovery code.
    #[schema(value_type = Option<String>, example = "492039", max_length = 40)]
    totp_code: Option<SecretString>,
}

#[derive(Serialize, ToSchema)]
struct BankAccountView {
    id: Uuid,
    #[schema(example = "****4567")]
    account_number_masked: String,
    #[schema(example = "250655")]
    branch_code: String,
    #[schema(example = "Thandi Nkosi")]
    account_holder: String,
    #[schema(example = "FNB")]
    bank_name: String,
    created_at: DateTime,
}

impl NewBankAccountBody {
    /// The lengths are what Revio takes (`docs/provider.md`, lengths).
    fn parse(self) -> Result<NewBankAccount> {
        let mut fields = Fields::default();
        let details = Details {
            account_number: fields.digits("account_number", &self.account_number, 5..=34),
            branch_code: fields.digits("branch_code", &self.branch_code, 3..=11),
            account_holder: fields.text("account_holder", &self.account_holder, 1..=128),
        };
        let bank_name = fields.text("bank_name", &self.bank_name, 1..=64);
        if let Some(wrong) = branch_codes::mistake(&bank_name, &details.branch_code) {
            fields.wrong("branch_code", wrong);
        }
        fields.finish()?;
        Ok(NewBankAccount { bank_name, details })
    }
}

impl From<BankAccount> for BankAccountView {
    fn from(account: BankAccount) -> Self {
        Self {
            id: account.id,
            account_number_masked: account.details.masked(),
            branch_code: account.details.branch_code,
            account_holder: account.details.account_holder,
            bank_name: account.bank_name,
            created_at: account.created_at,
        }
    }
}

/// Add a bank account
///
/// Whoever has a second factor shows a code of it. The customer is mailed. Withdrawals to it wait for a while, or for approval.
/// The branch code of a South African bank has six digits, and the universal code of one bank is none of another (`GET /v1/config` lists
/// them); any other is taken as it is. With an `Idempotency-Key` the same call again answers the same account.
#[utoipa::path(post, path = "/v1/bank-accounts", tag = "bank accounts", security(("bearer" = [])),
    request_body = NewBankAccountBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 201, body = BankAccountView),
        (status = 401, description = "`invalid_credentials`: the code is wrong"),
        (status = 403, description = "`email_not_verified`, `totp_required`"),
        (status = 409, description = "`bank_account_exists`"),
        (status = 422, description = "`idempotency_key_reused`"), Problems))]
async fn add(
    State(app): State<App>,
    caller: Caller,
    key: Option<IdempotencyKey>,
    Json(mut body): Json<NewBankAccountBody>,
) -> Result<impl IntoResponse> {
    let code = body.totp_code.take();
    let added = super::request(&app, &caller, body.parse()?, code, key).await?;
    let place = located(format_args!("/v1/bank-accounts/{}", added.account.id));
    Ok((StatusCode::CREATED, place, replayed(added.replayed), Json(BankAccountView::from(added.account))))
}

/// One of my bank accounts
///
/// With the last four digits of its number.
#[utoipa::path(get, path = "/v1/bank-accounts/{id}", tag = "bank accounts", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = BankAccountView), Problems))]
async fn show(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<BankAccountView>> {
    let own = super::list(&app, caller.user_id).await?.into_iter().find(|account| account.id == id);
    Ok(Json(own.ok_or(Error::NotFound("bank account"))?.into()))
}

/// My bank accounts
///
/// Those that withdrawals may go to, with the last four digits of each number.
#[utoipa::path(get, path = "/v1/bank-accounts", tag = "bank accounts", security(("bearer" = [])),
    responses((status = 200, body = Page<BankAccountView>), Problems))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<BankAccountView>>> {
    Ok(Json(Page::whole(super::list(&app, caller.user_id).await?)))
}

/// Delete a bank account
///
/// Withdrawals that were asked for before still go to it.
#[utoipa::path(delete, path = "/v1/bank-accounts/{id}", tag = "bank accounts", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses((status = 204), Problems))]
async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<StatusCode> {
    super::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
