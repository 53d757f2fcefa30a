alter table transactions drop constraint transactions_bank_account;
alter table transactions drop constraint transactions_follows;
alter table transactions drop constraint transactions_user_id_fkey;
