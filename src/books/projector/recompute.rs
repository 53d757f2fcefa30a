//! One line or one account of the copy: compared with the ledger, and computed anew from it. `finance::reconciliation` calls this for what
//! [`super::verify()`] or a page of the ledger says is different; whoever wants all of it anew calls [`super::rebuild()`].
//!
//! What the ledger says of a line never changes, nor what it says of an account as of a moment: so both are asked for first, and only
//! written where the cursor still stands where it stood. A ledger that is behind its copy is no measure of it: then nothing is written.

use std::collections::HashMap;

use ledger::{Account, AccountCode, BATCH_MAX, Currency, Leg, Recorded, TransferId, row_of};
use uuid::Uuid;

use super::books::{Line, Sides, Standing, nanoseconds};
use super::store::{self, AccountRow, TransferRow};
use super::{copied_to, touched};
use crate::app::App;
use crate::money::safe_mode;
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::error::{Error, Result};

/// A page of the ledger against its copy.
#[derive(Debug, Default)]
pub struct Compared {
    /// Of the ledger's last transfer on the page; `None` when there is none left.
    pub last: Option<i64>,
    pub transfers: usize,
    /// Transfers whose line is missing, differs, or is of no transfer.
    pub different: Vec<Uuid>,
}

/// The transfers behind `after`, up to `until`, which must be copied. The balances on a line are not looked at: they add up in
/// [`super::verify()`].
pub async fn compare_page(app: &App, currency: Currency, after: i64, until: i64) -> Result<Compared> {
    let page = app.ledger.transfers_after(currency, after.unsigned_abs(), BATCH_MAX).await?;
    let page: Vec<Recorded> =
        page.into_iter().take_while(|transfer| nanoseconds(transfer.timestamp) <= until).collect();
    let last = page.last().map(|transfer| nanoseconds(transfer.timestamp));
    let stored = store::transfers_between(&app.db, currency.code(), after, last.unwrap_or(until)).await?;
    let mut compared = Compared { last, transfers: page.len(), different: Vec::new() };
    let mut lines = stored.iter().peekable();
    for transfer in &page {
        let at = nanoseconds(transfer.timestamp);
        while let Some(stray) = lines.next_if(|line| line.timestamp < at) {
            compared.different.push(stray.id);
        }
        if lines.next_if(|line| line.says(transfer)).is_none() {
            lines.next_if(|line| line.timestamp == at);
            compared.different.push(transfer.id.as_uuid());
        }
    }
    compared.different.extend(lines.map(|stray| stray.id));
    Ok(compared)
}

/// Whether the copy has the transfer as the ledger has it, or neither has it.
pub async fn line_is_right(app: &App, id: Uuid) -> Result<bool> {
    let (expected, stored) = (expected_line(app, id).await?, store::transfer(&app.db, id).await?);
    Ok(expected.map(|(_, line)| line) == stored)
}

/// Writes the line as the ledger has it; one that the ledger does not have is taken out.
pub async fn recompute_line(app: &App, id: Uuid) -> Result<()> {
    safe_mode::ledger_must_be_whole(app).await?;
    let expected = expected_line(app, id).await?;
    let mut tx = app.db.begin().await?;
    if !store::try_lock(&mut *tx, AdvisoryLock::Projector).await? {
        return Err(Error::StaleState);
    }
    store::delete_transfer(&mut *tx, id, expected.as_ref().map(|(_, line)| line.timestamp)).await?;
    if let Some((currency, line)) = &expected {
        store::insert_transfers(&mut *tx, currency.code(), std::slice::from_ref(line)).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// `None`: the ledger has no such transfer, or the copy is not as far.
async fn expected_line(app: &App, id: Uuid) -> Result<Option<(Currency, TransferRow)>> {
    let Some(transfer) = recorded(app, id).await? else { return Ok(None) };
    if nanoseconds(transfer.timestamp) > copied_to(app, transfer.currency).await? {
        return Ok(None);
    }
    let mut sides = [Sides::default(); 2];
    let accounts = store::accounts(&app.db, &touched(std::slice::from_ref(&transfer))).await?;
    for (side, id) in sides.iter_mut().zip([transfer.debit, transfer.credit]) {
        let row = accounts.iter().find(|row| row.id == id.as_uuid());
        let account = row.and_then(|row| account_of(app, row, transfer.currency));
        let account = account.ok_or_else(|| Error::internal(format!("account {id} is not in the copy")))?;
        *side = app.ledger.balance_at(account, transfer.timestamp).await?.into();
    }
    let [debit, credit] = sides;
    // Of no account with them: only days count it.
    let released = 0;
    Ok(Some((transfer.currency, TransferRow::from(&Line { transfer, debit, credit, released }))))
}

/// By its id; a leg that no row's money has is found where its line says that it is.
async fn recorded(app: &App, id: Uuid) -> Result<Option<Recorded>> {
    let [.., byte] = *id.as_bytes();
    if let Some(leg) = Leg::from_byte(byte) {
        return Ok(app.ledger.lookup(&[TransferId::of(row_of(id), leg)]).await?.into_iter().next());
    }
    let Some(line) = store::transfer(&app.db, id).await? else { return Ok(None) };
    for currency in app.config.currencies.iter().copied() {
        let page = app.ledger.transfers_after(currency, line.timestamp.unsigned_abs().saturating_sub(1), 1).await?;
        if let Some(found) = page.into_iter().find(|transfer| transfer.id.as_uuid() == id) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether the copy has the account as the ledger has it, and its balance as of the cursor; also when the copy has no such account.
pub async fn account_is_right(app: &App, currency: Currency, id: Uuid) -> Result<bool> {
    let Some(row) = store::accounts(&app.db, &[id]).await?.into_iter().next() else { return Ok(true) };
    // Looked for where the row says that it was opened: if it is not there, the row is wrong.
    let before = row.opened().opened_timestamp.unsigned_abs().saturating_sub(1);
    let opened = app.ledger.accounts_after(currency, before, 1).await?.into_iter().next();
    match opened.filter(|account| account.id.as_uuid() == id) {
        Some(account) if row.opened() == super::opened(&account, currency)? => {
            Ok(wrong_account(app, currency, id).await?.is_none())
        }
        Some(_) | None => Ok(false),
    }
}

/// Writes the account's balance as it is at the cursor.
pub async fn recompute_account(app: &App, currency: Currency, id: Uuid) -> Result<()> {
    safe_mode::ledger_must_be_whole(app).await?;
    let Some((at, standing)) = wrong_account(app, currency, id).await? else { return Ok(()) };
    let mut tx = app.db.begin().await?;
    if !store::try_lock(&mut *tx, AdvisoryLock::Projector).await?
        || store::cursor(&mut *tx, currency.code()).await?.timestamp != at
    {
        return Err(Error::StaleState);
    }
    store::update_accounts(&mut *tx, &[(id, standing)]).await?;
    tx.commit().await?;
    Ok(())
}

/// The cursor and how the account stands there, if the copy says otherwise.
async fn wrong_account(app: &App, currency: Currency, id: Uuid) -> Result<Option<(i64, Standing)>> {
    let before = copied_to(app, currency).await?;
    let Some(row) = store::accounts(&app.db, &[id]).await?.into_iter().next() else { return Ok(None) };
    let Some(account) = account_of(app, &row, currency) else { return Ok(None) };
    let after = copied_to(app, currency).await?;
    if before != after {
        // The copy went on between the two: the account may have moved, and the next look sees it.
        return Err(Error::StaleState);
    }
    let last = app.ledger.last_change(account, after.unsigned_abs()).await?;
    let expected = last.map_or_else(Standing::default, |(at, balance)| Standing {
        sides: balance.into(),
        last: Some(nanoseconds(at)),
    });
    Ok((row.standing() != expected).then_some((after, expected)))
}

/// `None` also where the row says what its id does not: another account's balance is no measure of it.
fn account_of(app: &App, row: &AccountRow, currency: Currency) -> Option<Account> {
    let opened = row.opened();
    let code = AccountCode::from_code(u16::try_from(opened.code).ok()?)?;
    let of_its_id = |user: &Uuid| user.as_u128() == row.id.as_u128() & !0xffff;
    let account = match (code, opened.user_id.filter(of_its_id)) {
        (AccountCode::CustomerWallet, Some(user)) => Account::wallet(user, currency),
        (AccountCode::CustomerReceivable, Some(user)) => Account::receivable(user, currency),
        (code, None) if !code.is_customers() => app.ledger.system(code, currency),
        _ => return None,
    };
    (account.id.as_uuid() == row.id).then_some(account)
}

/// Accounts of the copy in the order of their ids behind `after`, at most `limit`, against the ledger's balances. `last` is `None` when none
/// is left.
pub async fn compare_accounts(app: &App, currency: Currency, after: Uuid, limit: i64) -> Result<ComparedAccounts> {
    let rows = store::accounts_after(&app.db, currency.code(), after, limit).await?;
    let accounts: Vec<Account> = rows.iter().filter_map(|row| account_of(app, row, currency)).collect();
    let balances = app.ledger.balances(&accounts).await?.into_iter().map(Sides::from);
    let sides: HashMap<Uuid, Sides> = accounts.iter().map(|account| account.id.as_uuid()).zip(balances).collect();
    let mut different = Vec::new();
    for row in &rows {
        if sides.get(&row.id) == Some(&row.standing().sides) {
            continue;
        }
        // It may have moved since it was copied: asked for as it was at the cursor, and where that goes on, another time.
        match account_is_right(app, currency, row.id).await {
            Ok(false) => different.push(row.id),
            Ok(true) | Err(Error::StaleState) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ComparedAccounts { last: rows.last().map(|row| row.id), accounts: rows.len(), different })
}

#[derive(Debug)]
pub struct ComparedAccounts {
    pub last: Option<Uuid>,
    pub accounts: usize,
    pub different: Vec<Uuid>,
}
