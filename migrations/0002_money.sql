-- Every movement of money, and what stops one.

create table bank_accounts (
    id         uuid        primary key,
    user_id    uuid        not null references users,
    -- AES-256-GCM over the JSON of number, branch and holder; the row's id is the associated data, so that a
    -- ciphertext copied to another row does not open.
    details    bytea       not null,
    key_id     text        not null,
    -- What may be shown without opening the details.
    bank_name  text        not null,
    last_four  text        not null,
    -- By which the same account of the same customer is known again: a MAC under a key that comes from the data key `key_id`, and which is
    -- nowhere in the database. Null once it was erased.
    fingerprint bytea,
    -- A repeat of the same key by the same customer is the same row.
    idempotency_key text,
    created_at timestamptz not null,
    -- Withdrawals refer to the row for ever, so it is only hidden.
    deleted_at timestamptz,

    -- For transactions_bank_account.
    constraint bank_accounts_owner     unique (id, user_id),
    constraint bank_accounts_last_four check (length(last_four) between 1 and 4),
    constraint bank_accounts_bank_name check (length(bank_name) between 1 and 64),
    constraint bank_accounts_fingerprint check (length(fingerprint) = 32),
    constraint bank_accounts_key_len   check (length(idempotency_key) between 1 and 255)
);
create index bank_accounts_user on bank_accounts (user_id, created_at) where deleted_at is null;
create unique index bank_accounts_idempotency on bank_accounts (user_id, idempotency_key) where idempotency_key is not null;

-- Rules of transactions as functions: PostgreSQL reads the expression of a check or of a generated column anew for each
-- statement, a function once for a session. Long expressions cost a deposit more than its indexes do.

-- The time in an id (UUIDv7: the first 48 bits are milliseconds).
create function uuid_time(id uuid) returns timestamptz language plpgsql immutable strict parallel safe as $$
begin
    return to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000::float8);
end
$$;

create function transaction_can_be(kind text, state text) returns boolean language plpgsql immutable parallel safe as $$
begin
    return case
        when kind = 'deposit' then state in
            ('initiated', 'awaiting_payment', 'completed', 'failed', 'expired', 'cancelled')
        when kind = 'withdrawal' then state in
            ('initiated', 'reserved', 'awaiting_approval', 'submitting', 'submitted', 'completed', 'failed', 'rejected', 'cancelled')
        when kind = 'adjustment' then state in
            ('awaiting_approval', 'initiated', 'completed', 'rejected', 'cancelled', 'expired')
        else kind in ('refund', 'chargeback', 'chargeback_reversal') and state in ('initiated', 'completed', 'failed') end;
end
$$;

-- The last of the states is the present one, and each but the first has its time.
create function transaction_states_fit(state text, states text, moved_at timestamptz[]) returns boolean
language plpgsql immutable parallel safe as $$
begin
    return ' ' || states like '% ' || state and length(states) - length(replace(states, ' ', '')) = cardinality(moved_at);
end
$$;

-- The words of a text, in its order: letters and digits, small, without accents, whatever the locale of the database. Cut at
-- 400 characters: no word may be too long for a tsvector, or a row could not be written because of its reason.
create function search_words(written text) returns text[] language sql immutable strict parallel safe return
    array_remove(regexp_split_to_array(
        lower(left(regexp_replace(normalize(written, nfkd), '[\u0300-\u036f]', '', 'g'), 400) collate "und-x-icu"),
        '[^[:alnum:]]+'), '');

-- The same with the customer before each: so a customer's search reads only what is his, however common a word is.
create function customer_words(words text[], user_id uuid) returns text[] language sql immutable strict parallel safe return
    string_to_array(substr(
        replace(' ' || array_to_string(words, ' '), ' ', ' ' || substr(user_id::text, 25, 8) || '/'), 2), ' ');

create function transaction_words(user_id uuid, description text, failure_reason text) returns tsvector
language plpgsql immutable parallel safe as $$
declare
    words text[] := search_words(coalesce(description || ' ' || failure_reason, description, failure_reason));
begin
    return array_to_tsvector(words || customer_words(words, user_id));
end
$$;

-- What a search looks for, everybody's or a customer's: all the words, of which the last may be a beginning. Null = no words,
-- and nothing is found.
create function search_query(asked text, user_id uuid) returns tsquery language sql immutable parallel safe return (
    select ('''' || array_to_string(coalesce(customer_words(words, user_id), words), ''' & ''') || ''''
            || case when length(words[cardinality(words)]) > 2 then ':*' else '' end)::tsquery
      from (select search_words(asked) as words) w where cardinality(words) > 0);

-- Every movement of money that somebody asked for: one row, written before anything moves.
-- The row is also the job: due_at is queue, schedule, lease and retry in one column (docs/decisions/003).
create table transactions (
    -- UUIDv7 whose last byte is zero: transfer id in the ledger = this id | leg.
    id                 uuid        primary key,
    user_id            uuid        not null references users,
    amount_minor       bigint      not null,
    -- So the order of ids is the order of creation, exactly, and the primary key and every index that ends in the id serve
    -- lists by time.
    created_at         timestamptz not null generated always as (uuid_time(id)) stored,
    kind               text        not null,
    currency           text        not null,
    -- What a correction does to the wallet; every other kind goes one way only. adjustments.direction is what was proposed
    -- and approved; both are written in one commit and never change.
    direction          text,
    -- What the customer writes for himself.
    description        text,
    -- What whoever asked for the row wrote to it for a program of theirs: texts by name (src/money/transactions/metadata.rs).
    metadata           jsonb       not null default '{}',

    -- Null only on rows that no caller asked for.
    idempotency_key    text,
    request_hash       bytea,

    -- Rows that follow from another one: a refund from its deposit, a second payment from the first.
    parent_id          uuid,
    -- Withdrawals: where the money goes.
    bank_account_id    uuid,
    -- What was shown of that account when the withdrawal was asked for: copied by the insert, whatever becomes of the account
    -- (docs/decisions/043).
    destination_bank   text,
    destination_last_four text,
    -- The call that asked for it, as customers quote it. One that carries the time of about the row's own id is found by that, and
    -- no index is needed for it; any other stands in request_word.
    request_id         uuid,
    request_word       text,

    -- What stands above never changes, and is not written to the WAL again when the row moves within its page.
    updated_at         timestamptz not null,
    completed_at       timestamptz,
    -- Null = nothing to do. Claiming pushes it one lease ahead; a crash lets it come due again.
    due_at             timestamptz,
    attempts           integer     not null default 0,
    -- Counts the moves of the row; a move is made only from the version that was read.
    version            integer     not null default 0,
    -- When something that its owner sees last changed without a move: a hold, its end, a part given back. Null = never.
    noted_at           timestamptz,
    state              text        not null,
    -- Every state that the row came into, with spaces, the present one last: into the first when it was created, into each
    -- later one at the time in moved_at. Whoever moves a row says so here in the same statement.
    states             text        not null,
    moved_at           timestamptz[] not null default '{}',

    -- Set = a person must look; the state stays what it was and nothing is due. The code is one of transactions::Hold.
    held_code          text,
    held_reason        text,
    held_at            timestamptz,
    -- A hold that a person closed: the same is not made again.
    dismissed_reason   text,
    -- A code; gone once the row completes.
    failure_reason     text,
    -- Deposits that were paid and did not fit: what became of that money (suspense_items).
    outcome            text,
    -- Revio's object for this row (purchase or payout) and what it last said of it.
    provider_id        uuid,
    provider_status    text,
    checkout_url       text,
    execution_url      text,
    -- Deposits: until when the link can be paid, as Revio was told.
    expires_at         timestamptz,
    -- When the payout was registered at Revio, by our clock: it must be executed within 15 minutes of that.
    provider_created_at timestamptz,

    -- Deposits: how much of it was given back since, as Revio says; each step is a row of its own that points here.
    refunded_minor     bigint      not null default 0,
    charged_back_minor bigint      not null default 0,
    -- Deposits and reversals of chargebacks: the part that repaid what the customer owed.
    repaid_minor       bigint      not null default 0,
    -- What the wallet could not cover: the customer owes it (`customer_receivable`).
    owed_minor         bigint      not null default 0,

    -- Withdrawals: what had left the wallet within 24 hours, or was about to, when this one was reserved, itself included, as the
    -- ledger counted it in that write. Approval thresholds look at this (docs/decisions/029).
    outflow_minor      bigint,

    -- What was approved and until when that holds. Set by the deciding approval; whatever leaves the state uses it up
    -- (docs/decisions/015).
    approved_hash      bytea,
    approved_until     timestamptz,

    -- What a search finds the row by.
    words              tsvector    generated always as (transaction_words(user_id, description, failure_reason)) stored,

    constraint transactions_id_shape check (right(id::text, 2) = '00'),
    constraint transactions_amount   check (amount_minor > 0),
    constraint transactions_currency check (currency ~ '^[A-Z]{3}$'),
    constraint transactions_state    check (transaction_can_be(kind, state)),
    constraint transactions_states   check (transaction_states_fit(state, states, moved_at)),
    constraint transactions_parent   check (kind in ('deposit', 'withdrawal', 'adjustment') or parent_id is not null),
    constraint transactions_reversed check (
        least(refunded_minor, charged_back_minor, repaid_minor, owed_minor) >= 0
        and greatest(repaid_minor, owed_minor) <= amount_minor),
    constraint transactions_key      check ((idempotency_key is null) = (request_hash is null)),
    constraint transactions_key_len  check (length(idempotency_key) between 1 and 255),
    constraint transactions_bank     check ((kind = 'withdrawal') = (bank_account_id is not null)),
    constraint transactions_done     check ((state = 'completed') = (completed_at is not null)),
    constraint transactions_held     check (held_reason is null or due_at is null),
    constraint transactions_hold     check (
        (held_reason is null) = (held_code is null) and (held_reason is null) = (held_at is null)),
    constraint transactions_outcome  check (outcome in ('set_aside', 'credited', 'returned', 'released')),
    constraint transactions_approved check (
        (approved_hash is null) = (approved_until is null) and length(approved_hash) = 32),
    constraint transactions_description check (length(description) between 1 and 140),
    constraint transactions_direction check (
        (kind = 'adjustment') = (direction is not null) and direction in ('credit', 'debit')),
    -- Money goes only to an account of the same customer.
    constraint transactions_bank_account foreign key (bank_account_id, user_id) references bank_accounts (id, user_id)
)
-- Room for the next version of a row in its page, so that only what changed is written to the WAL; vacuumed often, so that a
-- list is read from its index alone.
with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

-- A customer's list by time, by kind and by state; unique for the constraint below it.
create unique index transactions_user on transactions (user_id, id, currency) include (kind, state);
-- What follows from a row is the same customer's and in the same currency.
alter table transactions add constraint transactions_follows
    foreign key (user_id, parent_id, currency) references transactions (user_id, id, currency);

-- A repeat of the same key by the same user is the same row; keys never expire. The key stands first, so that staff find a
-- row by its key whoever made it.
create unique index transactions_idempotency on transactions (idempotency_key, user_id) where idempotency_key is not null;
-- One of our rows for each object of Revio's.
create unique index transactions_provider on transactions (provider_id) where provider_id is not null;
create index transactions_request_word on transactions (request_word, id) where request_word is not null;
create index transactions_parent on transactions (parent_id) where parent_id is not null;
-- The queue: only rows that have something to do.
create index transactions_due on transactions (kind, due_at) where due_at is not null;
-- Event streams: few rows ever have it. What moved lately is found by transactions_moved (0012).
create index transactions_noted on transactions (noted_at) where noted_at is not null;
create index transactions_held on transactions (id) include (held_code, held_at) where held_reason is not null;
-- Everybody's list by kind and by state. Most rows are deposits and most are completed: a page of those is soon full in the
-- order of time, and they need no entry here.
create index transactions_kind on transactions (kind, id) include (state) where kind <> 'deposit';
create index transactions_state on transactions (state, id) where state <> 'completed';
-- Everybody's list by the time of completion. No move but the one into `completed` touches it.
create index transactions_completed on transactions (completed_at, id) where completed_at is not null;
-- The few that took longer than two days: where a list of a period of completions must begin to read (src/books/history/store.rs).
create index transactions_slow on transactions (completed_at, id)
    where completed_at - created_at > interval '48 hours' and completed_at is not null;
-- How many unpaid deposits a customer has.
create index transactions_open_deposits on transactions (user_id, id)
    where kind = 'deposit' and state in ('initiated', 'awaiting_payment') and due_at is not null;
-- Search by words; a page of a common one is sooner full in the order of time, which PostgreSQL knows from the statistics. What
-- waits to be merged is read by each search, so it is kept short; merged at once it would cost each version of a row its own.
create index transactions_words on transactions using gin (words) with (gin_pending_list_limit = 512) where words is not null;
alter table transactions alter column words set statistics 1000;

-- Rows by what a program wrote to them. Those without are not in it.
create index transactions_metadata on transactions using gin (metadata jsonb_path_ops) with (gin_pending_list_limit = 512)
    where metadata <> '{}';

-- Whether a customer may have one more unpaid deposit. One at a time asks, until the end of the statement that inserts it: the count
-- begins when the lock is there, and sees what those before have inserted.
create function has_room_for_deposit(customer uuid, open_max bigint) returns boolean language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('open deposits ' || customer::text, 0));
    return open_max > (select count(*) from transactions t
        where t.user_id = customer and t.kind = 'deposit' and t.state in ('initiated', 'awaiting_payment')
          and t.due_at is not null);
end
$$;

-- Every object of Revio's that we ever heard of: purchases, payouts, and the Payments that give a purchase back. What it said last, by
-- its own clock; sums are booked by object, never by a status or a total (docs/decisions/025).
create table provider_objects (
    -- Revio's.
    id             uuid        primary key,
    kind           text        not null,
    -- The row that it belongs to; null = none of ours that we know.
    transaction_id uuid        references transactions,
    -- Payments: the purchase that they change.
    related_id     uuid,
    status         text        not null,
    -- Null = not said, or no whole number.
    amount_minor   bigint,
    fee_minor      bigint,
    currency       text,
    -- Whether the money goes out.
    is_outgoing    boolean,
    -- Revio's times: of its creation, of the last change that we have seen, and of the last one that an event has told of: an answer that is older than
    -- either of these is asked for again.
    created_on     bigint,
    updated_on     bigint,
    announced_on   bigint,
    first_seen_at  timestamptz not null,
    last_seen_at   timestamptz not null,
    -- By our clock: since when it says all that stands here, and since when this word.
    changed_at     timestamptz not null,
    status_at      timestamptz not null,
    -- Payouts: how often it was to be executed, and how often Revio refused that in words.
    executions     integer     not null default 0,
    refusals       integer     not null default 0,

    constraint provider_objects_kind check (kind in
        ('purchase', 'payout', 'refund', 'chargeback', 'chargeback_reversal', 'payment')),
    constraint provider_objects_related check ((related_id is null) = (kind in ('purchase', 'payout')))
);
create index provider_objects_transaction on provider_objects (transaction_id) where transaction_id is not null;
create index provider_objects_related on provider_objects (related_id) where related_id is not null;

-- Money in the account suspense, item by item: what came and belongs to nobody whom we know, or not as it came.
create table suspense_items (
    -- The row whose transfer put it there; where there is none, an id of the same shape. The transfer's id is this | leg.
    id             uuid        primary key,
    kind           text        not null,
    transaction_id uuid        references transactions,
    -- Revio's object that brought it; null for a correction.
    provider_id    uuid,
    amount_minor   bigint      not null,
    currency       text        not null,
    -- How much of it was given to somebody since, by the rows of suspense_clearings.
    taken_minor    bigint      not null default 0,
    opened_at      timestamptz not null,
    -- When the ledger had it; null = it is being asked.
    booked_at      timestamptz,

    constraint suspense_items_id_shape check (right(id::text, 2) = '00'),
    constraint suspense_items_kind     check (kind in
        ('other_amount', 'other_currency', 'other_reference', 'closed_wallet', 'unknown_row', 'correction')),
    constraint suspense_items_amount   check (amount_minor > 0 and currency ~ '^[A-Z]{3}$'),
    constraint suspense_items_taken    check (taken_minor between 0 and amount_minor)
);
create unique index suspense_items_provider on suspense_items (provider_id) where provider_id is not null;
create index suspense_items_transaction on suspense_items (transaction_id) where transaction_id is not null;
create index suspense_items_open on suspense_items (id) where taken_minor < amount_minor;

-- What took an item, or put some of it back (less than zero): a correction, a refund, a chargeback and its reversal. Once a row.
create table suspense_clearings (
    item_id        uuid        not null references suspense_items,
    transaction_id uuid        not null references transactions,
    amount_minor   bigint      not null,
    created_at     timestamptz not null,

    primary key (transaction_id),
    constraint suspense_clearings_amount check (amount_minor <> 0)
);
create index suspense_clearings_item on suspense_clearings (item_id);

-- Decisions of staff about money: withdrawals above a threshold, and corrections (docs/approvals.md, docs/decisions/015).
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
    -- What it takes from suspense.
    item_id         uuid  references suspense_items,
    -- The customer's transaction that it sets right, if it is about one.
    about_id        uuid  references transactions,
    -- When maker and checkers were looked at for the last time, right before the ledger is asked: from then on it is only a matter of
    -- what the ledger did.
    booking_at      timestamptz,
    -- The key is the maker's: on transactions it would be the customer's, and collide with the customer's own.
    idempotency_key text  not null,
    request_hash    bytea not null,

    constraint adjustments_direction   check (direction in ('credit', 'debit')),
    constraint adjustments_counterpart check (counterpart in
        ('provider_balance', 'bank', 'suspense', 'equity', 'fee_income', 'chargeback_losses')),
    constraint adjustments_reason      check (length(reason) between 1 and 500),
    constraint adjustments_item        check (
        (item_id is not null) = (counterpart = 'suspense' and direction = 'credit')),
    constraint adjustments_key_len     check (length(idempotency_key) between 1 and 255)
);
create unique index adjustments_idempotency on adjustments (requested_by, idempotency_key);
create index adjustments_about on adjustments (about_id) where about_id is not null;

-- What keeps a customer's accounts from moving: a freeze (no withdrawals) or a closure. One row an account, because TigerBeetle
-- shuts accounts one by one; the row's id makes the id of the transfer that does it. src/money/restrictions.rs has the procedure.

create table restrictions (
    -- UUIDv7 whose last byte is zero: transfer id in the ledger = this id | leg.
    id          uuid        primary key,
    user_id     uuid        not null references users,
    kind        text        not null,
    currency    text        not null,
    -- The rows of one call: several currencies are closed together or not at all.
    call_id     uuid        not null,
    state       text        not null,
    -- Why, in the words of whoever asked for it; no personal data.
    reason      text        not null,
    -- Who of the staff; null = the service itself.
    imposed_by  uuid        references users,
    -- A freeze by somebody who may not lift it (docs/support.md): whether it was one, and whether whoever may has still to look at it.
    was_protective boolean  not null default false,
    protective  boolean     not null default false,
    -- Null = nothing to do; else when the next step is tried. As in transactions.
    due_at      timestamptz,
    attempts    integer     not null default 0,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,

    constraint restrictions_id_shape check (right(id::text, 2) = '00'),
    constraint restrictions_kind     check (kind in ('freeze', 'closure')),
    constraint restrictions_currency check (currency ~ '^[A-Z]{3}$'),
    constraint restrictions_state    check (state in ('initiated', 'in_force', 'lifting', 'lifted')),
    constraint restrictions_reason   check (length(reason) between 1 and 500)
);
-- One an account at a time: two people who freeze at once freeze once, and a gate is shut by one row.
create unique index restrictions_once on restrictions (user_id, currency) where state <> 'lifted';
create index restrictions_call on restrictions (call_id);
create index restrictions_user on restrictions (user_id, id desc);
create index restrictions_due on restrictions (due_at) where due_at is not null;
-- How many somebody has made in a day, and which nobody has looked at yet.
create index restrictions_imposed on restrictions (imposed_by, created_at) where imposed_by is not null;
create index restrictions_protective on restrictions (id) where protective and state <> 'lifted';
create index restrictions_unfinished on restrictions (id) where state in ('initiated', 'lifting');

-- Whether PostgreSQL is behind the ledger, so that nothing may be paid (docs/failure-handling.md). One row a time; none open = all is well.
create table safe_mode (
    id         uuid        primary key,
    entered_at timestamptz not null,
    reason     text        not null,
    left_at    timestamptz,
    left_by    text,
    note       text,

    constraint safe_mode_left check ((left_at is null) = (left_by is null) and (left_at is null) = (note is null))
);
create unique index safe_mode_once on safe_mode ((true)) where left_at is null;
