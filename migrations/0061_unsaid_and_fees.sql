-- Since when Revio was asked whether a payout is paid and has not said so, where two people have given it up.
alter table provider_objects add column unsaid_since timestamptz;
-- A ledger that was put back may have forgotten what it was told of rows that were made before.
alter table safe_mode add column ledger_behind_at timestamptz;
update safe_mode set ledger_behind_at = entered_at where postgresql_behind_at is distinct from entered_at;
-- The row of which people have booked Revio's fee: by the journal that ended its break.
alter table journals add column fee_of_id uuid references transactions;
create index journals_fee_of on journals (fee_of_id) where fee_of_id is not null;
update journals j set fee_of_id = b.transaction_id
  from breaks b
 where b.resolving_journal_id = j.id and b.type = 'fee_provider' and b.transaction_id is not null;
