-- A bank's file is of one account, and so of one currency: a day is on the bank's statements once it is on that of each account that had been
-- moved by then.

create or replace view reporting.statement_coverage as
    with banks as (select currency, min(day) as first from ledger_day_sides where account_code = 1100 group by currency)
    select d.at::date as day, s.source,
           exists (select from statement_files f where f.source = s.source and d.at::date between f.from_day and f.to_day)
           and (s.source = 'revio'
                or not exists (select from banks b
                                where b.first <= d.at::date
                                  and not exists (select from statement_files f
                                                   where f.source = 'bank' and (f.currency is null or f.currency = b.currency)
                                                     and d.at::date between f.from_day and f.to_day))) as covered
      from (select min(day) as first from ledger_days) f
     cross join lateral generate_series(f.first::timestamp, (reporting.day(now()) - 1)::timestamp, interval '1 day') d (at)
     cross join (values ('revio'), ('bank')) s (source);
