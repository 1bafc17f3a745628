-- Questions about many items at once.

-- name: item_row
select i.id, p.name, v.label, i.key, i.state, i.generation, i.admitted_at, i.ended_at, i.flags
from items i join pipelines p on p.id = i.pipeline join versions v on v.id = i.version where i.id = $1;

-- name: dead_letter_groups
select coalesce(d.fingerprint, ''), count(*) as number, min(d.at), max(d.at), max(d.id) from dead_letters d
where d.state = 'open' and (cast($1 as text) is null or d.pipeline = (select id from pipelines where name = $1)) group by d.fingerprint order by number desc, max(d.id) desc limit $2;

-- name: dead_letter_cause
select i.version, d.node, d.error_class, d.error, d.message from dead_letters d join items i on i.id = d.item where d.id = $1;

-- name: operations
select id, at, who, verb, target, reason, state, changed, ended_at from operations order by id desc limit $1;

-- name: operation
select id, at, who, verb, target, reason, state, changed, ended_at from operations where id = $1;

-- name: operations_on
select distinct o.id, o.at, o.who, o.verb, o.target, o.reason, o.state, o.changed, o.ended_at
from operated c join operations o on o.id = c.operation where c.item = $1 order by o.id desc limit $2;

-- name: changed_by
select distinct item from operated where operation = $1 order by item limit $2;

-- name: alerts_open
select id, kind, subject, message, opened_at, seen_at, closed_at from alerts where closed_at is null order by id desc limit $1;

-- name: alerts_all
select id, kind, subject, message, opened_at, seen_at, closed_at from alerts order by id desc limit $1;

-- name: pauses_with_reason one of each; where a person and a rule have paused it, the person's
select p.name, x.step, x.at, x.who, x.reason from pauses x join pipelines p on p.id = x.pipeline
where x.origin = (select max(o.origin) from pauses o where o.pipeline = x.pipeline and o.step = x.step) order by p.name, x.step;

-- name: all_bodies
select hash, id from bodies;

-- name: moves_of
select generation, version from moves where item = $1 order by generation;

-- name: not_ended items that have not ended, the oldest first
select i.id, p.name, i.version, i.key, i.state, i.generation, i.admitted_at, i.deadline, i.due,
    (select max(t.ended_at) from tasks t where t.item = i.id)
from items i join pipelines p on p.id = i.pipeline
where i.state = $1 and (i.deadline < $2 or (i.deadline is null and i.admitted_at < $3)) order by i.id limit $4;

-- name: waits_open
select node, element_path, kind, name, key, opened_at, due, id, state from waits where item = $1 and state in ('open', 'answered') order by id;

-- name: runner_of
select n.id, n.host, n.pid, n.expires_at, n.ended_at from incarnations n where n.id = $1;

-- name: served_now
select distinct s.version from serving s join incarnations n on n.id = s.incarnation where n.ended_at is null and n.expires_at > $1;

-- name: items_with_key the newest first: a key names one item in each pipeline
select i.id, p.name from pipelines p join items i on i.pipeline = p.id where i.key = $1 order by i.id desc limit 21;

-- name: items_with_keys_from of one pipeline or of all: keys from one text on, and before another
select i.id, p.name, i.key from pipelines p join items i on i.pipeline = p.id
where i.key >= $1 and (cast($2 as text) is null or i.key < $2) and (cast($3 as text) is null or p.name = $3) order by i.key limit 21;

-- name: item_in_pipeline
select i.id from items i where i.pipeline in (select id from pipelines where name = $1) and i.key = $2;

-- name: pipeline_of_item
select p.name, i.key from items i join pipelines p on p.id = i.pipeline where i.id = $1;

-- name: has_flag
select 1 from item_flags where flag = $1 limit 1;

-- name: all_flags one look into the index per flag
with recursive found(flag) as (
    select min(flag) from item_flags
    union all select (select min(f.flag) from item_flags f where f.flag > found.flag) from found where found.flag is not null
)
select flag from found where flag is not null limit 200;

-- name: has_field
select 1 from item_fields
where pipeline in (select id from pipelines where cast($1 as text) is null or name = $1) and name = $2 limit 1;

-- name: field_names one look into the index per field of a pipeline
with recursive found(pipeline, name) as (
    select p.id, (select min(f.name) from item_fields f where f.pipeline = p.id)
    from pipelines p where cast($1 as text) is null or p.name = $1
    union all
    select found.pipeline, (select min(f.name) from item_fields f where f.pipeline = found.pipeline and f.name > found.name)
    from found where found.name is not null
)
select distinct name from found where name is not null limit 200;

-- name: has_error
select 1 from dead_letters where error = $1 limit 1;

-- name: dead_letter_errors
select distinct error from dead_letters limit 500;

-- name: has_group
select 1 from dead_letters where fingerprint = $1 and state = 'open' union all select 1 from dead_letters where fingerprint = $1 limit 1;

-- name: groups_like
select distinct fingerprint from dead_letters where fingerprint like $1 limit 21;
