-- Months that are closed. src/finance/periods.rs has the procedure.

create table periods (
    -- The first day of the month, in REPORTING_TIME_ZONE.
    month           date        primary key,
    state           text        not null,
    -- Every transfer up to and including this moment of the ledger's belongs to it or to an earlier one.
    cut             bigint      not null,
    -- The small reports as they were printed: trial balance, daily positions, open breaks, ageing, fees, journals, hashes of files.
    pack            bytea       not null,
    pack_sha256     bytea       not null,
    -- Customers' balances: how many, their sum by currency, and the SHA-256 of the list, which is made anew when it is asked for.
    customers       jsonb       not null,
    customers_sha256 bytea      not null,
    layout          integer     not null,
    -- Of the month before; null of the first.
    previous_sha256 bytea,
    requested_by    uuid        not null references users,
    requested_at    timestamptz not null,
    approved_by     uuid        references users,
    closed_at       timestamptz,

    constraint periods_month  check (extract(day from month) = 1),
    constraint periods_state  check (state in ('awaiting_approval', 'closed')),
    constraint periods_closed check ((state = 'closed') = (closed_at is not null and approved_by is not null)),
    constraint periods_apart  check (approved_by <> requested_by),
    constraint periods_hashes check (length(pack_sha256) = 32 and length(customers_sha256) = 32 and length(previous_sha256) = 32)
);

create trigger periods_stay before delete or truncate on periods for each statement execute function audit_refuse();
-- What is closed stays as it is.
create trigger periods_are_frozen before update on periods
    for each row when (old.state = 'closed') execute function audit_refuse();

-- Statements that Revio is asked for, one a day: it makes them in a while. src/finance/statement_files/fetching.rs has the procedure.

create table statement_requests (
    id          uuid        primary key,
    -- In REPORTING_TIME_ZONE.
    day         date        not null,
    state       text        not null default 'open',
    -- Revio's id of the statement; null = to be asked for, for the first time or once more.
    provider_id uuid,
    asked_at    timestamptz,
    file_id     uuid        references statement_files,
    -- Null = nothing to do; else when the next step is tried. As in transactions.
    due_at      timestamptz,
    attempts    integer     not null default 0,
    failure     text,

    constraint statement_requests_state check (state in ('open', 'imported', 'failed')),
    constraint statement_requests_file  check ((state = 'imported') = (file_id is not null)),
    constraint statement_requests_due   check ((state = 'open') = (due_at is not null))
);
create unique index statement_requests_day on statement_requests (day);
create index statement_requests_open on statement_requests (due_at) where due_at is not null;
