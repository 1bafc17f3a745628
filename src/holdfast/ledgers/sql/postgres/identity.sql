-- Which ledger this is.

-- name: has_identity
select to_regclass('ledger_identity')::text;

-- name: whose
select id, project, created_at from ledger_identity;

-- name: add_identity when there is none
insert into ledger_identity (one, id, project, created_at) values (1, $1, $2, now_ms()) on conflict (one) do nothing;
