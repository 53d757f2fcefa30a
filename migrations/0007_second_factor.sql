-- The second factor (TOTP, RFC 6238): src/identity/totp.rs has the procedure, docs/decisions/032 why it is built so.

-- What a person's authenticator holds, once a code of it was shown.
create table totp_secrets (
    user_id      uuid        primary key references users,
    -- Encrypted, bound to the user's id; src/platform/encryption.rs.
    secret       bytea       not null,
    key_id       text        not null,
    -- Who let staff enrol it: an admin's id, or 'system' for the operator's command. Null: enrolled by the person alone, which gives no
    -- permission of staff.
    vouched_by   text,
    enrolled_at  timestamptz not null,
    -- The time step of the last code that counted: a code counts once.
    last_step    bigint      not null,

    constraint totp_secrets_vouched check (length(vouched_by) between 1 and 64)
);

-- A secret that was shown and that no code has proved yet.
create table totp_enrolments (
    user_id    uuid        primary key references users,
    secret     bytea       not null,
    key_id     text        not null,
    vouched_by text,
    expires_at timestamptz not null
);

-- Only the SHA-256 of a code is kept: each holds 80 random bits.
create table totp_recovery_codes (
    user_id   uuid  not null references users,
    code_hash bytea not null,
    used_at   timestamptz,

    constraint totp_recovery_codes_pkey     primary key (user_id, code_hash),
    constraint totp_recovery_codes_hash_len check (length(code_hash) = 32)
);

-- What staff enrol with: given by another admin or by the operator, for one enrolment. The hash of the token.
create table totp_invitations (
    user_id    uuid        primary key references users,
    token_hash bytea       not null,
    issued_by  text        not null,
    expires_at timestamptz not null,

    constraint totp_invitations_hash_len check (length(token_hash) = 32)
);

-- What a person with a second factor withdrew without being asked for a code: of the last 24 hours, so that many small withdrawals are
-- no way around the threshold. Written before the withdrawal.
create table totp_allowances (
    user_id         uuid        not null references users,
    idempotency_key text        not null,
    currency        text        not null,
    amount_minor    bigint      not null,
    created_at      timestamptz not null,

    constraint totp_allowances_pkey   primary key (user_id, idempotency_key),
    constraint totp_allowances_amount check (amount_minor > 0)
);
create index totp_allowances_created on totp_allowances (created_at);
