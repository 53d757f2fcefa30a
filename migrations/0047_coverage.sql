-- Days without a statement, as the alarm counts them: a file from before the end of a day is of a part of it (one that was fetched never is), and
-- a bank is asked about from the day on which it first moved money.
create or replace view reporting.statement_coverage as
    with banks as (select currency, min(day) as first from ledger_day_sides where account_code = 1100 group by currency)
    select d.at::date as day, s.source,
           case when s.source = 'revio'
                then exists (select from statement_files f
                              where f.source = 'revio' and d.at::date between f.from_day and f.to_day
                                and (f.provider_id is not null or reporting.day(f.imported_at) > d.at::date))
                else extract(isodow from d.at) > 5
                     or not exists (select from banks b
                                     where b.first <= d.at::date
                                       and not exists (select from statement_files f
                                                        where f.source = 'bank' and (f.currency is null or f.currency = b.currency)
                                                          and d.at::date between f.from_day and f.to_day
                                                          and reporting.day(f.imported_at) > d.at::date))
           end as covered
      from (select min(day) as first from ledger_days) f
     cross join lateral generate_series(f.first::timestamp, (reporting.day(now()) - 1)::timestamp, interval '1 day') d (at)
     cross join (values ('revio'), ('bank')) s (source);
