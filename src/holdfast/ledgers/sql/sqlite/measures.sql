-- Measures as a runner adds to them, and what an item has used.

-- name: measures_now
select version, node, admitted, succeeded, skipped, dead, cancelled, cached, passed, lost, failed, excused, busy_ms, cpu_ms, gpu_ms, cost, stored,
    peak_kib, durations, errors
from measures where minute = ? and incarnation = ?;

-- name: used_by what attempts have used
select item, sum(cpu_ms), sum(gpu_ms), sum(cost) from (
    select item, cpu_ms, gpu_ms, cost from tasks where item in (select value from carray(?1)) and state = 'succeeded'
    union all select item, cpu_ms, gpu_ms, cost from attempts where item in (select value from carray(?1))
) group by item;
