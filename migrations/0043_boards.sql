-- What Revio keeps, as in migration 0035, with what its statements say of whatever else than a payment or a payout: the month's pack has a line
-- of each product that was charged for, and so has the board. What is invoiced is of the month in which it was booked, in both, and is part of what
-- was booked: the sum of that is what account 5000 took.
create or replace view reporting.fees as
    select x.currency, x.month, x.kind, reporting.major(coalesce(sum(x.booked), 0), u.exponent) as booked,
           reporting.major(sum(x.stated), u.exponent) as on_statement, reporting.major(sum(x.invoiced), u.exponent) as invoiced,
           reporting.major(sum(x.turnover), u.exponent) as turnover,
           round(sum(x.booked) * 10000 / nullif(sum(x.turnover), 0), 2) as basis_points
      from (select currency, date_trunc('month', day::timestamp)::date as month,
                   case when code = 13 then 'invoice' when of_code = 20 then 'withdrawal' else 'deposit' end as kind,
                   case when code in (11, 13) then amount_minor end as booked, null::numeric as stated,
                   case when code = 13 then amount_minor end as invoiced,
                   case when code in (10, 20) then amount_minor end as turnover
              from ledger_days where code in (10, 11, 13, 20) and kind in ('posted', 'post')
            union all
            select u.currency, m.month, k.kind, null, s.fee, null, null
              from reporting.currencies u
             cross join (values ('purchase', 'deposit'), ('payout', 'withdrawal'), ('refund', 'refund'), ('chargeback', 'chargeback'),
                                ('chargeback_reversal', 'chargeback_reversal'), ('settlement', 'settlement'), ('top_up', 'top_up'),
                                ('fee', 'fee'), ('inside', 'inside'), ('other', 'other')) k (product, kind)
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

-- Days without a statement, as in migration 0036 and as the alarm counts them: a bank that moves nothing at the weekend has no file of it.
create or replace view reporting.statement_coverage as
    with banks as (select currency, min(day) as first from ledger_day_sides where account_code = 1100 group by currency)
    select d.at::date as day, s.source,
           s.source = 'bank' and extract(isodow from d.at) > 5
           or exists (select from statement_files f where f.source = s.source and d.at::date between f.from_day and f.to_day)
              and (s.source = 'revio'
                   or not exists (select from banks b
                                   where b.first <= d.at::date
                                     and not exists (select from statement_files f
                                                      where f.source = 'bank' and (f.currency is null or f.currency = b.currency)
                                                        and d.at::date between f.from_day and f.to_day))) as covered
      from (select min(day) as first from ledger_days) f
     cross join lateral generate_series(f.first::timestamp, (reporting.day(now()) - 1)::timestamp, interval '1 day') d (at)
     cross join (values ('revio'), ('bank')) s (source);
