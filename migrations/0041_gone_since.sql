-- When a run did not find any more what people had resolved: the same is news where it comes back.
alter table breaks add column gone_at timestamptz;
-- Those that nobody looks at any more.
update breaks set gone_at = ended_at
 where state = 'resolved' and resolution = 'provider_error' and ended_at < now() - interval '90 days';

-- How many accounts a customer has added within a day, those that were deleted since too.
create index bank_accounts_deleted on bank_accounts (user_id, created_at) where deleted_at is not null;
