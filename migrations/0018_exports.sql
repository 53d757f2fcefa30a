-- Exports that are written in the background: the row is the job (docs/decisions/003), the chunks are the file.

create table exports (
    id              uuid        primary key,
    user_id         uuid        not null references users,
    -- 'own': the user's own rows; 'all': everybody's, for staff.
    scope           text        not null,
    format          text        not null,
    idempotency_key text        not null,
    request_hash    bytea       not null,

    state           text        not null,
    -- What was asked for and how far it is, AES-256-GCM over JSON bound to the row: a query may hold what somebody
    -- searched for, a checkpoint the last bytes that were written.
    work            bytea       not null,
    key_id          text        not null,
    rows_written    bigint      not null default 0,
    bytes_written   bigint      not null default 0,
    chunks          integer     not null default 0,
    -- Of the bytes before the trailer, as the trailer says it.
    sha256          text,
    failure_reason  text,

    -- Null = nothing to do. Completed and failed rows come due once more, to be emptied.
    due_at          timestamptz,
    attempts        integer     not null default 0,
    version         integer     not null default 0,

    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    completed_at    timestamptz,
    -- When the file is deleted.
    expires_at      timestamptz,

    constraint exports_key     unique (user_id, idempotency_key),
    constraint exports_key_len check (length(idempotency_key) between 1 and 255),
    constraint exports_scope   check (scope in ('own', 'all')),
    constraint exports_format  check (format in ('csv', 'jsonl', 'xlsx')),
    constraint exports_state   check (state in ('queued', 'running', 'completed', 'failed', 'expired')),
    constraint exports_counts  check (rows_written >= 0 and bytes_written >= 0 and chunks >= 0),
    constraint exports_done    check (state not in ('completed', 'expired')
                                      or (completed_at is not null and expires_at is not null and sha256 is not null)),
    constraint exports_failed  check ((state = 'failed') = (failure_reason is not null))
);
create index exports_user on exports (user_id, id desc);
create index exports_due on exports (due_at) where due_at is not null;

-- A chunk and the row's checkpoint are written in one transaction: what is stored is always a beginning of the file.
create table export_chunks (
    export_id   uuid    not null references exports on delete cascade,
    position    integer not null,
    -- Where the chunk begins in the file, and how long it is there.
    byte_offset bigint  not null,
    length      integer not null,
    bytes       bytea   not null,
    key_id      text    not null,

    constraint export_chunks_pkey   primary key (export_id, position),
    constraint export_chunks_length check (length between 1 and 262144 and position >= 0 and byte_offset >= 0)
);
-- Sealed bytes do not compress.
alter table export_chunks alter column bytes set storage external;
