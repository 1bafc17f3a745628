-- Counted by the partial indexes, so that a large ledger is not read through.

-- name: pipeline_counts
with counts as (
    select pipeline, state, count(*) as number from items
    where state in ('completed', 'dead', 'discarded', 'cancelled', 'archived', 'paused') group by pipeline, state
    union all
    select v.pipeline, 'queued', sum(q.number)::bigint from versions v
    cross join lateral (select count(*) as number from items where state = 'queued' and version = v.id) q group by v.pipeline
    union all
    select v.pipeline, 'waiting', sum(q.number)::bigint from versions v
    cross join lateral (select count(*) as number from items where state = 'waiting' and version = v.id) q group by v.pipeline
    union all
    select pipeline, state, count(*) from items where state = 'running' group by pipeline, state
)
select p.name, (select count(*) from receipts r where r.pipeline = p.id) as received, c.state, coalesce(c.number, 0)
from pipelines p left join counts c on c.pipeline = p.id order by p.name;

-- name: audit_states
with counts as (
    select pipeline, state, count(*) as number from items
    where state in ('completed', 'dead', 'discarded', 'cancelled', 'archived', 'paused') group by pipeline, state
    union all
    select v.pipeline, 'queued', sum(q.number)::bigint from versions v
    cross join lateral (select count(*) as number from items where state = 'queued' and version = v.id) q group by v.pipeline
    union all
    select v.pipeline, 'waiting', sum(q.number)::bigint from versions v
    cross join lateral (select count(*) as number from items where state = 'waiting' and version = v.id) q group by v.pipeline
    union all
    select pipeline, state, count(*) from items where state = 'running' group by pipeline, state
)
select p.name, c.state, c.number from counts c join pipelines p on p.id = c.pipeline;
