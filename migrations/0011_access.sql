-- What `src/access.rs` and the staff's list of users ask for.

-- The sessions that ended while an access token of theirs may still live.
create index sessions_revoked_at on sessions (revoked_at) where revoked_at is not null;
-- Finding a person by the beginning of the e-mail, whatever the collation of the database.
create index users_email_prefix on users (email text_pattern_ops);
