//! What each customer held and owed at the cut: the list whose hash is frozen. It is made twice when a month is closed, from every transfer
//! of the ledger itself and from the copy, and must be the same; later from the copy alone, against the hash.

use std::collections::{BTreeMap, HashMap};

use ledger::{AccountCode, AccountId, BATCH_MAX, Currency, RecordedKind, Side};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::finance::trial_balance::csv;
use crate::platform::error::{Error, Result};

const COLUMNS: [&str; 4] = ["currency", "code", "customer_id", "balance_minor"];

/// By currency, account code and customer; on the account's normal side. Only what is not zero.
pub(super) type Balances = BTreeMap<(String, u16, Uuid), i64>;

/// From the first transfer to the cut, page by page, with nothing but the customers' sums in memory.
pub(super) async fn of_ledger(app: &App, cut: u64) -> Result<Balances> {
    let mut all = Balances::new();
    for currency in app.config.currencies.iter().copied() {
        let (mut nets, mut after) = (HashMap::<AccountId, i64>::new(), 0);
        loop {
            let page = app.ledger.transfers_after(currency, after, BATCH_MAX).await?;
            let Some(last) = page.last() else { break };
            after = last.timestamp;
            for transfer in page.iter().take_while(|transfer| transfer.timestamp <= cut) {
                let booked = matches!(transfer.kind, RecordedKind::Posted | RecordedKind::Post { .. });
                for (account, sign) in [(transfer.debit, 1), (transfer.credit, -1)] {
                    if booked && account.user_of().is_some() {
                        let net = nets.entry(account).or_default();
                        *net = net.saturating_add(transfer.amount_minor.saturating_mul(sign));
                    }
                }
            }
            if after > cut {
                break;
            }
        }
        for (account, net) in nets.into_iter().filter(|(_, net)| *net != 0) {
            let (user, code) = (account.user_of(), account.code_and_currency().map(|(code, _)| code));
            let (user, code) = user.zip(code).ok_or_else(|| Error::internal("an account that is not one of ours"))?;
            all.insert((currency.code().to_owned(), code.code(), user), on_its_side(code, net));
        }
    }
    Ok(all)
}

pub(super) async fn of_copy(app: &App, db: &mut PgConnection, cut: u64) -> Result<Balances> {
    let mut all = Balances::new();
    for currency in app.config.currencies.iter().copied() {
        let cut = i64::try_from(cut).unwrap_or(i64::MAX);
        for (code, user, net) in store::customers(&mut *db, currency.code(), cut).await? {
            let known = u16::try_from(code).ok().and_then(AccountCode::from_code);
            let code = known.ok_or_else(|| Error::internal("an account code that is not one of ours"))?;
            all.insert((currency.code().to_owned(), code.code(), user), on_its_side(code, net));
        }
    }
    Ok(all)
}

/// `net` is debits less credits.
fn on_its_side(code: AccountCode, net: i64) -> i64 {
    match code.normal_side() {
        Side::Debit => net,
        Side::Credit => net.saturating_neg(),
    }
}

/// The file whose hash is kept.
pub(super) fn file(balances: &Balances) -> Result<Vec<u8>> {
    let mut records = vec![COLUMNS.map(str::to_owned).to_vec()];
    let record = |((currency, code, user), balance): (&(String, u16, Uuid), &i64)| {
        vec![currency.clone(), code.to_string(), user.to_string(), balance.to_string()]
    };
    records.extend(balances.iter().map(record));
    csv::file(&records)
}

/// By currency: how many accounts, what is owed to customers, what they owe. Sums as text: they may be more than a JSON number tells.
pub(super) fn totals(currencies: &[Currency], balances: &Balances) -> Value {
    let of = |currency: &Currency| {
        let own = || balances.iter().filter(|((code, _, _), _)| code == currency.code());
        let sum = |code: AccountCode| {
            own()
                .filter(|((_, known, _), _)| *known == code.code())
                .map(|(_, sum)| i128::from(*sum))
                .sum::<i128>()
                .to_string()
        };
        let (owed, owing) = (sum(AccountCode::CustomerWallet), sum(AccountCode::CustomerReceivable));
        (currency.code().to_owned(), json!({"accounts": own().count(), "owed_minor": owed, "receivable_minor": owing}))
    };
    Value::Object(currencies.iter().map(of).collect())
}
