-- Who is calling and what they may do: people, their sessions, the mails that we owe them, and who did what.

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
    -- Since when: who has a role for less than a day approves nothing (docs/decisions/030).
    role_since    timestamptz not null default now(),
    created_at    timestamptz not null,
    -- Null until the person has opened a link that only this mailbox got.
    email_verified_at timestamptz,
    -- Which news of their own money people want by mail; of what endangers the account everybody is told.
    mail_deposits     boolean not null default true,
    mail_withdrawals  boolean not null default true,
    -- When everything that says who it was went (src/books/personal_data.rs); the row stays, for money refers to it.
    erased_at     timestamptz,

    constraint users_id_shape  check (right(id::text, 4) = '0000'),
    constraint users_email     unique (email),
    constraint users_email_len check (length(email) between 3 and 254 and email = lower(email)),
    constraint users_name_len  check (length(full_name) between 1 and 128),
    constraint users_role      check (role in ('user', 'support', 'finance', 'admin'))
);
-- Finding a person by the beginning of the e-mail, whatever the collation of the database.
create index users_email_prefix on users (email text_pattern_ops);

-- One row for each sign-in; its refresh tokens form a family that lives and dies with it.
create table sessions (
    id             uuid        primary key,
    user_id        uuid        not null references users,
    user_agent     text,
    address        text,
    created_at     timestamptz not null,
    expires_at     timestamptz not null,
    -- When a password or a code was last given in it, and when a code: what staff may do hangs on both.
    stepped_up_at    timestamptz,
    second_factor_at timestamptz,
    revoked_at     timestamptz,
    revoked_reason text,

    constraint sessions_revoked check ((revoked_at is null) = (revoked_reason is null))
);
create index sessions_user on sessions (user_id, created_at desc);
-- The sessions that ended while an access token of theirs may still live (src/platform/access.rs).
create index sessions_revoked_at on sessions (revoked_at) where revoked_at is not null;

-- Only the SHA-256 of a token is kept. A rotated token stays until its session ends: that is how a stolen one is seen.
create table refresh_tokens (
    token_hash bytea       primary key,
    session_id uuid        not null references sessions on delete cascade,
    issued_at  timestamptz not null,
    -- Until then a successor makes none of its own (src/identity/sessions.rs). The token of a sign-in does so at once.
    rests_until timestamptz,
    rotated_at timestamptz,

    constraint refresh_tokens_hash_len check (length(token_hash) = 32)
);
create index refresh_tokens_session on refresh_tokens (session_id);

-- Mails that we owe somebody; src/identity/mails.rs has the procedure.
-- The row is also the job: due_at is queue, schedule, lease and retry in one column (docs/decisions/003).
create table mails (
    id         uuid        primary key,
    kind       text        not null,
    -- Whom it goes to; both: somebody of ours, at an address that is not theirs yet, or not any more. A forgotten password is asked for by address: whether anybody has it is found out when the mail is
    -- sent, so that asking takes as long and leaves the same row for everybody (docs/decisions/016).
    user_id    uuid        references users,
    address    text,
    state      text        not null default 'pending',
    due_at     timestamptz,
    attempts   integer     not null default 0,
    -- When the link in it ends. The link itself is made when the mail is sent and stands nowhere: a copy of this table
    -- opens no account.
    expires_at timestamptz not null,
    last_error text,
    created_at timestamptz not null,
    sent_at    timestamptz,
    -- Why a dead one was dismissed. No personal data.
    note       text,

    constraint mails_kind      check (kind in ('email_verification', 'password_reset', 'email_change', 'email_changed', 'email_taken',
        'bank_account_added', 'new_device', 'password_changed', 'second_factor_changed', 'sessions_ended', 'name_changed', 'withdrawal', 'deposit',
        'webhook_endpoint_disabled')),
    constraint mails_recipient check (user_id is not null or address is not null),
    constraint mails_state     check (state in ('pending', 'sent', 'dropped', 'dead', 'dismissed')),
    constraint mails_note      check ((note is not null) = (state = 'dismissed') and length(note) between 1 and 500),
    constraint mails_due       check ((due_at is not null) = (state = 'pending')),
    constraint mails_sent      check ((sent_at is not null) = (state = 'sent'))
);

create index mails_due on mails (due_at) where due_at is not null;
create index mails_dead on mails (created_at) where state = 'dead';
create index mails_user on mails (user_id) where user_id is not null;

-- An e-mail that somebody asked to have, until the link in the mail to it is opened (src/identity/emails.rs). Gone with the session
-- that asked at the latest.
create table email_changes (
    user_id    uuid        primary key references users,
    new_email  text        not null,
    session_id uuid        not null references sessions on delete cascade,
    asked_at   timestamptz not null,

    constraint email_changes_len check (length(new_email) between 3 and 254 and new_email = lower(new_email))
);
create index email_changes_session on email_changes (session_id);

-- Who did what: append-only and hash-chained. src/identity/audit.rs has the procedure, and why a row is chained a moment after it
-- was written.

create table audit_log (
    id          uuid        primary key,
    at          timestamptz not null,
    -- A user's id, 'system', 'operator' (the command line) or 'revio'.
    actor       text        not null,
    -- The role that the actor had then.
    actor_role  text,
    action      text        not null,
    object_kind text        not null,
    object_id   text        not null,
    -- What changed: ids, states, roles and amounts; never a secret and never personal data.
    before      jsonb,
    after       jsonb,
    request_id  text,
    address     text,
    -- Of a read of long ago: SHA-256 over what stood in actor, actor_role, before, after, request_id and address
    -- (src/identity/audit/chain.rs); that itself is gone.
    pruned      bytea,

    constraint audit_log_pruned check (length(pruned) = 32),
    constraint audit_log_actor  check (length(actor) between 1 and 64),
    constraint audit_log_action check (action ~ '^[a-z_]+\.[a-z_]+$'),
    constraint audit_log_object check (length(object_kind) between 1 and 64 and length(object_id) between 1 and 255)
);
-- Ids are in the order of time, so each of these lists newest first.
create index audit_log_by_actor on audit_log (actor, id desc);
create index audit_log_by_action on audit_log (action, id desc);
create index audit_log_by_object on audit_log (object_kind, object_id, id desc);
create index audit_log_at on audit_log (at);
-- What one call of somebody's did: people quote its id.
create index audit_log_by_request on audit_log (request_id, id desc) where request_id is not null;
-- Calls of staff that concerned a customer (src/identity/staff.rs).
create index audit_log_by_customer on audit_log ((after->>'customer'), id desc) where after->>'customer' is not null;
-- What may be pruned: reads by staff that still say who read what.
create index audit_log_reads on audit_log (at)
    where action = 'staff.called' and pruned is null and after->>'method' in ('GET', 'HEAD');

-- The chain: each link holds the hash of the link before it, and its own over that and every field of its row.
create table audit_chain (
    position      bigint primary key,
    entry_id      uuid   not null references audit_log,
    previous_hash bytea  not null,
    hash          bytea  not null,

    constraint audit_chain_once     unique (entry_id),
    constraint audit_chain_position check (position > 0),
    constraint audit_chain_hash     check (length(hash) = 32 and length(previous_hash) = 32)
);

-- The last link. One row, so that links missing at the end are seen too.
create table audit_head (
    single   boolean primary key default true,
    position bigint  not null,
    hash     bytea   not null,

    constraint audit_head_single check (single)
);
insert into audit_head (position, hash) values (0, decode(repeat('00', 32), 'hex'));

-- Rows that wait to be chained. Whoever inserts into audit_log, the row gets here in the same transaction.
create table audit_unsealed (
    entry_id uuid primary key
);

create function audit_enqueue() returns trigger language plpgsql as $$
begin
    insert into audit_unsealed (entry_id) values (new.id);
    return null;
end
$$;
create trigger audit_log_enqueue after insert on audit_log for each row execute function audit_enqueue();

create function audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_log_append_only before delete or truncate on audit_log
    for each statement execute function audit_refuse();

-- The one change that there is, whoever asks for it: of a read that is chained and a month older than the newest row, who read what
-- gives way to its hash. The row, its place in the chain and that it was a read stay.
create function audit_only_prunes() returns trigger language plpgsql as $$
declare
    pruned audit_log := old;
begin
    pruned.actor := 'pruned';
    pruned.actor_role := null;
    pruned.before := null;
    pruned.after := null;
    pruned.request_id := null;
    pruned.address := null;
    pruned.pruned := new.pruned;
    if new is distinct from pruned or new.pruned is null or old.pruned is not null
        or old.action <> 'staff.called' or coalesce(old.after->>'method', '') not in ('GET', 'HEAD')
        or old.at >= (select max(at) from audit_log) - interval '30 days'
        or not exists (select from audit_chain where entry_id = old.id) then
        raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger audit_log_prunes_reads before update on audit_log for each row execute function audit_only_prunes();
create trigger audit_chain_append_only before update or delete or truncate on audit_chain
    for each statement execute function audit_refuse();
create trigger audit_head_stays before delete or truncate on audit_head
    for each statement execute function audit_refuse();
create trigger audit_head_grows before update on audit_head
    for each row when (new.position <= old.position) execute function audit_refuse();
create trigger audit_unsealed_stays before truncate on audit_unsealed
    for each statement execute function audit_refuse();

-- For every role but the owner the privileges say the same as the triggers.
revoke update, delete, truncate on audit_log, audit_chain from public;
