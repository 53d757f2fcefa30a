-- What Revio charges by lines of its own, apart from the fees of payments: each part of the view has an index of its own again. And since when
-- a debt is owed, by the ledger.

-- Lines of the product `fee` that moved money: without the words that `moved` (src/finance/statement_files.rs) knows to mean that nothing did.
create or replace view statement_own_fees as
    select l.id, l.file_id, l.number, l.currency, l.product, l.day, l.amount_minor,
           case when coalesce(l.fee_minor, 0) = 0 then greatest(-l.amount_minor, 0) else l.fee_minor end as fee_minor,
           l.provider_id, l.reference, l.transaction_id
      from statement_lines l
     where l.product = 'fee'
       and coalesce(l.status, '') not in ('created', 'sent', 'viewed', 'error', 'blocked', 'overdue', 'pending_execute', 'pending_charge',
                                          'hold', 'pending_capture', 'pending_release', 'released', 'preauthorized', 'expired',
                                          'cancelled', 'failed', 'initialized', 'pending');

-- As in migration 0027, and the same of own fees. One of these whose object stands in two months is of the month in which it was told first:
-- a month that was closed with it stays right.
create or replace view statement_fees as
    select id, currency, product, day, fee_minor, provider_id as movement, null::text as equal_to
      from statement_lines where fee_minor is not null and provider_id is not null and product <> 'fee'
    union all
    select l.id, l.currency, l.product, l.day, l.fee_minor, l.transaction_id,
           case when l.transaction_id is null then
               concat_ws(' ', l.day, l.amount_minor,
                         row_number() over (partition by l.file_id, l.currency, l.product, l.day, l.amount_minor, l.reference order by l.number),
                         l.reference) end
      from statement_lines l
     where l.fee_minor is not null and l.provider_id is null and l.product <> 'fee'
       and not exists (select from transactions t join statement_lines o on o.provider_id = t.provider_id
                        where t.id = l.transaction_id and o.product = l.product and o.fee_minor is not null)
    union all
    select l.id, l.currency, l.product, l.day, l.fee_minor, l.provider_id, null
      from statement_own_fees l
     where l.provider_id is not null
       -- An array and no `limit 1`: that would be looked for along the primary key.
       and date_trunc('month', l.day::timestamp) = (select date_trunc('month', (array_agg(o.day order by o.id))[1]::timestamp)
                                                      from statement_own_fees o where o.provider_id = l.provider_id)
    union all
    select l.id, l.currency, l.product, l.day, l.fee_minor, l.transaction_id,
           case when l.transaction_id is null then
               concat_ws(' ', l.day, l.amount_minor,
                         row_number() over (partition by l.file_id, l.currency, l.product, l.day, l.amount_minor, l.reference order by l.number),
                         l.reference) end
      from statement_own_fees l
     where l.provider_id is null
       and not exists (select from transactions t join statement_own_fees o on o.provider_id = t.provider_id where t.id = l.transaction_id);

-- As in migration 0024; since when is what the ledger says of the debit (a row's leg 06), as in the pack of a month
-- (src/finance/periods/store.rs): a row may be older than its debt. The newest debts are looked through, of those who owe.
create or replace view reporting.receivables as
    with owing as (
        select d.user_id, d.currency, a.debits_posted - a.credits_posted as amount
          from (select distinct user_id, currency from transactions where owed_minor > 0) d
          -- The account's id is the customer's with the kind and the currency in its last two bytes.
          join ledger_accounts a on a.id between d.user_id and (left(d.user_id::text, 32) || 'ffff')::uuid
                                and a.code = 1200 and a.currency = d.currency
         where a.debits_posted > a.credits_posted)
    select o.user_id::text as customer_id, o.currency, reporting.major(o.amount, u.exponent) as amount, s.since,
           case when a.days <= 30 then '0-30 days' when a.days <= 60 then '31-60 days' when a.days <= 90 then '61-90 days'
                else 'over 90 days' end as age_band,
           a.days as age_days
      from owing o
      join reporting.currencies u on u.currency = o.currency
     cross join lateral (
        select coalesce(timestamptz 'epoch'
                        + coalesce(max(timestamp) filter (where owed_since >= o.amount), min(timestamp)) / 1000 * interval '1 microsecond',
                        now()) as since
          from (select l.timestamp, sum(t.owed_minor) over (order by l.timestamp desc) as owed_since
                  from transactions t
                  join ledger_transfers l on l.id = (left(t.id::text, 34) || '06')::uuid
                 where t.user_id = o.user_id and t.currency = o.currency and t.owed_minor > 0) debts) s
     cross join lateral (select reporting.days_since(s.since) as days) a;
