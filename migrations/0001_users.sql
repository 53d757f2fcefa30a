-- People, their sessions and the bank accounts that they withdraw to.

create table users (
    -- UUIDv7 whose last two bytes are zero: the ledger puts the account kind and the currency there, so that a
    -- wallet's id in TigerBeetle is computed and never looked up.
    id            uuid        primary key,
    -- Normalised (trimmed, lower case) before it gets here: one person, one row.
    email         text        not null,
    full_name     text        not null,
    -- PHC string: algorithm, parameters, salt and hash together.
    password_hash text        not null,
    role          text        not null default 'user',
    created_at    timestamptz not null,

    constraint users_id_shape  check (right(id::text, 4) = '0000'),
    constraint users_email     unique (email),
    constraint users_email_len check (length(email) between 3 and 254 and email = lower(email)),
    constraint users_name_len  check (length(full_name) between 1 and 128),
    constraint users_role      check (role in ('user', 'support', 'finance', 'admin'))
);

-- One row for each sign-in; its refresh tokens form a family that lives and dies with it.
create table sessions (
    id             uuid        primary key,
    user_id        uuid        not null references users,
    user_agent     text,
    address        text,
    created_at     timestamptz not null,
    expires_at     timestamptz not null,
    revoked_at     timestamptz,
    revoked_reason text,

    constraint sessions_revoked check ((revoked_at is null) = (revoked_reason is null))
);
create index sessions_user on sessions (user_id, created_at desc);

-- Only the SHA-256 of a token is kept. A rotated token stays until its session ends: that is how a stolen one is seen.
create table refresh_tokens (
    token_hash bytea       primary key,
    session_id uuid        not null references sessions on delete cascade,
    issued_at  timestamptz not null,
    rotated_at timestamptz,

    constraint refresh_tokens_hash_len check (length(token_hash) = 32)
);
create index refresh_tokens_session on refresh_tokens (session_id);

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
    created_at timestamptz not null,
    -- Withdrawals refer to the row for ever, so it is only hidden.
    deleted_at timestamptz,

    constraint bank_accounts_last_four check (length(last_four) between 1 and 4),
    constraint bank_accounts_bank_name check (length(bank_name) between 1 and 64)
);
create index bank_accounts_user on bank_accounts (user_id, created_at) where deleted_at is null;
