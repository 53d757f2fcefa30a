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
