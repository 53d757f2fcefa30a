-- Who may change what, what is kept for how long, and the word of a second person before somebody is erased.

-- Refused calls, a row for each caller and minute: the first sixty have rows of their own in audit_log, and when the minute is over one
-- row tells how many more there were (src/identity/audit/refusals.rs).
create table audit_refusals (
    -- As in audit_log. Of somebody who did not prove to be anybody the address tells who.
    actor    text        not null,
    address  text        not null,
    minute   timestamptz not null,
    refusals bigint      not null,

    primary key (actor, address, minute)
);
create index audit_refusals_minute on audit_refusals (minute);

-- How the watch over the chain gets on (src/identity/audit/watch.rs). What it compares with is noted in the ledger, not here.
create table audit_watch (
    single      boolean     primary key default true,
    -- How far old rows were looked at again; after the last one it begins anew.
    position    bigint      not null default 0,
    looked_at   timestamptz,
    verified_at timestamptz,
    -- What was wrong when it was last looked at.
    broken      text,

    constraint audit_watch_single check (single)
);
insert into audit_watch default values;

-- Takes the content of reads out of audit_log. The trigger there decides which; this is for a service that may not update the table.
create function audit_prune(ids uuid[], digests bytea[]) returns bigint
language sql security definer set search_path = pg_catalog, public as $$
    with pruned as (
        update public.audit_log l
           set actor = 'pruned', actor_role = null, before = null, after = null, request_id = null, address = null,
               pruned = d.digest
          from unnest(ids, digests) as d (id, digest)
         where l.id = d.id and l.pruned is null returning l.id)
    select count(*) from pruned
$$;
revoke execute on function audit_prune(uuid[], bytea[]) from public;

-- Customers who are to be erased, or were: asked for by one member of staff, done by another.
create table erasures (
    user_id      uuid        primary key references users,
    requested_by uuid        not null references users,
    requested_at timestamptz not null,
    -- Why. No personal data.
    note         text        not null,
    erased_by    uuid        references users,
    erased_at    timestamptz,

    constraint erasures_note   check (length(note) between 1 and 500),
    constraint erasures_done   check ((erased_by is null) = (erased_at is null)),
    constraint erasures_second check (erased_by <> requested_by)
);

-- What the role that the service signs in as may do, for every table that there is and will be: not what makes it the owner of one, so
-- no trigger is disabled and no table dropped, and of the audit log neither a change nor a removal. `octoco migrate` calls it, as the
-- owner (docs/decisions/033).
create function grant_to_service(service name) returns void language plpgsql set search_path = pg_catalog, public as $$
begin
    -- Two that grant at once would update one row of the catalogue.
    perform pg_advisory_xact_lock(hashtext('grant_to_service'));
    execute format('grant usage on schema public to %I', service);
    execute format('grant select, insert, update, delete on all tables in schema public to %I', service);
    execute format('alter default privileges in schema public grant select, insert, update, delete on tables to %I', service);
    -- Also what everybody might call before there was a role that may not (grant_to_reporting in 0012).
    execute format('grant execute on all functions in schema public to %I', service);
    execute format('revoke execute on function grant_to_service(name), grant_to_reporting(name), admit_reader(name, text),
        set_reporting_time_zone(text) from %I', service);
    execute format('grant usage on schema reporting to %I', service);
    execute format('grant select on all tables in schema reporting to %I', service);
    execute format('grant execute on all functions in schema reporting to %I', service);
    execute format('revoke update, delete on audit_log, audit_chain from %I', service);
    execute format('revoke insert, delete on audit_head from %I', service);
    execute format('revoke update on audit_unsealed from %I', service);
    execute format('revoke insert, delete on audit_watch from %I', service);
    execute format('grant execute on function audit_prune(uuid[], bytea[]) to %I', service);
    if to_regclass('public._sqlx_migrations') is not null then
        execute format('revoke insert, update, delete on _sqlx_migrations from %I', service);
    end if;
end
$$;
revoke execute on function grant_to_service(name) from public;
