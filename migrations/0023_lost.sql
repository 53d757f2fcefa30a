-- A withdrawal whose row was lost with an older database is written again from the ledger (src/money/withdrawals/restored.rs), which does not
-- know where the money was to go: it begins as `reserved`, and is the only one without a bank account. Rows from before hold to
-- more than this, so none is looked at.
alter table transactions drop constraint transactions_bank;
alter table transactions add constraint transactions_bank check (
    case when kind = 'withdrawal' then bank_account_id is not null or states like 'reserved%' else bank_account_id is null end) not valid;

create or replace function reporting.reason_class(state text, said text) returns text language sql immutable parallel safe
    return case when state not in ('failed', 'expired', 'cancelled', 'rejected') then ''
                when said in ('insufficient_funds', 'limit_exceeded', 'account_frozen', 'account_closed', 'provider_refused',
                              'provider_could_not_pay', 'declined', 'not_approved_in_time', 'maker_not_entitled', 'closed_by_review',
                              'item_cleared', 'provider_undid', 'cancelled_by_customer', 'request_lost') then said
                when said is null then case when state in ('expired', 'cancelled') then state else 'not_said' end
                else 'other' end;
