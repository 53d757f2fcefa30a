-- What dashboards read: the schema `reporting`, which is all that the role `grafana` sees. Whoever looks at a dashboard can send any SQL
-- as that role, so the grants are the fence (grant_to_reporting), and no view has a name, an e-mail, an address, bank data, a URL, a
-- payload, a key or anybody's own words in it. Customers stand there as their ids.
--
-- Money is numeric in major units, rounded only where nothing is lost; differences are taken from minor units. Ids and nanoseconds are
-- text: Grafana rounds above 2^53. Days are those of REPORTING_TIME_ZONE, which reporting.day() makes of a moment.
--
-- Nothing here decides anything. What is not a view or a function is a summary that can be made again, so this file may be run again:
-- `octoco rebuild-read-model` does so after the tables of 0004 were made anew.

drop schema if exists reporting cascade;
create schema reporting;

-- One row. The zone is that whose days are in ledger_days: `octoco migrate` writes it and adds the days up anew when it is another.
create table if not exists reporting_settings (
    single      boolean     primary key default true,
    time_zone   text        not null,
    -- Up to when the slots below are counted; 'epoch' = they are to be counted anew.
    slots_until timestamptz not null default 'epoch',

    constraint reporting_settings_single check (single)
);
insert into reporting_settings (time_zone) values ('Africa/Johannesburg') on conflict do nothing;

-- How many rows came into a state within a quarter of an hour. src/books/slots.rs writes it.
create table if not exists transaction_slots (
    slot         timestamptz not null,
    kind         text        not null,
    currency     text        not null,
    -- The state that was reached.
    state        text        not null,
    -- Of an end that is none of success: why, as one word of a closed set. Else empty.
    reason       text        not null,
    count        bigint      not null,
    amount_minor numeric     not null,
    -- From the first state to this one.
    p50_seconds  float8      not null,
    p95_seconds  float8      not null,
    p99_seconds  float8      not null,

    primary key (slot, kind, currency, state, reason)
);

-- How many calls of the webhook endpoint came within a quarter of an hour, and what became of them.
create table if not exists webhook_slots (
    slot        timestamptz not null,
    event_kind  text        not null,
    verdict     text        not null,
    state       text        not null,
    count       bigint      not null,
    -- From receipt to the end of its effect; null = none has ended.
    p95_seconds float8,

    primary key (slot, event_kind, verdict, state)
);

-- Which rows moved lately: of the order of the table, so that it costs next to nothing.
create index if not exists transactions_moved on transactions using brin (updated_at, created_at) with (pages_per_range = 32, autosummarize = on);
-- A row by its id as text, which is all that a dashboard has.
create index if not exists transactions_text on transactions using hash ((id::text));
-- What customers owe.
create index if not exists transactions_owed on transactions (user_id, currency, id) include (owed_minor) where owed_minor > 0;
-- What a run has found.
create index if not exists breaks_first_run on breaks (first_run_id);

-- Static: the chart of accounts in accounting words, and why money moved.
create table reporting.accounts (
    code    int  primary key,
    name    text not null,
    title   text not null,
    -- On which side it normally stands.
    side    text not null,
    section text not null,

    constraint accounts_side    check (side in ('debit', 'credit')),
    constraint accounts_section check (section in ('assets', 'liabilities', 'equity', 'income', 'expenses'))
);
insert into reporting.accounts values
    (1000, 'provider_balance', 'Balance at Revio', 'debit', 'assets'),
    (1100, 'bank', 'Customers'' bank account', 'debit', 'assets'),
    (1200, 'customer_receivable', 'Receivables from customers', 'debit', 'assets'),
    (2000, 'customer_wallet', 'Owed to customers', 'credit', 'liabilities'),
    (2900, 'suspense', 'Unallocated receipts', 'credit', 'liabilities'),
    (3000, 'equity', 'Own funds', 'credit', 'equity'),
    (4000, 'fee_income', 'Fee income', 'credit', 'income'),
    (5000, 'provider_fees', 'Provider fees', 'debit', 'expenses'),
    (5100, 'chargeback_losses', 'Chargeback losses', 'debit', 'expenses');

create table reporting.reasons (
    code  int  primary key,
    name  text not null,
    title text not null
);
insert into reporting.reasons values
    (10, 'deposit', 'Deposit'),
    (11, 'provider_fee', 'Provider fee'),
    (12, 'unmatched_payment', 'Unallocated receipt'),
    (13, 'provider_invoice', 'Provider invoice'),
    (14, 'suspense_return', 'Unallocated receipt returned'),
    (15, 'suspense_release', 'Unallocated receipt released'),
    (20, 'withdrawal', 'Withdrawal'),
    (21, 'withdrawal_return', 'Withdrawal returned'),
    (30, 'refund', 'Refund'),
    (40, 'chargeback', 'Chargeback'),
    (41, 'chargeback_reversal', 'Chargeback won'),
    (42, 'chargeback_loss', 'Chargeback loss'),
    (50, 'receivable_repayment', 'Receivable repaid'),
    (51, 'write_off', 'Write-off'),
    (60, 'settlement', 'Settlement'),
    (61, 'float_top_up', 'Float top-up'),
    (62, 'own_funds_in', 'Own funds in'),
    (63, 'own_funds_out', 'Own funds out'),
    (70, 'fee', 'Fee'),
    (80, 'closing', 'Closing of an account'),
    (90, 'adjustment', 'Correction'),
    (91, 'result', 'Result of the year');

-- The currencies that customers have or had; `octoco migrate` adds those of CURRENCIES.
create table reporting.currencies (
    currency text primary key,
    exponent int  not null
);
insert into reporting.currencies values ('ZAR', 2);

-- The day of a moment. The zone stands in it as a constant: so it is folded into a query and not called for each row.
create or replace function set_reporting_time_zone(zone text) returns void language plpgsql set search_path = pg_catalog, public as $$
begin
    perform now() at time zone zone;
    execute format('create or replace function reporting.day(at timestamptz) returns date language sql immutable strict parallel safe
        return (at at time zone %L)::date', zone);
    update reporting_settings set time_zone = zone;
end
$$;
revoke execute on function set_reporting_time_zone(text) from public;
select set_reporting_time_zone(time_zone) from reporting_settings;

-- When a day begins, as the ledger counts time.
create or replace function day_start(day date) returns bigint language sql stable set search_path = pg_catalog, public return
    (extract(epoch from day::timestamp at time zone (select time_zone from public.reporting_settings)) * 1000000000)::bigint;

-- What ledger_days should say of some days: the same added up from the copied transfers. Another transfer is looked up by its id where
-- a row needs one: a join would read all transfers for each day.
create or replace function ledger_days_of(of_currency text, first date, last date) returns setof ledger_days language sql stable as $$
    select s.currency, s.day, s.code, s.kind, s.debit_code, s.credit_code, s.of_code, count(*), sum(s.amount_minor)::numeric,
           coalesce(sum(s.released_minor), 0)::numeric
      from (select t.currency, reporting.day(timestamptz 'epoch' + (t.timestamp / 1000) * interval '1 microsecond') as day, t.code, t.kind,
                   d.code as debit_code, c.code as credit_code, t.amount_minor,
                   -- The first transfer of the fee's row.
                   case when t.code = 11 then coalesce((select m.code from ledger_transfers m
                                                         where m.id = (left(t.id::text, 34) || '01')::uuid), 0) else t.code end as of_code,
                   case when t.pending_id is not null
                        then (select p.amount_minor from ledger_transfers p where p.id = t.pending_id) end as released_minor
              from ledger_transfers t
              join ledger_accounts d on d.id = t.debit_account_id
              join ledger_accounts c on c.id = t.credit_account_id
             where t.currency = of_currency and t.timestamp >= day_start(first) and t.timestamp < day_start(last + 1)) as s
     group by 1, 2, 3, 4, 5, 6, 7
$$;

-- Minor units as major ones, exactly.
create function reporting.major(minor numeric, exponent int) returns numeric language sql immutable parallel safe
    return round(minor / 10::numeric ^ exponent, exponent);

create function reporting.age_band(days int) returns text language sql immutable parallel safe
    return case when days <= 1 then '0-1 days' when days <= 7 then '2-7 days' when days <= 30 then '8-30 days' else 'over 30 days' end;

create function reporting.days_since(since timestamptz) returns int language sql stable parallel safe
    return reporting.day(now()) - reporting.day(since);

-- The next day that is neither Saturday nor Sunday. Public holidays are not known here.
create function reporting.next_business_day(day date) returns date language sql immutable parallel safe
    return day + case extract(isodow from day) when 5 then 3 when 6 then 2 else 1 end;

-- What a call of the webhook endpoint says that it is about; anybody may call it, so only Revio's own shape is believed.
create function reporting.event_kind(said text, verdict text) returns text language sql immutable parallel safe
    return case when verdict = 'bad_signature' then 'unsigned' when said ~ '^(purchase|payout|payment)\.[a-z_]{1,40}$' then said else 'other' end;

-- Why a row did not come to its end, as one word of a closed set (transactions::FailureReason).
create function reporting.reason_class(state text, said text) returns text language sql immutable parallel safe
    return case when state not in ('failed', 'expired', 'cancelled', 'rejected') then ''
                when said in ('insufficient_funds', 'limit_exceeded', 'account_frozen', 'account_closed', 'provider_refused',
                              'provider_could_not_pay', 'declined', 'not_approved_in_time', 'maker_not_entitled', 'closed_by_review',
                              'item_cleared', 'provider_undid', 'cancelled_by_customer') then said
                when said is null then case when state in ('expired', 'cancelled') then state else 'not_said' end
                else 'other' end;

-- Both sides of what is in ledger_days, by account, in minor units. The parts on their way between Revio and the bank stand apart too.
create or replace view ledger_day_sides as
    select l.currency, l.day, l.code as reason_code, s.account_code, l.transfers,
           case when l.kind in ('posted', 'post') then s.debit else 0 end as debits,
           case when l.kind in ('posted', 'post') then s.credit else 0 end as credits,
           case l.kind when 'posted' then 0 when 'pending' then s.debit else -s.debit_released end as pending_debits,
           case l.kind when 'posted' then 0 when 'pending' then s.credit else -s.credit_released end as pending_credits,
           l.kind in ('posted', 'post') as is_posted
      from ledger_days l
     cross join lateral (values (l.debit_code, l.amount_minor, 0::numeric, l.released_minor, 0::numeric),
                                (l.credit_code, 0::numeric, l.amount_minor, 0::numeric, l.released_minor))
                     s (account_code, debit, credit, debit_released, credit_released);

-- Every day from the first transfer to today, every account, in minor units.
create or replace view ledger_day_balances as
    with sides as (
        select currency, day, account_code, sum(debits) as debits, sum(credits) as credits, sum(pending_debits) as pending_debits,
               sum(pending_credits) as pending_credits,
               sum(pending_credits) filter (where reason_code in (60, 61)) as in_transit
          from ledger_day_sides group by currency, day, account_code)
    select u.currency, d.at::date as day, a.code, u.exponent,
           coalesce(s.debits, 0) as debits, coalesce(s.credits, 0) as credits,
           sum(coalesce(s.debits - s.credits, 0)) over w as closing,
           sum(coalesce(s.pending_debits, 0)) over w as pending_debits,
           sum(coalesce(s.pending_credits, 0)) over w as pending_credits,
           -- Of what stands on the account, what was sent from it and has not arrived.
           sum(coalesce(s.in_transit, 0)) over w as in_transit
      from reporting.currencies u
     cross join lateral (select coalesce(min(day), reporting.day(now())) as first, coalesce(max(day), reporting.day(now())) as last
                           from ledger_days l where l.currency = u.currency) span
     cross join lateral generate_series(span.first::timestamp, greatest(span.last, reporting.day(now()))::timestamp, interval '1 day') d (at)
     cross join reporting.accounts a
      left join sides s on s.currency = u.currency and s.day = d.at::date and s.account_code = a.code
    window w as (partition by u.currency, a.code order by d.at);

-- Why each account moved, of each day that had a transfer.
create view reporting.movements as
    select s.currency, s.day, a.code, a.title as account_title, s.reason_code, coalesce(r.title, s.reason_code::text) as reason,
           reporting.major(sum(s.debits), u.exponent) as debits, reporting.major(sum(s.credits), u.exponent) as credits,
           sum(s.transfers)::bigint as transfers
      from ledger_day_sides s
      join reporting.currencies u on u.currency = s.currency
      join reporting.accounts a on a.code = s.account_code
      left join reporting.reasons r on r.code = s.reason_code
     where s.is_posted
     group by s.currency, s.day, a.code, s.reason_code, r.title, u.exponent;

-- Closing is debits less credits: what is owed and earned is below zero.
create view reporting.balances as
    select b.currency, b.day, a.code, a.title, a.section,
           reporting.major(b.closing - b.debits + b.credits, b.exponent) as opening,
           reporting.major(b.debits, b.exponent) as debits, reporting.major(b.credits, b.exponent) as credits,
           reporting.major(b.closing, b.exponent) as closing,
           reporting.major(b.pending_debits, b.exponent) as pending_debits,
           reporting.major(b.pending_credits, b.exponent) as pending_credits
      from ledger_day_balances b join reporting.accounts a on a.code = b.code;

-- held = at_provider + in_transit + bank; surplus = held - owed - unallocated = own_funds - receivables.
-- in_transit left Revio for the bank or the bank for Revio and has not arrived: the ledger still has it where it was.
create view reporting.position as
    select currency, day,
           reporting.major(coalesce(sum(-closing) filter (where code = 2000), 0), exponent) as owed,
           reporting.major(coalesce(sum(-closing) filter (where code = 2900), 0), exponent) as unallocated,
           reporting.major(coalesce(sum(closing - in_transit) filter (where code = 1000), 0), exponent) as at_provider,
           reporting.major(coalesce(sum(in_transit) filter (where code in (1000, 1100)), 0), exponent) as in_transit,
           reporting.major(coalesce(sum(closing - in_transit) filter (where code = 1100), 0), exponent) as bank,
           reporting.major(coalesce(sum(closing) filter (where code in (1000, 1100)), 0), exponent) as held,
           reporting.major(coalesce(sum(-closing) filter (where code in (3000, 4000, 5000, 5100)), 0), exponent) as own_funds,
           reporting.major(coalesce(sum(closing) filter (where code = 1200), 0), exponent) as receivables,
           reporting.major(coalesce(sum(closing) filter (where code in (1000, 1100, 2000, 2900)), 0), exponent) as surplus
      from ledger_day_balances
     group by currency, day, exponent;

-- What is at Revio, by the day that it came: what left was the oldest. Due in the bank by the next business day.
create view reporting.held_by_age as
    with came as (
        select currency, day, sum(debits) as amount from ledger_day_sides where account_code = 1000 and debits <> 0 group by currency, day),
    held as (
        select currency, sum(debits - credits - case when reason_code in (60, 61) then pending_credits else 0 end) as amount
          from ledger_day_sides where account_code = 1000 group by currency),
    still as (
        select c.currency, c.day,
               greatest(least(h.amount - sum(c.amount) over (partition by c.currency order by c.day desc) + c.amount, c.amount), 0) as amount
          from came c join held h on h.currency = c.currency),
    aged as (
        select currency, amount,
               case when day >= reporting.day(now()) then 1
                    when reporting.next_business_day(day) >= reporting.day(now()) then 2
                    when reporting.day(now()) - day <= 7 then 3
                    when reporting.day(now()) - day <= 30 then 4
                    else 5 end as band_order
          from still where amount > 0)
    select u.currency, b.band, b.band_order, reporting.major(coalesce(sum(a.amount), 0), u.exponent) as amount, b.late
      from reporting.currencies u
     cross join (values (1, 'today', false), (2, 'until D+1', false), (3, 'late, up to 7 days', true), (4, '8-30 days', true),
                        (5, 'over 30 days', true)) b (band_order, band, late)
      left join aged a on a.currency = u.currency and a.band_order = b.band_order
     group by u.currency, u.exponent, b.band, b.band_order, b.late;

-- What can be paid out. Available is what Revio said last: the figure that is ours, or one that is what the ledger expects; else that.
-- The outflow of an hour is the 90th percentile of the hours of four weeks, or since the first withdrawal in them.
create view reporting.float as
    select u.currency, reporting.major(f.available, u.exponent) as available, reporting.major(f.reserved, u.exponent) as reserved,
           reporting.major(f.awaiting, u.exponent) as awaiting_approval, reporting.major(round(f.outflow), u.exponent) as outflow_p90_hour,
           round(greatest(f.available - f.reserved, 0) / nullif(f.outflow, 0), 1) as hours_covered, f.topped_up_at
      from reporting.currencies u
     cross join lateral (
        select coalesce(sum(debits - credits - case when reason_code in (60, 61) then pending_credits else 0 end), 0) as expected,
               coalesce(sum(pending_credits) filter (where reason_code not in (60, 61)), 0) as reserved
          from ledger_day_sides s where s.currency = u.currency and s.account_code = 1000) l
     cross join lateral (
        select coalesce((select p.amount_minor from provider_balances p
                          where p.currency = u.currency and (p.field = 'ours' or p.amount_minor = p.expected_minor)
                            and p.asked_at = (select max(asked_at) from provider_balances q where q.currency = u.currency)
                          order by p.field = 'ours' desc limit 1), l.expected)::numeric as available,
               l.reserved,
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

create view reporting.provider_balances as
    select p.asked_at, p.currency, p.field, reporting.major(p.amount_minor, u.exponent) as amount,
           reporting.major(p.expected_minor, u.exponent) as expected, reporting.major(p.amount_minor - p.expected_minor, u.exponent) as difference
      from provider_balances p join reporting.currencies u on u.currency = p.currency;

-- Every row counts once in each state that it came into.
create view reporting.activity as
    select s.slot, s.currency, s.kind, s.state, s.reason, s.count, reporting.major(s.amount_minor, u.exponent) as amount
      from transaction_slots s join reporting.currencies u on u.currency = s.currency;

create view reporting.completion_times as
    select slot, currency, kind, count, p50_seconds, p95_seconds, p99_seconds from transaction_slots where state = 'completed';

create view reporting.webhooks as
    select slot, event_kind, verdict, state, count, p95_seconds from webhook_slots;

-- Withdrawals that hold money and have not ended.
create view reporting.reservations as
    select t.id::text as id, t.user_id::text as customer_id, t.currency, reporting.major(t.amount_minor, u.exponent) as amount, t.state,
           r.since,
           case when r.age < interval '1 hour' then 'under 1 hour' when r.age < interval '1 day' then '1-24 hours'
                when r.age < interval '5 days' then '1-5 days' else 'over 5 days' end as age_band,
           round(extract(epoch from r.age)) as age_seconds
      from transactions t
      join reporting.currencies u on u.currency = t.currency
     cross join lateral (select since, now() - since as age from (select coalesce(t.moved_at[1], t.created_at) as since) m) r
     where t.kind = 'withdrawal' and t.state in ('reserved', 'awaiting_approval', 'submitting', 'submitted');

-- Money in suspense that nobody has got yet.
create view reporting.suspense_items as
    select i.id::text as id, i.kind, t.user_id::text as customer_id, i.transaction_id::text as transaction_id, i.currency,
           reporting.major(i.amount_minor, u.exponent) as amount, reporting.major(i.amount_minor - i.taken_minor, u.exponent) as remaining,
           i.opened_at as since, reporting.age_band(reporting.days_since(i.opened_at)) as age_band,
           reporting.days_since(i.opened_at) as age_days
      from suspense_items i
      join reporting.currencies u on u.currency = i.currency
      left join transactions t on t.id = i.transaction_id
     where i.taken_minor < i.amount_minor and i.booked_at is not null;

-- What each customer owes, as the ledger's copy has it; since when the oldest of it that is not repaid.
create view reporting.receivables as
    with debts as (
        select user_id, currency, created_at, sum(owed_minor) over (partition by user_id, currency order by id) as owed_up_to
          from transactions where owed_minor > 0),
    owing as (
        select d.user_id, d.currency, a.debits_posted - a.credits_posted as amount,
               coalesce(min(d.created_at) filter (where d.owed_up_to > a.credits_posted), max(d.created_at)) as since
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

create view reporting.journals as
    select j.id::text as id, j.kind, j.state, j.currency, reporting.major(j.amount_minor, u.exponent) as amount, j.account, j.created_at,
           j.sent_at, j.expected_on, j.arrival_date as arrived_on, encode(j.evidence_sha256, 'hex') as evidence_sha256,
           j.requested_by::text as requested_by
      from journals j join reporting.currencies u on u.currency = j.currency;

create view reporting.settlements as
    select j.id::text as id, j.currency, reporting.major(j.amount_minor, u.exponent) as amount, j.state, j.sent_at, j.expected_on,
           j.arrival_date as arrived_on,
           case when j.sent_at is not null
                then greatest(coalesce(j.arrival_date, reporting.day(coalesce(j.ended_at, now()))) - j.expected_on, 0) end as days_late
      from journals j join reporting.currencies u on u.currency = j.currency
     where j.kind = 'settlement';

-- What Revio keeps: as booked, as its statements say, as it invoices. An invoice is about both kinds of payment and stands apart: what it
-- asks for beyond the fees that were kept.
-- Each part is asked for by its month alone, so that a condition on it reaches the lines of that month.
create view reporting.fees as
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
             cross join lateral (select sum(l.fee_minor) as fee from statement_lines l
                                  where l.currency = u.currency and l.product = k.product and l.fee_minor is not null
                                    and l.day >= m.month and l.day < (m.month + interval '1 month')::date) s
             where s.fee is not null
            union all
            select currency, date_trunc('month', evidence_date::timestamp)::date, 'invoice', null, null, amount_minor, null
              from journals where kind = 'provider_invoice' and state = 'completed') x
      join reporting.currencies u on u.currency = x.currency
     group by x.currency, x.month, x.kind, u.exponent;

create view reporting.runs as
    select r.id::text as id, r.kind, array_to_string(r.legs, ' ') as legs, r.state, r.accounting_day, r.started_at, r.finished_at,
           round(extract(epoch from coalesce(r.finished_at, now()) - r.started_at)) as seconds, b.found as breaks_found,
           h.healed, encode(r.report_sha256, 'hex') as report_sha256
      from reconciliation_runs r
     cross join lateral (select count(*) as found from breaks where first_run_id = r.id) b
     cross join lateral (select count(*) as healed from breaks where last_run_id = r.id and state = 'healed') h;

-- Every day since the first run, each leg: whether it was looked at, and whether something is open or was.
create view reporting.run_days as
    with days as (
        select d.at::date as day, l.leg
          from (select min(accounting_day) as first from reconciliation_runs) f
         cross join lateral generate_series(f.first::timestamp, reporting.day(now())::timestamp, interval '1 day') d (at)
         cross join (values ('a'), ('b'), ('c')) l (leg)),
    looked as (
        select accounting_day as day, l.leg, bool_or(state = 'finished') as finished, bool_or(state = 'failed') as failed
          from reconciliation_runs, unnest(legs) l (leg) group by 1, 2),
    found as (
        select reporting.day(opened_at) as day, leg, bool_or(state in ('open', 'healing')) as is_open
          from breaks where opened_at is not null group by 1, 2)
    select d.day, d.leg,
           case when l.day is null then 'missing' when not l.finished then case when l.failed then 'failed' else 'running' end
                when f.is_open then 'open breaks' when f.day is not null then 'resolved' else 'clean' end as outcome
      from days d
      left join looked l on (l.day, l.leg) = (d.day, d.leg)
      left join found f on (f.day, f.leg) = (d.day, d.leg);

create view reporting.breaks as
    select b.id::text as id, b.type, b.severity, b.leg, b.state, b.currency,
           reporting.major(b.expected_minor, u.exponent) as expected, reporting.major(b.actual_minor, u.exponent) as actual,
           reporting.major(b.actual_minor::numeric - b.expected_minor, u.exponent) as difference,
           b.transaction_id::text as transaction_id, b.journal_id::text as journal_id, b.provider_id::text as provider_id, b.since,
           reporting.day(coalesce(b.ended_at, now())) - reporting.day(b.since) as age_days,
           reporting.age_band(reporting.day(coalesce(b.ended_at, now())) - reporting.day(b.since)) as age_band,
           b.owner, b.assigned_to is not null as assigned, b.reopened
      from breaks b left join reporting.currencies u on u.currency = b.currency;

create view reporting.statement_files as
    select id::text as id, source, currency, from_day, to_day, lines, matched, unmatched, unit, encode(sha256, 'hex') as sha256, imported_at
      from statement_files;

-- Every day since the first transfer up to yesterday.
create view reporting.statement_coverage as
    select d.at::date as day, s.source,
           exists (select from statement_files f where f.source = s.source and d.at::date between f.from_day and f.to_day) as covered
      from (select min(day) as first from ledger_days) f
     cross join lateral generate_series(f.first::timestamp, (reporting.day(now()) - 1)::timestamp, interval '1 day') d (at)
     cross join (values ('revio'), ('bank')) s (source);

create view reporting.periods as
    select month, state, closed_at, encode(pack_sha256, 'hex') as pack_sha256, encode(previous_sha256, 'hex') as previous_sha256 from periods;

-- Up to when every transfer is in what stands above.
create view reporting.watermark as
    select currency, complete_up_to, round(extract(epoch from greatest(now() - complete_up_to, interval '0'))::numeric, 1) as lag_seconds
      from (select currency, greatest(timestamptz 'epoch' + (timestamp / 1000) * interval '1 microsecond', complete_at) as complete_up_to
              from ledger_cursor) c;

-- One payment: to be asked for by its id (and by nothing else: no other column leads to it fast).
create view reporting.payments as
    select t.id::text as id, t.user_id::text as customer_id, t.kind, t.state, t.currency,
           reporting.major(t.amount_minor, u.exponent) as amount, t.created_at, t.completed_at, t.held_code,
           nullif(reporting.reason_class(t.state, t.failure_reason), '') as failure_reason,
           t.provider_id::text as provider_id
      from transactions t join reporting.currencies u on u.currency = t.currency;

create view reporting.payment_states as
    select t.id::text as transaction_id, s.at, s.state
      from transactions t
     cross join lateral unnest(string_to_array(t.states, ' '), array[t.created_at] || t.moved_at) s (state, at);

create view reporting.payment_transfers as
    select t.id::text as transaction_id, timestamptz 'epoch' + (l.timestamp / 1000) * interval '1 microsecond' as at,
           l.id::text as transfer_id, coalesce(r.title, l.code::text) as reason, l.kind, d.title as debit_title, c.title as credit_title,
           l.currency, reporting.major(l.amount_minor, u.exponent) as amount
      from transactions t
      -- The transfers of a row are a range of ids.
      join ledger_transfers l on l.id between t.id and (left(t.id::text, 34) || 'ff')::uuid
      join reporting.currencies u on u.currency = l.currency
      join ledger_accounts da on da.id = l.debit_account_id
      join ledger_accounts ca on ca.id = l.credit_account_id
      join reporting.accounts d on d.code = da.code
      join reporting.accounts c on c.code = ca.code
      left join reporting.reasons r on r.code = l.code;

-- What Revio told of the objects of the payment.
create view reporting.payment_events as
    select t.id::text as transaction_id, w.received_at as at, reporting.event_kind(w.event_type, w.verdict) as event_kind, w.state
      from transactions t
      join provider_objects o on o.transaction_id = t.id
      join webhook_logs w on w.object_id = o.id
     where w.verdict = 'accepted';

-- What the role that dashboards sign in as may do: read what stands above. `octoco migrate` calls it, as the owner. Whatever everybody has
-- by PostgreSQL's own choice is taken from everybody, for it cannot be taken from one; grant_to_service gives the service what it needs.
create or replace function grant_to_reporting(reader name) returns void language plpgsql set search_path = pg_catalog, public as $$
declare
    found text;
    other name;
begin
    perform pg_advisory_xact_lock(hashtext('grant_to_service'));
    execute 'revoke all on schema public from public';
    execute 'revoke execute on all functions in schema public from public';
    execute format('revoke create, temporary on database %I from public', current_database());
    execute format('grant connect on database %I to %I', current_database(), reader);
    execute format('grant usage on schema reporting to %I', reader);
    execute format('grant select on all tables in schema reporting to %I', reader);
    execute format('grant execute on all functions in schema reporting to %I', reader);
    -- Locks that a task of ours waits for, and objects that fill the disk: only a superuser can close these (docs/reporting.md).
    if (select rolsuper from pg_roles where rolname = current_user) then
        for found in select p.oid::regprocedure::text from pg_proc p
                      where p.pronamespace = 'pg_catalog'::regnamespace and (p.proname ~ 'advisory' or p.proname ~ '^(lo_|lowrite$)') loop
            for other in select rolname from pg_roles where rolcanlogin and not rolsuper and rolname <> reader
                          and has_function_privilege(oid, found::regprocedure, 'execute') loop
                execute format('grant execute on function %s to %I', found, other);
            end loop;
            execute format('revoke execute on function %s from public', found);
        end loop;
    end if;
    -- A fence with a hole is none.
    select string_agg(n.nspname || '.' || c.relname, ', ') into found
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname not in ('reporting', 'pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
       and c.relkind in ('r', 'v', 'm', 'f', 'p', 'S') and has_schema_privilege(reader, n.oid, 'usage')
       and has_table_privilege(reader, c.oid, 'select, insert, update, delete, truncate, references, trigger');
    if found is not null or has_schema_privilege(reader, 'public', 'usage') or has_database_privilege(reader, current_database(), 'create, temporary') then
        raise exception 'the role % may more than read the schema reporting: %', reader, coalesce(found, 'schema public or the database')
            using hint = 'as the owner of the database: revoke all on schema public from public; revoke all on database … from public';
    end if;
end
$$;
revoke execute on function grant_to_reporting(name) from public;

-- Makes that role, or gives it another password (or the verifier of one). `octoco migrate` calls it where the password is set and the owner
-- may make roles; else a superuser does, once. What is set here anybody may set otherwise in his session: it saves the database from
-- mistakes, and the grants alone from people.
create or replace function admit_reader(reader name, password text) returns void language plpgsql set search_path = pg_catalog, public as $$
begin
    if not exists (select from pg_roles where rolname = reader) then
        execute format('create role %I', reader);
    end if;
    execute format('alter role %I login connection limit 10 password %L', reader, password);
    execute format('alter role %I set default_transaction_read_only = on', reader);
    execute format('alter role %I set statement_timeout = %L', reader, '5s');
    execute format('alter role %I set lock_timeout = %L', reader, '1s');
    execute format('alter role %I set idle_in_transaction_session_timeout = %L', reader, '30s');
    execute format('alter role %I set search_path = reporting', reader);
    -- Its queries are short and many: compiling them takes longer.
    execute format('alter role %I set jit = off', reader);
    perform grant_to_reporting(reader);
end
$$;
revoke execute on function admit_reader(name, text) from public;
