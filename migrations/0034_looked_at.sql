drop function is_looked_at_again(breaks, timestamptz);

-- Whether what was found before is looked for again though nothing of it is new: while it is live, and from the day after Revio was to correct
-- it until it is given up.
create function is_looked_at_again(b breaks, moment timestamptz) returns boolean language sql stable parallel safe
    return b.state in ('timing', 'open', 'healing')
        or b.state = 'resolved' and b.resolution = 'provider_error'
           and b.ended_at between moment - interval '90 days' and moment - interval '1 day';

-- Lines of rows that may say something else by now: from a day on, of files imported since, of rows that changed since, and of what was found
-- before. Each by its own index, for all lines are those of years.
create function lines_looked_at(types text[], from_day date, changed_since timestamptz) returns setof uuid language sql stable parallel safe as $$
    select n.id from statement_lines n where n.day >= from_day
    union select n.id from statement_files w join statement_lines n on n.file_id = w.id where w.imported_at >= changed_since
    union select n.id from transactions c join statement_lines n on n.transaction_id = c.id where c.updated_at >= changed_since
    union select n.id from breaks b join statement_lines n on n.transaction_id = b.transaction_id
           where b.type = any(types) and is_looked_at_again(b, changed_since)
$$;

-- Whether a later line says something else of the same object, which is to be believed: Revio corrects its files. What it does not say is as before. What somebody brings corrects
-- nothing that Revio was asked for itself: one person alone could make a difference go away.
create function is_superseded(l statement_lines) returns boolean language sql stable parallel safe as $$
    select exists (
        select from statement_lines n join statement_files g on g.id = n.file_id
         where n.provider_id = l.provider_id and n.product = l.product and (n.file_id, n.number) > (l.file_id, l.number)
           and (coalesce(n.status, l.status), n.currency, n.amount_minor, coalesce(n.fee_minor, l.fee_minor))
               is distinct from (l.status, l.currency, l.amount_minor, l.fee_minor)
           and (g.provider_id is not null or exists (select from statement_files f where f.id = l.file_id and f.provider_id is null)))
$$;
