-- Whether what was acknowledged is there, and what somebody accepted that is not. Parameters in the order in which they first stand here.

-- name: identity
select ledger from identity;

-- name: acknowledged
select command, beats from incarnations where id = $1;

-- name: item_known
select 1 from items where id = $1;

-- name: end_all_incarnations
update incarnations set expires_at = $1, ended_at = $1 where ended_at is null;

-- name: note_restore
insert into restores (at, who, reason, report) values ($1, $2, $3, $4);

-- name: restores
select id, at, who, reason, report from restores order by id desc limit $1;

-- name: restores_accepted
select count(*) from restores;

-- name: last_ended
select at from receipts order by id desc limit 1;

-- name: last_of_incarnations
select max(case when ended_at is null then started_at else ended_at end) from incarnations;
