alter table transactions add constraint transactions_bank_account FOREIGN KEY (bank_account_id, user_id) REFERENCES bank_accounts(id, user_id);
alter table transactions add constraint transactions_follows FOREIGN KEY (user_id, parent_id, currency) REFERENCES transactions(user_id, id, currency);
alter table transactions add constraint transactions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id);
