-- Withdrawals that were written again from the ledger, for whoever leaves the safe mode: hardly any.
create index if not exists transactions_without_account on transactions (id) where kind = 'withdrawal' and bank_account_id is null;

-- Dead letters of our webhooks that are counted every 15 seconds: those of the last days, of maybe millions.
create index if not exists outgoing_deliveries_dead_at on outgoing_deliveries (finished_at) where state = 'dead';
