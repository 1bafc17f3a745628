-- Inputs that were not accepted: one row for a source, beside receipts.

-- name: refuse_input of a pipeline, or of none (''): the same source refused again is counted, and open again; clocks differ, so its last time is the latest that was said
insert into refused_inputs (pipeline, identity, source, reason, kind, key, manifest, item, first_at, last_at)
select p.id, cast($1 as text), cast($2 as text), cast($3 as text), cast($4 as text), cast($5 as text),
    (select m.id from manifests m where m.name = $6), cast($7 as bigint), cast($8 as bigint), cast($8 as bigint)
from (select id, name from pipelines union all select 0, '') p where p.name = $9
on conflict (pipeline, identity) do update set reason = excluded.reason, kind = excluded.kind, key = excluded.key, item = excluded.item,
    manifest = coalesce(excluded.manifest, refused_inputs.manifest), count = refused_inputs.count + 1,
    last_at = case when excluded.last_at > refused_inputs.last_at then excluded.last_at else refused_inputs.last_at end,
    state = 'open', accepted_at = null;

-- name: any_refused whether acceptance has anything to close
select 1 from refused_inputs where state = 'open' limit 1;

-- name: accept_refused the same source was accepted later
update refused_inputs set state = 'accepted', item = $1, accepted_at = $2
where pipeline = (select id from pipelines where name = $3) and identity = $4 and state = 'open';

-- name: payload_now
select payload, artifact from items where id = $1;

-- name: refused_inputs the newest first
select r.id, coalesce(p.name, ''), r.source, r.key, r.kind, r.reason, m.name, r.first_at, r.last_at, r.count, r.state, r.item, r.accepted_at
from refused_inputs r left join pipelines p on p.id = r.pipeline left join manifests m on m.id = r.manifest
where (cast($1 as text) is null or p.name = $1) and (cast($2 as text) is null or r.state = $2) and r.id < cast($3 as bigint)
order by r.id desc limit $4;

-- name: refused_count
select p.name, r.state, count(*) from refused_inputs r join pipelines p on p.id = r.pipeline group by p.name, r.state order by p.name, r.state;

-- name: refused_open of one pipeline, what a manifest may name
select r.source, r.key, r.kind, r.reason from refused_inputs r join pipelines p on p.id = r.pipeline where p.name = $1 and r.state = 'open' order by r.id;

-- name: walk_refused
select id from refused_inputs where id > $1 order by id limit 1 offset $2;

-- name: audit_refused_without_pipeline each refused input was for a pipeline that is known, or a broker's message (pipeline 0)
select r.id from refused_inputs r left join pipelines p on p.id = r.pipeline
where r.id > $1 and r.id <= $2 and p.id is null and r.pipeline <> 0 limit $3;

-- name: audit_refused_miscounted a refused input was refused once or more often, and its last time is not before its first
select id from refused_inputs
where id > $1 and id <= $2 and (count < 1 or last_at < first_at or (count = 1 and last_at <> first_at)) limit $3;

-- name: audit_refused_accepted_without_item a refused input that was accepted later has become an item of its pipeline
select r.id from refused_inputs r left join items i on i.id = r.item and i.pipeline = r.pipeline
where r.id > $1 and r.id <= $2
and ((r.state = 'accepted' and (i.id is null or r.accepted_at is null)) or (r.state = 'open' and r.accepted_at is not null)) limit $3;
