-- Measures: written with the rows that they sum up, and read. Parameters in the order in which they first stand here.

-- name: measures_now
select version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed, excused, busy_ms, cpu_ms, cost, stored,
    peak_kib, durations, errors
from measures where minute = $1 and incarnation = $2;

-- name: keep_measure
insert into measures (minute, incarnation, version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed,
    excused, busy_ms, cpu_ms, cost, stored, peak_kib, durations, errors)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
on conflict (minute, incarnation, version, node) do update set
    admitted = excluded.admitted, succeeded = excluded.succeeded, skipped = excluded.skipped, dead = excluded.dead, cancelled =
    excluded.cancelled, cached = excluded.cached, passed = excluded.passed, lost = excluded.lost, failed = excluded.failed, excused =
    excluded.excused, busy_ms = excluded.busy_ms, cpu_ms = excluded.cpu_ms, cost = excluded.cost, stored = excluded.stored, peak_kib =
    excluded.peak_kib, durations = excluded.durations, errors = excluded.errors;

-- name: measure_admitted
insert into measures (minute, incarnation, version, node, admitted) values ($1, $2, $3, -1, $4)
on conflict (minute, incarnation, version, node) do update set admitted = measures.admitted + excluded.admitted;

-- name: measure_admitted_item
insert into measures (minute, incarnation, version, node, admitted) select admitted_at / 60000, cast($1 as bigint), version, -1, 1 from items where id = $2
on conflict (minute, incarnation, version, node) do update set admitted = measures.admitted + 1;

-- name: measures
select m.minute, m.version, m.node, m.admitted, m.succeeded, m.skipped, m.dead, m.cancelled, m.cached, m.passed, m.lost, m.failed,
    m.excused, m.busy_ms, m.cpu_ms, m.cost, m.stored, m.peak_kib, m.durations, m.errors
from measures m where m.minute >= $1 and m.minute < $2 order by m.minute;

-- name: recounted_tasks
select i.pipeline, t.state, count(*), cast(coalesce(sum(case when t.state = 'succeeded' and t.attempt > 0 then t.ended_at - t.started_at else 0 end), 0) as bigint),
    cast(coalesce(sum(case when t.state = 'succeeded' then t.cpu_ms else 0 end), 0) as bigint),
    cast(coalesce(sum(case when t.state = 'succeeded' then t.cost else 0 end), 0) as bigint)
from tasks t join items i on i.id = t.item where t.incarnation > 0 group by i.pipeline, t.state;

-- name: recounted_attempts
select i.pipeline, cast(sum(a.charged) as bigint), count(*), cast(sum(a.ended_at - a.started_at) as bigint), cast(coalesce(sum(a.cpu_ms), 0) as bigint),
    cast(coalesce(sum(a.cost), 0) as bigint)
from attempts a join items i on i.id = a.item group by i.pipeline;

-- name: measured_in_all
select v.pipeline, cast(sum(case when m.node >= 0 then m.succeeded else 0 end) as bigint), cast(sum(case when m.node >= 0 then m.skipped
    else 0 end) as bigint), cast(sum(case when m.node >= 0 then m.dead else 0 end) as bigint), cast(sum(case when m.node >= 0 then
    m.cancelled else 0 end) as bigint), cast(sum(case when m.node >= 0 then m.failed else 0 end) as bigint), cast(sum(case when m.node >= 0
    then m.excused else 0 end) as bigint), cast(sum(case when m.node >= 0 then m.busy_ms else 0 end) as bigint), cast(sum(case when m.node
    >= 0 then m.cpu_ms else 0 end) as bigint), cast(sum(case when m.node >= 0 then m.cost else 0 end) as bigint), cast(sum(m.admitted) as
    bigint)
from measures m join versions v on v.id = m.version group by v.pipeline;

-- name: pipeline_numbers
select name, id from pipelines order by name;

-- name: received_in_all
select pipeline, count(*) from receipts group by pipeline;

-- name: live_items by version, also of dead ones: how many, and the oldest (ids are in the order of admission)
select version, state, count(*), min(id) from items where state in ('queued', 'running', 'waiting', 'paused', 'dead') group by version, state;

-- name: live_tasks_by_step
select i.version, l.node, l.state, count(*), min(l.started_at) from live_tasks l join items i on i.id = l.item group by i.version, l.node, l.state;

-- name: letters_by_pipeline
select p.name, count(*), min(d.at), max(d.at) from dead_letters d join items i on i.id = d.item join pipelines p on p.id = i.pipeline
where d.state = 'open' group by p.name;

-- name: oldest_letters the first open ones
select p.name, min(d.at) from (select item, at from dead_letters where state = 'open' order by id limit 500) d
join items i on i.id = d.item join pipelines p on p.id = i.pipeline group by p.name;

-- name: drops
select i.version, d.node, d.error_class, count(distinct d.item) from dead_letters d join items i on i.id = d.item
join versions v on v.id = i.version join pipelines p on p.id = v.pipeline
where d.state = 'open' and i.state = 'dead' and d.at >= $1 and d.at < $2 and p.name = $3 group by i.version, d.node, d.error_class;

-- name: runners_now
select n.id, n.host, n.pid, n.started_at, n.expires_at, n.load from incarnations n where n.ended_at is null and n.expires_at > $1 order by n.id;

-- name: report_load
update incarnations set load = $1 where id = $2;

-- name: oldest_minute that no hour has been made of
select min(minute) from measures where minute < $1 and incarnation <> $2;

-- name: measures_of_hour
select version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed, excused, busy_ms, cpu_ms, cost, stored,
    peak_kib, durations, errors
from measures where minute >= $1 and minute < $2;

-- name: drop_hour
delete from measures where minute >= $1 and minute < $2;
