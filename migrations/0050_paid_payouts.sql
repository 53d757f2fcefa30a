-- When Revio first told that a payout was paid, whatever it says since: an error after that is for a person, and releases nothing by itself.
alter table provider_objects add column if not exists paid_at timestamptz;
-- Of those that are under way. What is at its end is not released any more.
update provider_objects o set paid_at = o.status_at
 where o.kind = 'payout' and o.status = 'success'
   and exists (select from transactions t where t.id = o.transaction_id and t.kind = 'withdrawal' and t.state in ('submitting', 'submitted'));
