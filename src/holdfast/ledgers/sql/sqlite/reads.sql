-- name: pipeline_counts
select p.name, (select count(*) from receipts r where r.pipeline = p.id) as received, i.state, count(i.id)
from pipelines p left join items i on i.pipeline = p.id
group by p.id, p.name, i.state order by p.name;

-- name: audit_states
select p.name, i.state, count(*) from items i join pipelines p on p.id = i.pipeline group by p.name, i.state;
