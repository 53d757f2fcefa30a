-- Refresh tokens that were used are deleted after a while, also of a session that goes on (src/identity/sessions.rs).
create index refresh_tokens_rotated on refresh_tokens (rotated_at) where rotated_at is not null;
