-- The audit's rules for what goes between items, and between them and people. See audit.sql.

-- name: walk_waits
select id from waits where id > $1 order by id limit 1 offset $2;

-- name: audit_wait_without_item each wait is of an item
select w.item from waits w left join items i on i.id = w.item where w.id > $1 and w.id <= $2 and i.id is null limit $3;

-- name: audit_wait_ahead no wait belongs to a generation that has not begun
select w.item from waits w join items i on i.id = w.item where w.id > $1 and w.id <= $2 and w.generation > i.generation limit $3;

-- name: audit_wait_of_ended_item nobody is asked for an item that has ended
select w.item from waits w join items i on i.id = w.item
where w.id > $1 and w.id <= $2 and w.state in ('open', 'answered')
and i.state in ('completed', 'dead', 'discarded', 'cancelled', 'archived') limit $3;

-- name: audit_answer_that_woke_nobody an item that is answered is woken
select w.item from waits w join items i on i.id = w.item
where w.id > $1 and w.id <= $2 and w.state = 'answered' and i.state = 'waiting' and i.due >= 9007199254740991 limit $3;

-- name: audit_child_without_item a task that waits for a child has one
select w.item from waits w where w.id > $1 and w.id <= $2 and w.kind = 'child' and w.state = 'open' and not exists (
    select 1 from pipelines p join items c on c.pipeline = p.id and c.key = w.key where p.name = w.name
) limit $3;

-- name: audit_wait_of_ended_child the end of a child has been told, or is about to be
select w.item from waits w join pipelines p on p.name = w.name join items c on c.pipeline = p.id and c.key = w.key
where w.id > $1 and w.id <= $2 and w.kind = 'child' and w.state = 'open' and w.fresh = 0
and c.state in ('completed', 'dead', 'discarded', 'cancelled', 'archived')
and not exists (select 1 from mail m where m.item = c.id and m.kind in ('ended', 'cancel')) limit $3;

-- name: audit_child_of_another the end of a child is told to the item that waits for it
select w.item from waits w join pipelines p on p.name = w.name join items c on c.pipeline = p.id and c.key = w.key
where w.id > $1 and w.id <= $2 and w.kind = 'child' and w.state = 'open' and w.fresh = 0
and c.state in ('queued', 'running', 'waiting', 'paused') and coalesce(c.parent, 0) <> w.item limit $3;

-- name: walk_deliveries
select id from deliveries where id > $1 order by id limit 1 offset $2;

-- name: audit_delivery_without_event a delivery is of an event
select d.id from deliveries d left join events e on e.id = d.event where d.id > $1 and d.id <= $2 and e.id is null limit $3;

-- name: audit_delivery_without_receiver an event that is to be delivered has a pipeline that listens
select d.id from deliveries d join events e on e.id = d.event
where d.id > $1 and d.id <= $2 and d.state = 'open' and not exists (
    select 1 from versions v join subscriptions s on s.version = v.id and s.type = e.type where v.pipeline = d.pipeline
) limit $3;

-- name: audit_delivered_without_item a delivery that was accepted has become an item
select d.id from deliveries d left join items i on i.id = d.item
where d.id > $1 and d.id <= $2 and d.state = 'done' and i.id is null limit $3;

-- name: walk_mail
select id from mail where id > $1 order by id limit 1 offset $2;

-- name: audit_mail_without_item what is to be told is about an item
select m.item from mail m left join items i on i.id = m.item where m.id > $1 and m.id <= $2 and i.id is null limit $3;

-- name: walk_operations
select id from operations where id > $1 order by id limit 1 offset $2;

-- name: audit_operation_without_entry each operation is in the audit log (which is younger than the first operations may be)
select o.id from operations o where o.id > $1 and o.id <= $2 and o.at >= coalesce((select f.at from audit_log f where f.id = 1), o.at)
and not exists (select 1 from audit_log t where t.at = o.at and t.who = o.who and t.action = o.verb and t.target = o.target) limit $3;

-- name: meta
select value from meta where name = $1;

-- name: audit_log_entry
select digest from audit_log where id = $1;

-- name: audit_log_size
select count(*), coalesce(max(id), 0) from audit_log;
