-- Machines' calls come with an Idempotency-Key too (src/identity/repeats.rs): `user_id` is whoever calls, a user or a service account. Ids
-- are of one kind, so no two share one, and what is kept is gone after a week.
alter table idempotent_calls drop constraint idempotent_calls_user_id_fkey;
