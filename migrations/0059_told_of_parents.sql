-- What Revio told of the objects of the payment, also of a payout that it has let go of. Of a refund or a chargeback it tells under the purchase
-- that is given back, which is its deposit's: these have what was told of all Payments of that.
create or replace view reporting.payment_events as
    select t.id::text as transaction_id, w.received_at as at, reporting.event_kind(w.event_type, w.verdict) as event_kind, w.state,
           t.id as payment_id
      from transactions t
      join provider_objects o on o.transaction_id in (t.id, t.parent_id)
      join webhook_logs w on w.object_id = o.id
     where w.verdict = 'accepted' and (o.transaction_id = t.id or t.kind <> 'deposit' and w.event_type ^@ 'payment.');
