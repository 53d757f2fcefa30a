-- Who decided about a row is asked for by the row's id, whichever kind of row it is. Two columns, either of which may hold it, need a bitmap of
-- two indexes; the connections of batches make none, and read all people instead to find who approved one payout.
create index approvals_subject on approvals (coalesce(transaction_id, journal_id), created_at);
drop index approvals_transaction;
drop index approvals_journal;
