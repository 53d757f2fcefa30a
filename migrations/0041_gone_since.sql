-- When a run did not find any more what people had resolved: the same is news where it comes back.
alter table breaks add column gone_at timestamptz;
