-- A search path that does not name pg_temp begins with it, for tables and types: audit_prune runs as the owner, and with it the trigger of the audit
-- log, so a caller's temporary table of the log's name would have decided what may be pruned, and a function in it would have run as the owner
-- (docs/decisions/033).
alter function audit_prune(uuid[], bytea[]) set search_path = pg_catalog, public, pg_temp;
alter function audit_only_prunes() set search_path = pg_catalog, public, pg_temp;

-- As in migration 0008; and nobody makes tables of his own, temporary ones neither.
create or replace function grant_to_service(service name) returns void language plpgsql set search_path = pg_catalog, public as $$
begin
    -- Two that grant at once would update one row of the catalogue.
    perform pg_advisory_xact_lock(hashtext('grant_to_service'));
    -- Whoever has temporary tables of his own puts them in the place of ours for what looks there first.
    execute format('revoke create, temporary on database %I from public', current_database());
    revoke create on schema public from public;
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
