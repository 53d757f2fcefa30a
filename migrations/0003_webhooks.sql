-- Every call that reached the webhook endpoint, and the queue of those that are to be acted on.

create table webhook_logs (
    id             uuid        primary key,
    endpoint       text        not null,
    received_at    timestamptz not null,
    source_address text,
    -- SHA-256 of the exact bytes that were signed.
    body_hash      bytea       not null,
    -- Those bytes and the headers, encrypted as bank details are: events repeat names, e-mails and account numbers. Null once they
    -- were pruned; what is needed to find the call stands beside it.
    content        bytea,
    key_id         text,
    verdict        text        not null,
    event_type     text,
    object_id      uuid,
    reference      text,

    state          text        not null,
    due_at         timestamptz,
    attempts       integer     not null default 0,
    last_error     text,
    finished_at    timestamptz,
    -- Why a dead letter was dismissed. No personal data.
    note           text,

    constraint webhook_logs_verdict check (verdict in ('accepted', 'duplicate', 'stale', 'foreign', 'bad_signature')),
    constraint webhook_logs_state   check (state in ('pending', 'done', 'ignored', 'dead', 'dismissed')),
    constraint webhook_logs_note    check (note is null or state = 'dismissed' and length(note) between 1 and 500),
    constraint webhook_logs_due     check (due_at is null or state = 'pending'),
    constraint webhook_logs_hash    check (length(body_hash) = 32),
    constraint webhook_logs_key     check ((content is null) = (key_id is null)),
    constraint webhook_logs_opens   check (state <> 'pending' or content is not null)
);

-- Revio has no event id; a retry is byte-identical, so the hash of the body is the identity of a delivery. Only the
-- accepted one is unique: what was refused must never stand in the way of the genuine event.
create unique index webhook_logs_once on webhook_logs (endpoint, body_hash) where verdict = 'accepted';
create index webhook_logs_due on webhook_logs (due_at) where due_at is not null;
create index webhook_logs_object on webhook_logs (object_id, received_at desc) where object_id is not null;
create index webhook_logs_dead on webhook_logs (received_at) where state = 'dead';
-- What is still kept whole, the oldest first, and under which key.
create index webhook_logs_content on webhook_logs (id) include (key_id) where content is not null;
create index webhook_logs_received on webhook_logs (received_at desc);
