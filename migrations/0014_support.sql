-- What staff write down about customers, and how they find them.

-- Append-only for everybody but two: `octoco keys rotate` encrypts a note again, and an erasure removes it (src/identity/notes.rs).
create table customer_notes (
    id              uuid        primary key,
    user_id         uuid        not null references users,
    author_id       uuid        not null references users,
    -- AES-256-GCM, as bank details are: people write down what they were told. The row's id is the associated data.
    content         bytea       not null,
    key_id          text        not null,
    -- The author's own, where one was sent.
    idempotency_key text,
    request_hash    bytea,
    created_at      timestamptz not null,

    constraint customer_notes_key     check ((idempotency_key is null) = (request_hash is null)),
    constraint customer_notes_key_len check (length(idempotency_key) between 1 and 255)
);
create index customer_notes_user on customer_notes (user_id, id desc);
create unique index customer_notes_idempotency on customer_notes (author_id, idempotency_key) where idempotency_key is not null;

-- Finding a person by the words of the name, the last one by its beginning.
create index users_name on users using gin (array_to_tsvector(search_words(full_name))) with (gin_pending_list_limit = 512);
