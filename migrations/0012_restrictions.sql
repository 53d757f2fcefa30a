-- What keeps a customer's accounts from moving: a freeze (no withdrawals) or a closure. One row an account, because TigerBeetle
-- shuts accounts one by one; the row's id makes the id of the transfer that does it. src/restrictions.rs has the procedure.

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
create index restrictions_unfinished on restrictions (id) where state in ('initiated', 'lifting');
