-- Which row a correction has booked by hand: the one whose break it ended. What Revio tells of that row later is not booked a second time.
alter table adjustments add column settles_id uuid references transactions;
update adjustments a set settles_id = b.transaction_id
  from breaks b
 where b.resolving_adjustment_id = a.transaction_id and b.transaction_id is not null;
create index adjustments_settles on adjustments (settles_id) where settles_id is not null;
