//! People to make calls for: each with a wallet that a deposit has filled, a bank account that is not new, and a token.

use chrono::TimeDelta;
use ledger::{Account, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::app::App;
use octoco::money::bank_accounts::Details;
use octoco::platform::error::BoxError;
use uuid::Uuid;

/// More than any run takes out.
const FUNDS: i64 = 100_000_000_000;
/// A bank account is not new any more, and a token lives as long as a run.
const AGE: TimeDelta = TimeDelta::days(30);
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(6);

pub(crate) struct Customer {
    pub(crate) id: Uuid,
    pub(crate) bank_account: Uuid,
    pub(crate) deposit: Uuid,
    pub(crate) token: String,
}

pub(crate) async fn make(app: &App, count: usize) -> Result<Vec<Customer>, BoxError> {
    app.ledger.open(&[app.ledger.provider_balance(Currency::ZAR)]).await?;
    let mut customers = Vec::with_capacity(count);
    for _ in 0..count {
        customers.push(one(app).await?);
    }
    Ok(customers)
}

async fn one(app: &App) -> Result<Customer, BoxError> {
    let (id, bank_account, deposit) = (app.clock.user_id(), app.clock.row_id(), app.clock.row_id());
    let now = app.clock.now();
    sqlx::query(
        "insert into users (id, email, full_name, password_hash, created_at)
         values ($1, $1::text || '@example.com', 'Nobody', 'none', $2)",
    )
    .bind(id)
    .bind(now)
    .execute(&app.db)
    .await?;
    let details = Details {
        account_number: "62000000001".to_owned(),
        branch_code: "250655".to_owned(),
        account_holder: "Nobody".to_owned(),
    };
    let encrypted = app.config.data_keys.encrypt(bank_account, &serde_json::to_vec(&details)?)?;
    sqlx::query(
        "insert into bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at)
         values ($1, $2, $3, $4, 'FNB', '0001', $5)",
    )
    .bind(bank_account)
    .bind(id)
    .bind(encrypted.bytes)
    .bind(encrypted.key_id)
    .bind(now - AGE)
    .execute(&app.db)
    .await?;
    fund(app, id, deposit).await?;
    let token = app.tokens.sign_for(id, Uuid::now_v7(), "user", now..now + TOKEN_LIFE);
    Ok(Customer { id, bank_account, deposit, token })
}

/// A deposit that is completed, in PostgreSQL and in the ledger.
async fn fund(app: &App, user: Uuid, row: Uuid) -> Result<(), BoxError> {
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, moved_at, amount_minor, currency, updated_at, completed_at)
         values ($1, $2, 'deposit', 'completed', 'initiated completed', array[$3::timestamptz], $4, 'ZAR', $3, $3)",
    )
    .bind(row)
    .bind(user)
    .bind(app.clock.now())
    .bind(FUNDS)
    .execute(&app.db)
    .await?;
    let wallet = Account::wallet(user, Currency::ZAR);
    app.ledger.open(&[wallet]).await?;
    let transfer = Transfer {
        id: TransferId::of(row, Leg::Main),
        debit: app.ledger.provider_balance(Currency::ZAR),
        credit: wallet,
        amount: Amount::new(FUNDS, Currency::ZAR)?,
        code: TransferCode::Deposit,
        reference: row,
    };
    app.ledger.transfer(transfer).await?;
    Ok(())
}
