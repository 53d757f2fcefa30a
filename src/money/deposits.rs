//! A customer's money comes in: Revio takes it from the payer, we credit the wallet once.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: open (row written)
//!     [*] --> awaiting_payment: second::insert (a second purchase of another deposit was paid)
//!     initiated --> awaiting_payment: initiate (Revio has the purchase, the payer has a link)
//!     initiated --> completed: the ledger has credited it, by a purchase that the row forgot (PostgreSQL was put back to an earlier moment)
//!     initiated --> initiated: held, it was set aside by such a purchase
//!     initiated --> failed: Revio refused the purchase
//!     initiated --> failed: closed by a person
//!     initiated --> cancelled: called off by its customer before there was a link
//!     initiated --> initiated: called off by its customer (the row says so before Revio is asked)
//!     awaiting_payment --> completed: credit (paid; the ledger has the transfer)
//!     awaiting_payment --> expired: nobody paid in time
//!     awaiting_payment --> awaiting_payment: called off by its customer, or await_payment (its link is told only now)
//!     awaiting_payment --> cancelled: cancelled at Revio
//!     awaiting_payment --> failed: closed by a person, who decided what becomes of what came
//!     completed --> completed: follow (given back: rows of their own, see reversals)
//!     completed --> completed: await_payment (the row learns of its purchase)
//!     failed --> failed: await_payment
//!     cancelled --> cancelled: await_payment
//!     failed --> completed: credit (closed by a person, and paid after all)
//!     expired --> completed: credit (a late payment is money all the same)
//!     cancelled --> completed: credit
//! ```
//!
//! A webhook only says *look*; what is true is Revio's answer about the purchase. Of the event itself counts when the object changed, for an
//! answer from before that is none, and of a Payment what it is and what it moved (decision 025). What follows has ids made of the row's id,
//! so looking twice credits once.
//!
//! Money that came and does not fit (another amount) is booked to `suspense`, so that our books say what Revio's say, and the
//! row is on hold for a person (`set_aside`). A second payment of one deposit is a second deposit (`second`): it is the customer's money. What is given back of it
//! later is in `given_back`, payments of which we have no row in `unknown`, the end of what nobody pays in `unpaid`, calling one off in
//! `cancelling`.

pub mod cancelling;
mod given_back;
mod obstacles;
pub mod routes;
mod second;
mod set_aside;
mod store;
mod unknown;
mod unpaid;

use chrono::TimeDelta;
use ledger::{Account, Amount, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::identity::{caller::Caller, users};
use crate::money::deposits::{second::Booked, store::Obstacles};
use crate::money::evidence::{self, Misfit};
use crate::money::provider_objects::{self, Followed};
use crate::money::receivables::{self, Available};
use crate::money::suspense::{self, ItemKind};
use crate::money::transactions::{
    self, Asked, Direction, Due, FailureReason, Hold, Inserted, Kind, Metadata, Move, NewTransaction, Provider,
    RequestMark, State, Transaction,
};
use crate::money::{adjustments, provider_fees};
use crate::platform::clock::{self, DateTime};
use crate::platform::error::{Decline, Error, Result};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::queue;
use crate::provider::revio::objects::{Flag, PaymentDetails};
use crate::provider::revio::{self, Errand, NewPurchase, Purchase, PurchaseStatus, RevioError};

/// How long the payer's link works.
const CHECKOUT: TimeDelta = TimeDelta::hours(1);
/// Revio closes the link by its own clock; a payment that started just before may still be on its way.
const CHECKOUT_MARGIN: TimeDelta = TimeDelta::minutes(5);
/// Asking after an unpaid purchase is only the net below a lost webhook: once early, while its payer may wait, then after as long
/// again each time. Eight calls an hour.
const ASK_MIN: TimeDelta = TimeDelta::seconds(30);
const ASK_MAX: TimeDelta = TimeDelta::minutes(20);
/// A purchase that can neither be paid nor cancelled for so long is for a person.
const UNDECIDED_MAX: TimeDelta = TimeDelta::days(7);
/// After completion: a payer's bank has about 120 days to take the money back.
const LATER_LOOKS: [TimeDelta; 4] = [TimeDelta::days(1), TimeDelta::days(7), TimeDelta::days(30), TimeDelta::days(120)];

pub struct NewDeposit {
    pub amount: Amount,
    pub description: Option<String>,
    pub metadata: Metadata,
}

/// A purchase of which Revio has told something.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub id: Uuid,
    /// That it was paid, at this second by Revio's clock.
    pub paid_on: Option<i64>,
}

pub async fn open(app: &App, caller: &Caller, new: NewDeposit, key: IdempotencyKey) -> Result<Asked> {
    let new = NewTransaction {
        user_id: caller.user_id,
        kind: Kind::Deposit,
        amount: new.amount,
        bank_account_id: None,
        request_hash: request_hash(&new),
        request: RequestMark::of(caller.origin.request_id.as_deref(), app.clock.now()),
        description: new.description,
        metadata: new.metadata,
        key,
    };
    let obstacles = obstacles::find(app, &new).await?;
    // A repeat is answered even while Revio is left alone, and takes none of its calls.
    if obstacles.is_repeated
        && let Some(row) = transactions::find_repeat(app, &new).await?
    {
        return Ok(Asked { row, replayed: true });
    }
    caller.require_verified_email(app).await?;
    require_payable_and_take_place(app, caller.user_id, obstacles).await?;
    match transactions::insert_deposit(app, &new, app.config.open_deposits_max).await? {
        Some(Inserted::New(row)) => {
            let initiated = Box::pin(revio::on(Errand::Customer, initiate(app, &row)));
            let row = transactions::step_inline(app, &row, initiated).await?;
            Ok(Asked { row, replayed: false })
        }
        Some(Inserted::Repeat(row)) => Ok(Asked { row, replayed: true }),
        None => Err(too_many_open(app, obstacles::find(app, &new).await?.open)),
    }
}

/// What an idempotency key stands for. Keys from before there were descriptions and metadata must keep their hash, so each of the two is part
/// of it only where it was sent.
fn request_hash(new: &NewDeposit) -> RequestHash {
    let (minor, currency, text) = (new.amount.minor(), new.amount.currency().code(), &new.description);
    match text {
        _ if !new.metadata.is_empty() => RequestHash::of("deposit", &(minor, currency, text, &new.metadata)),
        None => RequestHash::of("deposit", &(minor, currency)),
        Some(text) => RequestHash::of("deposit", &(minor, currency, text)),
    }
}

/// Refuses a deposit that could not be paid: without Revio there is no link to pay by, and a closed wallet takes nothing. Last, it
/// takes a place in the budget of calls.
async fn require_payable_and_take_place(app: &App, user_id: Uuid, obstacles: Obstacles) -> Result<()> {
    if let Some(wait) = app.revio.new_purchase_paused() {
        return Err(Error::provider_paused(wait));
    }
    if obstacles.has_closed_account {
        return Err(Error::declined(Decline::AccountClosed));
    }
    // Whoever has too many already takes no place from others; where many come at once, the insert decides.
    if i64::try_from(obstacles.open.len()).is_ok_and(|count| count >= app.config.open_deposits_max) {
        return Err(too_many_open(app, obstacles.open));
    }
    app.revio.take_place_for_deposit(user_id).await.map_err(Error::provider_paused)
}

/// The oldest of them is the first to end by itself: then there is room again. One that Revio does not end is asked for again and again.
fn too_many_open(app: &App, open: Vec<Uuid>) -> Error {
    let ends = |oldest: &Uuid| clock::time_of(*oldest) + CHECKOUT + CHECKOUT_MARGIN - app.clock.now();
    let wait = open.first().map_or(CHECKOUT, ends);
    let wait = if wait > TimeDelta::zero() { wait.max(TimeDelta::seconds(1)) } else { ASK_MAX };
    let retry_after_secs = u64::try_from(wait.num_seconds()).unwrap_or(1);
    Error::TooManyOpenDeposits { open, limit: app.config.open_deposits_max, retry_after_secs }
}

/// Claims due rows and gives a step for each; the worker runs them.
pub async fn claim_due(app: &App, limit: i64) -> Result<Vec<queue::Step<'_>>> {
    transactions::claim_due(app, Kind::Deposit, limit, |app, row| async move { step(&app, &row).await }).await
}

/// One step of one deposit. Safe to repeat: see the module's text.
async fn step(app: &App, deposit: &Transaction) -> Result<Transaction> {
    match step_by_state(app, deposit).await {
        // What was set aside stays for a person, whatever Revio says or does not.
        Err(Error::Unusable(cause)) => match suspense::of_row(app, deposit.id).await? {
            Some(item) => set_aside::hold(app, deposit, item.kind).await,
            // A person has closed it; reconciliation asks after it, too.
            None if deposit.state == State::Failed => transactions::rest(app, deposit).await,
            None => Err(Error::Unusable(cause)),
        },
        stepped => stepped,
    }
}

async fn step_by_state(app: &App, deposit: &Transaction) -> Result<Transaction> {
    match deposit.state {
        State::Initiated => begin_again(app, deposit).await,
        State::AwaitingPayment => ask(app, deposit).await,
        State::Expired | State::Cancelled => unpaid::look_last(app, deposit).await,
        State::Failed if deposit.provider.id.is_some() => unpaid::look_last(app, deposit).await,
        State::Completed => given_back::look_later(app, deposit).await,
        State::Failed => transactions::rest(app, deposit).await,
        State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted | State::Rejected => {
            Err(Error::internal(format!("a deposit cannot be {}", deposit.state.name())))
        }
    }
}

/// Its first step did not finish. If the ledger has the deposit already, a purchase that this row has forgotten was paid (PostgreSQL was
/// restored): no second purchase is made. What was credited completes the row, what was set aside waits for that purchase's next event.
async fn begin_again(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let [main, repay, unmatched] = [Leg::Main, Leg::Repay, Leg::Unmatched].map(|leg| TransferId::of(deposit.id, leg));
    let recorded = app.ledger.lookup(&[main, repay, unmatched]).await?;
    let found = |id| recorded.iter().find(|transfer| transfer.id == id);
    if found(main).is_some() {
        let nothing = Amount::zero(deposit.amount.currency());
        let repaid = found(repay).map_or(Ok(nothing), |repaid| repaid.amount())?;
        return transactions::advance(app, deposit, Move::to(State::Completed, Due::Never).having_repaid(repaid)).await;
    }
    if found(unmatched).is_some() {
        let reason = "it was set aside, by a purchase that the row has forgotten: the next event of it brings it along";
        return transactions::hold(app, deposit, Hold::BehindLedger, reason).await;
    }
    if deposit.is_called_off() {
        return cancelling::close_without_a_link(app, deposit).await;
    }
    initiate(app, deposit).await
}

/// `initiated → awaiting_payment`. Repeating it makes a second purchase whose link nobody has.
async fn initiate(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let user = users::find(app, deposit.user_id).await?;
    let purchase = NewPurchase {
        reference: deposit.id,
        amount: deposit.amount,
        email: &user.email,
        full_name: &user.full_name,
        due: app.clock.now() + CHECKOUT,
        back: &format!("{}/deposits/{}", app.config.mail.frontend_url, deposit.id),
    };
    app.crash.at("deposit.before_purchase")?;
    let created = app.revio.create_purchase(&purchase).await;
    app.crash.at("deposit.purchase_created")?;
    match created {
        Ok(purchase) => {
            provider_objects::record_purchase(app, Some(deposit.id), &purchase).await?;
            await_payment(app, deposit, &purchase).await
        }
        Err(error @ RevioError::Rejected { .. }) => {
            tracing::error!(transaction.id = %deposit.id, %error, "Revio refused a purchase");
            let refused = Move::to(State::Failed, Due::Never).because(FailureReason::ProviderRefused);
            transactions::advance(app, deposit, refused).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Revio has the purchase: keeps its id, the payer's link, and until when that can be paid. One that was cancelled, closed or credited before we
/// knew of any stays so, and the purchase follows it.
async fn await_payment(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Transaction> {
    let provider = Provider {
        id: Some(purchase.id),
        status: Some(purchase.status.word().to_owned()),
        checkout_url: purchase.checkout_url.clone(),
        expires_at: Some(link_ends(app, purchase)),
        ..Provider::default()
    };
    let to = match deposit.state {
        State::Cancelled | State::Failed | State::Completed => Move::to(deposit.state, Due::Now),
        State::Initiated | State::AwaitingPayment => Move::to(State::AwaitingPayment, Due::In(ASK_MIN)),
        State::Expired
        | State::Reserved
        | State::AwaitingApproval
        | State::Submitting
        | State::Submitted
        | State::Rejected => return Err(Error::StaleState),
    };
    transactions::advance(app, deposit, to.with_provider(provider)).await
}

/// When the link ends: at Revio's `due`, and never later than a link of ours may live.
fn link_ends(app: &App, purchase: &Purchase) -> DateTime {
    let latest = app.clock.now() + CHECKOUT;
    let due = purchase.due.whole().and_then(|secs| DateTime::from_timestamp(secs, 0));
    due.map_or(latest, |due| due.min(latest))
}

/// From when on Revio is asked to take no money for it any more. A second payment of a deposit never had a link of its own.
fn ends_at(deposit: &Transaction) -> DateTime {
    deposit.provider.expires_at.unwrap_or(deposit.updated_at + CHECKOUT) + CHECKOUT_MARGIN
}

/// Asks Revio for the purchase and acts on what it says.
async fn ask(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let Some(purchase_id) = deposit.provider.id else { return unpaid::hold_incomplete(app, deposit).await };
    let purchase = unpaid::ask_and_cancel_if_over(app, deposit, purchase_id).await?;
    apply(app, deposit, &purchase).await
}

/// Revio told of a purchase: looks at its present state.
pub async fn on_provider_event(app: &App, purchase: Told, reference: Option<Uuid>) -> Result<Followed> {
    let Some(deposit) = transactions::find_for_provider(app, Kind::Deposit, purchase.id, reference).await? else {
        return unknown::apply(app, purchase).await;
    };
    follow_event(app, &deposit, purchase).instrument(transactions::span(&deposit)).await?;
    Ok(Followed::Settled)
}

async fn follow_event(app: &App, deposit: &Transaction, told: Told) -> Result<()> {
    let purchase_id = told.id;
    let purchase = provider_objects::ask_for_purchase(app, Some(deposit.id), purchase_id).await?;
    // Of that very second an answer from before it and one from after it look equally new.
    let is_of_that_second = told.paid_on.is_some() && purchase.updated_on.whole() == told.paid_on;
    if is_of_that_second && purchase.status.is_known() && !purchase.status.means_paid() {
        return Err(Error::Unusable(
            "Revio says that it was paid, and by its answer of that second it is not yet".into(),
        ));
    }
    // However it is spelled: it is the same row that the event was found by.
    let is_foreign = app.revio.is_foreign(&purchase.is_test, &purchase.brand_id);
    let is_ours = !is_foreign && purchase.reference.parse::<Uuid>() == Ok(deposit.id);
    match deposit.provider.id {
        Some(id) if id == purchase_id => {
            let purchase = unpaid::cancel_if_over(app, deposit, purchase).await?;
            apply(app, deposit, &purchase).await?;
        }
        // The event is faster than the answer to our own call, or that answer was lost.
        None if is_ours && asks_for_another_sum(deposit, &purchase) => pass_over(&purchase)?,
        None if is_ours => match second::booked_for(app, deposit, &purchase).await? {
            Some(Booked::ForASecond) => second::insert(app, deposit, &purchase).await?,
            Some(Booked::ForThisRow) if !purchase.status.means_paid() => pass_over(&purchase)?,
            Some(Booked::ForThisRow) | None => {
                let deposit = await_payment(app, deposit, &purchase).await?;
                let purchase = unpaid::cancel_if_over(app, &deposit, purchase).await?;
                apply(app, &deposit, &purchase).await?;
            }
        },
        // A purchase whose creation was repeated, and somebody paid it all the same.
        Some(_) if is_ours && purchase.status.means_paid() => second::insert(app, deposit, &purchase).await?,
        _ => pass_over(&purchase)?,
    }
    Ok(())
}

/// Nobody is sent to pay another sum than he asked to pay: of such a purchase there is no link. Where it is paid all the same, it is followed.
fn asks_for_another_sum(deposit: &Transaction, purchase: &Purchase) -> bool {
    let is_another = || purchase.bill.as_ref().is_some_and(|bill| bill.is_another_sum(deposit.amount));
    matches!(purchase.status, PurchaseStatus::Open(_)) && is_another()
}

/// It is no row's. What came by it, or may have, is for a person.
fn pass_over(purchase: &Purchase) -> Result<()> {
    match &purchase.status {
        PurchaseStatus::Unknown(word) => Err(unknown::unknown_word(word)),
        status if status.means_paid() => Err(Error::Unusable("paid, and for no row of ours".into())),
        _ => Ok(()),
    }
}

async fn apply(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Transaction> {
    if deposit.state == State::Completed {
        return given_back::follow(app, deposit, purchase).await;
    }
    let deposit = &provider_objects::end_unknown_word(app, deposit, purchase.status.is_known(), ASK_MIN).await?;
    match &purchase.status {
        // What was refunded or charged back was paid before; what did not fit was set aside, and is given back from there. Paid again after a
        // chargeback that was won, it comes back there.
        PurchaseStatus::Paid(_) | PurchaseStatus::Refunded(_) | PurchaseStatus::ChargedBack(_) => {
            // Credited whole, all of it could be taken before what went back is known.
            let may_be_back = given_back::may_be_given_back(app, purchase).await?;
            if may_be_back && let Some(wrong) = given_back::awaited(app, deposit, purchase).await? {
                return given_back::ask_again(app, deposit, purchase, &wrong).await;
            }
            let accepted = accept(app, deposit, purchase).await?;
            // Credited just now, and all of it is still there. What was heard of meanwhile has made it due (`credit`).
            if accepted.state == State::Completed && !may_be_back {
                return Ok(accepted);
            }
            given_back::follow(app, &accepted, purchase).await
        }
        PurchaseStatus::Expired => unpaid::close(app, deposit, State::Expired, purchase).await,
        PurchaseStatus::Cancelled => unpaid::close(app, deposit, State::Cancelled, purchase).await,
        PurchaseStatus::Unknown(word) => provider_objects::wait_for_a_known_word(app, deposit, purchase.id, word).await,
        PurchaseStatus::Open(_) if deposit.state != State::AwaitingPayment => Ok(deposit.clone()),
        // The answer that made it did not say the link.
        PurchaseStatus::Open(_)
            if deposit.provider.checkout_url.is_none()
                && purchase.checkout_url.is_some()
                && !asks_for_another_sum(deposit, purchase) =>
        {
            await_payment(app, deposit, purchase).await
        }
        PurchaseStatus::Open(word) => {
            let open_since = app.clock.now() - deposit.updated_at;
            if open_since > UNDECIDED_MAX {
                let reason = format!("Revio still calls the purchase {word} after {} days", open_since.num_days());
                return transactions::hold(app, deposit, Hold::Undecided, &reason).await;
            }
            // At its end there is something to do.
            let left = ends_at(deposit) - app.clock.now() + TimeDelta::seconds(1);
            let pause = open_since.clamp(ASK_MIN, ASK_MAX);
            transactions::defer(app, deposit, if left > TimeDelta::zero() { pause.min(left) } else { pause }).await
        }
    }
}

/// Revio says that it was paid: credited if that is so and fits, else set aside or on hold for a person. What was set aside before stays so.
async fn accept(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Transaction> {
    match suspense::noted_of_object(app, purchase.id).await? {
        Some(item) if item.booked_at.is_some() => {
            // Named only now, or not booked with it. Of what came without a row it is `unknown`'s.
            if item.id == deposit.id {
                set_aside::book_fee(app, deposit, purchase).await?;
            }
            return set_aside::hold(app, deposit, item.kind).await;
        }
        // The ledger may have it: whatever fits by now, that comes to its end.
        Some(item) if item.id == deposit.id => {
            return set_aside::book(app, deposit, purchase, item.amount, item.kind).await;
        }
        // A journal sets it aside at this moment, or gives it up because of this row. One that is held keeps the row for a person, too.
        Some(item) if item.kind == ItemKind::Journal => {
            return Err(Error::Unusable("a journal of the company's is booking the same payment".into()));
        }
        Some(_) | None => {}
    }
    let fitting = fitting_payment(app, deposit, purchase);
    if let Some(held) = hold_if_corrected(app, deposit, purchase, &fitting).await? {
        return Ok(held);
    }
    match fitting {
        Ok(payment) => credit(app, deposit, purchase, Some(payment)).await,
        // What was credited is in the books, whatever Revio says of it since: it is not set aside as well. The row does not know it where a
        // process died, or an older database was put back.
        Err(_) if app.ledger.has(deposit.id, &[Leg::Main]).await? => {
            let credited = credit(app, deposit, purchase, None).await?;
            let reason = "it was credited, and does not fit what Revio says of it now";
            transactions::hold(app, &credited, Hold::Contradiction, reason).await
        }
        Err(Misfit::NoMoney(reason)) => transactions::hold(app, deposit, Hold::NotProven, &reason).await,
        Err(Misfit::Money { came, kind }) => set_aside::book(app, deposit, purchase, came, kind).await,
    }
}

/// What came may be booked by hand already, in whichever account it would stand.
async fn hold_if_corrected(
    app: &App,
    deposit: &Transaction,
    purchase: &Purchase,
    fitting: &Result<&PaymentDetails, Misfit>,
) -> Result<Option<Transaction>> {
    let came = match fitting {
        Ok(_) => deposit.amount,
        Err(Misfit::Money { came, .. }) => *came,
        Err(Misfit::NoMoney(_)) => return Ok(None),
    };
    let legs = [Leg::Main, Leg::Unmatched];
    match adjustments::hold_if_corrected(app, deposit, came, Direction::Credit, &legs).await? {
        Some(held) if given_back::may_be_given_back(app, purchase).await? => {
            let reason = "what a correction has credited was given back by Revio: correct that, too";
            transactions::hold(app, &held, Hold::Contradiction, reason).await.map(Some)
        }
        held => Ok(held),
    }
}

fn fitting_payment<'p>(app: &App, deposit: &Transaction, purchase: &'p Purchase) -> Result<&'p PaymentDetails, Misfit> {
    match &purchase.marked_as_paid {
        Flag::No | Flag::Unsaid => {}
        Flag::Yes => return Err(Misfit::NoMoney("marked as paid, but no money came".to_owned())),
        Flag::Odd(found) => return Err(Misfit::NoMoney(format!("marked_as_paid is {found}"))),
    }
    evidence::check(app, deposit, purchase)
}

/// `→ completed`: the wallet is credited; what Revio keeps for itself is our expense, booked right after it and whatever becomes
/// of that; what the customer owes us is repaid first, in the same breath.
async fn credit(
    app: &App,
    deposit: &Transaction,
    purchase: &Purchase,
    paid: Option<&PaymentDetails>,
) -> Result<Transaction> {
    let currency = deposit.amount.currency();
    let (debit, credit) = (app.ledger.provider_balance(currency), Account::wallet(deposit.user_id, currency));
    let id = TransferId::of(deposit.id, Leg::Main);
    let main = Transfer::new(id, debit, credit, deposit.amount, TransferCode::Deposit);
    let repaid = match receivables::make_available(app, deposit, Available::Credit(main)).await? {
        // Closed while the payer was paying. Once refused, this id stays refused, also when the wallet is open again.
        Err(LedgerError::Refused(Refusal::AccountClosed | Refusal::SpentId)) => {
            return set_aside::book(app, deposit, purchase, deposit.amount, ItemKind::ClosedWallet).await;
        }
        repaid => repaid?,
    };
    app.crash.at("deposit.credited")?;
    if let Some(payment) = paid {
        provider_fees::book(app, deposit.id, payment).await?;
    }
    app.crash.at("deposit.fee_booked")?;
    // What went back of it already is booked next, also where this process ends before.
    let due = if given_back::may_be_given_back(app, purchase).await? { Due::Now } else { Due::In(LATER_LOOKS[0]) };
    let to = Move::to(State::Completed, due).with_provider(reported(deposit, purchase)).having_repaid(repaid);
    transactions::advance(app, deposit, to).await
}

fn reported(deposit: &Transaction, purchase: &Purchase) -> Provider {
    Provider { status: Some(purchase.status.word().to_owned()), ..deposit.provider.clone() }
}
