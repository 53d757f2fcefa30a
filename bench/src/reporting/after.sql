-- What stands beside payments: a webhook for each of the last 60 days' and Revio's objects of those; items, runs, balances.
drop procedure bench_payments;
insert into provider_objects (id, kind, transaction_id, status, first_seen_at, last_seen_at, changed_at, status_at)
select provider_id, case kind when 'deposit' then 'purchase' else 'payout' end, id, 'paid', updated_at, updated_at, updated_at, updated_at
  from transactions where created_at > now() - interval '60 days';
insert into webhook_logs (id, endpoint, received_at, body_hash, verdict, event_type, object_id, state, finished_at)
select bench_id(updated_at, 1 + row_number() over (), '00'), 'revio', updated_at, sha256(id::text::bytea), 'accepted',
       case kind when 'deposit' then 'purchase.paid' else 'payout.success' end, provider_id, 'done', updated_at + interval '1 second'
  from transactions where created_at > now() - interval '60 days' and state in ('completed', 'failed');
update ledger_accounts set debits_posted = 1000000000000 where code = 1200;
insert into suspense_items (id, kind, transaction_id, amount_minor, currency, opened_at, booked_at)
select id, 'other_amount', id, amount_minor, 'ZAR', created_at, created_at from transactions where kind = 'deposit' order by id desc limit 20000;
update suspense_items set taken_minor = amount_minor where right(id::text, 3) <> '000';
insert into reconciliation_runs (id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at)
select bench_id(at, extract(epoch from at)::bigint, '00'), 'quarter_hour', '{a,b}', 'finished', at, at, reporting.day(at), 'system', at, at
  from generate_series(now() - interval '365 days', now(), interval '15 minutes') at;
insert into provider_balances select id, 'ZAR', f, 100, 100, started_at from reconciliation_runs, unnest(array['available_balance', 'balance', 'pending']) f;
insert into ledger_cursor (currency, timestamp, accounts_timestamp, updated_at) select 'ZAR', max(timestamp), 1, now() from ledger_transfers;
drop function bench_id, bench_roll;
analyze;
