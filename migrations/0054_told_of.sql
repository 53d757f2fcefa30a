-- no-transaction
-- Whom an event of ours is about, if it is about a customer: what was told of a person goes with the person, and a look at it is a look at the person.
-- Null of a test, and of what a process of the release before makes while this one comes in: whose that is stands in its body. No reference: nothing
-- that is told waits for a lock on a person.
--
-- There may be millions, and each call of staff that names something by its id asks here whose it is. So every step is committed, and none keeps
-- whoever reads waiting. One that broke off is done again, and goes on where it was.
do $$
declare
    batch uuid[] := '{}';
begin
    alter table outgoing_events add column if not exists customer_id uuid;
    commit;
    loop
        -- Whatever is being deleted at this moment is passed over.
        batch := array(select id from outgoing_events
                        where id > coalesce(batch[cardinality(batch)], '00000000-0000-0000-0000-000000000000') and customer_id is null
                        order by id limit 5000 for no key update skip locked);
        exit when batch = '{}';
        update outgoing_events set customer_id = (body::jsonb #>> '{data,customer_id}')::uuid where id = any(batch);
        commit;
    end loop;
    create index if not exists outgoing_events_customer on outgoing_events (customer_id);
end
$$;
