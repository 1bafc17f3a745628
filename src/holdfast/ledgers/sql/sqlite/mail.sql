-- The mail room: what is handed out, and to whom. Items are locked before their waits are answered, in the order of their ids.

-- name: fresh_events
select id, type, key, at from events where fresh = 1 order by id limit ?1;

-- name: fresh_waits
select id, item, kind, name, key from waits where fresh = 1 order by id limit ?1;

-- name: take_mail
select id, kind, item from mail order by id limit ?1;

-- name: drop_mail
delete from mail where id = ?1;

-- name: lock_item
select id from items where id = ?1;

-- name: waits_for_event an event counts from the item's admission on
select w.id, w.item from waits w join items i on i.id = w.item
where w.kind = 'event' and w.state = 'open' and w.name = ?1 and w.key = ?2 and i.admitted_at <= ?3;

-- name: event_for_wait
select e.id from events e where e.type = ?1 and e.key = ?2 and e.key <> '' and e.at >= (select admitted_at from items where id = ?3)
order by e.id limit 1;

-- name: answer_by_event
update waits set state = 'answered', fresh = 0, answered_at = ?3, answered_by = 'event',
    answer = (select data from events where id = ?2), answer_artifact = (select artifact from events where id = ?2)
where id = ?1 and state = 'open' returning item;

-- name: wait_looked_at
update waits set fresh = 0 where id = ?1;

-- name: event_handed_out
update events set fresh = 0 where id = ?1;

-- name: deliver_event
insert into deliveries (pipeline, event) select pipeline, cast(?1 as bigint) from subscriptions where type = ?2 on conflict (pipeline, event) do nothing;

-- name: child_state
select c.id, c.state, c.output, c.output_artifact, c.output_node, c.output_place, c.parent
from items c where c.id = ?1;

-- name: child_of_wait
select c.id from items c join pipelines p on p.id = c.pipeline where p.name = ?1 and c.key = ?2;

-- name: wait_of_child
select w.id, w.item from items c join pipelines p on p.id = c.pipeline
join waits w on w.item = c.parent and w.kind = 'child' and w.state = 'open' and w.name = p.name and w.key = c.key where c.id = ?1;

-- name: answer_wait
update waits set state = 'answered', fresh = 0, answered_at = ?2, answered_by = ?3, answer = ?4, answer_artifact = ?5, failure = ?6
where id = ?1 and state = 'open' returning item;

-- name: wake_item
update items set due = ?2 where id = ?1 and state = 'waiting';

-- name: open_letters_of
select id from dead_letters where item = ?1 and state = 'open';

-- name: tell_children_of
insert into mail (kind, item)
select 'cancel', c.id from waits w join pipelines p on p.name = w.name join items c on c.pipeline = p.id and c.key = w.key
where w.item = ?1 and w.kind = 'child' and w.state = 'open' and c.state in ('queued', 'running', 'waiting', 'paused');

-- name: withdraw_waits
update waits set state = 'withdrawn', fresh = 0 where item = ?1 and state in ('open', 'answered');

-- name: drop_live_of
delete from live_tasks where item = ?1;

-- name: tell_parent_of
insert into mail (kind, item) select 'ended', id from items where id = ?1 and parent is not null;

-- name: answers_here for items that this incarnation drives
select w.item, w.node, w.place, w.answer, w.answer_artifact, w.failure, i.fence
from waits w join items i on i.id = w.item where w.state = 'answered' and i.state = 'running' and i.due = ?1 limit ?2;

-- name: review
select id, item, state, asked, digest, proposed_by, proposed, name from waits where id = ?1 and kind = 'review';

-- name: propose
update waits set proposed_by = ?2, proposed = ?3 where id = ?1;

-- name: deliveries
select d.id, p.name, e.name, e.type, e.source, e.key, e.at, e.data, e.artifact, e.correlation, e.trace
from deliveries d join pipelines p on p.id = d.pipeline join events e on e.id = d.event
where d.state = 'open' and p.name = ?1 order by d.id limit ?2;

-- name: close_delivery
update deliveries set state = ?2, item = ?3, reason = ?4 where id = ?1 and state in ('open', 'refused') returning id;

-- name: reopen_delivery
update deliveries set state = 'open', reason = null where id = ?1 and state = 'refused' returning id;

-- name: outgoing_events
select name, type, source, key, at, data, artifact, correlation, trace, id from events where outgoing = 1 order by id limit ?1;

-- name: event_sent
update events set outgoing = 0 where name = ?1;

-- name: unsubscribe
delete from subscriptions where pipeline = (select id from pipelines where name = ?1);

-- name: subscribe
insert into subscriptions (pipeline, type) select id, ?2 from pipelines where name = ?1 on conflict (pipeline, type) do nothing;

-- name: learn
insert into learned (name, value, at) values (?1, ?2, ?3) on conflict (name) do update set value = excluded.value, at = excluded.at;

-- name: learned
select name, value from learned;

-- name: add_receipt_of
insert into receipts (item, pipeline, at) values (?1, ?2, ?3);

-- name: output_of
select output, artifact from tasks where item = ?1 and node = ?2 and place = ?3 order by generation desc limit 1;

-- name: note_delivered
update deliveries set item = ?2 where id = ?1;

-- name: next_generation_of a cancelled item begins again
update items set state = 'queued', due = -priority, generation = generation + 1, fence = fence + 1, ended_at = null,
    deadline = ?1 + coalesce(allowed_ms, deadline - admitted_at), allowed_ms = coalesce(allowed_ms, deadline - admitted_at)
where id = ?2 and state = 'cancelled';

-- name: wake_until items that wait until a time that is not far; one that waits for something else waits again
update items set due = ?1 where state = 'waiting' and due > ?2 and due <= ?3;

-- name: wake_tasks_between tasks of items that wait, which look again between two times
update live_tasks set wake_at = ?1 where state = 'retrying' and wake_at >= ?2 and wake_at <= ?3
and item in (select id from items where state = 'waiting' and due > ?1 and due <= ?3);

-- name: wake_retrying items that wait until a retry of this task
update items set due = ?1 where id in (
    select i.id from items i where i.state = 'waiting' and i.version = ?2 and i.due > ?1
    and exists (select 1 from live_tasks l where l.item = i.id and l.node = ?3 and l.state = 'retrying') limit 20000
);

-- name: queue_item a paused item goes on
update items set state = 'queued', due = -priority, wish = null where id = ?1 and state = 'paused';
