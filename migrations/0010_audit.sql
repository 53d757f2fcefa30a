-- Who did what: append-only and hash-chained. src/audit.rs has the procedure, and why a row is chained a moment after it
-- was written.

create table audit_log (
    id          uuid        primary key,
    at          timestamptz not null,
    -- A user's id, 'system' or 'revio'.
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

    constraint audit_log_actor  check (length(actor) between 1 and 64),
    constraint audit_log_action check (action ~ '^[a-z_]+\.[a-z_]+$'),
    constraint audit_log_object check (length(object_kind) between 1 and 64 and length(object_id) between 1 and 255)
);
-- Ids are in the order of time, so each of these lists newest first.
create index audit_log_by_actor on audit_log (actor, id desc);
create index audit_log_by_action on audit_log (action, id desc);
create index audit_log_by_object on audit_log (object_kind, object_id, id desc);
create index audit_log_at on audit_log (at);

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
create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function audit_refuse();
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
