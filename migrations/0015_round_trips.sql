-- What is written together is one statement (docs/decisions/051).

-- Stands in the statement of what is only done once more where a crash of PostgreSQL loses it: nobody waits for the disk when it is
-- committed. Always true. Where only some wait it is asked for within the sub-select (select case …): PostgreSQL evaluates what it may
-- need, asked for or not, as soon as a row was changed by somebody else meanwhile.
create function unawaited() returns boolean language sql volatile as $$
    select set_config('synchronous_commit', 'off', true) is not null
$$;

-- Of word that people are owed what is mailed: no more than so many of a kind since then, and not what the person does not want to know.
-- Where the id is null there is nothing to tell.
create function wanted_notices(ids uuid[], kinds text[], users uuid[], since timestamptz, most bigint)
returns table (id uuid, kind text, user_id uuid) language sql stable parallel safe as $$
    select n.id, n.kind, u.id
      from (select *, row_number() over (partition by user_id, kind) as turn
              from unnest(ids, kinds, users) as n (id, kind, user_id) where id is not null) n
      join users u on u.id = n.user_id
     where case n.kind when 'deposit' then u.mail_deposits when 'withdrawal' then u.mail_withdrawals else true end
       and n.turn + (select count(*) from mails m where m.user_id = n.user_id and m.kind = n.kind and m.created_at > since) <= most
$$;

-- A person's mails of a kind since a time: counted for each word that is owed, and no more of them read than are counted.
-- Built beside the old one: mails are read meanwhile.
create index mails_of_user on mails (user_id, kind, created_at) where user_id is not null;
drop index mails_user;
alter index mails_of_user rename to mails_user;
