-- What strangers do at our doors, counted instead of kept.

-- Webhook deliveries whose signature was wrong, by the network that they came from: of IPv6 the /64. A process tells at most 1,000
-- networks apart in an hour; the rest are `others`.
create table refused_deliveries (
    hour    timestamptz not null,
    network text        not null,
    calls   bigint      not null,

    primary key (hour, network),
    constraint refused_deliveries_calls check (calls > 0)
);

-- What the log keeps of them is deleted by age.
create index webhook_logs_refused on webhook_logs (received_at) where verdict = 'bad_signature';
