-- What dashboards are told of days, differences and fees. As 0012 is, this file may be run again: `octoco rebuild-read-model` does so after it,
-- where the read model's tables were made anew.

-- Every day since the first run, each leg: whether it was looked at, and whether something that its runs left open is open still. A day that
-- is over was looked at by its daily run alone, as the month's close demands; today by whatever ran.
create or replace view reporting.run_days as
    with days as (
        select d.at::date as day, l.leg
          from (select min(accounting_day) as first from reconciliation_runs) f
         cross join lateral generate_series(f.first::timestamp, reporting.day(now())::timestamp, interval '1 day') d (at)
         cross join (values ('a'), ('b'), ('c')) l (leg)),
    looked as (
        select accounting_day as day, l.leg, bool_or(state = 'finished') as finished, bool_or(state = 'failed') as failed
          from reconciliation_runs, unnest(legs) l (leg)
         where kind = 'daily' or accounting_day >= reporting.day(now()) group by 1, 2),
    found as (
        select d.day, b.leg, bool_or(b.state in ('open', 'healing')) as is_open
          from break_days d join breaks b on b.id = d.break_id group by 1, 2)
    select d.day, d.leg,
           case when l.day is null then 'missing' when not l.finished then case when l.failed then 'failed' else 'running' end
                when f.is_open then 'open breaks' when f.day is not null then 'resolved' else 'clean' end as outcome
      from days d
      left join looked l on (l.day, l.leg) = (d.day, d.leg)
      left join found f on (f.day, f.leg) = (d.day, d.leg);

-- A side that is not there at all counts as nothing: of money that only the bank knows all of it differs.
create or replace view reporting.breaks as
    select b.id::text as id, b.type, b.severity, b.leg, b.state, b.currency,
           reporting.major(b.expected_minor, u.exponent) as expected, reporting.major(b.actual_minor, u.exponent) as actual,
           reporting.major(case when num_nonnulls(b.actual_minor, b.expected_minor) > 0
                                then coalesce(b.actual_minor, 0)::numeric - coalesce(b.expected_minor, 0) end, u.exponent) as difference,
           b.transaction_id::text as transaction_id, b.journal_id::text as journal_id, b.provider_id::text as provider_id, b.since,
           reporting.day(coalesce(b.ended_at, now())) - reporting.day(b.since) as age_days,
           reporting.age_band(reporting.day(coalesce(b.ended_at, now())) - reporting.day(b.since)) as age_band,
           b.owner, b.assigned_to is not null as assigned, b.reopened
      from breaks b left join reporting.currencies u on u.currency = b.currency;

-- What Revio keeps: as booked, as its statements say, as it invoices. An invoice is about both kinds of payment and stands apart: what it
-- asks for beyond the fees that were kept. Files may be of the same days, so that a movement counts once.
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
                                          order by l.movement, l.equal_to, l.id) o) s
             where s.fee is not null
            union all
            select currency, date_trunc('month', evidence_date::timestamp)::date, 'invoice', null, null, amount_minor, null
              from journals where kind = 'provider_invoice' and state = 'completed') x
      join reporting.currencies u on u.currency = x.currency
     group by x.currency, x.month, x.kind, u.exponent;
