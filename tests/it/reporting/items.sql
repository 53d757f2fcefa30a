-- A row of everything that no flow of customers' money leaves behind, so that every view has one.
update transactions set held_code = 'undecided', held_reason = 'x', held_at = updated_at, due_at = null where kind = 'withdrawal' and state = 'submitted';
update transactions set dismissed_reason = 'x', checkout_url = 'https://pay.example/x';
insert into reconciliation_runs (id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at, report, report_sha256)
values ('0199aaaa-0000-7000-8000-000000000000', 'daily', '{a,b,c}', 'finished', now() - interval '1 day', now(), reporting.day(now()), 'system', now(), now(), 'x', sha256('x'));
insert into breaks (id, fingerprint, type, severity, leg, state, currency, expected_minor, actual_minor, since, observed, first_seen_at, last_seen_at,
                    opened_at, owner, first_run_id, last_run_id)
values ('0199aaaa-0000-7000-8000-000000000001', 'x', 'provider_balance', 'high', 'b', 'open', 'ZAR', 1000, 900, now() - interval '3 days', 'x', now(), now(),
        now(), 'finance', '0199aaaa-0000-7000-8000-000000000000', '0199aaaa-0000-7000-8000-000000000000');
insert into provider_balances values ('0199aaaa-0000-7000-8000-000000000000', 'ZAR', 'available_balance', 900, 1000, now());
insert into statement_files (id, source, sha256, currency, unit, from_day, to_day, lines, matched, unmatched, content, key_id, imported_by, imported_at)
values ('0199aaaa-0000-7000-8000-000000000002', 'revio', sha256('y'), 'ZAR', 'minor', reporting.day(now()) - 5, reporting.day(now()) - 1, 1, 1, 0, 'x', 'x', 'x', now());
insert into statement_lines (id, file_id, number, reference, product, currency, amount_minor, fee_minor, day, transaction_id, matched_by)
select '0199aaaa-0000-7000-8000-000000000003', '0199aaaa-0000-7000-8000-000000000002', 1, 'x', 'purchase', 'ZAR', 100000, 290, reporting.day(now()), id, 'id'
  from transactions where kind = 'deposit' order by id limit 1;
insert into journals (id, kind, amount_minor, currency, evidence_kind, evidence_reference, evidence_sha256, evidence_date, reason, requested_by, created_at,
                      idempotency_key, request_hash, state, updated_at, sent_at, expected_on, arrival_reference, failure_reason, held_reason)
select '0199aaaa-0000-7000-8000-000000000400', 'settlement', 5000, 'ZAR', 'bank_statement', 'x', sha256('z'), reporting.day(now()), 'x', id, now(),
       'x', sha256('k'), 'in_transit', now(), now() - interval '4 days', reporting.day(now()) - 2, 'x', 'x', 'x' from users order by id limit 1;
insert into approvals (id, transaction_id, approver_id, decision, payout_hash, note, created_at)
select '0199aaaa-0000-7000-8000-000000000005', t.id, u.id, 'declined', sha256('h'), 'x', now()
  from (select id from transactions order by id limit 1) t, (select id from users order by id desc limit 1) u;
insert into periods (month, state, cut, pack, pack_sha256, customers, customers_sha256, layout, requested_by, requested_at)
select '2026-01-01', 'awaiting_approval', 0, 'x', sha256('p'), '{}', sha256('c'), 1, id, now() from users order by id limit 1;
-- The first day was yesterday, so that there is one to cover.
insert into ledger_days values ('ZAR', reporting.day(now()) - 1, 20, 'posted', 1000, 1100, 20, 1, 0, 0);
