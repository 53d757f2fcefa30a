-- Revio may take a fee for a refund, a chargeback or its reversal: it stands under what it is of, as the statement's fees do.

-- As in migration 0012.
create or replace function ledger_days_of(of_currency text, first date, last date) returns setof ledger_days language sql stable as $$
    select s.currency, s.day, s.code, s.kind, s.debit_code, s.credit_code, s.of_code, count(*), sum(s.amount_minor)::numeric,
           coalesce(sum(s.released_minor), 0)::numeric
      from (select t.currency, reporting.day(timestamptz 'epoch' + (t.timestamp / 1000) * interval '1 microsecond') as day, t.code, t.kind,
                   d.code as debit_code, c.code as credit_code, t.amount_minor,
                   -- The first transfer of the fee's row, or what the wallet did not cover of it.
                   case when t.code = 11 then coalesce((select m.code from ledger_transfers m
                                                         where m.id in ((left(t.id::text, 34) || '01')::uuid,
                                                                        (left(t.id::text, 34) || '06')::uuid)
                                                         order by m.id limit 1), 0) else t.code end as of_code,
                   case when t.pending_id is not null
                        then (select p.amount_minor from ledger_transfers p where p.id = t.pending_id) end as released_minor
              from ledger_transfers t
              join ledger_accounts d on d.id = t.debit_account_id
              join ledger_accounts c on c.id = t.credit_account_id
             where t.currency = of_currency and t.timestamp >= day_start(first) and t.timestamp < day_start(last + 1)) as s
     group by 1, 2, 3, 4, 5, 6, 7
$$;

-- As in migration 0051, by what the fee is of.
create or replace view reporting.fees as
    select x.currency, x.month, x.kind, reporting.major(coalesce(sum(x.booked), 0), u.exponent) as booked,
           reporting.major(sum(x.stated), u.exponent) as on_statement, reporting.major(sum(x.invoiced), u.exponent) as invoiced,
           reporting.major(sum(x.turnover), u.exponent) as turnover,
           round(sum(x.booked) * 10000 / nullif(sum(x.turnover), 0), 2) as basis_points
      from (select currency, date_trunc('month', day::timestamp)::date as month,
                   case when code = 13 then 'invoice' when of_code = 20 then 'withdrawal' when of_code = 30 then 'refund'
                        when of_code = 40 then 'chargeback' when of_code = 41 then 'chargeback_reversal' else 'deposit' end as kind,
                   case when code in (11, 13) then amount_minor end as booked, null::numeric as stated,
                   case when code = 13 then amount_minor end as invoiced,
                   case when code in (10, 20) then amount_minor end as turnover
              from ledger_days where code in (10, 11, 13, 20) and kind in ('posted', 'post')
            union all
            select u.currency, m.month, k.kind, null, s.fee, null, null
              from reporting.currencies u
             cross join (values ('purchase', 'deposit'), ('payout', 'withdrawal'), ('refund', 'refund'), ('chargeback', 'chargeback'),
                                ('chargeback_reversal', 'chargeback_reversal'), ('settlement', 'settlement'), ('top_up', 'top_up'),
                                ('fee', 'invoice'), ('inside', 'inside'), ('other', 'other')) k (product, kind)
             cross join lateral (select at::date as month
                                   from (select min(from_day) as first, max(to_day) as last from statement_files where source = 'revio') f
                                  cross join lateral generate_series(date_trunc('month', f.first::timestamp), f.last::timestamp, interval '1 month') at) m
             cross join lateral (select sum(o.fee_minor) as fee
                                   from (select distinct on (l.movement, l.equal_to) greatest(l.fee_minor, 0) as fee_minor from statement_fees l
                                          where l.currency = u.currency and l.product = k.product
                                            and l.day >= m.month and l.day < (m.month + interval '1 month')::date
                                          order by l.movement, l.equal_to, l.id desc) o) s
             where s.fee <> 0 or s.fee = 0 and k.product in ('purchase', 'payout')) x
      join reporting.currencies u on u.currency = x.currency
     group by x.currency, x.month, x.kind, u.exponent;
