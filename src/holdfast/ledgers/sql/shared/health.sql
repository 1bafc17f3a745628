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

-- name: letters_open of a pipeline, and since when the first of them
select count(*), min(d.at) from (
    select at from dead_letters where state = 'open' and pipeline = (select id from pipelines where name = $1) order by id limit $2
) d;

-- name: letters_since a time, among the newest of all
select count(*) from (select at, pipeline from dead_letters order by id desc limit 20000) d
where d.at > $1 and d.pipeline = (select id from pipelines where name = $2);

-- name: letters_open_at a step of a version
select count(*), min(d.at) from (
    select l.at from dead_letters l join items i on i.id = l.item
    where l.state = 'open' and l.pipeline = (select id from pipelines where name = $1) and l.node = $2 and i.version = $3 order by l.id limit $4
) d;

-- name: letters_since_at a step of a version
select count(*) from (select at, pipeline, node, item from dead_letters order by id desc limit 20000) d join items i on i.id = d.item
where d.at > $1 and d.pipeline = (select id from pipelines where name = $2) and d.node = $3 and i.version = $4;

-- name: versions_of
select v.id, v.shape from versions v join pipelines p on p.id = v.pipeline where p.name = $1;

-- name: open_letters_after one, of a pipeline, with how often each task was sent back before
select d.id, i.version, d.node, d.error_class, d.error, d.at, i.state, (
    select count(*) from dead_letters r where r.item = d.item and r.node = d.node and r.place = d.place and r.state = 'redriven'
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
insert into alerts (kind, subject, message, opened_at, seen_at) values ($1, $2, $3, $4, $4);

-- name: alert_seen
update alerts set seen_at = $1, message = $2 where kind = $3 and subject = $4 and closed_at is null;

-- name: close_alert
update alerts set closed_at = $1 where kind = $2 and subject = $3 and closed_at is null and seen_at < $4 returning id;

-- name: old_items whether there is an item that was admitted before and has not ended
select count(*) from (
    select 1 from items i join pipelines p on p.id = i.pipeline
    where i.state in ('queued', 'running', 'waiting', 'paused') and p.name = $1 and i.id < $2 limit 1
) old;

-- name: alerts_to_tell
update alerts set telling_until = $1 where notified_at is null and closed_at is null and coalesce(telling_until, 0) < $2
returning id, kind, subject, message, opened_at;

-- name: alert_told
update alerts set notified_at = $1 where id = $2;
