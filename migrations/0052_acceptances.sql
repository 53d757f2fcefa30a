-- Whoever asks that a break is accepted must have had the role ever since: since when.
alter table breaks add column if not exists acceptance_at timestamptz;
update breaks set acceptance_at = now() where acceptance_by is not null and ended_at is null;
