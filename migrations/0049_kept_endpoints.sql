-- Whether an endpoint is told anything: one that a machine made only while that machine may keep endpoints. What a stolen key made goes quiet with
-- the machine's account (docs/decisions/049).
create or replace function is_told(p outgoing_endpoints) returns boolean language sql stable
    return p.enabled
       and (p.service_account_id is null
            or exists (select from service_accounts a
                        where a.id = p.service_account_id and a.enabled and 'webhook_endpoints.manage' = any(a.scopes)));
