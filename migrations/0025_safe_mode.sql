-- Whether open rows are still to be looked at since the safe mode is on (src/money/safe_mode.rs): it is entered together with what was found, and
-- the look is made until it has been made, whoever dies meanwhile.
alter table safe_mode add column open_rows_due boolean not null default false;
