-- What we tell others' servers (src/webhooks/outgoing.rs), and the machines that call us (src/identity/service_accounts.rs).

create table outgoing_endpoints (
    id              uuid        primary key,
    url             text        not null,
    description     text,
    event_types     text[]      not null,
    enabled         boolean     not null,
    -- What happened before that is not told to it.
    enabled_at      timestamptz not null,
    -- Why it was disabled, if not by staff: a code of outgoing::DisabledReason.
    disabled_reason text,
    -- Since when every attempt has failed.
    failing_since   timestamptz,
    -- The last attempt failed or took long: such endpoints have workers of their own, so that they keep no other waiting.
    slow            boolean     not null default false,
    created_by      uuid        references users,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,

    constraint outgoing_endpoints_url         check (length(url) between 1 and 2048),
    constraint outgoing_endpoints_description check (length(description) between 1 and 200),
    constraint outgoing_endpoints_types       check (cardinality(event_types) between 1 and 50),
    constraint outgoing_endpoints_reason      check (disabled_reason is null or not enabled)
);

-- What signs the messages to an endpoint; two at once after a rotation.
create table outgoing_secrets (
    id          uuid        primary key,
    endpoint_id uuid        not null references outgoing_endpoints on delete cascade,
    -- AES-256-GCM; the row's id is the associated data.
    secret      bytea       not null,
    key_id      text        not null,
    created_at  timestamptz not null,
    -- Null = the present one.
    expires_at  timestamptz
);
create unique index outgoing_secrets_present on outgoing_secrets (endpoint_id) where expires_at is null;
create index outgoing_secrets_endpoint on outgoing_secrets (endpoint_id);

-- What happened, as it is told. Made by src/webhooks/outgoing/sources.rs from what the books say anyway: nothing that moves money
-- writes here.
create table outgoing_events (
    id          uuid        primary key,
    type        text        not null,
    -- The bytes that are signed and sent, each time the same. No personal data beyond the customer's id.
    body        text        not null,
    -- What it follows from, and which of the events that follow from it: so each is made once.
    source_id   uuid        not null,
    ordinal     integer     not null,
    occurred_at timestamptz not null,
    made_at     timestamptz not null,

    constraint outgoing_events_once unique (source_id, ordinal)
);
create index outgoing_events_made on outgoing_events (made_at);

-- How far each source was read: microseconds, a ledger timestamp, a position of the audit chain.
create table outgoing_cursors (
    source   text   primary key,
    position bigint not null
);

-- One event to one endpoint. The row is also the job: due_at is queue, schedule, lease and retry in one column (docs/decisions/003).
create table outgoing_deliveries (
    id          uuid        primary key,
    event_id    uuid        not null references outgoing_events on delete cascade,
    endpoint_id uuid        not null references outgoing_endpoints on delete cascade,
    state       text        not null default 'pending',
    due_at      timestamptz,
    -- Whether a worker has it in hand until due_at.
    leased      boolean     not null default false,
    attempts    integer     not null default 0,
    last_status integer,
    last_error  text,
    created_at  timestamptz not null,
    finished_at timestamptz,

    constraint outgoing_deliveries_once  unique (event_id, endpoint_id),
    constraint outgoing_deliveries_state check (state in ('pending', 'delivered', 'dead')),
    constraint outgoing_deliveries_due   check ((due_at is not null) = (state = 'pending')),
    constraint outgoing_deliveries_end   check ((finished_at is not null) = (state <> 'pending'))
);
create index outgoing_deliveries_due on outgoing_deliveries (endpoint_id, due_at) where due_at is not null;
create index outgoing_deliveries_dead on outgoing_deliveries (endpoint_id, created_at) where state = 'dead';
create index outgoing_deliveries_endpoint on outgoing_deliveries (endpoint_id, id desc);

-- The delivery log. Nothing of what an endpoint answers is kept but its status.
create table outgoing_attempts (
    id          uuid        primary key,
    delivery_id uuid        not null references outgoing_deliveries on delete cascade,
    at          timestamptz not null,
    status      integer,
    error       text,
    millis      bigint      not null
);
create index outgoing_attempts_delivery on outgoing_attempts (delivery_id, id);

create table service_accounts (
    id         uuid        primary key,
    name       text        not null,
    -- Names of permissions that a machine may have.
    scopes     text[]      not null,
    enabled    boolean     not null default true,
    created_by uuid        not null references users,
    created_at timestamptz not null,
    updated_at timestamptz not null,

    constraint service_accounts_name   check (length(name) between 1 and 64),
    constraint service_accounts_scopes check (cardinality(scopes) between 1 and 50)
);

-- Only the SHA-256 of a key is kept: 256 random bits need no slow hash.
create table service_account_keys (
    id                 uuid        primary key,
    service_account_id uuid        not null references service_accounts,
    hash               bytea       not null,
    -- Its last four characters, so that people can tell keys apart.
    hint               text        not null,
    created_at         timestamptz not null,
    expires_at         timestamptz not null,
    revoked_at         timestamptz,
    -- To the minute.
    last_used_at       timestamptz,

    constraint service_account_keys_hash     unique (hash),
    constraint service_account_keys_hash_len check (length(hash) = 32),
    constraint service_account_keys_hint     check (length(hint) = 4)
);
create index service_account_keys_account on service_account_keys (service_account_id);
