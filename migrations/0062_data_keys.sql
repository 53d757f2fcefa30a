-- By what each key of DATA_KEYS that encrypts is known again: made of its bytes, and nobody can make those of it.
create table data_keys (
    id text primary key,
    mark bytea not null check (length(mark) = 32)
);
