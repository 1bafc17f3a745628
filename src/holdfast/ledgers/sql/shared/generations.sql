-- How an item's next generation begins: what is stopped first, what no longer counts, and what is kept of a payload that is replaced.
-- Parameters in the order in which they first stand here.

-- name: stop_attempts of an item that is driven by a live incarnation, if there are any: nobody claims it before they are over
insert into stopping (item, incarnation, at)
select i.id, i.due, cast($1 as bigint) from items i join incarnations n on n.id = i.due and n.ended_at is null
where i.id = $2 and i.state = 'running' and exists (select 1 from live_tasks l where l.item = i.id and l.state = 'running')
on conflict (item) do update set incarnation = excluded.incarnation, at = excluded.at;

-- name: effects_now of the version of an item that is driven
select v.effects from items i join versions v on v.id = i.version where i.id = $1 and i.state = 'running' and v.effects <> '{}';

-- name: note_stopped of no incarnation: nothing is measured of it
insert into attempts (item, node, element_path, generation, attempt, started_at, ended_at, error_class, error, message, traceback, charged, incarnation)
select l.item, l.node, l.element_path, i.generation, l.attempt, l.started_at, cast($1 as bigint), 'cancelled', 'Stopped',
    'stopped while it ran, since its item was cancelled, restarted, moved or revised', '', 0, 0
from live_tasks l join items i on i.id = l.item where l.item = $2 and l.node = $3 and l.state = 'running';

-- name: stopping_here
select item from stopping where incarnation = $1 order by item limit 1000;

-- name: stopped
delete from stopping where item = $1 and incarnation = $2;

-- name: drop_stopping of incarnations that have ended, and with them their attempts
delete from stopping where incarnation in (select id from incarnations where ended_at is not null);

-- name: item_before what an item is before its payload is replaced
select pipeline, version, state, generation, wish, digest, flags, output_node, output_element_path, output, output_artifact from items where id = $1;

-- name: add_revision
insert into revisions (item, generation, at, operation, who, reason, version, state, flags, digest_before, digest_after, payload, artifact, output,
    output_artifact)
select i.id, i.generation + 1, cast($1 as bigint), cast($2 as bigint), cast($3 as text), cast($4 as text), i.version, i.state, i.flags, i.digest,
    cast($5 as text), i.payload, i.artifact, $6, cast($7 as text)
from items i where i.id = $8 returning id;

-- name: keep_past_effects
insert into past_effects (revision, item, node, element_path, label, at, value)
select cast($1 as bigint), item, node, element_path, label, at, value from effects where item = $2;

-- name: revise_item
update items set payload = $1, artifact = $2, digest = $3, version = $4, revision = revision + 1, flags = null where id = $5;

-- name: drop_flag
delete from item_flags where flag = $1 and item = $2;

-- name: drop_fields_of
delete from item_fields where item = $1;

-- name: who_asks
select who, reason from operations where id = $1;

-- name: version_labelled of the item's pipeline
select v.id from versions v join items i on i.pipeline = v.pipeline where i.id = $1 and v.label = $2;

-- name: set_deadline
update items set deadline = $1, allowed_ms = $2 where id = $3;

-- name: asked_again a child is asked for by its parent's generation
update items set parent_generation = $1 where id = $2;

-- name: asked_in the generation of its parent that asked for a child last
select coalesce(parent_generation, 1) from items where id = $1;

-- name: wanted_of what a wait gives its child
select asked, shown, shown_artifact, digest, opened_at from waits where id = $1;

-- name: made_void from which generation on the result of a node counts
select coalesce(max(generation), 0) from restarts where item = $1 and (node = $2 or node = -1);

-- name: cleared_tasks results that retention has cleared, and which still count
select distinct t.node from tasks t where t.item = $1 and t.state in ('succeeded', 'skipped') and t.output is null and t.artifact is null
and not exists (select 1 from tasks n where n.item = t.item and n.node = t.node and n.element_path = t.element_path and n.generation > t.generation)
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = t.item), 0) order by t.node limit 1000;

-- name: purged_item
select i.purged_at, i.version, v.shape from items i join versions v on v.id = i.version where i.id = $1;

-- name: key_of
select key from items where id = $1;

-- name: dead_letter_item
select item, node from dead_letters where id = $1;

-- name: family_effects what ctx.once has recorded of an item and all that descends from it
with recursive family (id) as (select cast($1 as bigint) union select c.id from items c join family f on c.parent = f.id)
select i.id, i.key, i.version, e.node, e.element_path, e.label, e.at
from family f join effects e on e.item = f.id join items i on i.id = f.id order by e.at, e.node, e.element_path limit $2;

-- name: family_versions the versions under which an item and its descendants have gone, where their steps have effects outside
with recursive family (id) as (select cast($1 as bigint) union select c.id from items c join family f on c.parent = f.id)
select distinct v.id, v.effects from versions v where v.effects is not null and v.effects <> '{}' and v.id in (
    select i.version from family f join items i on i.id = f.id union all select m.version from family f join moves m on m.item = f.id
);

-- name: family_tasks of a step with effects outside: attempts for the payload of now that have taken effect, or may have
with recursive family (id) as (select cast($1 as bigint) union select c.id from items c join family f on c.parent = f.id),
tried (item, element_path, generation, at, how) as (
    select t.item, t.element_path, t.generation, t.ended_at, 'succeeded' from family f join tasks t on t.item = f.id
        where t.node = $2 and t.state = 'succeeded' and t.attempt > 0
    union all
    select a.item, a.element_path, a.generation, a.ended_at, a.error_class from family f join attempts a on a.item = f.id
        where a.node = $2 and a.error_class not in ('bad-input', 'deadline', 'budget')
    union all
    select l.item, l.element_path, i.generation, l.started_at, 'running' from family f join items i on i.id = f.id join live_tasks l on l.item = f.id
        where l.node = $2 and l.state = 'running'
)
select i.id, i.key, r.element_path, r.at, r.how from tried r join items i on i.id = r.item
where r.generation >= coalesce((select max(v.generation) from revisions v where v.item = i.id), 0)
and coalesce((select m.version from moves m where m.item = r.item and m.generation > r.generation order by m.generation limit 1), i.version) = $3
order by case r.how when 'succeeded' then 0 else 1 end, r.at limit $4;

-- name: revisions_of
select r.id, r.generation, r.at, r.operation, r.who, r.reason, v.label, r.state, r.flags, r.digest_before, r.digest_after, r.payload, r.artifact,
    r.output, r.output_artifact, r.cleared_at, p.name
from revisions r join versions v on v.id = r.version join pipelines p on p.id = v.pipeline where r.item = $1 order by r.id;

-- name: past_effects_of
select revision, node, element_path, label, at from past_effects where item = $1 order by revision, at limit 1000;

-- name: clear_revisions outputs of payloads that were replaced, when retention clears those of the item
update revisions set output = null, output_artifact = null, cleared_at = $1
where item = $2 and (output is not null or output_artifact is not null);

-- name: note_version_effects
update versions set effects = $1 where id = $2 and (effects is null or effects <> $1);

-- name: shape_of
select shape from versions where id = $1;
