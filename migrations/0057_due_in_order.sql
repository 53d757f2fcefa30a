-- Rows that are due at one moment, as the end of the safe mode makes them, are taken in the order of their ids: without them in the index each claim
-- of a few sorted all of them. The old one is there until the new one is.
create index transactions_due_in_order on transactions (kind, due_at, id) where due_at is not null;
drop index transactions_due;
alter index transactions_due_in_order rename to transactions_due;
