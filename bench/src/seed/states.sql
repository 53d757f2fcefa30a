-- As the triggers would have written them on the way of each row.
insert into transaction_states (transaction_id, version, state, at)
select id, 0, 'initiated', created_at from transactions;
insert into transaction_states (transaction_id, version, state, at)
select id, 1, case kind when 'deposit' then 'awaiting_payment' else 'reserved' end, created_at + interval '1 second'
  from transactions where kind in ('deposit', 'withdrawal') and state not in ('awaiting_payment', 'reserved');
insert into transaction_states (transaction_id, version, state, at)
select id, 2, state, updated_at from transactions;

insert into transaction_words (word, transaction_id, user_id)
select distinct w.word collate "C" as word, t.id, t.user_id
  from transactions t, unnest(search_words(concat_ws(' ', t.description, t.failure_reason))) as w (word)
 where t.description is not null or t.failure_reason is not null
 order by word, t.id;
insert into search_terms (word)
select distinct word from transaction_words where word !~ '[0-9]' and length(word) > 2;
