//! People to make calls for: each with a wallet that deposits have filled, a bank account that is not new, a password and a token.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ledger::{Account, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::app::App;
use octoco::money::bank_accounts::Details;
use octoco::platform::error::BoxError;
use octoco::platform::hashing::Priority;
use secrecy::SecretString;
use uuid::Uuid;

/// Deposits of each: a page of a list is full.
const DEPOSITS: usize = 25;
/// In all more than any run takes out.
const DEPOSITED: i64 = 4_000_000_000;
/// A bank account is not new any more, and a token lives as long as a run.
const AGE: TimeDelta = TimeDelta::days(30);
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(6);
/// Calls of the ledger at once; accounts opened by one, also where TigerBeetle takes little.
const CALLS: usize = 1_000;
const OPENED: usize = 200;
pub(crate) const PASSWORD: &str = "a password of everybody's";

pub(crate) struct Customers {
    pub(crate) all: Vec<Customer>,
}

pub(crate) struct Customer {
    pub(crate) id: Uuid,
    pub(crate) bank_account: Uuid,
    pub(crate) deposit: Uuid,
    pub(crate) token: String,
    /// Where his calls come from, as the edge would say.
    pub(crate) address: String,
}

impl Customer {
    pub(crate) fn email(&self) -> String {
        format!("{}@example.com", self.id)
    }
}

impl Customers {
    pub(crate) async fn make(app: &App, count: usize) -> Result<Self, BoxError> {
        app.ledger.open(&[app.ledger.provider_balance(Currency::ZAR)]).await?;
        let now = app.clock.now();
        let all = (0..count).map(|number| {
            let id = app.clock.user_id();
            let token = app.tokens.sign_for(id, Uuid::now_v7(), "user", now..now + TOKEN_LIFE);
            let address = format!("10.{}.{}.1", number / 250, number % 250);
            Customer { id, bank_account: app.clock.row_id(), deposit: app.clock.row_id(), token, address }
        });
        let customers = Self { all: all.collect() };
        customers.write(app).await?;
        customers.write_bank_accounts(app).await?;
        customers.fund(app).await?;
        Ok(customers)
    }

    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.all.iter().map(|customer| customer.id).collect()
    }

    pub(crate) fn tokens(&self) -> Arc<[String]> {
        self.all.iter().map(|customer| customer.token.clone()).collect()
    }

    /// What all were given before the first call.
    pub(crate) fn funds(&self) -> i64 {
        i64::try_from(self.all.len() * DEPOSITS).unwrap_or(0) * DEPOSITED
    }

    async fn write(&self, app: &App) -> Result<(), BoxError> {
        let hash = app.hasher.hash(Priority::Known, SecretString::from(PASSWORD)).await?;
        sqlx::query(
            "insert into users (id, email, full_name, password_hash, created_at)
             select id, id::text || '@example.com', 'Nobody', $2, $3 from unnest($1::uuid[]) as each (id)",
        )
        .bind(self.ids())
        .bind(hash)
        .bind(app.clock.now())
        .execute(&app.db)
        .await?;
        Ok(())
    }

    async fn write_bank_accounts(&self, app: &App) -> Result<(), BoxError> {
        let details = Details {
            account_number: "62000000001".to_owned(),
            branch_code: "250655".to_owned(),
            account_holder: "Nobody".to_owned(),
        };
        let details = serde_json::to_vec(&details)?;
        let (mut ids, mut sealed, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for customer in &self.all {
            let encrypted = app.config.data_keys.encrypt(customer.bank_account, &details)?;
            ids.push(customer.bank_account);
            sealed.push(encrypted.bytes);
            keys.push(encrypted.key_id);
        }
        sqlx::query(
            "insert into bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at)
             select id, user_id, details, key_id, 'FNB', '0001', $5
               from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[]) as each (id, user_id, details, key_id)",
        )
        .bind(ids)
        .bind(self.ids())
        .bind(sealed)
        .bind(keys)
        .bind(app.clock.now() - AGE)
        .execute(&app.db)
        .await?;
        Ok(())
    }

    /// Deposits that are completed, in PostgreSQL and in the ledger.
    async fn fund(&self, app: &App) -> Result<(), BoxError> {
        let more =
            |customer: &Customer| (0..DEPOSITS - 1).map(|_| (customer.id, app.clock.row_id())).collect::<Vec<_>>();
        let mut deposits: Vec<(Uuid, Uuid)> = self.all.iter().flat_map(more).collect();
        deposits.extend(self.all.iter().map(|customer| (customer.id, customer.deposit)));
        let (users, rows): (Vec<Uuid>, Vec<Uuid>) = deposits.iter().copied().unzip();
        sqlx::query(
            "insert into transactions (id, user_id, kind, state, states, moved_at, amount_minor, currency, updated_at, completed_at)
             select id, user_id, 'deposit', 'completed', 'initiated completed', array[$3::timestamptz], $4, 'ZAR', $3, $3
               from unnest($1::uuid[], $2::uuid[]) as each (id, user_id)",
        )
        .bind(rows)
        .bind(users)
        .bind(app.clock.now())
        .bind(DEPOSITED)
        .execute(&app.db)
        .await?;
        let wallets: Vec<Account> = self.all.iter().map(|one| Account::wallet(one.id, Currency::ZAR)).collect();
        for some in wallets.chunks(OPENED) {
            app.ledger.open(some).await?;
        }
        let credits = deposits.into_iter().map(|(user, row)| credit(app, user, row));
        stream::iter(credits).buffer_unordered(CALLS).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

async fn credit(app: &App, user: Uuid, row: Uuid) -> Result<(), BoxError> {
    let (id, amount) = (TransferId::of(row, Leg::Main), Amount::new(DEPOSITED, Currency::ZAR)?);
    let (provider, wallet) = (app.ledger.provider_balance(Currency::ZAR), Account::wallet(user, Currency::ZAR));
    Ok(app.ledger.transfer(Transfer::new(id, provider, wallet, amount, TransferCode::Deposit)).await?)
}
