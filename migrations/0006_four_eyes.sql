-- What one member of staff asked for and another must agree to: a role, the end of a freeze, the opening of closed accounts.
-- src/money/requests.rs has the procedure.

create table requests (
    id           uuid        primary key,
    kind         text        not null,
    -- Whom it is about.
    user_id      uuid        not null references users,
    -- Of a role: the present one and the one that is asked for.
    old_role     text,
    new_role     text,
    requested_by uuid        not null references users,
    state        text        not null default 'pending',
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    decided_by   uuid        references users,
    decided_at   timestamptz,
    note         text,

    constraint requests_kind     check (kind in ('role', 'unfreeze', 'reopen')),
    constraint requests_role     check (
        (kind = 'role') = (old_role is not null and new_role is not null) and (old_role is null) = (new_role is null)),
    constraint requests_state    check (state in ('pending', 'approved', 'declined', 'expired')),
    constraint requests_decided  check (
        (state in ('approved', 'declined')) = (decided_by is not null and decided_at is not null)),
    constraint requests_reasoned check (state <> 'declined' or note is not null),
    constraint requests_note     check (length(note) between 1 and 500),
    -- Three people: who is concerned, who asks, who agrees.
    constraint requests_apart    check (user_id <> requested_by and decided_by <> requested_by and decided_by <> user_id)
);
-- The same is asked for once at a time.
create unique index requests_once on requests (user_id, kind, coalesce(old_role, ''), coalesce(new_role, '')) where state = 'pending';
create index requests_state on requests (state, id);
create index requests_expiry on requests (expires_at) where state = 'pending';

-- Calls of staff that came with an Idempotency-Key, for a week: what was answered is answered again (src/identity/repeats.rs).
create table idempotent_calls (
    id              uuid        primary key,
    user_id         uuid        not null references users,
    idempotency_key text        not null,
    request_hash    bytea       not null,
    -- While there is no answer: whose turn it is, and until when nobody else takes it over.
    turn            integer     not null default 1,
    claimed_until   timestamptz not null,
    -- Encrypted (src/platform/encryption.rs): it may hold personal data.
    answer          bytea,
    key_id          text,
    created_at      timestamptz not null,

    constraint idempotent_calls_key    check (length(idempotency_key) between 1 and 255),
    constraint idempotent_calls_hash   check (octet_length(request_hash) = 32),
    constraint idempotent_calls_answer check ((answer is null) = (key_id is null))
);
create unique index idempotent_calls_once on idempotent_calls (user_id, idempotency_key);
create index idempotent_calls_age on idempotent_calls (created_at);
