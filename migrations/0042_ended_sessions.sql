-- Which living session ends first: what ended longer ago than `RETENTION` says is found without a look at all others.
create index sessions_expires_at on sessions (expires_at) where revoked_at is null;
