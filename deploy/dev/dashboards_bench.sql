-- What `bench seed` leaves out, for the boards: the ledger's copy and the summaries, as if every seeded row had been booked, a line of a
-- statement for each payment, two years of runs and breaks. Balances after a transfer are left at 0: no board reads them.

begin;
insert into ledger_accounts (id, code, name, currency, opened_timestamp)
select md5(code || currency)::uuid, code, name, currency, 1 from reporting.accounts, reporting.currencies where code not in (1200, 2000);
insert into ledger_accounts (id, code, name, currency, user_id, opened_timestamp)
select (left(id::text, 32) || left(code::text, 2) || right(md5(currency), 2))::uuid, code, name, currency, id, 1
  from users, reporting.accounts, reporting.currencies where code in (1200, 2000) and right(id::text, 4) = '0000';

-- Deposits, refunds and chargebacks at once; of a withdrawal the reservation, and what became of it.
insert into ledger_transfers (timestamp, id, currency, debit_account_id, credit_account_id, amount_minor, code, kind, pending_id, reference,
    debit_debits_posted, debit_debits_pending, debit_credits_posted, debit_credits_pending,
    credit_debits_posted, credit_debits_pending, credit_credits_posted, credit_credits_pending)
select (extract(epoch from x.at) * 1000)::bigint * 1000000 + row_number() over (order by x.at) % 1000000, x.id, t.currency,
       case when x.code in (10, 41, 90) then company.id else wallet.id end,
       case when x.code in (10, 41, 90) then wallet.id else company.id end,
       case x.kind when 'void' then 0 else t.amount_minor end, x.code, x.kind, x.pending, t.id, 0, 0, 0, 0, 0, 0, 0, 0
  from transactions t
 cross join lateral (
    select t.moved_at[cardinality(t.moved_at)] as at, (left(t.id::text, 34) || '01')::uuid as id, 'posted' as kind, null::uuid as pending,
           case t.kind when 'deposit' then 10 when 'refund' then 30 when 'chargeback' then 40 when 'chargeback_reversal' then 41 else 90 end
               as code
     where t.kind <> 'withdrawal' and t.state = 'completed'
    union all
    select t.moved_at[1], (left(t.id::text, 34) || '01')::uuid, 'pending', null, 20 where t.kind = 'withdrawal'
    union all
    select t.moved_at[2], (left(t.id::text, 34) || case t.state when 'completed' then '02' else '03' end)::uuid,
           case t.state when 'completed' then 'post' else 'void' end, (left(t.id::text, 34) || '01')::uuid, 20
     where t.kind = 'withdrawal' and t.state in ('completed', 'failed', 'rejected')) x
  join ledger_accounts wallet on wallet.user_id = t.user_id and wallet.code = 2000 and wallet.currency = t.currency
  join ledger_accounts company on company.user_id is null and company.code = 1000 and company.currency = t.currency;

insert into ledger_days
select d.* from (select currency, reporting.day(ledger_time(min(timestamp))) as first from ledger_transfers group by currency) l
 cross join lateral ledger_days_of(l.currency, l.first, reporting.day(now())) d;
insert into ledger_cursor (currency, timestamp, accounts_timestamp, updated_at, complete_at)
select currency, max(timestamp), 1, now(), now() from ledger_transfers group by currency on conflict (currency) do update set complete_at = now();

insert into transaction_slots (slot, kind, currency, state, reason, count, amount_minor, p50_seconds, p95_seconds, p99_seconds)
select date_bin('15 minutes', m.at, 'epoch'), t.kind, t.currency, m.state, reporting.reason_class(m.state, t.failure_reason), count(*),
       sum(t.amount_minor), 60, 600, 3600
  from transactions t
 cross join lateral unnest(string_to_array(t.states, ' '), array[t.created_at] || t.moved_at) m (state, at)
 group by 1, 2, 3, 4, 5;

-- A file a day, a line for each payment that was paid.
insert into statement_files (id, source, sha256, currency, unit, from_day, to_day, lines, matched, unmatched, content, key_id, imported_by,
    imported_at)
select md5('revio' || day)::uuid, 'revio', sha256(day::text::bytea), 'ZAR', 'minor', day, day, 0, 0, 0, '', 'none', 'system', now()
  from (select distinct reporting.day(t.completed_at) as day from transactions t where t.state = 'completed') d;
insert into statement_lines (id, file_id, number, provider_id, product, currency, amount_minor, fee_minor, net_minor, day, transaction_id,
    matched_by)
select gen_random_uuid(), md5('revio' || reporting.day(t.completed_at))::uuid, row_number() over (), t.provider_id,
       case t.kind when 'deposit' then 'purchase' else 'payout' end, t.currency,
       t.amount_minor, t.amount_minor / 50, t.amount_minor - t.amount_minor / 50, reporting.day(t.completed_at), t.id, 'id'
  from transactions t where t.state = 'completed' and t.kind in ('deposit', 'withdrawal');

insert into reconciliation_runs (id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at)
select md5('run' || at)::uuid, 'quarter_hour', '{a,b}', 'finished', at, at, reporting.day(at), 'system', at, at
  from generate_series(now() - interval '2 years', now(), interval '15 minutes') at;
insert into breaks (id, fingerprint, type, severity, leg, state, currency, expected_minor, actual_minor, since, observed, first_seen_at,
    last_seen_at, opened_at, ended_at, owner, first_run_id, last_run_id)
select md5('break' || id)::uuid, id, 'paid_at_provider', 'info', 'b', case when until > now() - interval '1 day' then 'open' else 'healed' end,
       'ZAR', 100, 0, until, 'seed', until, until, until, case when until > now() - interval '1 day' then null else until end, 'engineering',
       id, id
  from reconciliation_runs;
insert into break_days (day, break_id) select reporting.day(opened_at), id from breaks;
insert into provider_balances (run_id, currency, field, amount_minor, expected_minor, asked_at)
select id, 'ZAR', field, 100, 100, until from reconciliation_runs, unnest(array['available', 'pending', 'reserved']) field;
commit;

vacuum analyze ledger_accounts, ledger_transfers, ledger_days, transaction_slots, statement_lines, reconciliation_runs, breaks, break_days, provider_balances;
