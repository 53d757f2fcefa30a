-- Of one object of Revio's there may be a purchase and a chargeback, and each is a break of its own: what tells a line by Revio's id is its product,
-- too. What people have said of a break stays said.

update breaks set fingerprint = fingerprint || ' of=' || (evidence ->> 'product')
 where type in ('provider_only', 'settlement_unbooked', 'bank_only') and provider_id is not null and evidence ? 'product'
   and fingerprint not like '% of=%';
