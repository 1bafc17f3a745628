-- What the audit compares with a version's graph. See audit.sql, and model/required.py.

-- name: walk_tasks
select item from tasks where item > $1 order by item limit 1 offset $2;

-- name: audited_items
select id, version, generation from items where id > $1 and id <= $2 and state = 'completed' order by id;

-- name: audited_tasks of completed items: what counts, oldest generation first; outputs where they are small
select t.item, t.node, t.element_path, t.generation, t.state, case when length(t.output) <= 256 then t.output end
from tasks t join items i on i.id = t.item
where t.item > $1 and t.item <= $2 and i.state = 'completed'
and {not_voided}
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = t.item), 0)
order by t.item, t.generation;

-- name: audited_outer_tasks the same of one item, outside eaches and refines
select t.item, t.node, t.element_path, t.generation, t.state, case when length(t.output) <= 256 then t.output end
from tasks t join items i on i.id = t.item
where t.item > $1 and t.item <= $2 and t.element_path = '' and i.state = 'completed'
and {not_voided}
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = t.item), 0)
order by t.item, t.generation;

-- name: audit_task_ahead no task belongs to a generation that has not begun
select i.id from items i where i.id > $1 and i.id <= $2
and exists (select 1 from tasks t where t.item = i.id and t.generation > i.generation) limit $3;

-- name: hold what a runner holds, as it says
insert into holdings (incarnation, beat, items) values ($1, 1, $2)
on conflict (incarnation) do update set beat = holdings.beat + 1, items = excluded.items;

-- name: drop_holdings of runners that are over
delete from holdings where incarnation in (select h.incarnation from holdings h join incarnations n on n.id = h.incarnation where n.ended_at is not null);

-- name: holdings of runners that are not over
select h.incarnation, h.beat, h.items from holdings h join incarnations n on n.id = h.incarnation where n.ended_at is null;

-- name: owned items of an incarnation
select id, fence from items where state = 'running' and due = $1 order by id limit $2;

-- name: owners that are not over, and own something
select n.id, n.host, n.pid from incarnations n
where n.ended_at is null and n.expires_at > $1 and exists (select 1 from items i where i.state = 'running' and i.due = n.id) order by n.id limit 1000;

-- name: task_references a page of all tasks, with what lies in the store
select item, node, element_path, generation, artifact from tasks where (item, node, element_path, generation) > ($1, $2, $3, $4)
order by item, node, element_path, generation limit $5;

-- name: item_references what items have and give, and had and gave under payloads that were replaced
select id, artifact, output_artifact from items
where id > $1 and id <= $2 and (artifact is not null or output_artifact is not null)
union all select item, artifact, output_artifact from revisions
where item > $1 and item <= $2 and (artifact is not null or output_artifact is not null) order by 1;

-- name: kept_references of items: stretches of eaches, recorded effects, corrected inputs
select item, chunk, cast(null as text) from each_parts where item > $1 and item <= $2;

-- name: effect_references
select item, value from effects where item > $1 and item <= $2
union all select item, value from past_effects where item > $1 and item <= $2
union all select item, arguments from edits where item > $1 and item <= $2;

-- name: wait_references
select id, item, shown_artifact, answer_artifact from waits
where id > $1 and id <= $2 and (shown_artifact is not null or answer_artifact is not null) order by id;

-- name: walk_events
select id from events where id > $1 order by id limit 1 offset $2;

-- name: event_references
select id, artifact from events where id > $1 and id <= $2 and artifact is not null order by id;

-- name: groups_by_manifest receipts and items by state
select p.name, coalesce(m.name, ''), cast(null as bigint), i.state, count(*)
from receipts r join pipelines p on p.id = r.pipeline left join manifests m on m.id = r.manifest left join items i on i.id = r.item
where r.id > $1 and r.id <= $2 group by p.name, coalesce(m.name, ''), i.state;

-- name: groups_by_hour receipts and items by state
select p.name, cast(null as text), r.at / 3600000, i.state, count(*)
from receipts r join pipelines p on p.id = r.pipeline left join items i on i.id = r.item
where r.id > $1 and r.id <= $2 group by p.name, r.at / 3600000, i.state;
