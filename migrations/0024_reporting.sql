-- Reporting again: a reason that is new, and since when a debt is owed now that it is owed whole and repaid at once from what the wallet holds
-- (src/money/receivables.rs). The read model's rebuild runs this again (src/books/projector/rebuild/store.rs).
create or replace function reporting.reason_class(state text, said text) returns text language sql immutable parallel safe
    return case when state not in ('failed', 'expired', 'cancelled', 'rejected') then ''
                when said in ('insufficient_funds', 'limit_exceeded', 'account_frozen', 'account_closed', 'provider_refused',
                              'provider_could_not_pay', 'declined', 'not_approved_in_time', 'maker_not_entitled', 'closed_by_review',
                              'item_cleared', 'provider_undid', 'cancelled_by_customer', 'request_lost') then said
                when said is null then case when state in ('expired', 'cancelled') then state else 'not_said' end
                else 'other' end;

-- The oldest is repaid first: what is owed still is of the newest.
create or replace view reporting.receivables as
    with debts as (
        select user_id, currency, created_at,
               sum(owed_minor) over (partition by user_id, currency order by id desc) as owed_since
          from transactions where owed_minor > 0),
    owing as (
        select d.user_id, d.currency, a.debits_posted - a.credits_posted as amount,
               coalesce(max(d.created_at) filter (where d.owed_since >= a.debits_posted - a.credits_posted), min(d.created_at)) as since
          from debts d
          -- The account's id is the customer's with the kind and the currency in its last two bytes.
          join ledger_accounts a on a.id between d.user_id and (left(d.user_id::text, 32) || 'ffff')::uuid
                                and a.code = 1200 and a.currency = d.currency
         where a.debits_posted > a.credits_posted
         group by d.user_id, d.currency, a.debits_posted, a.credits_posted)
    select o.user_id::text as customer_id, o.currency, reporting.major(o.amount, u.exponent) as amount, o.since,
           case when a.days <= 30 then '0-30 days' when a.days <= 60 then '31-60 days' when a.days <= 90 then '61-90 days'
                else 'over 90 days' end as age_band,
           a.days as age_days
      from owing o
      join reporting.currencies u on u.currency = o.currency
     cross join lateral (select reporting.days_since(o.since) as days) a;
