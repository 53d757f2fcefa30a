-- As in migration 0012, and top-ups besides: they are on their way, too, and may be late.
create or replace view reporting.settlements as
    select j.id::text as id, j.currency, reporting.major(j.amount_minor, u.exponent) as amount, j.state, j.sent_at, j.expected_on,
           j.arrival_date as arrived_on,
           case when j.sent_at is not null
                then greatest(coalesce(j.arrival_date, reporting.day(coalesce(j.ended_at, now()))) - j.expected_on, 0) end as days_late,
           j.kind
      from journals j join reporting.currencies u on u.currency = j.currency
     where j.kind in ('settlement', 'float_top_up');
