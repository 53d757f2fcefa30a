-- Reading transactions back: descriptions, every state with its time, words to search by, and the orders that lists are told
-- in. What each index is for, and what it costs, is in docs/history.md.

create extension if not exists pg_trgm;

-- What the customer writes for himself.
alter table transactions add column description text;
alter table transactions add constraint transactions_description check (length(description) between 1 and 140);

-- The time in the id (UUIDv7: the first 48 bits are milliseconds).
create function uuid_time(id uuid) returns timestamptz language sql immutable strict parallel safe as $$
    select timestamptz 'epoch' + ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint * interval '1 millisecond'
$$;

-- A row is created at the time in its id, to the millisecond. So the order of ids is the order of creation, exactly, and the
-- primary key and every index that ends in the id serve lists by time: none of them has to hold created_at as well.
create function transactions_created() returns trigger language plpgsql as $$
begin
    new.created_at := uuid_time(new.id);
    return new;
end
$$;
create trigger transactions_created before insert on transactions for each row execute function transactions_created();
update transactions set created_at = uuid_time(id) where created_at <> uuid_time(id);

-- Every state that a row has been in, and since when. Written in the same commit as the move, whoever makes it.
create table transaction_states (
    transaction_id uuid        not null,
    -- The row's version with which it got there: a row may come into a state more than once.
    version        integer     not null,
    state          text        not null,
    at             timestamptz not null,

    -- No foreign key: only the triggers of transactions write here, and its rows are never deleted.
    constraint transaction_states_pkey primary key (transaction_id, version)
);

create function transactions_note_state() returns trigger language plpgsql as $$
begin
    insert into transaction_states (transaction_id, version, state, at)
    values (new.id, new.version, new.state, case tg_op when 'INSERT' then new.created_at else new.updated_at end)
    on conflict (transaction_id, version) do update set state = excluded.state, at = excluded.at;
    return null;
end
$$;
create trigger transactions_note_new_state after insert on transactions
    for each row execute function transactions_note_state();
create trigger transactions_note_state after update of state on transactions
    for each row when (old.state <> new.state) execute function transactions_note_state();

-- Of older rows only the beginning and the present are known.
insert into transaction_states (transaction_id, version, state, at)
select id, 0, case version when 0 then state else 'initiated' end, created_at from transactions
union all
select id, version, state, coalesce(completed_at, updated_at) from transactions where version > 0 and state <> 'initiated';

-- The words of a text, in its order: letters and digits, small, without accents, whatever the locale of the database.
create function search_words(text text) returns text[] language sql immutable strict parallel safe as $$
    select coalesce(array_agg(left(word, 32) order by position) filter (where word <> ''), '{}')
      from regexp_split_to_table(
               lower(regexp_replace(normalize(text, nfkd), '[\u0300-\u036f]', '', 'g') collate "und-x-icu"),
               '[^[:alnum:]]+') with ordinality as words (word, position)
$$;

-- Which rows hold a word, newest first: a page of a search is read from the end of a range like any other page, however
-- many rows match. (A GIN index would first find all of them.) Filled by the triggers below, only for rows that have a
-- description or a failure reason.
create table transaction_words (
    word           text collate "C" not null,
    transaction_id uuid             not null,
    user_id        uuid             not null,

    constraint transaction_words_pkey primary key (word, transaction_id)
);
create index transaction_words_user on transaction_words (user_id, word, transaction_id);

-- The words there are, each once, to find the one that was meant: by its beginning, or by its trigrams when it is mistyped.
-- Not those with digits: numbers are looked for as they are, and there would be as many as rows.
create table search_terms (
    word text collate "C" not null,

    constraint search_terms_pkey primary key (word)
);
create index search_terms_trigrams on search_terms using gin (word gin_trgm_ops);

create function transactions_note_words() returns trigger language plpgsql as $$
declare
    words text[] := search_words(concat_ws(' ', new.description, new.failure_reason));
begin
    if tg_op = 'UPDATE' then
        delete from transaction_words
         where transaction_id = new.id
           and word = any (search_words(concat_ws(' ', old.description, old.failure_reason))) and word <> all (words);
    end if;
    -- In one order everywhere, so that two transactions that bring the same new words wait for each other at most once.
    insert into search_terms (word)
    select distinct word collate "C" as word from unnest(words) as word
     where word !~ '[0-9]' and length(word) > 2 order by word
    on conflict do nothing;
    insert into transaction_words (word, transaction_id, user_id)
    select distinct word, new.id, new.user_id from unnest(words) as word
    on conflict do nothing;
    return null;
end
$$;
create trigger transactions_note_new_words after insert on transactions
    for each row when (new.description is not null or new.failure_reason is not null)
    execute function transactions_note_words();
create trigger transactions_note_words after update of description, failure_reason on transactions
    for each row when (old.failure_reason is distinct from new.failure_reason
                       or old.description is distinct from new.description)
    execute function transactions_note_words();

with words as (
    select t.id, t.user_id, w.word
      from transactions t, unnest(search_words(concat_ws(' ', t.description, t.failure_reason))) as w (word)
     where t.failure_reason is not null),
terms as (
    insert into search_terms (word) select distinct word from words where word !~ '[0-9]' and length(word) > 2)
insert into transaction_words (word, transaction_id, user_id) select distinct word, id, user_id from words;

-- The same rule with the key first, so that staff find a row by its key whoever made it.
create unique index transactions_key_once on transactions (idempotency_key, user_id) where idempotency_key is not null;
drop index transactions_idempotency;
alter index transactions_key_once rename to transactions_idempotency;

-- The orders and the filters of lists, each with the id behind it. By time it is the primary key, or transactions_user.
create index transactions_kind on transactions (kind, id);
create index transactions_state_id on transactions (state, id);
create index transactions_amount_id on transactions (amount_minor, id);
create index transactions_updated on transactions (updated_at, id);
-- A row that is not completed counts as later than any.
create index transactions_completed on transactions (coalesce(completed_at, 'infinity'), id);
