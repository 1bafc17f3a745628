-- Measures as a runner adds to them, and what an item has used.

-- name: measures_now locked: whoever makes hours of old minutes waits for what is being added, and takes it along
select version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed, excused, busy_ms, cpu_ms, gpu_ms, cost, stored,
    peak_kib, durations, errors
from measures where minute = $1 and incarnation = $2 for update;

-- name: used_by what attempts have used
select item, sum(cpu_ms)::bigint, sum(gpu_ms)::bigint, sum(cost)::bigint from (
    select item, cpu_ms, gpu_ms, cost from tasks where item = any ($1::bigint[]) and state = 'succeeded'
    union all select item, cpu_ms, gpu_ms, cost from attempts where item = any ($1::bigint[])
) used group by item;
