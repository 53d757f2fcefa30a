//! A customer's money comes in: Revio takes it from the payer, we credit the wallet once.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: open (row written)
//!     initiated --> awaiting_payment: initiate (Revio has the purchase, the payer has a link)
//!     initiated --> failed: Revio refused the purchase
//!     awaiting_payment --> completed: credit (paid; the ledger has the transfer)
//!     awaiting_payment --> expired: nobody paid in time
//!     awaiting_payment --> cancelled: cancelled at Revio
//!     expired --> completed: credit (a late payment is money all the same)
//!     cancelled --> completed: credit
//! ```
//!
//! A webhook only says *look*: what is true is always what Revio answers when it is asked for the purchase. The effect is
//! keyed on the row (transfer id = row id | leg), so that looking twice credits once.

pub mod routes;

use chrono::TimeDelta;
use ledger::{Account, AccountCode, Amount, Leg, Transfer, TransferCode, TransferId};
use uuid::Uuid;

use crate::app::App;
use crate::error::{Error, Result};
use crate::http::{IdempotencyKey, RequestHash};
use crate::revio::types::Payment;
use crate::revio::{NewPurchase, Purchase, PurchaseStatus, RevioError};
use crate::transactions::{self, Due, Inserted, Kind, Move, NewTransaction, Provider, State, Transaction};
use crate::users;

/// How long the payer's link works.
const CHECKOUT: TimeDelta = TimeDelta::hours(1);
/// Revio closes the link by its own clock; a payment that started just before may still be on its way.
const CHECKOUT_MARGIN: TimeDelta = TimeDelta::minutes(5);
/// Asking after an unpaid purchase: at first often, since its webhook may be lost, then ever more slowly.
const ASK_MIN: TimeDelta = TimeDelta::seconds(30);
const ASK_MAX: TimeDelta = TimeDelta::minutes(10);
/// A payment that began before the link closed can still succeed, and its webhook can still be lost: one more look.
const LAST_LOOK: TimeDelta = TimeDelta::hours(24);

/// A deposit that was asked for, now or before with the same key.
pub struct Opened {
    pub deposit: Transaction,
    pub replayed: bool,
}

/// `POST /v1/deposits`.
///
/// # Errors
/// [`Error::KeyReused`].
pub async fn open(app: &App, user_id: Uuid, amount: Amount, key: IdempotencyKey) -> Result<Opened> {
    let request_hash = RequestHash::of("deposit", &(amount.minor(), amount.currency().code()));
    let new = NewTransaction { user_id, kind: Kind::Deposit, amount, bank_account_id: None, key, request_hash };
    match transactions::insert_once(app, &new).await? {
        Inserted::New(row) => {
            let deposit = transactions::first_step(app, row.clone(), step(app, &row)).await?;
            Ok(Opened { deposit, replayed: false })
        }
        Inserted::Repeat(deposit) => Ok(Opened { deposit, replayed: true }),
    }
}

/// Steps what is due; the worker calls it.
///
/// # Errors
/// When the rows cannot be claimed.
pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    transactions::step_due(app, Kind::Deposit, limit, |app, row| async move { step(&app, &row).await }).await
}

/// One step of one deposit. Safe to repeat: see the module's text.
async fn step(app: &App, deposit: &Transaction) -> Result<Transaction> {
    match deposit.state {
        State::Initiated => initiate(app, deposit).await,
        State::AwaitingPayment => ask(app, deposit).await,
        State::Expired | State::Cancelled => look_last(app, deposit).await,
        State::Completed | State::Failed => transactions::rest(app, deposit).await,
        State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted | State::Rejected => {
            Err(Error::internal(format!("a deposit cannot be {}", deposit.state.name())))
        }
    }
}

/// `initiated → awaiting_payment`. Repeating it makes a second purchase whose link nobody has.
async fn initiate(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let contact = users::contact(app, deposit.user_id).await?;
    let purchase = NewPurchase {
        reference: deposit.id,
        amount: deposit.amount,
        email: &contact.email,
        full_name: &contact.full_name,
        due: app.clock.now() + CHECKOUT,
    };
    match app.revio.create_purchase(&purchase).await {
        Ok(purchase) => await_payment(app, deposit, &purchase).await,
        Err(error @ RevioError::Rejected { .. }) => {
            tracing::error!(transaction.id = %deposit.id, %error, "Revio refused a purchase");
            let refused = Move::to(State::Failed, Due::Never).because("the payment provider refused the deposit");
            transactions::advance(app, deposit, refused).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Revio has the purchase: keeps its id and the payer's link.
async fn await_payment(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Transaction> {
    let provider = Provider {
        id: Some(purchase.id),
        status: Some(purchase.status.word().to_owned()),
        checkout_url: purchase.checkout_url.clone(),
        ..Provider::default()
    };
    let to = Move::to(State::AwaitingPayment, Due::In(ASK_MIN)).with_provider(provider);
    transactions::advance(app, deposit, to).await
}

/// Asks Revio for the purchase and acts on what it says. Past its time, an unpaid purchase is cancelled first.
async fn ask(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let Some(purchase_id) = deposit.provider.id else {
        return transactions::hold(app, deposit, "the purchase's id is missing").await;
    };
    let mut purchase = app.revio.purchase(purchase_id).await?;
    let open_since = app.clock.now() - deposit.updated_at;
    let waiting = deposit.state == State::AwaitingPayment && matches!(purchase.status, PurchaseStatus::Open(_));
    if waiting && open_since > CHECKOUT + CHECKOUT_MARGIN {
        purchase = match app.revio.cancel_purchase(purchase_id).await {
            Ok(cancelled) => cancelled,
            // Not cancellable: something happened to it since. Whatever it is, it shows when asked again.
            Err(RevioError::Rejected { .. }) => app.revio.purchase(purchase_id).await?,
            Err(error) => return Err(error.into()),
        };
    }
    settle(app, deposit, &purchase).await
}

/// Revio told of a purchase: looks at its present state. `None` when the purchase is not one of ours.
///
/// # Errors
/// When a part does not answer: the event stays in the inbox and comes again.
pub async fn heard(app: &App, purchase_id: Uuid, reference: Option<Uuid>) -> Result<Option<Transaction>> {
    let Some(deposit) = transactions::find_for_provider(app, Kind::Deposit, purchase_id, reference).await? else {
        return Ok(None);
    };
    let purchase = app.revio.purchase(purchase_id).await?;
    let settled = match deposit.provider.id {
        Some(id) if id == purchase_id => settle(app, &deposit, &purchase).await?,
        // The event is faster than the answer to our own call, or that answer was lost.
        None if purchase.reference == deposit.id.to_string() => {
            let deposit = await_payment(app, &deposit, &purchase).await?;
            settle(app, &deposit, &purchase).await?
        }
        // A purchase whose creation was repeated. Its link went to nobody; if it was paid all the same, a person decides.
        _ if matches!(purchase.status, PurchaseStatus::Paid(_)) => {
            transactions::hold(app, &deposit, &format!("a second purchase of this deposit was paid: {purchase_id}"))
                .await?
        }
        _ => deposit,
    };
    Ok(Some(settled))
}

/// Acts on what Revio says now.
async fn settle(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Transaction> {
    if deposit.state == State::Completed {
        return Ok(deposit.clone());
    }
    match &purchase.status {
        // What was refunded or charged back was paid before.
        PurchaseStatus::Paid(_) | PurchaseStatus::Refunded(_) | PurchaseStatus::ChargedBack(_) => {
            match evidence(app, deposit, purchase) {
                Ok(payment) => credit(app, deposit, purchase, payment).await,
                Err(reason) => transactions::hold(app, deposit, &reason).await,
            }
        }
        PurchaseStatus::Expired => close(app, deposit, State::Expired, purchase).await,
        PurchaseStatus::Cancelled => close(app, deposit, State::Cancelled, purchase).await,
        PurchaseStatus::Open(_) | PurchaseStatus::Unknown(_) if deposit.state != State::AwaitingPayment => {
            Ok(deposit.clone())
        }
        PurchaseStatus::Open(_) | PurchaseStatus::Unknown(_) => {
            let open_since = app.clock.now() - deposit.updated_at;
            transactions::wait(app, deposit, (open_since / 2).clamp(ASK_MIN, ASK_MAX)).await
        }
    }
}

/// Money came, all of it, and it is this deposit's. Otherwise the reason why a person must look.
fn evidence<'p>(app: &App, deposit: &Transaction, purchase: &'p Purchase) -> Result<&'p Payment, String> {
    let payment = purchase.payment.as_ref().ok_or("paid without a payment")?;
    let differs =
        |what: &str, asked: &str, told: &str| Err(format!("paid with another {what}: {told}, asked for {asked}"));
    if purchase.marked_as_paid || payment.is_outgoing {
        return Err("marked as paid, but no money came".to_owned());
    }
    if purchase.is_test != app.config.revio_test_mode || purchase.brand_id != Some(app.revio.brand_id()) {
        return Err("paid in another mode or brand".to_owned());
    }
    if purchase.reference != deposit.id.to_string() {
        return Err("the purchase has another reference".to_owned());
    }
    if payment.currency != deposit.amount.currency().code() {
        return differs("currency", deposit.amount.currency().code(), &payment.currency);
    }
    if payment.amount != deposit.amount.minor() {
        return differs("amount", &deposit.amount.minor().to_string(), &payment.amount.to_string());
    }
    Ok(payment)
}

/// `→ completed`: the wallet is credited; what Revio keeps for itself is our expense, booked with it.
async fn credit(app: &App, deposit: &Transaction, purchase: &Purchase, payment: &Payment) -> Result<Transaction> {
    let currency = deposit.amount.currency();
    let wallet = Account::wallet(deposit.user_id, currency);
    let provider_balance = app.ledger.provider_balance(currency);
    let provider_fees = app.ledger.system(AccountCode::ProviderFees, currency);
    // Opening is idempotent, and a transfer to an account that is not there would spend its id for ever.
    app.ledger.open(&[wallet, provider_balance, provider_fees]).await?;

    let mut transfers = vec![Transfer {
        id: TransferId::of(deposit.id, Leg::Main),
        debit: provider_balance,
        credit: wallet,
        amount: deposit.amount,
        code: TransferCode::Deposit,
        reference: deposit.id,
    }];
    match Amount::new(payment.fee_amount.unwrap_or(0), currency) {
        Ok(fee) if fee.is_zero() => {}
        Ok(fee) if fee.minor() <= deposit.amount.minor() => transfers.push(Transfer {
            id: TransferId::of(deposit.id, Leg::ProviderFee),
            debit: provider_fees,
            credit: provider_balance,
            amount: fee,
            code: TransferCode::ProviderFee,
            reference: deposit.id,
        }),
        _ => return transactions::hold(app, deposit, "the provider's fee is negative or larger than the amount").await,
    }
    app.ledger.transfer_linked(&transfers).await?;
    let to = Move::to(State::Completed, Due::Never).with_provider(told(deposit, purchase));
    transactions::advance(app, deposit, to).await
}

/// `→ expired | cancelled`: nothing came and, as far as Revio can say, nothing will. A late payment still completes it.
async fn close(app: &App, deposit: &Transaction, state: State, purchase: &Purchase) -> Result<Transaction> {
    if deposit.state == state {
        return Ok(deposit.clone());
    }
    let to = Move::to(state, Due::In(LAST_LOOK)).with_provider(told(deposit, purchase));
    transactions::advance(app, deposit, to).await
}

/// A closed deposit a day later: still closed, or paid after all.
async fn look_last(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let looked = ask(app, deposit).await?;
    if looked.state == deposit.state { transactions::rest(app, deposit).await } else { Ok(looked) }
}

fn told(deposit: &Transaction, purchase: &Purchase) -> Provider {
    Provider { status: Some(purchase.status.word().to_owned()), ..deposit.provider.clone() }
}
