-- Files overlap, so that a movement stands in a day's file and in its month's. What people said of the one line is said of the other: the
-- break that was resolved without a journal of the line's own (accepted, or booked by a correction).
alter table statement_lines add column settled_by uuid references breaks;
create index statement_lines_settled on statement_lines (settled_by) where settled_by is not null;

-- Whether what was found before is looked for again though nothing of it is new: while it is live, and from a day on after Revio was to
-- correct it.
create function is_looked_at_again(b breaks, since timestamptz) returns boolean language sql stable parallel safe
    return b.state in ('timing', 'open', 'healing')
        or b.state = 'resolved' and b.resolution = 'provider_error' and b.ended_at < since - interval '1 day';
