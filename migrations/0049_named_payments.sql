-- Which journal names a Payment of Revio's: asked for of each that gives money back (src/money/adjustments/store.rs).
create index if not exists journals_reference on journals (evidence_reference) where kind in ('suspense_in', 'suspense_return', 'chargeback_loss');
