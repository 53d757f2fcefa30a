-- As in migration 0001, but for what a read's age is measured by. That was the newest row, and whoever may insert says of what time a row is: after one
-- of next month all that was read today could be pruned. No read is older than the clock says; and where the clock is ahead, than the newest row.
create or replace function audit_only_prunes() returns trigger language plpgsql set search_path = pg_catalog, public, pg_temp as $$
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
        or old.at >= least((select max(at) from audit_log), clock_timestamp()) - interval '30 days'
        or not exists (select from audit_chain where entry_id = old.id) then
        raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

-- A time that the service cannot read, infinity above all, would keep the chain from ever going on behind its row.
alter table audit_log add constraint audit_log_time
    check (at between timestamptz '2000-01-01 00:00:00+00' and timestamptz '2200-01-01 00:00:00+00') not valid;
