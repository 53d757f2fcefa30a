-- What took an item out of suspense may be a row that this database has forgotten, because it was put back to an earlier moment: the ledger
-- tells (src/money/suspense.rs). Its id refers to nothing, or to a row that is behind and will claim it by itself.
alter table suspense_clearings add column if not exists forgotten_id uuid;
alter table suspense_clearings drop constraint if exists suspense_clearings_by;
alter table suspense_clearings add constraint suspense_clearings_by
    check (num_nonnulls(transaction_id, journal_id, provider_id, forgotten_id) = 1);
create unique index if not exists suspense_clearings_forgotten on suspense_clearings (forgotten_id) where forgotten_id is not null and given_up_at is null;
