-- What Revio charges by a line of its own (product `fee`: for a month, for a service) is that line's amount, and is booked by an invoice
-- (`provider_invoice`): in the pack and on the board it stands beside it.

-- As in migration 0027.
create or replace view statement_fees as
    select id, currency, product, day, case when product = 'fee' and coalesce(fee_minor, 0) = 0 then greatest(-amount_minor, 0) else fee_minor end as fee_minor, provider_id as movement, null::text as equal_to
      from statement_lines where (fee_minor is not null or product = 'fee') and provider_id is not null
    union all
    select l.id, l.currency, l.product, l.day, case when l.product = 'fee' and coalesce(l.fee_minor, 0) = 0 then greatest(-l.amount_minor, 0) else l.fee_minor end, l.transaction_id,
           case when l.transaction_id is null then
               concat_ws(' ', l.day, l.amount_minor,
                         row_number() over (partition by l.file_id, l.currency, l.product, l.day, l.amount_minor, l.reference order by l.number),
                         l.reference) end
      from statement_lines l
     where (l.fee_minor is not null or l.product = 'fee') and l.provider_id is null
       and not exists (select from transactions t join statement_lines o on o.provider_id = t.provider_id
                        where t.id = l.transaction_id and o.product = l.product and o.fee_minor is not null);

create index if not exists statement_lines_own_fees on statement_lines (currency, day) where product = 'fee';

-- As in migration 0043.
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
