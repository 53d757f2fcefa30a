-- What people have corrected or written off is few of all that the ledger has, and each credit asks whether a restore has lost some of it.
create index if not exists ledger_transfers_by_people on ledger_transfers (code, timestamp) where code in (51, 90);
