-- Measures: written with the rows that they sum up, and read. Parameters in the order in which they first stand here.

-- name: keep_measure
insert into measures (minute, incarnation, version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed,
    excused, busy_ms, cpu_ms, gpu_ms, cost, stored, peak_kib, durations, errors)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
on conflict (minute, incarnation, version, node) do update set
    admitted = excluded.admitted, succeeded = excluded.succeeded, skipped = excluded.skipped, dead = excluded.dead, cancelled =
    excluded.cancelled, cached = excluded.cached, passed = excluded.passed, lost = excluded.lost, failed = excluded.failed, excused =
    excluded.excused, busy_ms = excluded.busy_ms, cpu_ms = excluded.cpu_ms, gpu_ms = excluded.gpu_ms, cost = excluded.cost, stored =
    excluded.stored, peak_kib = excluded.peak_kib, durations = excluded.durations, errors = excluded.errors;

-- name: measure_admitted
insert into measures (minute, incarnation, version, node, admitted) values ($1, $2, $3, -1, $4)
on conflict (minute, incarnation, version, node) do update set admitted = measures.admitted + excluded.admitted;

-- name: measure_admitted_item
insert into measures (minute, incarnation, version, node, admitted) select admitted_at / 60000, cast($1 as bigint), version, -1, 1 from items where id = $2
on conflict (minute, incarnation, version, node) do update set admitted = measures.admitted + 1;

-- name: measures
select m.minute, m.version, m.node, m.admitted, m.succeeded, m.skipped, m.dead, m.cancelled, m.cached, m.passed, m.lost, m.failed,
    m.excused, m.busy_ms, m.cpu_ms, m.gpu_ms, m.cost, m.stored, m.peak_kib, m.durations, m.errors
from measures m where m.minute >= $1 and m.minute < $2 order by m.minute;

-- name: recounted_tasks of items above $1 and at most $2
select i.pipeline, t.state, count(*), cast(coalesce(sum(case when t.state = 'succeeded' and t.attempt > 0 then t.ended_at - t.started_at else 0 end), 0) as bigint),
    cast(coalesce(sum(case when t.state = 'succeeded' then t.cpu_ms else 0 end), 0) as bigint),
    cast(coalesce(sum(case when t.state = 'succeeded' then t.gpu_ms else 0 end), 0) as bigint),
    cast(coalesce(sum(case when t.state = 'succeeded' then t.cost else 0 end), 0) as bigint)
from tasks t join items i on i.id = t.item where t.item > $1 and t.item <= $2 and t.incarnation > 0 group by i.pipeline, t.state;

-- name: recounted_attempts
select i.pipeline, cast(sum(a.charged) as bigint), count(*), cast(sum(a.ended_at - a.started_at) as bigint), cast(coalesce(sum(a.cpu_ms), 0) as bigint),
    cast(coalesce(sum(a.gpu_ms), 0) as bigint), cast(coalesce(sum(a.cost), 0) as bigint)
from attempts a join items i on i.id = a.item where a.incarnation > 0 and a.item > $1 and a.item <= $2 group by i.pipeline;

-- name: measured_in_all of all steps of a pipeline, and its admitted items
select v.pipeline, cast(sum(m.succeeded * m.of_step) as bigint), cast(sum(m.skipped * m.of_step) as bigint),
    cast(sum(m.dead * m.of_step) as bigint), cast(sum(m.cancelled * m.of_step) as bigint), cast(sum(m.failed * m.of_step) as bigint),
    cast(sum(m.excused * m.of_step) as bigint), cast(sum(m.busy_ms * m.of_step) as bigint), cast(sum(m.cpu_ms * m.of_step) as bigint),
    cast(sum(m.gpu_ms * m.of_step) as bigint), cast(sum(m.cost * m.of_step) as bigint), cast(sum(m.admitted) as bigint)
from (select *, case when node >= 0 then 1 else 0 end as of_step from measures) m join versions v on v.id = m.version group by v.pipeline;

-- name: used_since by all steps of a pipeline
select cast(coalesce(sum(m.cpu_ms), 0) as bigint), cast(coalesce(sum(m.gpu_ms), 0) as bigint), cast(coalesce(sum(m.cost), 0) as bigint)
from measures m join versions v on v.id = m.version join pipelines p on p.id = v.pipeline where m.minute >= $1 and m.node >= 0 and p.name = $2;

-- name: used_by_field by items admitted since, by the value of a field
select u.value, count(distinct u.item), cast(coalesce(sum(u.cpu_ms), 0) as bigint), cast(coalesce(sum(u.gpu_ms), 0) as bigint),
    cast(coalesce(sum(u.cost), 0) as bigint), cast(coalesce(sum(u.stored), 0) as bigint)
from (
    select f.value, f.item, 0 as cpu_ms, 0 as gpu_ms, 0 as cost, length(i.payload) as stored from item_fields f join items i on i.id = f.item
    where f.pipeline = (select id from pipelines where name = $1) and f.name = $2 and f.item >= $3
    union all
    select f.value, f.item, t.cpu_ms, t.gpu_ms, t.cost, length(t.output) from item_fields f join tasks t on t.item = f.item
    where f.pipeline = (select id from pipelines where name = $1) and f.name = $2 and f.item >= $3 and t.state = 'succeeded'
    union all
    select f.value, f.item, a.cpu_ms, a.gpu_ms, a.cost, 0 from item_fields f join attempts a on a.item = f.item
    where f.pipeline = (select id from pipelines where name = $1) and f.name = $2 and f.item >= $3
) u group by u.value order by u.value;

-- name: artifacts_by_field of items admitted since
select f.value, i.artifact from item_fields f join items i on i.id = f.item
where f.pipeline = (select id from pipelines where name = $1) and f.name = $2 and f.item >= $3 and i.artifact is not null
union all
select f.value, t.artifact from item_fields f join tasks t on t.item = f.item
where f.pipeline = (select id from pipelines where name = $1) and f.name = $2 and f.item >= $3 and t.artifact is not null;

-- name: item_cost
update items set cost = $1 where id = $2;

-- name: pipeline_numbers
select name, id from pipelines order by name;

-- name: live_items by version, also of dead ones: how many, and the oldest (ids are in the order of admission)
select version, state, count(*), min(id) from items where state in ('queued', 'running', 'waiting', 'paused', 'dead') group by version, state;

-- name: live_tasks_by_step
select i.version, l.node, l.state, count(*), min(l.started_at) from live_tasks l join items i on i.id = l.item group by i.version, l.node, l.state;

-- name: dead_letters_by_pipeline
select p.name, count(*), min(d.at), max(d.at) from dead_letters d join pipelines p on p.id = d.pipeline
where d.state = 'open' group by p.name;

-- name: oldest_dead_letters the first open ones
select p.name, min(d.at) from (select pipeline, at from dead_letters where state = 'open' order by id limit 500) d
join pipelines p on p.id = d.pipeline group by p.name;

-- name: drops
select i.version, d.node, d.error_class, count(distinct d.item) from dead_letters d join items i on i.id = d.item
where d.state = 'open' and d.pipeline = (select id from pipelines where name = $1) and i.state = 'dead' and d.at >= $2 and d.at < $3
group by i.version, d.node, d.error_class;

-- name: dropped_in_all
select count(distinct d.item) from dead_letters d join items i on i.id = d.item
where d.state = 'open' and d.pipeline = (select id from pipelines where name = $1) and i.state = 'dead' and d.at >= $2 and d.at < $3;

-- name: runners_now
select n.id, n.host, n.pid, n.started_at, n.expires_at, n.load from incarnations n where n.ended_at is null and n.expires_at > $1 order by n.id;

-- name: report_load
update incarnations set load = $1 where id = $2;

-- name: oldest_minute that no hour has been made of
select min(minute) from measures where minute < $1 and incarnation <> $2;

-- name: take_hour
delete from measures where minute >= $1 and minute < $2
returning version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed, excused, busy_ms, cpu_ms, gpu_ms, cost, stored,
    peak_kib, durations, errors;
