-- People, their accounts, and what makes payments and their transfers. Every value is a hash of the payment's number.
create function bench_roll(n bigint, salt int, sides bigint) returns bigint language sql immutable parallel safe return
    (hashint8extended(n, salt) & 9007199254740991) % sides;
create function bench_id(at timestamptz, n bigint, tail text) returns uuid language sql immutable parallel safe return
    (left(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || right(md5(n::text), 3) || '8' || right(md5(n::text || 'x'), 15), 32 - length(tail)) || tail)::uuid;

insert into users (id, email, full_name, password_hash, created_at)
select bench_id(now() - interval '730 days', n, '0000'), 'bench' || n || '@example.com', 'bench', 'x', now() - interval '730 days' from generate_series(1, 5000) n;
insert into bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at) select u.id, u.id, '', 'x', 'x', 'x', now() from users u where email like 'bench%';
insert into ledger_accounts (id, code, name, currency, user_id, opened_timestamp)
select (left(u.id::text, 32) || '06c6')::uuid, 2000, 'customer_wallet', 'ZAR', u.id, 1 from users u
union all
select (left(u.id::text, 32) || '0ac6')::uuid, 1200, 'customer_receivable', 'ZAR', u.id, 1 from users u
union all
select ('00000000-0000-0000-0000-0000' || lpad(to_hex(710), 4, '0') || lpad(to_hex(code), 4, '0'))::uuid, code, name, 'ZAR', null, 1
  from reporting.accounts where code not in (2000, 1200);

-- The payments with the numbers from first to last of all: three fifths deposits (with a fee each), the others withdrawals (reserved, and
-- posted or voided; the last hours' are open).
create procedure bench_payments(first bigint, last bigint, in_all bigint) language sql as $$
    with people as (select array_agg(id order by id) as ids from users where email like 'bench%'),
    payments as (
        select n, now() - interval '730 days' * (1 - n::float8 / in_all) as at, bench_roll(n, 1, 10) < 6 as is_deposit, bench_roll(n, 2, 100) as share,
               100 + bench_roll(n, 3, 500000) as amount, people.ids[1 + bench_roll(n, 4, 5000)] as owner, in_all - n < 300 as is_new
          from generate_series(first, last) n, people),
    stated as (
        select *, bench_id(at, n, '00') as id,
               case when is_deposit then case when share < 85 then 'completed' when share < 95 then 'expired' else 'failed' end
                    when is_new then 'submitted' when share < 92 then 'completed' else 'failed' end as state,
               at + interval '1 second' * (20 + bench_roll(n, 5, 3600)) as ended
          from payments),
    made as (
        insert into transactions (id, user_id, kind, state, amount_minor, currency, idempotency_key, request_hash, bank_account_id, provider_id,
                                  failure_reason, version, updated_at, completed_at, states, moved_at, owed_minor)
        select id, owner, case when is_deposit then 'deposit' else 'withdrawal' end, state, amount, 'ZAR', n::text, sha256(n::text::bytea),
               case when not is_deposit then owner end, md5('p' || n)::uuid, case when state = 'failed' then 'provider_could_not_pay' end, 3,
               case when state = 'submitted' then at else ended end, case when state = 'completed' then ended end,
               case when is_deposit then 'initiated awaiting_payment ' || state
                    when state = 'submitted' then 'initiated reserved submitting submitted' else 'initiated reserved submitting submitted ' || state end,
               case when is_deposit then array[at, ended] when state = 'submitted' then array[at, at, at] else array[at, at, at, ended] end,
               case when is_deposit and share = 0 then amount else 0 end
          from stated)
    insert into ledger_transfers (timestamp, id, currency, debit_account_id, credit_account_id, amount_minor, code, kind, pending_id, reference,
        debit_debits_posted, debit_debits_pending, debit_credits_posted, debit_credits_pending, credit_debits_posted, credit_debits_pending,
        credit_credits_posted, credit_credits_pending)
    select (extract(epoch from x.at) * 1000000)::bigint * 1000 + s.n % 1000, (left(s.id::text, 34) || x.leg)::uuid, 'ZAR', x.debit, x.credit, x.amount,
           x.code, x.kind, x.pending, s.id, 0, 0, 0, 0, 0, 0, 0, 0
      from stated s
     cross join lateral (select (left(s.owner::text, 32) || '06c6')::uuid as wallet, '00000000-0000-0000-0000-000002c603e8'::uuid as provider,
                                '00000000-0000-0000-0000-000002c61388'::uuid as fees) a
     cross join lateral (
        values (s.is_deposit and s.state = 'completed', s.ended, '01', a.provider, a.wallet, s.amount, 10, 'posted', null::uuid),
               (s.is_deposit and s.state = 'completed', s.ended + interval '1 microsecond', '04', a.fees, a.provider, s.amount / 50, 11, 'posted', null),
               (not s.is_deposit, s.at + interval '2 microseconds', '01', a.wallet, a.provider, s.amount, 20, 'pending', null),
               (not s.is_deposit and s.state = 'completed', s.ended + interval '3 microseconds', '02', a.wallet, a.provider, s.amount, 20, 'post', (left(s.id::text, 34) || '01')::uuid),
               (not s.is_deposit and s.state = 'failed', s.ended + interval '4 microseconds', '03', a.wallet, a.provider, s.amount, 20, 'void', (left(s.id::text, 34) || '01')::uuid),
               (s.is_deposit and s.share < 50, s.ended + interval '5 microseconds', '05', a.wallet, (left(s.owner::text, 32) || '0ac6')::uuid, 0::bigint, 50, 'posted', null)
        ) x (is_there, at, leg, debit, credit, amount, code, kind, pending)
     where x.is_there
    on conflict do nothing
$$;
