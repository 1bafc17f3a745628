-- The mail room, as on SQLite, with the locks that several runners need: what one hands out, the others pass over.

-- name: fresh_events
select id, type, key, mark from events where fresh = 1 order by id limit $1 for update skip locked;

-- name: fresh_waits
select id, item, kind, name, key, node, generation from waits where fresh = 1 order by id limit $1;

-- name: take_mail
select id, kind, item, generation from mail order by id limit $1 for update skip locked;

-- name: drop_mail
delete from mail where id = $1;

-- name: tell_again what was set aside
insert into mail (kind, item, generation) values ($1, $2, $3);

-- name: lock_item
select id from items where id = $1 for no key update;

-- name: waits_for_event it counts for items that were admitted before it came
select w.id, w.item from waits w
where w.kind = 'event' and w.state = 'open' and w.name = $1 and w.key = $2 and (select min(r.id) from receipts r where r.item = w.item) <= $3;

-- name: event_for_wait
select e.id from events e where e.type = $1 and e.key = $2 and e.key <> '' and e.mark >= (select min(r.id) from receipts r where r.item = $3)
order by e.id limit 1;

-- name: answer_by_event
update waits set state = 'answered', fresh = 0, answered_at = $3, answered_by = 'event',
    answer = (select data from events where id = $2), answer_artifact = (select artifact from events where id = $2)
where id = $1 and state = 'open' returning item;

-- name: wait_looked_at
update waits set fresh = 0 where id = $1;

-- name: event_handed_out
update events set fresh = 0 where id = $1;

-- name: event_aside it could not be handed out
update events set fresh = 2 where id = $1 and fresh = 1;

-- name: wait_aside
update waits set fresh = 2 where id = $1 and fresh = 1;

-- name: events_again
update events set fresh = 1 where fresh = 2;

-- name: waits_again
update waits set fresh = 1 where fresh = 2;

-- name: deliver_event one for a pipeline, however many of its versions listen
insert into deliveries (pipeline, event) select distinct v.pipeline, cast($1 as bigint) from subscriptions s join versions v on v.id = s.version
where s.type = $2 on conflict (pipeline, event) do nothing;

-- name: child_state
select c.id, c.state, c.output, c.output_artifact, c.output_node, c.output_element_path, c.parent,
    c.generation, coalesce(c.parent_generation, 1), c.digest, c.purged_at from items c where c.id = $1;

-- name: child_of_wait
select c.id from items c join pipelines p on p.id = c.pipeline where p.name = $1 and c.key = $2;

-- name: wait_of_child one that is fresh is looked at by itself
select w.id, w.item from items c join pipelines p on p.id = c.pipeline
join waits w on w.item = c.parent and w.kind = 'child' and w.state = 'open' and w.name = p.name and w.key = c.key
    and w.fresh = 0 where c.id = $1;

-- name: answer_wait
update waits set state = 'answered', fresh = 0, answered_at = $2, answered_by = $3, answer = $4, answer_artifact = $5, failure = $6
where id = $1 and state = 'open' returning item;

-- name: wake_item
update items set due = $2 where id = $1 and state = 'waiting';

-- name: open_dead_letters_of
select id from dead_letters where item = $1 and state = 'open';

-- name: tell_children_of
insert into mail (kind, item, generation)
select 'cancel', c.id, w.generation from waits w join pipelines p on p.name = w.name join items c on c.pipeline = p.id and c.key = w.key
where w.item = $1 and w.kind = 'child' and w.state = 'open' and c.state in ('queued', 'running', 'waiting', 'paused');

-- name: withdraw_waits
update waits set state = 'withdrawn', fresh = 0 where item = $1 and state in ('open', 'answered');

-- name: drop_live_of
delete from live_tasks where item = $1;

-- name: tell_parent_of
insert into mail (kind, item, generation) select 'ended', id, generation from items where id = $1 and parent is not null;

-- name: answers_here for items that this incarnation drives
select w.item, w.node, w.element_path, w.answer, w.answer_artifact, w.failure, w.generation, w.round, i.fence
from waits w join items i on i.id = w.item where w.state = 'answered' and i.state = 'running' and i.due = $1 limit $2;

-- name: review
select id, item, state, asked, digest, proposed_by, proposed, name from waits where id = $1 and kind = 'review';

-- name: propose
update waits set proposed_by = $2, proposed = $3 where id = $1;

-- name: deliveries for a version: open, due (or due later than any try: a clock was set), not judged by it, not for a newer one with a runner
select d.id, p.name, v.id, d.tries, e.name, e.type, e.source, e.key, e.at, e.data, e.artifact, e.correlation, e.trace
from versions v join pipelines p on p.id = v.pipeline join deliveries d on d.pipeline = v.pipeline join events e on e.id = d.event
join subscriptions s on s.version = v.id and s.type = e.type
where d.state = 'open' and v.id = $1 and (d.due <= $2 or d.due > $2 + 3600000)
and not exists (select 1 from verdicts x where x.delivery = d.id and x.version = v.id)
and not exists (
    select 1 from versions o join subscriptions t on t.version = o.id and t.type = e.type
    where o.pipeline = v.pipeline and o.id > v.id and not exists (select 1 from verdicts y where y.delivery = d.id and y.version = o.id)
    and exists (
        select 1 from serving g join incarnations n on n.id = g.incarnation where g.version = o.id and n.ended_at is null and n.expires_at > now_ms()
    )
)
order by d.due, d.id limit $3;

-- name: close_delivery
update deliveries set state = $2, item = $3, reason = $4, due = 0 where id = $1 and state in ('open', 'refused') returning id;

-- name: reopen_delivery a refused one, and one that waits for its next try
update deliveries set state = 'open', reason = null, due = 0, tries = 0
where id = $1 and (state = 'refused' or (state = 'open' and tries > 0)) returning id;

-- name: postpone_delivery
update deliveries set due = $2, reason = $3, tries = tries + 1 where id = $1 and state = 'open' returning tries;

-- name: judge_delivery
insert into verdicts (delivery, version, reason) select id, cast($2 as bigint), cast($3 as text) from deliveries where id = $1 and state = 'open'
on conflict (delivery, version) do update set reason = excluded.reason;

-- name: forget_verdicts
delete from verdicts where delivery = $1;

-- name: judged_deliveries open ones that the newest listening version cannot use, and no other may: it has no runner, or cannot use them either
select x.delivery, x.reason from verdicts x join deliveries d on d.id = x.delivery join events e on e.id = d.event
where d.state = 'open' and x.version = (
    select max(v.id) from versions v join subscriptions s on s.version = v.id and s.type = e.type where v.pipeline = d.pipeline
) and not exists (
    select 1 from versions v join subscriptions s on s.version = v.id and s.type = e.type
    where v.pipeline = d.pipeline and not exists (select 1 from verdicts y where y.delivery = d.id and y.version = v.id)
    and exists (
        select 1 from serving g join incarnations n on n.id = g.incarnation where g.version = v.id and n.ended_at is null and n.expires_at > now_ms()
    )
) order by x.delivery limit 1000;

-- name: unheard_deliveries open ones to which no version of their pipeline listens any more
select d.id from deliveries d join events e on e.id = d.event where d.state = 'open' and d.pipeline = $1 and not exists (
    select 1 from versions v join subscriptions s on s.version = v.id and s.type = e.type where v.pipeline = d.pipeline
) order by d.id limit 1000;

-- name: outgoing_events
select name, type, source, key, at, data, artifact, correlation, trace, id, send_tries from events
where outgoing = 1 and (send_due <= $1 or send_due > $1 + 3600000) order by send_due, id limit $2;

-- name: event_sent
update events set outgoing = 0, send_error = null where name = $1 and source = $2;

-- name: event_not_sent counted ($5 is 1) when it is the event that the broker does not take; it is parked ($3 is 2) after a number of these
update events set send_due = $4, outgoing = $3, send_tries = send_tries + $5, send_error = $6
where name = $1 and source = $2 and outgoing = 1 returning id;

-- name: send_event_again
update events set outgoing = 1, send_due = 0, send_tries = 0 where id = $1 and (outgoing = 2 or (outgoing = 1 and send_tries > 0)) returning id;

-- name: event_content
select type, key, data, artifact from events where name = $1 and source = $2;

-- name: unsubscribe
delete from subscriptions where version = $1 and type = $2 returning type;

-- name: subscribe
insert into subscriptions (version, type) values ($1, $2) on conflict (version, type) do nothing;

-- name: subscriptions_of
select type from subscriptions where version = $1;

-- name: served_by_others a version that a runner alive other than this one serves
select 1 from serving g join incarnations n on n.id = g.incarnation
where g.version = $1 and g.incarnation <> $2 and n.ended_at is null and n.expires_at > now_ms() limit 1;

-- name: learn
insert into learned (name, value, at) values ($1, $2, $3) on conflict (name) do update set value = excluded.value, at = excluded.at;

-- name: learned
select name, value from learned;

-- name: add_receipt_of
insert into receipts (item, pipeline, at) values ($1, $2, $3);

-- name: output_of
select output, artifact from tasks where item = $1 and node = $2 and element_path = $3 order by generation desc limit 1;

-- name: note_delivered
update deliveries set item = $2 where id = $1;

-- name: next_generation_of a cancelled item begins again
update items set state = 'queued', due = 0, generation = generation + 1, fence = fence + 1, ended_at = null,
    deadline = $1 + coalesce(allowed_ms, deadline - admitted_at), allowed_ms = coalesce(allowed_ms, deadline - admitted_at)
where id = $2 and state = 'cancelled';

-- name: wake_until items that wait until a time that is not far; one that waits for something else waits again
update items set due = $1 where id in (
    select id from items where state = 'waiting' and due > $2 and due <= $3 order by id for no key update skip locked
);

-- name: wake_tasks_between tasks of items that wait, which look again between two times
update live_tasks set wake_at = $1 where state = 'retrying' and wake_at >= $2 and wake_at <= $3
and item in (select id from items where state = 'waiting' and due > $1 and due <= $3);

-- name: wake_retrying items that wait until a retry of this task
update items set due = $1 where id in (
    select i.id from items i where i.state = 'waiting' and i.version = $2 and i.due > $1
    and exists (select 1 from live_tasks l where l.item = i.id and l.node = $3 and l.state = 'retrying')
    order by i.id limit 20000 for no key update skip locked
);

-- name: queue_item a paused item goes on
update items set state = 'queued', due = 0, wish = null where id = $1 and state = 'paused';
