-- Decisions of staff about money: withdrawals above a threshold, and corrections (docs/approvals.md, docs/decisions/015).

-- What was approved and until when that holds. Set by the deciding approval; whatever leaves the state uses it up.
alter table transactions
    add column approved_hash  bytea,
    add column approved_until timestamptz,
    add constraint transactions_approved check (
        (approved_hash is null) = (approved_until is null) and (approved_hash is null or length(approved_hash) = 32));

-- A new kind of row: a correction by staff. Nobody asked for it with a key of the customer's, and it has no parent.
alter table transactions
    drop constraint transactions_state,
    drop constraint transactions_parent,
    add constraint transactions_state check (
        (kind = 'deposit' and state in
            ('initiated', 'awaiting_payment', 'completed', 'failed', 'expired', 'cancelled'))
        or (kind = 'withdrawal' and state in
            ('initiated', 'reserved', 'awaiting_approval', 'submitting', 'submitted', 'completed', 'failed', 'rejected'))
        or (kind = 'adjustment' and state in
            ('awaiting_approval', 'initiated', 'completed', 'rejected', 'cancelled', 'expired'))
        or (kind in ('refund', 'chargeback', 'chargeback_reversal') and state in ('initiated', 'completed'))),
    add constraint transactions_parent check (kind in ('deposit', 'withdrawal', 'adjustment') or parent_id is not null);

-- What waits for a decision, newest first.
create index transactions_awaiting_approval on transactions (kind, id desc) where state = 'awaiting_approval';

create table approvals (
    id             uuid        primary key,
    transaction_id uuid        not null references transactions,
    approver_id    uuid        not null references users,
    decision       text        not null,
    -- SHA-256 over all that was decided about: another payout or correction has another hash.
    payout_hash    bytea       not null,
    note           text,
    created_at     timestamptz not null,
    -- An approval that was not used by then does not count; a refusal is final.
    expires_at     timestamptz,
    -- When the approvals were enough and let the row go on: each does so once.
    used_at        timestamptz,

    constraint approvals_decision check (decision in ('approved', 'declined')),
    constraint approvals_hash     check (length(payout_hash) = 32),
    constraint approvals_note     check (length(note) between 1 and 500),
    constraint approvals_reasoned check (decision = 'approved' or note is not null),
    constraint approvals_expiry   check ((decision = 'approved') = (expires_at is not null)),
    constraint approvals_used     check (used_at is null or decision = 'approved')
);
-- One person's approval counts once.
create unique index approvals_once on approvals (transaction_id, approver_id) where used_at is null and decision = 'approved';
create index approvals_transaction on approvals (transaction_id, created_at);

-- What a correction is, beside its row in transactions.
create table adjustments (
    transaction_id  uuid  primary key references transactions,
    -- Of the customer's wallet.
    direction       text  not null,
    -- The company's account on the other side.
    counterpart     text  not null,
    reason          text  not null,
    requested_by    uuid  not null references users,
    -- The key is the maker's: on transactions it would be the customer's, and collide with the customer's own.
    idempotency_key text  not null,
    request_hash    bytea not null,

    constraint adjustments_direction   check (direction in ('credit', 'debit')),
    constraint adjustments_counterpart check (counterpart in
        ('provider_balance', 'bank', 'suspense', 'equity', 'fee_income', 'chargeback_losses')),
    constraint adjustments_reason      check (length(reason) between 1 and 500),
    constraint adjustments_key_len     check (length(idempotency_key) between 1 and 255)
);
create unique index adjustments_idempotency on adjustments (requested_by, idempotency_key);
