-- A number below a limit, and one of several words: by chance, but always the same for a row and a purpose.
create function pg_temp.roll(n bigint, purpose int, below bigint) returns int language sql immutable as
    $$ select ((hashint8extended(n, purpose) & 9223372036854775807) % below)::int $$;
create function pg_temp.pick(n bigint, purpose int, words text[]) returns text language sql immutable as
    $$ select words[1 + pg_temp.roll(n, purpose, cardinality(words))] $$;
-- The first words are the common ones.
create function pg_temp.word(n bigint, purpose int) returns text language sql immutable as $$
    select (string_to_array('rent groceries salary savings electricity water school fees medical insurance car petrol internet '
        'airtime invoice order deposit refund gift birthday wedding holiday church donation loan repayment furniture garden '
        'kitchen repair plumber builder tuition books clothes stokvel taxi data phone lunch', ' '))
        [1 + least(pg_temp.roll(n, purpose, 40), pg_temp.roll(n, purpose + 1, 40))] $$;
create function pg_temp.syllable(n bigint, purpose int) returns text language sql immutable as $$
    select pg_temp.pick(n, purpose, string_to_array(
        'ka ndi le ra mo sha vi wen ter ma lo du pre to ria gau xo tha bo nko zi fe lu jo sim pa', ' ')) $$;
-- As `ledger::row_id` and `ledger::user_id` make them: a UUIDv7 that ends in so many zeros.
create function pg_temp.id(n bigint, at timestamptz, zeros int) returns uuid language sql stable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || left(md5(n::text), 3) || '8'
        || substr(md5(n::text), 4, 15 - zeros) || repeat('0', zeros))::uuid $$;

insert into users (id, email, full_name, password_hash, created_at)
select pg_temp.id(n, begun, 4), 'seed-' || n || '@example.com', 'Seeded Customer', '-', begun
  from seeding, generate_series(1, users) n;

insert into bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at)
select pg_temp.id(-n, begun, 0), pg_temp.id(n, begun, 4), '\x00', 'seed', 'FNB', '4567', begun
  from seeding, generate_series(1, users) n;

insert into users (id, email, full_name, password_hash, role, created_at)
select staff, 'staff@example.com', 'Seeded Staff', '-', 'finance', begun from seeding;
insert into sessions (id, user_id, created_at, expires_at) select staff, staff, begun, 'infinity' from seeding;
