-- What Revio keeps: as booked, as its statements say, as it invoices. An invoice is about both kinds of payment and stands apart: what it
-- asks for beyond the fees that were kept. Files may be of the same days, so that a movement counts once, as the
-- last of them says: Revio corrects its files.
-- Each part is asked for by its month alone, so that a condition on it reaches the lines of that month.
create or replace view reporting.fees as
    select x.currency, x.month, x.kind, reporting.major(coalesce(sum(x.booked), 0), u.exponent) as booked,
           reporting.major(sum(x.stated), u.exponent) as on_statement, reporting.major(sum(x.invoiced), u.exponent) as invoiced,
           reporting.major(sum(x.turnover), u.exponent) as turnover,
           round(sum(x.booked) * 10000 / nullif(sum(x.turnover), 0), 2) as basis_points
      from (select currency, date_trunc('month', day::timestamp)::date as month,
                   case when code = 13 then 'invoice' when of_code = 20 then 'withdrawal' else 'deposit' end as kind,
                   case when code in (11, 13) then amount_minor end as booked, null::numeric as stated, null::numeric as invoiced,
                   case when code in (10, 20) then amount_minor end as turnover
              from ledger_days where code in (10, 11, 13, 20) and kind in ('posted', 'post')
            union all
            select u.currency, m.month, k.kind, null, s.fee, null, null
              from reporting.currencies u
             cross join (values ('purchase', 'deposit'), ('payout', 'withdrawal')) k (product, kind)
             cross join lateral (select at::date as month
                                   from (select min(from_day) as first, max(to_day) as last from statement_files where source = 'revio') f
                                  cross join lateral generate_series(date_trunc('month', f.first::timestamp), f.last::timestamp, interval '1 month') at) m
             cross join lateral (select sum(o.fee_minor) as fee
                                   from (select distinct on (l.movement, l.equal_to) l.fee_minor from statement_fees l
                                          where l.currency = u.currency and l.product = k.product
                                            and l.day >= m.month and l.day < (m.month + interval '1 month')::date
                                          order by l.movement, l.equal_to, l.id desc) o) s
             where s.fee is not null
            union all
            select currency, date_trunc('month', evidence_date::timestamp)::date, 'invoice', null, null, amount_minor, null
              from journals where kind = 'provider_invoice' and state = 'completed') x
      join reporting.currencies u on u.currency = x.currency
     group by x.currency, x.month, x.kind, u.exponent;
