-- Which row a journal has booked by hand, as far as Revio's account goes: the one whose break it ended, and which way that account moved.
alter table journals
    add column settles_id uuid references transactions,
    add column settles_direction text,
    add constraint journals_settles check ((settles_id is null) = (settles_direction is null)
                                           and settles_direction in ('credit', 'debit'));
update journals j
   set settles_id = b.transaction_id,
       settles_direction = case when j.kind in ('float_top_up', 'suspense_in') then 'credit' else 'debit' end
  from breaks b
 where b.resolving_journal_id = j.id and b.transaction_id is not null and b.resolution <> 'accepted' and b.type <> 'fee_provider'
   and (j.account = 'provider_balance' or j.kind in ('settlement', 'float_top_up', 'chargeback_loss'));
create index journals_settles on journals (settles_id) where settles_id is not null;
