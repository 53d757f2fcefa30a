-- Until when PostgreSQL was found to be behind the ledger while the safe mode is on (src/money/safe_mode.rs): null where only the ledger was found to
-- be behind. What was lost later is another loss, after which open rows are looked at once more.
alter table safe_mode add column if not exists postgresql_behind_at timestamptz;
