-- Each audit_ query lists the items (or letters) that break one rule; an empty answer is health.

-- name: audit_received
select p.name, count(r.id) from pipelines p left join receipts r on r.pipeline = p.id group by p.name order by p.name;

-- name: audit_states
select p.name, c.state, c.number from item_counts c join pipelines p on p.id = c.pipeline;

-- name: audit_receipt_without_item each receipt has one item
select r.item from receipts r left join items i on i.id = r.item where i.id is null or i.pipeline <> r.pipeline limit 100;

-- name: audit_item_without_receipt each item has one receipt
select i.id from items i left join receipts r on r.item = i.id group by i.id having count(r.id) <> 1 limit 100;

-- name: audit_running_without_owner a running item has an owner that is known; one whose owner is over is claimable
select i.id from items i left join incarnations n on n.id = i.due where i.state = 'running' and n.id is null limit 100;

-- name: audit_waiting_without_wake a waiting item has a time at which it wakes, or somebody or something that will wake it
select i.id from items i where i.state = 'waiting' and (
    i.due <= 0 or (i.due >= 9007199254740991 and not exists (select 1 from waits w where w.item = i.id and w.state in ('open', 'answered')))
) limit 100;

-- name: audit_wait_of_ended_item nobody is asked for an item that has ended
select w.item from waits w join items i on i.id = w.item
where w.state in ('open', 'answered') and i.state in ('completed', 'dead', 'discarded', 'cancelled', 'archived') limit 100;

-- name: audit_task_that_nobody_wakes a task that waits without a time of its own has somebody or something that will wake it
select l.item from live_tasks l join items i on i.id = l.item
where l.state = 'waiting' and l.wake_at = 0 and i.state in ('waiting', 'running') and not exists (
    select 1 from waits w where w.item = l.item and w.node = l.node and w.place = l.place and w.state in ('open', 'answered')
) limit 100;

-- name: audit_child_without_item a task that waits for a child has one
select w.item from waits w where w.kind = 'child' and w.state = 'open' and not exists (
    select 1 from items c join pipelines p on p.id = c.pipeline where p.name = w.name and c.key = w.key
) limit 100;

-- name: audit_completed_with_live_task nothing of an ended item is still under way
select l.item from live_tasks l join items i on i.id = l.item
where i.state in ('completed', 'dead', 'discarded', 'cancelled', 'archived') limit 100;

-- name: audit_output_without_task a completed item's result lies in a task that succeeded
select i.id from items i where i.state = 'completed' and i.output_node is not null and not exists (
    select 1 from tasks t where t.item = i.id and t.node = i.output_node and t.place = i.output_place and t.state in ('succeeded', 'skipped')
) limit 100;

-- name: audit_dead_without_letter each dead item has an open dead letter
select i.id from items i where i.state = 'dead' and not exists (
    select 1 from dead_letters d where d.item = i.id and d.state = 'open'
) limit 100;

-- name: audit_letter_without_item each dead letter has its item
select d.item from dead_letters d left join items i on i.id = d.item where i.id is null limit 100;

-- name: audit_ended_without_time an ended item knows when it ended
select id from items where state in ('completed', 'dead') and ended_at is null limit 100;

-- name: audit_dead_task_of_completed a dead task of a completed item was borne (by an each, a join) or taken up (by a fallback): a flag says so
select i.id from items i where i.state = 'completed'
and exists (select 1 from tasks t where t.item = i.id and t.state = 'dead' and t.generation = i.generation)
and coalesce(i.flags, '') not like '%elements-missing%' and coalesce(i.flags, '') not like '%fallback-%'
and coalesce(i.flags, '') not like '%missing-%' and coalesce(i.flags, '') not like '%late-%' limit 100;

-- name: audit_completed_without_output each completed item has a result
select i.id from items i where i.state = 'completed' and i.output_node is null and i.output is null and i.output_artifact is null limit 100;
