-- Every movement of money that somebody asked for: one row, written before anything moves.
-- The row is also the job: due_at is queue, schedule, lease and retry in one column (docs/decisions/003).

create table transactions (
    -- UUIDv7 whose last byte is zero: transfer id in the ledger = this id | leg.
    id                 uuid        primary key,
    user_id            uuid        not null references users,
    kind               text        not null,
    state              text        not null,
    amount_minor       bigint      not null,
    currency           text        not null,

    -- Null only on rows that no caller asked for.
    idempotency_key    text,
    request_hash       bytea,

    -- Rows that follow from another one: a refund from its deposit, a second payment from the first.
    parent_id          uuid        references transactions,

    -- Withdrawals: where the money goes.
    bank_account_id    uuid        references bank_accounts,

    -- Revio's object for this row (purchase or payout) and what it last said of it.
    provider_id        uuid,
    provider_status    text,
    checkout_url       text,
    execution_url      text,
    -- When the payout was registered at Revio: it must be executed within 15 minutes of that.
    provider_created_at timestamptz,

    failure_reason     text,

    -- Deposits: how much of it was given back since, as Revio says; each step is a row of its own that points here.
    refunded_minor     bigint      not null default 0,
    charged_back_minor bigint      not null default 0,
    -- Deposits and reversals of chargebacks: the part that repaid what the customer owed.
    repaid_minor       bigint      not null default 0,
    -- What the wallet could not cover: the customer owes it (`customer_receivable`).
    owed_minor         bigint      not null default 0,

    -- Null = nothing to do. Claiming pushes it one lease ahead; a crash lets it come due again.
    due_at             timestamptz,
    attempts           integer     not null default 0,
    -- Counts the moves of the row; a move is made only from the version that was read.
    version            integer     not null default 0,
    -- Set = a person must look; the state stays what it was and nothing is due.
    held_reason        text,

    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    completed_at       timestamptz,

    constraint transactions_id_shape check (right(id::text, 2) = '00'),
    constraint transactions_amount   check (amount_minor > 0),
    constraint transactions_currency check (currency ~ '^[A-Z]{3}$'),
    constraint transactions_state    check (
        (kind = 'deposit' and state in
            ('initiated', 'awaiting_payment', 'completed', 'failed', 'expired', 'cancelled'))
        or (kind = 'withdrawal' and state in
            ('initiated', 'reserved', 'awaiting_approval', 'submitting', 'submitted', 'completed', 'failed', 'rejected'))
        or (kind in ('refund', 'chargeback', 'chargeback_reversal') and state in ('initiated', 'completed'))),
    constraint transactions_parent   check (kind in ('deposit', 'withdrawal') or parent_id is not null),
    constraint transactions_reversed check (
        refunded_minor >= 0 and charged_back_minor >= 0 and refunded_minor + charged_back_minor <= amount_minor
        and repaid_minor between 0 and amount_minor and owed_minor between 0 and amount_minor),
    constraint transactions_key      check ((idempotency_key is null) = (request_hash is null)),
    constraint transactions_key_len  check (length(idempotency_key) between 1 and 255),
    constraint transactions_bank     check ((kind = 'withdrawal') = (bank_account_id is not null)),
    constraint transactions_done     check ((state = 'completed') = (completed_at is not null)),
    constraint transactions_held     check (held_reason is null or due_at is null)
);

-- A repeat of the same key by the same user is the same row; keys never expire.
create unique index transactions_idempotency on transactions (user_id, idempotency_key) where idempotency_key is not null;
-- One of our rows for each object of Revio's.
create unique index transactions_provider on transactions (provider_id) where provider_id is not null;
create index transactions_parent on transactions (parent_id) where parent_id is not null;
-- A user's history, newest first.
create index transactions_user on transactions (user_id, id desc);
-- The queue: only rows that have something to do.
create index transactions_due on transactions (kind, due_at) where due_at is not null;
create index transactions_held on transactions (updated_at) where held_reason is not null;
