-- Which machine made an endpoint: it keeps that one, and knows of no other (src/webhooks/outgoing.rs). Null of staff's, and of those that machines made
-- before this was kept, which staff keep from now on.
alter table outgoing_endpoints add column if not exists service_account_id uuid references service_accounts (id);
