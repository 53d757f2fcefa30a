-- What Revio itself gives back of an item of which no row is known is a clearing like any other: dated, and by the purchase that brought it.
-- It goes to the payer once, and comes again once (a chargeback that was won, a refund that failed).
alter table suspense_clearings add column provider_id uuid;
alter table suspense_clearings drop constraint suspense_clearings_by;
alter table suspense_clearings add constraint suspense_clearings_by check (num_nonnulls(transaction_id, journal_id, provider_id) = 1);
create unique index suspense_clearings_provider on suspense_clearings (provider_id, (amount_minor < 0)) where provider_id is not null;
