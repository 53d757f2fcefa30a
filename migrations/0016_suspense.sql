-- What Revio itself gives back of an item of which no row is known is a clearing like any other: dated, and by the purchase that brought it.
-- It goes to the payer once, and comes again once (a chargeback that was won, a refund that failed).
alter table suspense_clearings add column provider_id uuid;
alter table suspense_clearings drop constraint suspense_clearings_by;
alter table suspense_clearings add constraint suspense_clearings_by check (num_nonnulls(transaction_id, journal_id, provider_id) = 1);
create unique index suspense_clearings_provider on suspense_clearings (provider_id, (amount_minor < 0)) where provider_id is not null;

-- What was given back before, without a line of it. When that was nobody noted: not before it was booked.
insert into suspense_clearings (item_id, provider_id, amount_minor, created_at)
select i.id, i.provider_id, i.amount_minor, i.booked_at
  from suspense_items i
 where i.kind = 'unknown_row' and i.provider_id is not null and i.booked_at is not null and i.taken_minor = i.amount_minor
   and not exists (select from suspense_clearings c where c.item_id = i.id);
