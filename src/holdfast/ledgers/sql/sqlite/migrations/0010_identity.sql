-- Which ledger this is, and whose. One row, written when the ledger is made.
create table ledger_identity (
    one integer primary key check (one = 1),
    id text not null,
    project text not null,
    created_at integer not null
) strict;
