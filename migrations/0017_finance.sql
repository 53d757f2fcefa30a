-- What dashboards are told of the float, of fees and of the days that were reconciled; and which way journals move the bank's account.
-- As 0012 is, this file may be run again: `octoco rebuild-read-model` does so after it, where the read model's tables were made anew.

-- What a journal does to the bank's account: above zero money comes. 0 = nothing, whatever account the journal names.
create or replace function bank_change(kind text, amount_minor bigint) returns bigint language sql immutable parallel safe
    return case when kind in ('settlement', 'own_funds_in', 'suspense_in') then amount_minor
                when kind in ('float_top_up', 'own_funds_out', 'provider_invoice', 'suspense_return') then -amount_minor
                else 0 end;

-- A bank's line of another day or sum than the one that a journal stands on is another movement: it was taken for the same one, and
-- nobody was told. It is compared again.
with firsts as (
    select distinct on (l.journal_id, sign(l.amount_minor)) l.journal_id, l.day, l.amount_minor
      from statement_lines l join journals j on j.id = l.journal_id
     where l.product = 'bank'
     -- That of the journal's sum is its own, whichever came first.
     order by l.journal_id, sign(l.amount_minor), l.matched_by = 'person' desc,
              l.amount_minor = bank_change(j.kind, j.amount_minor) desc, l.id),
others as (
    update statement_lines l set journal_id = null, matched_by = null from firsts f
     where l.journal_id = f.journal_id and sign(l.amount_minor) = sign(f.amount_minor) and l.product = 'bank'
       and l.matched_by = 'reference' and (l.day, l.amount_minor) <> (f.day, f.amount_minor)
    returning l.file_id)
update statement_files f set matched = f.matched - o.lines, unmatched = f.unmatched + o.lines
  from (select file_id, count(*)::integer as lines from others group by file_id) o where o.file_id = f.id;

-- What the statements say of fees, by month and product, an object once (reporting.fees).
create index if not exists statement_lines_object_fees on statement_lines (currency, product, day) include (fee_minor, provider_id, id)
    where fee_minor is not null;
drop index if exists statement_lines_fees;

-- What can be paid out, as the alarms on the float see it. Available is what Revio said last that it would pay out: not what it keeps
-- back. Reserved is what customers wait for and Revio has not executed: what it has executed is gone from available already. Where Revio
-- says nothing, what the ledger expects. The outflow of an hour is the 90th percentile of the hours of four weeks, or since the first
-- withdrawal in them.
create or replace view reporting.float as
    select u.currency, reporting.major(f.available, u.exponent) as available, reporting.major(f.reserved, u.exponent) as reserved,
           reporting.major(f.awaiting, u.exponent) as awaiting_approval, reporting.major(round(f.outflow), u.exponent) as outflow_p90_hour,
           round(greatest(f.available - f.reserved, 0) / nullif(f.outflow, 0), 1) as hours_covered, f.topped_up_at
      from reporting.currencies u
     cross join lateral (
        select coalesce(sum(debits - credits - case when reason_code in (60, 61) then pending_credits else 0 end), 0) as expected,
               coalesce(sum(pending_credits) filter (where reason_code not in (60, 61)), 0) as reserved
          from ledger_day_sides s where s.currency = u.currency and s.account_code = 1000) l
     cross join lateral (
        select coalesce(sum(t.amount_minor), 0)::numeric as minor from transactions t
         -- Withdrawals alone come into these states.
         where t.state in ('submitting', 'submitted') and t.provider_status in ('pending', 'success', 'executed')
           and t.currency = u.currency) executed
     cross join lateral (
        select coalesce((select sum(p.amount_minor) from provider_balances p
                          where p.currency = u.currency and p.field in ('available_balance', 'available_payout_balance')
                            and p.asked_at = (select max(asked_at) from provider_balances q where q.currency = u.currency)
                         having bool_or(p.field = 'available_balance')), l.expected - executed.minor)::numeric as available,
               -- The rows may be a moment ahead of the copy.
               greatest(l.reserved - executed.minor, 0) as reserved,
               coalesce((select sum(t.amount_minor) from transactions t
                          where t.state = 'awaiting_approval' and t.kind = 'withdrawal' and t.currency = u.currency), 0) as awaiting,
               (select percentile_cont(0.9) within group (order by coalesce(paid.amount, 0)::float8)::numeric
                  from (select date_trunc('hour', min(slot)) as first from transaction_slots
                         where kind = 'withdrawal' and state = 'completed' and currency = u.currency and slot > now() - interval '28 days') b
                 cross join lateral generate_series(b.first, now(), interval '1 hour') h (at)
                  left join (select date_trunc('hour', slot) as at, sum(amount_minor) as amount from transaction_slots
                              where kind = 'withdrawal' and state = 'completed' and currency = u.currency
                                and slot > now() - interval '28 days' group by 1) paid on paid.at = h.at) as outflow,
               (select max(j.ended_at) from journals j
                 where j.kind = 'float_top_up' and j.state = 'completed' and j.currency = u.currency) as topped_up_at) f;

-- What Revio keeps: as booked, as its statements say, as it invoices. An invoice is about both kinds of payment and stands apart: what it
-- asks for beyond the fees that were kept. Files may be of the same days, so that an object counts once.
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
                                   from (select distinct on (coalesce(l.provider_id, l.id)) l.fee_minor from statement_lines l
                                          where l.currency = u.currency and l.product = k.product and l.fee_minor is not null
                                            and l.day >= m.month and l.day < (m.month + interval '1 month')::date
                                          order by coalesce(l.provider_id, l.id), l.id) o) s
             where s.fee is not null
            union all
            select currency, date_trunc('month', evidence_date::timestamp)::date, 'invoice', null, null, amount_minor, null
              from journals where kind = 'provider_invoice' and state = 'completed') x
      join reporting.currencies u on u.currency = x.currency
     group by x.currency, x.month, x.kind, u.exponent;

-- Every day since the first run, each leg: whether it was looked at, and whether something is open or was. A day that is over was looked
-- at by its daily run alone, as the month's close demands; today by whatever ran.
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
        select reporting.day(opened_at) as day, leg, bool_or(state in ('open', 'healing')) as is_open
          from breaks where opened_at is not null group by 1, 2)
    select d.day, d.leg,
           case when l.day is null then 'missing' when not l.finished then case when l.failed then 'failed' else 'running' end
                when f.is_open then 'open breaks' when f.day is not null then 'resolved' else 'clean' end as outcome
      from days d
      left join looked l on (l.day, l.leg) = (d.day, d.leg)
      left join found f on (f.day, f.leg) = (d.day, d.leg);
