-- What a correction does to the wallet, on the row itself: lists, exports and their sums read it without a join. Every other
-- kind goes one way only. adjustments.direction is what was proposed and approved; both are written in one commit and never
-- change.
alter table transactions add column direction text;
update transactions t set direction = a.direction from adjustments a where a.transaction_id = t.id;
alter table transactions add constraint transactions_direction check (
    (kind = 'adjustment') = (direction is not null) and direction in ('credit', 'debit'));
