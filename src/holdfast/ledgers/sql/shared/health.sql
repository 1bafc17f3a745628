-- What runners know together. Parameters in the order in which they first stand here.

-- name: breakers
select name, opened_at, probes, probe_at, why from breakers order by name;

-- name: trip
insert into breakers (name, opened_at, probes, probe_at, why) values ($1, $2, 0, $3, $4) on conflict (name) do nothing;

-- name: probe
update breakers set probe_at = $1, probes = probes + 1 where name = $2 and probe_at <= $3 returning name;

-- name: heal
delete from breakers where name = $1;

-- name: close_breaker
delete from breakers where name = $1 returning probe_at;

-- name: known_dependencies those that are or were unavailable, or were closed by hand
select name from breakers union select subject from alerts where kind = 'open-breaker'
union select substr(target, 12) from operations where verb = 'close' and target like 'dependency %' order by 1;

-- name: durations
select pipeline, step, sketch from durations;

-- name: durations_of
select sketch from durations where pipeline = $1 and step = $2;

-- name: keep_durations
insert into durations (pipeline, step, sketch, at) values ($1, $2, $3, $4)
on conflict (pipeline, step) do update set sketch = excluded.sketch, at = excluded.at;

-- name: cached
select output, artifact from cache where digest = $1;

-- name: add_cached
insert into cache (digest, at, output, artifact) values ($1, $2, $3, $4) on conflict (digest) do nothing;

-- name: forget_cached
delete from cache where digest = $1;

-- name: forget_serving of incarnations that ended, or were over before this one began
delete from serving where incarnation in (
    select n.id from incarnations n where n.ended_at is not null or n.expires_at < (select o.started_at from incarnations o where o.id = $1)
);

-- name: serve
insert into serving (incarnation, version) values ($1, $2) on conflict (incarnation, version) do nothing;

-- name: dead_letters_open of a pipeline, and since when the first of them
select count(*), min(d.at) from (
    select at from dead_letters where state = 'open' and pipeline = (select id from pipelines where name = $1) order by id limit $2
) d;

-- name: dead_letters_since a time, among the newest of all
select count(*) from (select at, pipeline from dead_letters order by id desc limit 20000) d
where d.at > $1 and d.pipeline = (select id from pipelines where name = $2);

-- name: dead_letters_open_at a step of a version
select count(*), min(d.at) from (
    select l.at from dead_letters l join items i on i.id = l.item
    where l.state = 'open' and l.pipeline = (select id from pipelines where name = $1) and l.node = $2 and i.version = $3 order by l.id limit $4
) d;

-- name: dead_letters_since_at a step of a version
select count(*) from (select at, pipeline, node, item from dead_letters order by id desc limit 20000) d join items i on i.id = d.item
where d.at > $1 and d.pipeline = (select id from pipelines where name = $2) and d.node = $3 and i.version = $4;

-- name: versions_of
select v.id, v.shape from versions v join pipelines p on p.id = v.pipeline where p.name = $1;

-- name: open_dead_letters_after one, of a pipeline, with how often each task was sent back before
select d.id, i.version, d.node, d.error_class, d.error, d.at, i.state, (
    select count(*) from dead_letters r where r.item = d.item and r.node = d.node and r.element_path = d.element_path and r.state = 'redriven'
)
from dead_letters d join items i on i.id = d.item
where d.state = 'open' and d.pipeline = (select id from pipelines where name = $1) and d.id > $2 order by d.id limit $3;

-- name: unserved versions with items that have not ended, which no runner alive serves
select p.name, v.label from versions v join pipelines p on p.id = v.pipeline
where exists (select 1 from items i where i.version = v.id and i.state in ('queued', 'waiting', 'running'))
and not exists (
    select 1 from serving s join incarnations n on n.id = s.incarnation where s.version = v.id and n.ended_at is null and n.expires_at > $1
);

-- name: open_alerts
select kind, subject from alerts where closed_at is null;

-- name: open_alert
insert into alerts (kind, subject, message, opened_at, seen_at) values ($1, $2, $3, $4, $4)
on conflict (kind, subject) where closed_at is null do nothing returning id;

-- name: alert_seen
update alerts set seen_at = $1, message = $2 where kind = $3 and subject = $4 and closed_at is null;

-- name: close_alert
update alerts set closed_at = $1 where kind = $2 and subject = $3 and closed_at is null and seen_at < $4 returning id;

-- name: old_items whether there is an item that was admitted before and has not ended
select count(*) from (
    select 1 from items i join pipelines p on p.id = i.pipeline
    where i.state in ('queued', 'running', 'waiting', 'paused') and p.name = $1 and i.id < $2 limit 1
) old;

-- name: parked_events
select count(*) from (select 1 from events where outgoing = 2 limit $1) parked;

-- name: aside_events
select count(*) from (select 1 from events where fresh = 2 limit $1) aside;

-- name: know_address
insert into alert_addresses (address, label, since) values ($1, $2, $3) on conflict (address) do update set label = excluded.label;

-- name: revive_tellings of alerts that are still open
update alert_deliveries set state = 'due', tries = 0, due = $1
where address = $2 and state = 'failed' and alert in (select id from alerts where closed_at is null);

-- name: plan_tellings of what is open, and of what has closed since the address is known (notified_at: told by an older release)
insert into alert_deliveries (alert, address, due) select a.id, cast($1 as text), cast($2 as bigint) from alerts a
where a.notified_at is null
and (a.closed_at is null or a.closed_at >= coalesce((select k.since from alert_addresses k where k.address = $1), $2))
and (a.closed_at is null or a.closed_at > $3)
and not exists (select 1 from alert_deliveries d where d.alert = a.id and d.address = $1)
on conflict (alert, address) do nothing;

-- name: give_up_tellings
update alert_deliveries set state = 'failed' where address = $1 and state = 'due' and tries >= $2 and due <= $3;

-- name: claim_tellings each try waits twice as long for the next, up to an hour; one that is due later than any try: a clock was set
update alert_deliveries set tries = tries + 1, due = $1 + case when tries >= 6 then 3540000 else 60000 * ((1 << tries) - 1) end
where address = $2 and state = 'due' and (due <= $3 or due > $3 + 7200000) returning alert, tries;

-- name: alert_of
select id, kind, subject, message, opened_at, closed_at from alerts where id = $1;

-- name: alert_told
update alert_deliveries set state = 'delivered', delivered_at = $1, error = null where alert = $2 and address = $3;

-- name: alert_not_told
update alert_deliveries set error = $1, state = case when tries >= $2 then 'failed' else 'due' end where alert = $3 and address = $4 and state = 'due';

-- name: alert_deliveries the newest alerts first
select d.alert, a.kind, a.subject, coalesce(k.label, ''), d.state, d.tries, case when d.state = 'due' then d.due end, d.delivered_at, d.error
from alert_deliveries d join alerts a on a.id = d.alert left join alert_addresses k on k.address = d.address
where cast($1 as text) is null or d.state = $1 order by d.alert desc, d.address limit $2;
