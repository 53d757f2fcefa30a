-- What was said when a customer who is frozen or closed already was frozen or closed again: [{"reason", "imposed_by", "at"}], the oldest first,
-- and the last twenty of them; all are in the audit log. No personal data.
alter table restrictions add column repeats jsonb not null default '[]';
alter table restrictions add constraint restrictions_repeats check (jsonb_array_length(repeats) <= 20);
