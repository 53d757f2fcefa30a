-- One payment's life, asked for by its id as a person pastes it. The views have the id as an id beside its text, and the index by the text,
-- which cost each row that was written or moved a tenth of all it costs PostgreSQL, is not needed any more.

create or replace function reporting.payment_id(pasted text) returns uuid language sql immutable strict parallel safe return
    case when btrim(pasted) ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then btrim(pasted)::uuid end;

create or replace view reporting.payments as
    select t.id::text as id, t.user_id::text as customer_id, t.kind, t.state, t.currency,
           reporting.major(t.amount_minor, u.exponent) as amount, t.created_at, t.completed_at, t.held_code,
           nullif(reporting.reason_class(t.state, t.failure_reason), '') as failure_reason,
           t.provider_id::text as provider_id, t.id as payment_id
      from transactions t join reporting.currencies u on u.currency = t.currency;

create or replace view reporting.payment_states as
    select t.id::text as transaction_id, s.at, s.state, t.id as payment_id
      from transactions t
     cross join lateral unnest(string_to_array(t.states, ' '), array[t.created_at] || t.moved_at) s (state, at);

create or replace view reporting.payment_transfers as
    select t.id::text as transaction_id, timestamptz 'epoch' + (l.timestamp / 1000) * interval '1 microsecond' as at,
           l.id::text as transfer_id, coalesce(r.title, l.code::text) as reason, l.kind, d.title as debit_title, c.title as credit_title,
           l.currency, reporting.major(l.amount_minor, u.exponent) as amount,
           t.id as payment_id
      from transactions t
      -- The transfers of a row are a range of ids.
      join ledger_transfers l on l.id between t.id and (left(t.id::text, 34) || 'ff')::uuid
      join reporting.currencies u on u.currency = l.currency
      join ledger_accounts da on da.id = l.debit_account_id
      join ledger_accounts ca on ca.id = l.credit_account_id
      join reporting.accounts d on d.code = da.code
      join reporting.accounts c on c.code = ca.code
      left join reporting.reasons r on r.code = l.code;

-- What Revio told of the objects of the payment.
create or replace view reporting.payment_events as
    select t.id::text as transaction_id, w.received_at as at, reporting.event_kind(w.event_type, w.verdict) as event_kind, w.state,
           t.id as payment_id
      from transactions t
      join provider_objects o on o.transaction_id = t.id
      join webhook_logs w on w.object_id = o.id
     where w.verdict = 'accepted';

-- Made again where the tables of 0004 are, by 0012 before this.
drop index if exists transactions_text;
