-- Which journals name the same line of the same file, for who approves one (src/money/journals/store.rs).
create index journals_evidence on journals (evidence_sha256, evidence_reference);
