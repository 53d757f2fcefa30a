-- An answer of Revio's that is older than an hour says nothing of what it would pay out now. As 0012 is, this file may be run again:
-- `octoco rebuild-read-model` does so after it, where the read model's tables were made anew.

-- What can be paid out, as the alarms on the float see it. Available is what Revio said last that it would pay out: not what it keeps
-- back. Reserved is what customers wait for and Revio has not executed: what it has executed is gone from available already. Where Revio
-- has said nothing for an hour, what the ledger expects. The outflow of an hour is the 90th percentile of the hours of four weeks, or since the first
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
                            and p.asked_at > now() - interval '1 hour'
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
