-- Which ledger this is.

-- name: has_identity
select 1 from sqlite_schema where name = 'ledger_identity';

-- name: whose
select id, project, created_at from ledger_identity;

-- name: add_identity when there is none
insert into ledger_identity (one, id, project, created_at)
select 1, ?, ?, cast(unixepoch('subsec') * 1000 as integer) where not exists (select 1 from ledger_identity);
