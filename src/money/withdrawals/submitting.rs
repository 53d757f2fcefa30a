//! That payouts begin, of withdrawals that come to it at once (`platform::batcher`): the safe mode is off, no customer is frozen, who approved
//! it still may, the row says `submitting` and the execution is counted, in one SQL transaction. It is on the disk before money may leave.
//! `payouts` calls it.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::approval;
use crate::app::App;
use crate::identity::users;
use crate::money::approvals::{self, SubjectHash};
use crate::money::transactions::{self, Move, Transaction};
use crate::money::{provider_objects, restrictions, safe_mode};
use crate::platform::batcher::{Batch, LockWait};
use crate::platform::error::{Error, Result};

pub(super) struct Submission {
    pub(super) withdrawal: Transaction,
    pub(super) to: Move,
    /// What must have been approved, if anything.
    pub(super) approved: Option<SubjectHash>,
}

pub(super) enum Marked {
    Submitting(Box<Transaction>),
    /// The customer is: no payout begins after somebody was told of the freeze.
    Frozen,
    /// The same by the ledger alone: it is not known here by whom and why.
    FrozenInLedger,
    /// An operator was told that nothing is paid.
    SafeMode,
    /// Who approved it may not any more.
    NotApproved,
}

pub(super) struct MarkSubmitting;

impl Batch for MarkSubmitting {
    type Context = App;
    type Item = Submission;
    type Done = Result<Marked>;

    async fn run(app: &App, items: &[Submission], lock_wait: LockWait) -> Result<Vec<Result<Marked>>> {
        let mut tx = app.batch_db.begin(lock_wait).await?;
        let customers: Vec<Uuid> = items.iter().map(|item| item.withdrawal.user_id).collect();
        lock_with_approvers(&mut tx, items, &customers).await?;
        let frozen = restrictions::frozen_until_commit(&mut tx, &customers).await?;
        let (mut marked, mut free) = (Vec::with_capacity(items.len()), Vec::new());
        for item in items {
            marked.push(if frozen.contains(&item.withdrawal.user_id) {
                Some(Marked::Frozen)
            } else if let Some(hash) = &item.approved
                && !approval::still_approved(app, &mut tx, &item.withdrawal, hash).await?
            {
                Some(Marked::NotApproved)
            } else {
                free.push((&item.withdrawal, &item.to));
                None
            });
        }
        let mut moved: HashMap<Uuid, Transaction> = transactions::advance_all_within(app, &mut tx, &free).await?;
        let payouts: Vec<Uuid> = moved.values().filter_map(|row| row.provider.id).collect();
        provider_objects::count_executions(&mut *tx, &payouts).await?;
        // After all that was waited for.
        if safe_mode::is_on_in(&mut tx).await? {
            return Ok(items.iter().map(|_| Ok(Marked::SafeMode)).collect());
        }
        app.crash.at("batch.before_beginnings")?;
        tx.commit().await?;
        app.crash.at("batch.begun")?;
        let of = |(item, marked): (&Submission, Option<Marked>)| {
            let submitting = || moved.remove(&item.withdrawal.id).map(|row| Marked::Submitting(Box::new(row)));
            marked.or_else(submitting).ok_or(Error::StaleState)
        };
        Ok(items.iter().zip(marked).map(of).collect())
    }
}

/// Where somebody has approved one of them: all people together, in the order of their ids.
async fn lock_with_approvers(tx: &mut PgConnection, items: &[Submission], customers: &[Uuid]) -> Result<()> {
    let approved = items.iter().filter(|item| item.approved.is_some());
    let approved: Vec<_> = approved.map(|item| item.withdrawal.subject()).collect();
    if approved.is_empty() {
        return Ok(());
    }
    let mut people = approvals::deciders(&mut *tx, &approved).await?;
    people.extend(customers);
    Ok(users::lock_shared(tx, &people).await?)
}
