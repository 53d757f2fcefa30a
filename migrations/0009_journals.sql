-- The company's own entries: settlements, float, fees, losses, own funds. src/money/journals.rs has the procedure.

create table journals (
    -- UUIDv7 whose last byte is zero: transfer id in the ledger = this id | leg.
    id                 uuid        primary key,
    kind               text        not null,
    amount_minor       bigint      not null,
    currency           text        not null,
    -- The company's account, where the kind leaves it open: provider_balance or bank; of a result, the account that is emptied.
    account            text,
    -- A write-off: whose debt.
    user_id            uuid        references users,
    -- What it clears: the item in suspense.
    item_id            uuid        references suspense_items,
    -- What proves it: a statement's line, a bank's line, an invoice, a note. The file itself is elsewhere; its SHA-256 is here.
    evidence_kind      text        not null,
    evidence_reference text        not null,
    evidence_sha256    bytea       not null,
    evidence_date      date        not null,
    reason             text        not null,
    requested_by       uuid        not null references users,
    created_at         timestamptz not null,
    -- The key is the maker's.
    idempotency_key    text        not null,
    request_hash       bytea       not null,

    state              text        not null,
    version            integer     not null default 0,
    updated_at         timestamptz not null,
    -- When maker and checkers were looked at for the last time, right before the ledger is asked.
    booking_at         timestamptz,
    -- What was approved, as in transactions.
    approved_hash      bytea,
    approved_until     timestamptz,
    -- Money in transit: when the ledger held it, until when it should be there, what became of it, and the line that said so.
    sent_at            timestamptz,
    expected_on        date,
    arrival_outcome    text,
    arrival_reference  text,
    arrival_sha256     bytea,
    arrival_date       date,
    -- When it was completed, returned, rejected, cancelled, or expired.
    ended_at           timestamptz,
    failure_reason     text,
    -- Null = nothing to do; else when the next step is tried. As in transactions.
    due_at             timestamptz,
    attempts           integer     not null default 0,
    held_reason        text,

    constraint journals_id_shape check (right(id::text, 2) = '00'),
    constraint journals_kind     check (kind in ('settlement', 'float_top_up', 'provider_invoice', 'suspense_in', 'suspense_return',
        'suspense_release', 'write_off', 'chargeback_loss', 'own_funds_in', 'own_funds_out', 'result')),
    constraint journals_state    check (state in ('awaiting_approval', 'initiated', 'in_transit', 'completed', 'returned', 'rejected',
        'cancelled', 'expired')),
    constraint journals_amount   check (amount_minor > 0 and currency ~ '^[A-Z]{3}$'),
    constraint journals_account  check (account in ('provider_balance', 'bank', 'fee_income', 'provider_fees', 'chargeback_losses')),
    constraint journals_user     check ((kind = 'write_off') = (user_id is not null)),
    constraint journals_item     check ((kind in ('suspense_return', 'suspense_release')) = (item_id is not null)),
    constraint journals_evidence check (length(evidence_sha256) = 32 and length(evidence_reference) between 1 and 255
        and evidence_kind in ('provider_statement', 'bank_statement', 'invoice', 'provider_object', 'legal_note', 'period_pack', 'note')),
    constraint journals_arrival  check (length(arrival_sha256) = 32 and length(arrival_reference) between 1 and 255),
    constraint journals_outcome  check (arrival_outcome in ('arrived', 'returned')
        and (arrival_outcome is null or num_nulls(arrival_reference, arrival_sha256, arrival_date) = 0)),
    constraint journals_approved check (length(approved_hash) = 32 and (approved_hash is null) = (approved_until is null)),
    constraint journals_reason   check (length(reason) between 1 and 500),
    constraint journals_key_len  check (length(idempotency_key) between 1 and 255),
    constraint journals_ended    check (
        (state in ('completed', 'returned', 'rejected', 'cancelled', 'expired')) = (ended_at is not null))
);
create unique index journals_idempotency on journals (requested_by, idempotency_key);
create index journals_due on journals (due_at) where due_at is not null;
create index journals_state on journals (state, id) where ended_at is null;
create index journals_kind on journals (kind, id);
-- What was asked for of a kind within a day: thresholds look at it.
create index journals_day on journals (kind, currency, created_at);
create index journals_held on journals (updated_at) where held_reason is not null;
create index journals_user on journals (user_id) where user_id is not null;
create index journals_item on journals (item_id) where item_id is not null;

-- A decision is about a transaction or about a journal.
alter table approvals alter column transaction_id drop not null;
alter table approvals add column journal_id uuid references journals;
alter table approvals add constraint approvals_subject check (num_nonnulls(transaction_id, journal_id) = 1);
create unique index approvals_once_a_journal on approvals (journal_id, approver_id) where used_at is null and decision = 'approved';
create index approvals_journal on approvals (journal_id, created_at) where journal_id is not null;

-- What took an item out of suspense may be a journal.
alter table suspense_clearings drop constraint suspense_clearings_pkey;
alter table suspense_clearings alter column transaction_id drop not null;
alter table suspense_clearings add column journal_id uuid references journals;
alter table suspense_clearings add constraint suspense_clearings_by check (num_nonnulls(transaction_id, journal_id) = 1);
create unique index suspense_clearings_transaction on suspense_clearings (transaction_id) where transaction_id is not null;
create unique index suspense_clearings_journal on suspense_clearings (journal_id) where journal_id is not null;

-- And a journal may put an item there: its id is the journal's.
alter table suspense_items drop constraint suspense_items_kind;
alter table suspense_items add constraint suspense_items_kind check (kind in
    ('other_amount', 'other_currency', 'other_reference', 'closed_wallet', 'unknown_row', 'correction', 'journal'));
