-- Questions about what waits, what was emitted, and what combinators decided.

-- name: reviews
select w.id, w.item, p.name, i.version, i.key, w.node, w.element_path, w.name, w.state, w.asked, w.digest, w.shown, w.shown_artifact, w.opened_at, w.due,
    w.proposed_by, w.answered_by, w.answered_at, w.answer, w.answer_artifact
from waits w join items i on i.id = w.item join pipelines p on p.id = i.pipeline
where w.kind = 'review' and (cast($1 as text) is null or p.name = $1) and (cast($2 as text) is null or w.state = $2)
and (cast($3 as bigint) is null or w.id = $3)
order by w.id limit $4;

-- name: waits_of
select node, element_path, kind, state, name, key, opened_at, due, answered_at, answered_by, id from waits where item = $1 order by id;

-- name: events
select id, name, type, source, key, at, correlation, trace, data, artifact, outgoing,
    (select count(*) from deliveries d where d.event = events.id), received_at
from events where (cast($1 as text) is null or type = $1) and (cast($2 as text) is null or name = $2) order by id desc limit $3;

-- name: event_deliveries
select d.id, p.name, d.state, d.item, d.reason, e.name, e.type, e.at, e.source, d.tries, nullif(d.due, 0), e.received_at
from deliveries d join pipelines p on p.id = d.pipeline join events e on e.id = d.event
where (cast($1 as bigint) is null or d.event = $1) and (cast($2 as text) is null or d.state = $2) order by d.id desc limit $3;

-- name: outgoing_listed
select id, name, source, type, outgoing, send_tries, nullif(send_due, 0), send_error, received_at from events
where outgoing >= $1 and outgoing in (1, 2) order by outgoing desc, id limit $2;

-- name: undelivered by the newest version that listens; served: whether a runner serves any version that does
select d.id, p.name, (
    select o.label from versions o join subscriptions t on t.version = o.id and t.type = e.type where o.pipeline = d.pipeline order by o.id desc limit 1
), e.name, e.source, e.type, e.received_at, d.tries, case when exists (
    select 1 from versions v join subscriptions s on s.version = v.id and s.type = e.type
    join serving g on g.version = v.id join incarnations n on n.id = g.incarnation
    where v.pipeline = d.pipeline and n.ended_at is null and n.expires_at > $1
    and not exists (select 1 from verdicts x where x.delivery = d.id and x.version = v.id)
) then 1 else 0 end, d.reason
from deliveries d join pipelines p on p.id = d.pipeline join events e on e.id = d.event
where d.state = 'open' and e.received_at < $2 order by d.id limit $3;

-- name: has_delivery
select 1 from deliveries where id = $1;

-- name: listeners
select distinct p.name, s.type from subscriptions s join versions v on v.id = s.version join pipelines p on p.id = v.pipeline order by s.type, p.name;

-- name: choices
select c.node, c.minute, c.choice, cast(sum(c.number) as bigint) from choices c
where c.version = $1 and c.minute >= $2 group by c.node, c.minute, c.choice order by c.node, c.minute, c.choice;

-- name: decisions how often a combinator decided what
select t.output, count(*) from tasks t join items i on i.id = t.item
where i.version = $1 and t.node = $2 and t.state = 'succeeded' group by t.output order by 2 desc limit 100;

-- name: passes how many items took so many passes
select n, count(*) from (
    select count(*) as n from tasks t join items i on i.id = t.item where i.version = $1 and t.node = $2 and t.state = 'succeeded' group by t.item
) counted group by n order by n;

-- name: most_passes
select t.item, i.key, i.state, count(*) from tasks t join items i on i.id = t.item
where i.version = $1 and t.node = $2 and t.state = 'succeeded' group by t.item, i.key, i.state order by 4 desc, t.item limit $3;

-- name: children_of
select c.id, p.name, c.key, c.state from items c join pipelines p on p.id = c.pipeline where c.parent = $1 order by c.id limit 1000;

-- name: set_off what one item set off: items
select c.id, p.name, c.key, c.state, c.parent from items c join pipelines p on p.id = c.pipeline where c.correlation = $1 order by c.id limit 1000;

-- name: events_set_off
select id, name, type, key, source, at from events where correlation = $1 and correlation <> '' order by id limit 1000;

-- name: started_by an event
select d.item from deliveries d where d.pipeline in (select id from pipelines) and d.event = $1 and d.item is not null;

-- name: has_event_type
select 1 from events where type = $1 limit 1;

-- name: event_types
select distinct type from events limit 200;
