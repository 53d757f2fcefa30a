-- The indexes of lists anew, after measuring ten million rows (docs/performance.md).

-- One index for each pair of kind and state, each in the order of ids: a list of some kinds or states is put together from its
-- pairs. It serves what took three indexes.
create index transactions_kind_state on transactions (kind, state, id);
drop index transactions_kind;
drop index transactions_state_id;
drop index transactions_awaiting_approval;
-- A deposit is never `reserved`: kind and state say more of each other than chance.
create statistics transactions_kind_and_state (mcv) on kind, state from transactions;

-- The same of one customer, with what lists sort by: a customer's rows are filtered, sorted and counted without being read.
create index transactions_user_kind_state on transactions (user_id, kind, state, id)
    include (amount_minor, currency, updated_at, completed_at);

-- A currency that few rows have.
create index transactions_currency on transactions (currency, id);
