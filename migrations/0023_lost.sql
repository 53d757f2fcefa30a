-- A withdrawal whose row was lost with an older database is written again from the ledger (src/money/withdrawals/restored.rs), which does not
-- know where the money was to go: it begins as `reserved`, and is the only one without a bank account. Rows from before hold to
-- more than this, so none is looked at.
alter table transactions drop constraint transactions_bank;
alter table transactions add constraint transactions_bank check (
    case when kind = 'withdrawal' then bank_account_id is not null or states like 'reserved%' else bank_account_id is null end) not valid;
