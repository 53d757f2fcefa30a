-- Whom a call with a key concerns, if it is one customer (src/identity/staff.rs): what it was answered may name the person, and goes with
-- the person. No reference: a call may name somebody who is not there.
alter table idempotent_calls add column customer_id uuid;
create index idempotent_calls_customer on idempotent_calls (customer_id) where customer_id is not null;
