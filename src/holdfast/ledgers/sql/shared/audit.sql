-- Each audit_ query lists what breaks one rule, among the rows of one table whose ids are above $1 and at most $2: at most $3 rows.
-- What each is about, and what to do, is in ledgers/audit_rules.py; the tables are walked in ledgers/auditing.py.

-- name: walk_receipts
select id from receipts where id > $1 order by id limit 1 offset $2;

-- name: count_receipts
select pipeline, count(*) from receipts where id > $1 and id <= $2 group by pipeline;

-- name: count_items
select pipeline, state, count(*) from items where id > $1 and id <= $2 group by pipeline, state;

-- name: unbalanced_groups receipts by manifest and hour that are not as many items
select p.name, coalesce(m.name, ''), r.at / 3600000, count(*), count(distinct i.id)
from receipts r join pipelines p on p.id = r.pipeline left join manifests m on m.id = r.manifest
left join items i on i.id = r.item and i.pipeline = r.pipeline
where r.id > $1 and r.id <= $2 group by p.name, coalesce(m.name, ''), r.at / 3600000
having count(*) <> count(distinct i.id) order by 1, 2, 3 limit $3;

-- name: audit_receipt_without_item each receipt has one item, of its pipeline
select r.item from receipts r left join items i on i.id = r.item
where r.id > $1 and r.id <= $2 and (i.id is null or i.pipeline <> r.pipeline) limit $3;

-- name: audit_receipt_without_manifest a receipt's manifest has a name
select r.item from receipts r left join manifests m on m.id = r.manifest
where r.id > $1 and r.id <= $2 and r.manifest is not null and m.id is null limit $3;

-- name: walk_items
select id from items where id > $1 order by id limit 1 offset $2;

-- name: audit_item_without_receipt each item has one receipt
select i.id from items i where i.id > $1 and i.id <= $2 and (select count(*) from receipts r where r.item = i.id) <> 1 limit $3;

-- name: audit_item_without_version each item goes under a version of its pipeline
select i.id from items i left join versions v on v.id = i.version and v.pipeline = i.pipeline
where i.id > $1 and i.id <= $2 and v.id is null limit $3;

-- name: audit_child_without_parent what set an item off is there
select i.id from items i left join items p on p.id = i.parent
where i.id > $1 and i.id <= $2 and i.parent is not null and p.id is null limit $3;

-- name: audit_running_without_owner a running item has an owner that is known; one whose owner is over is claimable
select i.id from items i left join incarnations n on n.id = i.due
where i.id > $1 and i.id <= $2 and i.state = 'running' and n.id is null limit $3;

-- name: audit_waiting_without_wake a waiting item has a time at which it wakes, or somebody or something that will wake it
select i.id from items i where i.id > $1 and i.id <= $2 and i.state = 'waiting' and (
    i.due <= 0 or (
        i.due >= 9007199254740991
        and (select count(*) from waits w where w.item = i.id and w.state in ('open', 'answered')) = 0  -- counted: no plan hashes all waits
    )
) limit $3;

-- name: audit_ended_without_time an ended item knows when it ended
select id from items where id > $1 and id <= $2 and state in ('completed', 'dead') and ended_at is null limit $3;

-- name: audit_completed_without_output each completed item has a result
select i.id from items i where i.id > $1 and i.id <= $2 and i.state = 'completed'
and i.output_node is null and i.output is null and i.output_artifact is null limit $3;

-- name: audit_output_without_task a completed item's result lies in a task that succeeded
select i.id from items i where i.id > $1 and i.id <= $2 and i.state = 'completed' and i.output_node is not null and not exists (
    select 1 from tasks t where t.item = i.id and t.node = i.output_node and t.element_path = i.output_element_path and t.state in ('succeeded', 'skipped')
) limit $3;

-- name: audit_output_without_value the task that holds a completed item's result has its value still
select i.id from items i where i.id > $1 and i.id <= $2 and i.state = 'completed' and i.output_node is not null and exists (
    select 1 from tasks t where t.item = i.id and t.node = i.output_node and t.element_path = i.output_element_path and t.state = 'succeeded'
    and t.output is null and t.artifact is null and t.generation = (
        select max(n.generation) from tasks n where n.item = t.item and n.node = t.node and n.element_path = t.element_path
    )
) limit $3;

-- name: audit_dead_without_letter each dead item has an open dead letter
select i.id from items i where i.id > $1 and i.id <= $2 and i.state = 'dead' and not exists (
    select 1 from dead_letters d where d.item = i.id and d.state = 'open'
) limit $3;

-- name: audit_dead_task_of_completed a dead task of a completed item was borne (by an each, a join) or taken up (by a fallback): a flag says so
select i.id from items i where i.id > $1 and i.id <= $2 and i.state = 'completed'
and exists (select 1 from tasks t where t.item = i.id and t.state = 'dead' and t.generation = i.generation)
and coalesce(i.flags, '') not like '%elements-missing%' and coalesce(i.flags, '') not like '%fallback-%'
and coalesce(i.flags, '') not like '%missing-%' and coalesce(i.flags, '') not like '%late-%' limit $3;

-- name: audit_generation_ahead no restart, move or kept stretch belongs to a generation that has not begun
select i.id from items i where i.id > $1 and i.id <= $2 and (
    i.generation < 1
    or exists (select 1 from restarts r where r.item = i.id and r.generation > i.generation)
    or exists (select 1 from moves m where m.item = i.id and m.generation > i.generation)
    or exists (select 1 from each_parts e where e.item = i.id and e.generation > i.generation)
) limit $3;

-- name: walk_live
select item from live_tasks where item > $1 order by item limit 1 offset $2;

-- name: audit_completed_with_live_task nothing of an ended item is running or waiting
select l.item from live_tasks l join items i on i.id = l.item
where l.item > $1 and l.item <= $2 and i.state in ('completed', 'dead', 'discarded', 'cancelled', 'archived') limit $3;

-- name: audit_live_task_without_item a task that has not ended is of an item
select l.item from live_tasks l left join items i on i.id = l.item where l.item > $1 and l.item <= $2 and i.id is null limit $3;

-- name: audit_task_that_nobody_wakes a task that waits without a time of its own has somebody or something that will wake it
select l.item from live_tasks l join items i on i.id = l.item
where l.item > $1 and l.item <= $2 and l.state = 'waiting' and l.wake_at = 0 and i.state in ('waiting', 'running') and not exists (
    select 1 from waits w where w.item = l.item and w.node = l.node and w.element_path = l.element_path and w.state in ('open', 'answered')
) limit $3;

-- name: walk_dead_letters
select id from dead_letters where id > $1 order by id limit 1 offset $2;

-- name: audit_letter_without_item each dead letter has its item
select d.item from dead_letters d left join items i on i.id = d.item where d.id > $1 and d.id <= $2 and i.id is null limit $3;

-- name: audit_letter_ahead no dead letter belongs to a generation that has not begun
select d.item from dead_letters d join items i on i.id = d.item where d.id > $1 and d.id <= $2 and d.generation > i.generation limit $3;
