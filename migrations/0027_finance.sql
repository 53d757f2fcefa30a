-- Facts of finance that were guessed from others: which run has compared a file, whose lines proved its unit, on which days something was
-- open, what was claimed of an item in suspense and given up again. What is locked comes first, what takes long last.

-- The run that has compared the file; as long as it is not finished, or there is none, the file waits for the next one.
alter table statement_files add column if not exists compared_by uuid references reconciliation_runs;
-- Whether its own lines have proved the unit. What somebody said of one file, or took from an earlier one, tells nothing of the next.
alter table statement_files add column if not exists unit_proved boolean not null default false;

-- On which accounting days a run left a break open. What becomes of the break later, and that it is opened again, changes nothing of it.
create table if not exists break_days (
    day      date not null,
    break_id uuid not null references breaks,

    primary key (day, break_id)
);
-- A claim on an item in suspense that was given up keeps its line: of a month that is over it may have been part. A row has one that holds.
alter table suspense_clearings add column if not exists given_up_at timestamptz;
drop index if exists suspense_clearings_transaction, suspense_clearings_journal;
create unique index suspense_clearings_transaction on suspense_clearings (transaction_id) where transaction_id is not null and given_up_at is null;
create unique index suspense_clearings_journal on suspense_clearings (journal_id) where journal_id is not null and given_up_at is null;

-- Lines that say a fee, each with what tells its movement from others of its product, for files may be of the same days:
--   with Revio's object   movement: the object
--   without, of a row     movement: the row; left out where the row's object stands on a line of its own
--   of neither            equal_to: all that is kept of it, and the how many-th of such lines in its file it is, as when lines are matched
--                         (src/finance/statement_files/comparing/again.rs)
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

-- A finished run that began after the file came has compared it. Without one, it is compared now.
update statement_files f set compared_by = r.id
  from (select w.id as file_id, first.id
          from statement_files w
         cross join lateral (select r.id from reconciliation_runs r
                              where r.state = 'finished' and r.started_at >= w.imported_at
                                and case w.source when 'revio' then 'b' else 'c' end = any(r.legs)
                              order by r.id limit 1) first) r
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

-- Of what was before: the run that was under way when it was opened, and those that were finished until it ended.
insert into break_days (day, break_id)
select distinct r.accounting_day, b.id
  from breaks b
  -- A day is closed some days later at the latest; without bounds by the day each break would be held against each run.
  join reconciliation_runs r on r.accounting_day between b.opened_at::date - 8 and coalesce(b.ended_at, now())::date + 1
                            and r.state = 'finished' and b.leg = any(r.legs) and r.finished_at >= b.opened_at
                            and (r.started_at <= b.opened_at or b.state in ('open', 'healing') or r.finished_at < b.ended_at)
on conflict do nothing;
