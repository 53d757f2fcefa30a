-- Facts of finance that were guessed from others: which run has compared a file, whose lines proved its unit, on which days something was
-- open, what was claimed of an item in suspense and given up again. And what dashboards are told of days, differences and fees.
-- As 0012 is, this file may be run again: `octoco rebuild-read-model` does so after it, where the read model's tables were made anew.

-- The run that has compared the file; as long as it is not finished, or there is none, the file waits for the next one.
alter table statement_files add column if not exists compared_by uuid references reconciliation_runs;
-- Whether its own lines have proved the unit. What somebody said of one file, or took from an earlier one, tells nothing of the next.
alter table statement_files add column if not exists unit_proved boolean not null default false;

-- A finished run that began after the file came has compared it. Without one, it is compared now.
update statement_files f set compared_by = r.id
  from (select f.id as file_id, min(r.id::text)::uuid as id
          from statement_files f
          join reconciliation_runs r on r.state = 'finished' and r.started_at >= f.imported_at
                                    and case f.source when 'revio' then 'b' else 'c' end = any(r.legs)
         where f.compared_by is null group by f.id) r
 where r.file_id = f.id;

-- Nobody noted which files were proved, but their lines are there: as when a file is imported, three of Revio's that say what their rows
-- say, and none that says a hundredth or a hundredfold of it. Of the bank's nothing is taken from an earlier file.
update statement_files f set unit_proved = true
  from (select l.file_id
          from statement_lines l
          join transactions t on t.id = l.transaction_id and t.currency = l.currency
          join reporting.currencies u on u.currency = l.currency and u.exponent > 0
         where l.amount_minor <> 0
         group by l.file_id
        having count(*) filter (where abs(l.amount_minor) = t.amount_minor) >= 3
           and not bool_or(abs(l.amount_minor) * power(10::numeric, u.exponent) = t.amount_minor
                           or abs(l.amount_minor) = t.amount_minor * power(10::numeric, u.exponent))) as proved
 where proved.file_id = f.id and f.source = 'revio' and f.unit is not null and not f.unit_proved;

-- On which accounting days a run left a break open. What becomes of the break later, and that it is opened again, changes nothing of it.
create table if not exists break_days (
    day      date not null,
    break_id uuid not null references breaks,

    primary key (day, break_id)
);
-- Of what was before: the run that was under way when it was opened, and those that were finished until it ended.
insert into break_days (day, break_id)
select distinct r.accounting_day, b.id
  from breaks b
  join reconciliation_runs r on r.state = 'finished' and b.leg = any(r.legs) and r.finished_at >= b.opened_at
                            and (r.started_at <= b.opened_at or b.state in ('open', 'healing') or r.finished_at < b.ended_at)
on conflict do nothing;

-- A claim on an item in suspense that was given up keeps its line: of a month that is over it may have been part. A row has one that holds.
alter table suspense_clearings add column if not exists given_up_at timestamptz;
drop index if exists suspense_clearings_transaction, suspense_clearings_journal;
create unique index suspense_clearings_transaction on suspense_clearings (transaction_id) where transaction_id is not null and given_up_at is null;
create unique index suspense_clearings_journal on suspense_clearings (journal_id) where journal_id is not null and given_up_at is null;

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

-- Lines that say a fee, each with what tells its movement from others of its product: Revio's object or, without one, the row. A line of
-- neither is the same movement as one of another file that is equal in all that is kept, the first of several as the first, as when lines
-- are matched (src/finance/statement_files/comparing/again.rs). One whose object stands on another line is not told twice.
create or replace view statement_fees as
    select id, currency, product, day, fee_minor, provider_id as movement, null::text as equal_to
      from statement_lines where fee_minor is not null and provider_id is not null
    union all
    select l.id, l.currency, l.product, l.day, l.fee_minor, l.transaction_id,
           case when l.transaction_id is null then
               concat_ws(' ', l.day, l.amount_minor,
                         row_number() over (partition by l.file_id, l.currency, l.product, l.day, l.amount_minor, l.reference order by l.number),
                         l.reference) end
      from statement_lines l
     where l.fee_minor is not null and l.provider_id is null
       and not exists (select from transactions t join statement_lines o on o.provider_id = t.provider_id
                        where t.id = l.transaction_id and o.product = l.product and o.fee_minor is not null);
create index if not exists statement_lines_fees_without_object on statement_lines (currency, product, day)
    where fee_minor is not null and provider_id is null;

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
