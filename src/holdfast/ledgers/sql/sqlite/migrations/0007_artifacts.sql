-- Which ledger this is, so that an artifact store knows whose an artifact is; and how long an attempt may run, so that nothing that one
-- holds is collected.

-- One row, made with the ledger, and never changed or copied: a copy is another ledger.
create table identity (
    id text not null
);
insert into identity (id) values (lower(hex(randomblob(8))));

-- The longest attempt that a version has ever allowed, in seconds; null: it was registered by an older release.
alter table versions add column longest_s real;
