-- The ledger's read model: a copy of TigerBeetle's accounts and transfers for lists, dashboards and reports. It decides
-- nothing: it can be dropped and built again (`octoco rebuild-read-model`), and nobody writes it but src/books/projector.rs.
--
-- Timestamps of the ledger are bigint: nanoseconds since 1970 on the cluster's clock, unique over all accounts and transfers,
-- rising in the order of execution. ledger_time() makes a time of them. Amounts are minor units.

-- How far the copy is, a row for each currency. Moved only in the SQL transaction that writes what lies behind it.
create table ledger_cursor (
    currency           text        primary key,
    -- Every transfer up to and including this one is in ledger_transfers and counted in ledger_accounts. 0 = none.
    timestamp          bigint      not null default 0,
    -- The same of the opening of accounts.
    accounts_timestamp bigint      not null default 0,
    -- When it was last moved, by the service's clock.
    updated_at         timestamptz not null,
    -- Whatever was executed before that is copied: when the ledger was asked, by the service's clock, and had no more.
    complete_at        timestamptz not null default 'epoch',

    constraint ledger_cursor_timestamps check (timestamp >= 0 and accounts_timestamp >= 0)
);

-- Every account with its balance as of its currency's cursor.
create table ledger_accounts (
    -- The account's id in TigerBeetle. A customer's begins with the user's id: user_id is in it, but for the last two bytes.
    id               uuid    primary key,
    -- The chart of accounts (docs/ledger.md): 2000 customer_wallet, 1000 provider_balance, …
    code             integer not null,
    -- The name that belongs to the code.
    name             text    not null,
    currency         text    not null,
    -- Whose account it is; null = the company's. No foreign key: the ledger may know people that a restored database lost.
    user_id          uuid,
    -- When it was opened in the ledger.
    opened_timestamp bigint  not null,
    -- The four sides. Posted ones only grow. Of a wallet: posted balance = credits_posted - debits_posted, reserved =
    -- debits_pending.
    debits_posted    bigint  not null default 0,
    debits_pending   bigint  not null default 0,
    credits_posted   bigint  not null default 0,
    credits_pending  bigint  not null default 0,
    -- The last transfer that touched it, also one of amount 0; null = none did.
    last_timestamp   bigint,

    constraint ledger_accounts_sides check (
        debits_posted >= 0 and debits_pending >= 0 and credits_posted >= 0 and credits_pending >= 0)
-- Room in each page, so that the counters are updated in place and no index is touched.
) with (fillfactor = 70);

-- Every transfer, each with the balances of both its accounts right after it.
create table ledger_transfers (
    -- When it was executed: the order of all transfers, and the key to a period.
    timestamp              bigint  primary key,
    -- The transfer's id in TigerBeetle: the id of its row in transactions, with the leg in the last byte (docs/ledger.md). The
    -- transfers of a row are a range of ids.
    id                     uuid    not null,
    currency               text    not null,
    debit_account_id       uuid    not null,
    credit_account_id      uuid    not null,
    -- What moved (posted, post), was reserved (pending) or released (void): of a transfer that asked for "up to", what it got.
    amount_minor           bigint  not null,
    -- Why: 10 deposit, 20 withdrawal, … (docs/ledger.md). Of a post or void the code of its reservation.
    code                   integer not null,
    -- posted: moved at once. pending: reserved, and then resolved by a post (moved) or a void (released).
    kind                   text    not null,
    -- Of a post or void: the id of the reservation that it resolves.
    pending_id             uuid,
    -- The row that it belongs to: in transactions, or of a closing (code 80) in restrictions. No foreign key: see ledger_orphans.
    reference              uuid    not null,
    -- The four sides of the debited account after this transfer …
    debit_debits_posted    bigint  not null,
    debit_debits_pending   bigint  not null,
    debit_credits_posted   bigint  not null,
    debit_credits_pending  bigint  not null,
    -- … and of the credited one.
    credit_debits_posted   bigint  not null,
    credit_debits_pending  bigint  not null,
    credit_credits_posted  bigint  not null,
    credit_credits_pending bigint  not null,

    constraint ledger_transfers_id      unique (id),
    constraint ledger_transfers_amount  check (amount_minor >= 0),
    constraint ledger_transfers_kind    check (kind in ('posted', 'pending', 'post', 'void')),
    constraint ledger_transfers_pending check ((kind in ('post', 'void')) = (pending_id is not null))
);

-- What moved on each day, by account code and reason: a row for some forty of millions of transfers. Written with the transfers that it
-- sums up, in the same SQL transaction, so that a day's closing balance is a sum over a few rows.
create table ledger_days (
    currency       text    not null,
    -- In REPORTING_TIME_ZONE (reporting.day).
    day            date    not null,
    -- As in ledger_transfers.
    code           integer not null,
    kind           text    not null,
    debit_code     integer not null,
    credit_code    integer not null,
    -- Which effect of its row a transfer is: the last byte of its id (docs/ledger.md).
    leg            integer not null,
    transfers      bigint  not null,
    amount_minor   numeric not null,
    -- Of posts and voids: what their reservations had reserved.
    released_minor numeric not null,

    primary key (currency, day, code, kind, debit_code, credit_code, leg)
) with (fillfactor = 70);

-- Transfers whose row was not there when they were copied: the database was restored from an old backup. The row is written
-- before money moves, so that this is the only way to get here. Nothing deletes them; a person decides.
create table ledger_orphans (
    -- Of the transfer.
    timestamp bigint      primary key,
    currency  text        not null,
    found_at  timestamptz not null
);

-- A ledger timestamp as a time.
create function ledger_time(nanoseconds bigint) returns timestamptz
    language sql immutable parallel safe
    return timestamptz 'epoch' + (nanoseconds / 1000) * interval '1 microsecond';

-- The orphans whose row has not come back since.
create view ledger_orphan_transfers as
    select t.timestamp, ledger_time(t.timestamp) as executed_at, t.id, t.reference, t.currency, t.amount_minor, t.code, t.kind,
           t.debit_account_id, t.credit_account_id, o.found_at
      from ledger_orphans o
      join ledger_transfers t on t.timestamp = o.timestamp
     where not exists (select from transactions r where r.id = t.reference)
       and not exists (select from restrictions r where r.id = t.reference)
       and not exists (select from suspense_items r where r.id = t.reference);
