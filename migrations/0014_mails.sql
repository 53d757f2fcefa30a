-- Mails that we owe somebody, and whether an e-mail was verified. src/mails.rs has the procedure.

-- Null until the person has opened a link that only this mailbox got.
alter table users add column email_verified_at timestamptz;

-- The row is also the job: due_at is queue, schedule, lease and retry in one column (docs/decisions/003).
create table mails (
    id         uuid        primary key,
    kind       text        not null,
    -- Whom it goes to. A forgotten password is asked for by address: whether anybody has it is found out when the mail is
    -- sent, so that asking takes as long and leaves the same row for everybody (docs/decisions/016).
    user_id    uuid        references users,
    address    text,
    state      text        not null default 'pending',
    due_at     timestamptz,
    attempts   integer     not null default 0,
    -- When the link in it ends. The link itself is made when the mail is sent and stands nowhere: a copy of this table
    -- opens no account.
    expires_at timestamptz not null,
    last_error text,
    created_at timestamptz not null,
    sent_at    timestamptz,

    constraint mails_kind      check (kind in ('email_verification', 'password_reset')),
    constraint mails_recipient check ((user_id is null) <> (address is null)),
    constraint mails_state     check (state in ('pending', 'sent', 'dropped', 'dead')),
    constraint mails_due       check ((due_at is not null) = (state = 'pending')),
    constraint mails_sent      check ((sent_at is not null) = (state = 'sent'))
);

create index mails_due on mails (due_at) where due_at is not null;
create index mails_dead on mails (created_at) where state = 'dead';
create index mails_user on mails (user_id) where user_id is not null;
