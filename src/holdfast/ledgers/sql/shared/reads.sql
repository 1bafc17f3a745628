-- name: pipeline_counts
select p.name, (select count(*) from receipts r where r.pipeline = p.id) as received, c.state, coalesce(c.number, 0)
from pipelines p left join item_counts c on c.pipeline = p.id order by p.name;

-- name: shapes
select p.name, v.id, v.label, v.shape from versions v join pipelines p on p.id = v.pipeline order by v.id;

-- name: task_counts
select i.version, t.node, t.state, count(*), cast(coalesce(sum(t.ended_at - t.started_at), 0) as bigint)
from tasks t join items i on i.id = t.item group by i.version, t.node, t.state;

-- name: live_counts
select i.version, l.node, l.state, count(*), 0 from live_tasks l join items i on i.id = l.item group by i.version, l.node, l.state;

-- name: items
select i.id, p.name, v.label, i.key, i.state, i.generation, i.admitted_at, i.ended_at, i.flags
from items i join pipelines p on p.id = i.pipeline join versions v on v.id = i.version
where (cast($1 as text) is null or p.name = $1) and (cast($2 as text) is null or i.state = $2)
order by i.id desc limit $3;

-- name: item
select i.id, p.name, v.label, i.key, i.state, i.generation, i.admitted_at, i.ended_at, i.flags, i.version, i.fence, i.due, i.deadline,
    i.payload, i.artifact, i.output_node, i.output_element_path, i.output, i.output_artifact, i.parent, i.correlation, i.trace, i.revision
from items i join pipelines p on p.id = i.pipeline join versions v on v.id = i.version where i.id = $1;

-- name: item_ending
select p.name, v.label, i.key, i.state, i.output_node, i.output_element_path, i.output, i.output_artifact
from items i join pipelines p on p.id = i.pipeline join versions v on v.id = i.version where i.id = $1;

-- name: item_by_key
select id from items where key = $1 order by id desc limit 1;

-- name: item_tasks
select t.node, t.element_path, t.generation, t.state, t.attempt, t.started_at, t.ended_at, n.host, t.worker, b.hash, t.cpu_ms, t.peak_kib,
    t.cost, t.gpu_ms, t.output, t.artifact, t.flag
from tasks t left join incarnations n on n.id = t.incarnation left join bodies b on b.id = t.body
where t.item = $1 order by t.started_at, t.ended_at, t.generation, t.node, t.element_path;

-- name: item_attempts
select a.node, a.element_path, a.generation, a.attempt, a.started_at, a.ended_at, a.error_class, a.error, a.message, a.traceback, a.charged,
    n.host, a.worker, b.hash, a.cpu_ms, a.peak_kib, a.cost, a.gpu_ms
from attempts a left join incarnations n on n.id = a.incarnation left join bodies b on b.id = a.body
where a.item = $1 order by a.started_at, a.ended_at, a.attempt;

-- name: item_live
select node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at from live_tasks where item = $1 order by node, element_path;

-- name: task_output
select output, artifact from tasks where item = $1 and node = $2 and element_path = $3 order by generation desc limit 1;

-- name: dead_letters
select d.id, d.item, p.name, i.version, i.key, d.node, d.element_path, d.generation, d.error_class, d.error, d.message, d.traceback, d.attempts,
    d.at, d.state, d.closed_at, d.reason, i.state, d.fingerprint
from dead_letters d join items i on i.id = d.item join pipelines p on p.id = i.pipeline
where (cast($1 as text) is null or p.name = $1) and (cast($2 as text) is null or d.state = $2)
and (cast($3 as bigint) is null or d.id = $3) and (cast($4 as bigint) is null or d.item = $4)
order by d.id desc limit $5;

-- name: dead_causes
select i.version, d.node, d.error_class, d.error, count(*) from dead_letters d join items i on i.id = d.item
join pipelines p on p.id = i.pipeline where d.state = 'open' and (cast($1 as text) is null or p.name = $1) group by 1, 2, 3, 4 order by 5 desc;

-- name: receipt_keys
select i.key from receipts r join items i on i.id = r.item join pipelines p on p.id = r.pipeline left join manifests m on m.id = r.manifest
where p.name = $1 and (cast($2 as text) is null or m.name = $2) order by r.id;

-- name: claimed_item
select id, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags, parent, correlation, trace, wish,
    revision from items where id = $1;

-- name: stored_item
select id, key, version, state, generation, payload, artifact from items where id = $1;

-- name: item_settled what redriven dead letters have made void is left out, as for a runner
select item, node, element_path, generation, state, attempt, started_at, ended_at, output, artifact, flag
from tasks t where item = $1
and {not_voided}
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = t.item), 0)
order by generation;

-- name: item_live_rows
select item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at from live_tasks where item = $1;

-- name: item_effects
select item, node, element_path, label, value from effects where item = $1;
