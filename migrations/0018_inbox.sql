-- What Revio has signed is kept once. When the same bytes come again, that is kept without them, a few times; after that it is counted.

-- How often the bytes of this call came again.
alter table webhook_logs add column repeats bigint not null default 0;

-- The accepted one has an index of its own (webhook_logs_once).
create index webhook_logs_again on webhook_logs (endpoint, body_hash) where verdict in ('duplicate', 'stale', 'foreign');

-- Until now the bytes stood in each of them, and none said what it is about: no erasure found them.
update webhook_logs again
   set content = null, key_id = null, event_type = accepted.event_type, object_id = accepted.object_id, reference = accepted.reference
  from webhook_logs accepted
 where again.verdict = 'duplicate' and accepted.verdict = 'accepted'
   and accepted.endpoint = again.endpoint and accepted.body_hash = again.body_hash;
