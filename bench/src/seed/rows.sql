-- The rows with the numbers from $1 to $2. Shares are in thousandths; the first row is a completed deposit.
with shares as (
    select n, s.*, case n when $1 then 0 else pg_temp.roll(n, 1, 1000) end as roll,
           case n when $1 then 0 else pg_temp.roll(n, 2, 1000) end as share
      from seeding s, generate_series($1::bigint, $2::bigint) n
),
kinds as (
    select *,
           case when roll < 617 then 'deposit' when roll < 945 then 'withdrawal' when roll < 950 then 'adjustment'
                when roll < 980 then 'refund' when roll < 995 then 'chargeback' else 'chargeback_reversal' end as kind
      from shares
),
states as (
    select *, case kind
        when 'deposit' then case when share < 820 then 'completed' when share < 930 then 'expired' when share < 965 then 'failed'
                                 when share < 985 then 'cancelled' else 'awaiting_payment' end
        when 'withdrawal' then case when share < 880 then 'completed' when share < 940 then 'failed' when share < 980 then 'rejected'
                                    when share < 992 then 'submitted' else 'reserved' end
        when 'adjustment' then case when share < 900 then 'completed' when share < 960 then 'cancelled' else 'expired' end
        else 'completed' end as state
      from kinds
),
-- A refund or a chargeback is of the last deposit before it: its customer and its currency are that row's.
parents as (
    select *, case when kind in ('deposit', 'withdrawal', 'adjustment') then n
                   else max(n) filter (where kind = 'deposit' and state = 'completed') over (order by n) end as source
      from states
),
owned as (
    select *, begun + period * (n::float8 / transactions) as at, begun + period * (source::float8 / transactions) as source_at,
           case when pg_temp.roll(source, 4, transactions) < 15000 then 3
                when pg_temp.roll(source, 5, 100) < 10 then 1
                when pg_temp.roll(source, 5, 100) = 10 then 2
                else 1 + pg_temp.roll(source, 6, users) end as owner,
           case when kind in ('deposit', 'withdrawal') then pg_temp.roll(n, 7, 10) else 10 end as telling
      from parents
),
timed as (
    select *, date_trunc('milliseconds', at) as created,
           date_trunc('milliseconds', at) + interval '1 millisecond' * (20000 + pg_temp.roll(n, 8, 3600000)) as updated
      from owned
)
insert into transactions (id, user_id, kind, state, amount_minor, currency, idempotency_key, request_hash, parent_id,
    bank_account_id, provider_id, failure_reason, description, version, updated_at, completed_at, direction, states, moved_at)
select pg_temp.id(n, created, 2), pg_temp.id(owner, begun, 4), kind, state,
       case when pg_temp.roll(n, 9, 10) < 6
            then pg_temp.pick(n, 10, '{5000,10000,20000,25000,50000,100000,150000,250000}')::bigint
            else 100 + pg_temp.roll(n, 11, 5000000) end,
       case when pg_temp.roll(source, 12, 2000) = 0 and kind <> 'withdrawal' then 'USD' else 'ZAR' end,
       case when kind in ('deposit', 'withdrawal') then md5(n::text)::uuid::text end,
       case when kind in ('deposit', 'withdrawal') then sha256(n::text::bytea) end,
       case when source <> n then pg_temp.id(source, date_trunc('milliseconds', source_at), 2) end,
       case when kind = 'withdrawal' then pg_temp.id(-owner, begun, 0) end,
       case when kind <> 'adjustment' and state <> 'rejected' then md5('provider' || n)::uuid end,
       case when state = 'rejected' then pg_temp.pick(n, 13, '{insufficient_funds,limit_exceeded,account_frozen}')
            when state = 'failed' then pg_temp.pick(n, 13, case kind
                when 'deposit' then '{provider_refused,closed_by_review}'::text[]
                when 'withdrawal' then '{provider_could_not_pay,provider_refused,declined,not_approved_in_time,closed_by_review}'::text[]
                else '{provider_undid}'::text[] end) end,
       case when telling < 2 then pg_temp.word(n, 20) || ' ' || pg_temp.pick(n, 22, '{january,february,march,april,may,june,july}')
            when telling < 3 then pg_temp.word(n, 20) || ' ' || pg_temp.word(n, 24)
            when telling < 5 then pg_temp.word(n, 20) || ' INV-' || pg_temp.roll(n, 26, 1000000)
            when telling < 6 then pg_temp.word(n, 20) || ' for ' || pg_temp.syllable(n, 27) || pg_temp.syllable(n, 28)
                 || pg_temp.syllable(n, 29) end,
       2, updated, case when state = 'completed' then updated end,
       case when kind = 'adjustment' then pg_temp.pick(n, 30, '{credit,debit}') end,
       -- Every state on the way, and when it came into each but the first.
       case when kind = 'adjustment' then 'awaiting_approval ' || state
            when kind in ('deposit', 'withdrawal') and state not in ('awaiting_payment', 'reserved')
            then 'initiated ' || case kind when 'deposit' then 'awaiting_payment ' else 'reserved ' end || state
            else 'initiated ' || state end,
       case when kind in ('deposit', 'withdrawal') and state not in ('awaiting_payment', 'reserved')
            then array[created + interval '1 second', updated] else array[updated] end
  from timed
