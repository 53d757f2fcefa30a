-- When Revio first told that a payout was paid, whatever it says since: an error after that is for a person, and releases nothing by itself.
alter table provider_objects add column if not exists paid_at timestamptz;
-- Of those that are under way. What is at its end is not released any more.
update provider_objects o set paid_at = o.status_at
 where o.kind = 'payout' and o.status = 'success'
   and exists (select from transactions t where t.id = o.transaction_id and t.kind = 'withdrawal' and t.state in ('submitting', 'submitted'));

-- Withdrawals that were written again from the ledger, for whoever leaves the safe mode: hardly any.
create index if not exists transactions_without_account on transactions (id) where kind = 'withdrawal' and bank_account_id is null;

-- Whoever asks that a break is accepted must have had the role ever since: since when.
alter table breaks add column if not exists acceptance_at timestamptz;
update breaks set acceptance_at = now() where acceptance_by is not null and ended_at is null;

-- Dead letters of our webhooks that are counted every 15 seconds: those of the last days, of maybe millions.
create index if not exists outgoing_deliveries_dead_at on outgoing_deliveries (finished_at) where state = 'dead';
