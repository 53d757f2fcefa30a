//! SQL over what a page about a customer shows: each statement reads along an index of that customer's, and only so many rows.

use serde::Serialize;
use sqlx::PgExecutor;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::identity::mails;
use crate::money::restrictions;
use crate::money::transactions::{Hold, Kind, State};
use crate::platform::clock::DateTime;

/// What the profile does not say.
pub struct Facts {
    pub erased_at: Option<DateTime>,
    pub second_factor_since: Option<DateTime>,
}

pub(super) async fn facts(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Facts> {
    let query = sqlx::query_as!(
        Facts,
        r#"select erased_at, (select enrolled_at from totp_secrets where user_id = $1) as second_factor_since
             from users where id = $1"#,
        id
    );
    query.fetch_one(db).await
}

/// What keeps an account from moving.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerRestriction)]
pub struct Restriction {
    #[schema(example = "ZAR")]
    pub currency: String,
    pub kind: restrictions::Kind,
    pub state: restrictions::State,
    /// Waits for somebody who may lift it.
    pub protective: bool,
    pub reason: String,
    pub imposed_by: Option<Uuid>,
    pub created_at: DateTime,
    /// Why it was imposed again, the oldest first.
    #[schema(value_type = Vec<restrictions::Repeat>)]
    pub repeats: Json<Vec<restrictions::Repeat>>,
}

/// Those that are not lifted: at most one a currency.
pub(super) async fn restrictions(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Vec<Restriction>> {
    let query = sqlx::query_as!(
        Restriction,
        r#"select currency, kind as "kind: restrictions::Kind", state as "state: restrictions::State", protective, reason,
                  imposed_by, created_at, repeats as "repeats: Json<Vec<restrictions::Repeat>>"
             from restrictions where user_id = $1 and state <> 'lifted' order by currency"#,
        id
    );
    query.fetch_all(db).await
}

#[derive(Serialize, ToSchema)]
#[schema(as = CustomerBankAccount)]
pub struct BankAccount {
    pub id: Uuid,
    #[schema(example = "FNB")]
    pub bank_name: String,
    #[schema(example = "****4567")]
    pub account_number_masked: String,
    pub created_at: DateTime,
}

/// Newest first; what is encrypted stays so.
pub(super) async fn bank_accounts(db: impl PgExecutor<'_>, id: Uuid, limit: i64) -> sqlx::Result<Vec<BankAccount>> {
    let query = sqlx::query_as!(
        BankAccount,
        r#"select id, bank_name, '****' || last_four as "account_number_masked!", created_at
             from bank_accounts where user_id = $1 and deleted_at is null order by created_at desc limit $2"#,
        id,
        limit
    );
    query.fetch_all(db).await
}

pub struct Session {
    pub id: Uuid,
    pub user_agent: Option<String>,
    pub address: Option<String>,
    pub created_at: DateTime,
    pub last_used_at: Option<DateTime>,
    pub expires_at: DateTime,
}

/// Those that live, newest first. A session is used when its refresh token is: at least every quarter of an hour.
pub(super) async fn sessions(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: DateTime,
    limit: i64,
) -> sqlx::Result<Vec<Session>> {
    let query = sqlx::query_as!(
        Session,
        "select id, user_agent, address, created_at, expires_at,
                (select max(issued_at) from refresh_tokens t where t.session_id = s.id) as last_used_at
           from sessions s where user_id = $1 and revoked_at is null and expires_at > $2
          order by created_at desc limit $3",
        id,
        now,
        limit
    );
    query.fetch_all(db).await
}

#[derive(Serialize, ToSchema)]
#[schema(as = CustomerMail)]
pub struct Mail {
    pub id: Uuid,
    pub kind: mails::Kind,
    pub state: mails::State,
    pub created_at: DateTime,
    pub sent_at: Option<DateTime>,
}

pub(super) async fn mails(db: impl PgExecutor<'_>, id: Uuid, limit: i64) -> sqlx::Result<Vec<Mail>> {
    let query = sqlx::query_as!(
        Mail,
        r#"select id, kind as "kind: mails::Kind", state as "state: mails::State", created_at, sent_at
             from mails where user_id = $1 order by id desc limit $2"#,
        id,
        limit
    );
    query.fetch_all(db).await
}

/// A row that is not at its end.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerOpenRow)]
pub struct Open {
    pub id: Uuid,
    pub kind: Kind,
    pub state: State,
    /// Minor units (cents).
    #[schema(example = 150_000)]
    pub amount: i64,
    #[schema(example = "ZAR")]
    pub currency: String,
    /// Why a person must look.
    pub held_code: Option<Hold>,
    pub created_at: DateTime,
}

/// Newest first, without those on hold.
pub(super) async fn open(db: impl PgExecutor<'_>, id: Uuid, limit: i64) -> sqlx::Result<Vec<Open>> {
    let query = sqlx::query_as!(
        Open,
        r#"select id, kind as "kind: Kind", state as "state: State", amount_minor as amount, currency,
                  held_code as "held_code: Hold", created_at
             from transactions
            where user_id = $1 and due_at is not null
              and state in ('initiated', 'awaiting_payment', 'reserved', 'awaiting_approval', 'submitting', 'submitted')
            order by id desc limit $2"#,
        id,
        limit
    );
    query.fetch_all(db).await
}

pub(super) async fn held(db: impl PgExecutor<'_>, id: Uuid, limit: i64) -> sqlx::Result<Vec<Open>> {
    let query = sqlx::query_as!(
        Open,
        r#"select id, kind as "kind: Kind", state as "state: State", amount_minor as amount, currency,
                  held_code as "held_code: Hold", created_at
             from transactions where user_id = $1 and held_reason is not null order by id desc limit $2"#,
        id,
        limit
    );
    query.fetch_all(db).await
}

/// A call of staff that concerned the customer.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerLook)]
pub struct Look {
    pub at: DateTime,
    /// Who of the staff.
    pub actor: String,
    #[schema(example = "GET")]
    pub method: Option<String>,
    #[schema(example = "/v1/admin/customers/{id}")]
    pub route: Option<String>,
}

/// Newest first.
pub(super) async fn looks(db: impl PgExecutor<'_>, id: Uuid, limit: i64) -> sqlx::Result<Vec<Look>> {
    let query = sqlx::query_as!(
        Look,
        "select at, actor, after->>'method' as method, after->>'route' as route
           from audit_log
          where after->>'customer' = $1::uuid::text and action in ('staff.called', 'staff.refused') order by id desc limit $2",
        id,
        limit
    );
    query.fetch_all(db).await
}
