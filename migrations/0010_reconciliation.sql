-- Whether rows, ledger, Revio and the bank say the same. src/finance/reconciliation.rs has the procedure.

create table reconciliation_runs (
    id             uuid        primary key,
    kind           text        not null,
    -- Which legs: a inside, b Revio, c bank.
    legs           text[]      not null,
    state          text        not null default 'running',
    -- What is looked at: what changed from then (an hour before the last cut) to then (two minutes ago).
    since          timestamptz not null,
    until          timestamptz not null,
    -- The same of the ledger's transfers: those behind the one and up to the other, which is how far the copy was when the run looked.
    ledger_since   bigint      not null default 0,
    ledger_cut     bigint      not null default 0,
    -- In REPORTING_TIME_ZONE. Of a daily run the day that it closes.
    accounting_day date        not null,
    -- The user who asked, or 'system', or 'operator'.
    requested_by   text        not null,
    -- Where it goes on after a death: the leg and the last id looked at.
    checkpoint     jsonb       not null default '{}',
    -- One runs at a time; whoever has it says so until then.
    leased_until   timestamptz,
    started_at     timestamptz not null,
    finished_at    timestamptz,
    -- What was looked at, and what came of it, by name.
    counts         jsonb       not null default '{}',
    -- Balances compared: by currency and name, minor units as text.
    sums           jsonb       not null default '{}',
    -- The report as it is given out, and over these bytes; once finished, it never changes.
    report         bytea,
    report_sha256  bytea,
    error          text,

    constraint reconciliation_runs_kind  check (kind in ('quarter_hour', 'daily', 'statement', 'manual')),
    constraint reconciliation_runs_state check (state in ('running', 'finished', 'failed')),
    constraint reconciliation_runs_ended check ((state = 'running') = (finished_at is null)),
    constraint reconciliation_runs_sha   check (length(report_sha256) = 32 and (report is null) = (report_sha256 is null))
);
create unique index reconciliation_runs_one on reconciliation_runs ((true)) where state = 'running';
create index reconciliation_runs_kind on reconciliation_runs (kind, id desc);
create index reconciliation_runs_day on reconciliation_runs (accounting_day);

create table breaks (
    id               uuid        primary key,
    -- What differs, in one text: type and ids. Unique while it is open; seen again later, the same row is opened again.
    fingerprint      text        not null,
    type             text        not null,
    severity         text        not null,
    leg              text        not null,
    state            text        not null,
    currency         text,
    -- What there should be and what there is; null where it is not a matter of sums.
    expected_minor   bigint,
    actual_minor     bigint,
    -- What it is about: as many of these as are known.
    transaction_id   uuid,
    journal_id       uuid,
    transfer_id      uuid,
    provider_id      uuid,
    line_id          uuid,
    account_code     integer,
    -- Since when it differs, by the facts; the age counts from here.
    since            timestamptz not null,
    -- What both looks must agree on: the row's version and the ledger's facts.
    observed         text        not null,
    first_seen_at    timestamptz not null,
    last_seen_at     timestamptz not null,
    sightings        integer     not null default 1,
    opened_at        timestamptz,
    ended_at         timestamptz,
    reopened         integer     not null default 0,
    heal_attempts    integer     not null default 0,
    -- The team, and who of it has it in hand.
    owner            text        not null,
    assigned_to      uuid        references users,
    -- Facts without personal data.
    evidence         jsonb       not null default '{}',
    first_run_id     uuid        not null references reconciliation_runs,
    last_run_id      uuid        not null references reconciliation_runs,
    -- Who wants to accept it, and why, as long as nobody else has agreed; gone once the facts are others.
    acceptance_by    uuid        references users,
    acceptance_note  text,
    resolution       text,
    resolution_note  text,
    resolved_by      uuid        references users,
    -- Of an accepted one: who agreed.
    accepted_by      uuid        references users,
    resolving_journal_id    uuid references journals,
    resolving_adjustment_id uuid references transactions,

    constraint breaks_type check (type in ('unbalanced', 'row_without_transfer', 'transfer_without_row', 'amount_ledger', 'state_ledger',
        'reservation_stale', 'copy_line', 'summary', 'paid_at_provider', 'payout_paid', 'reversed_at_provider', 'not_paid_at_provider',
        'amount_provider', 'currency_provider', 'fee_provider', 'settlement_unbooked', 'duplicate_provider', 'provider_only', 'bank_only',
        'missing_on_statement', 'settlement_late', 'bank_missing', 'provider_balance', 'bank_balance', 'position_short', 'd1_late')),
    constraint breaks_severity   check (severity in ('info', 'medium', 'high', 'critical')),
    constraint breaks_leg        check (leg in ('a', 'b', 'c')),
    constraint breaks_state      check (state in ('timing', 'open', 'healing', 'healed', 'cleared', 'resolved')),
    constraint breaks_ended      check ((state in ('healed', 'cleared', 'resolved')) = (ended_at is not null)),
    constraint breaks_owner      check (owner in ('on_call', 'engineering', 'finance')),
    constraint breaks_resolution check (resolution in ('booked', 'provider_error', 'our_error', 'accepted')),
    constraint breaks_resolved   check ((state = 'resolved') = (resolved_by is not null and resolution is not null and resolution_note is not null)),
    constraint breaks_accepted   check ((accepted_by is not null) = (resolution is not distinct from 'accepted')),
    constraint breaks_acceptance check ((acceptance_by is null) = (acceptance_note is null)),
    constraint breaks_notes      check (length(resolution_note) between 1 and 500 and length(acceptance_note) between 1 and 500),
    constraint breaks_apart      check (accepted_by <> resolved_by)
);
create unique index breaks_fingerprint on breaks (fingerprint);
create index breaks_open on breaks (severity, since) where state in ('timing', 'open', 'healing');
create index breaks_state on breaks (state, id);
create index breaks_run on breaks (last_run_id);

create table break_notes (
    id         uuid        primary key,
    break_id   uuid        not null references breaks,
    -- A user's id or 'system'.
    author     text        not null,
    note       text        not null,
    created_at timestamptz not null,

    constraint break_notes_note check (length(note) between 1 and 500)
);
create index break_notes_break on break_notes (break_id, id);

-- What Revio said of its balance, field by field, each time that it was asked; and what the ledger expects of the field that is ours.
create table provider_balances (
    run_id         uuid        not null references reconciliation_runs,
    currency       text        not null,
    field          text        not null,
    amount_minor   bigint      not null,
    -- 1000 posted - settlements in transit - payouts executed and not posted; the same in every row of a run.
    expected_minor bigint,
    asked_at       timestamptz not null,

    primary key (run_id, currency, field)
);
create index provider_balances_at on provider_balances (currency, asked_at);

-- Files of Revio's and the bank's, sealed as they came.
create table statement_files (
    id              uuid        primary key,
    source          text        not null,
    sha256          bytea       not null,
    -- Revio's id of the statement, where it was fetched and not uploaded.
    provider_id     uuid,
    currency        text,
    -- Whether the file counts in rands or in cents, as its lines have proved.
    unit            text,
    from_day        date,
    to_day          date,
    opening_minor   bigint,
    closing_minor   bigint,
    lines           integer     not null,
    matched         integer     not null,
    unmatched       integer     not null,
    -- Headings that nobody knows: counted and dropped.
    unknown_columns text[]      not null default '{}',
    content         bytea       not null,
    key_id          text        not null,
    imported_by     text        not null,
    imported_at     timestamptz not null,

    constraint statement_files_source check (source in ('revio', 'bank')),
    constraint statement_files_sha    check (length(sha256) = 32),
    constraint statement_files_unit   check (unit in ('major', 'minor'))
);
-- The same bytes are one file; of two days on which nothing happened the files are the same, and yet two.
create unique index statement_files_once on statement_files (source, sha256, from_day, to_day);
create index statement_files_days on statement_files (source, from_day, to_day);

create table statement_lines (
    id             uuid        primary key,
    file_id        uuid        not null references statement_files,
    number         integer     not null,
    provider_id    uuid,
    reference      text,
    product        text        not null,
    status         text,
    currency       text        not null,
    -- Signed: money that came to us is above zero.
    amount_minor   bigint      not null,
    fee_minor      bigint,
    net_minor      bigint,
    day            date        not null,
    related_id     uuid,
    -- What it is, as far as ids say: a row, a journal; null = nothing fits yet.
    transaction_id uuid        references transactions,
    journal_id     uuid        references journals,
    matched_by     text,

    constraint statement_lines_number  unique (file_id, number),
    constraint statement_lines_matched check (matched_by in ('id', 'reference', 'person') and
        (matched_by is null) = (transaction_id is null and journal_id is null))
);
create index statement_lines_provider on statement_lines (provider_id) where provider_id is not null;
create index statement_lines_transaction on statement_lines (transaction_id) where transaction_id is not null;
create index statement_lines_journal on statement_lines (journal_id) where journal_id is not null;
create index statement_lines_unmatched on statement_lines (id) where matched_by is null;
create index statement_lines_day on statement_lines (day);
-- What the statements say of fees, by month and product (reporting.fees).
create index statement_lines_fees on statement_lines (currency, product, day) include (fee_minor) where fee_minor is not null;
