-- Since when Revio's answers about it are older than what it has told: they are waited out, and in the end the row's own fault.
alter table provider_objects add column stale_since timestamptz;
