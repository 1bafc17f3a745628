-- What people do to items, dead letters and pipelines. Parameters in the order in which they first stand here.

-- name: add_operation
insert into operations (at, who, verb, target, reason) values ($1, $2, $3, $4, $5) returning id;

-- name: operation_known
select id from operations where id = $1;

-- name: operation_changed
update operations set changed = changed + $1 where id = $2;

-- name: end_operation
update operations set state = $1, ended_at = $2 where id = $3 and state = 'running';

-- name: note_operated
insert into operated (operation, item, dead_letter) values ($1, $2, $3) on conflict (operation, item, dead_letter) do nothing;

-- name: item_now
select id, state, version, generation, fence, wish from items where id = $1;

-- name: pause_item
update items set state = 'paused', due = 0, fence = fence + 1, wish = null where id = $1 and state in ('queued', 'waiting') returning id;

-- name: wish_pause
update items set wish = 'pause' where id = $1 and state = 'running' and wish is null returning id;

-- name: forget_wish
update items set wish = null where id = $1 and wish is not null returning id;

-- name: cancel_item
update items set state = 'cancelled', due = 0, ended_at = $1, fence = fence + 1, wish = null
where id = $2 and state in ('queued', 'running', 'waiting', 'paused') returning id;

-- name: close_dead_letters_of the item goes on without them
update dead_letters set state = 'redriven', closed_at = $1, reason = $2 where item = $3 and state = 'open';

-- name: void_results
insert into restarts (item, node, generation) values ($1, $2, $3) on conflict (item, node) do update set generation = excluded.generation;

-- name: drop_all_parts
delete from each_parts where item = $1;

-- name: drop_edits_of
delete from edits where item = $1;

-- name: new_payload
update items set payload = $1, artifact = $2, digest = $3 where id = $4;

-- name: children_now
select id, state from items where parent = $1;

-- name: move_item
update items set version = $1 where id = $2;

-- name: note_move
insert into moves (item, generation, version) values ($1, $2, $3) on conflict (item, generation) do nothing;

-- name: results_of as copies of no incarnation: what they used has been measured where they were made
select t.node, t.element_path, t.generation, t.state, t.attempt, t.started_at, t.ended_at, 0, t.body, t.worker, t.output, t.artifact, t.flag
from tasks t where t.item = $1 and t.state in ('succeeded', 'skipped') and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = $1), 0)
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
order by t.generation;

-- name: add_result
insert into tasks (
    item, node, element_path, generation, state, attempt, started_at, ended_at, incarnation, body, worker, output, artifact, flag
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: drop_restarts
delete from restarts where item = $1;

-- name: edit_arguments
insert into edits (item, node, element_path, arguments) values ($1, $2, $3, $4)
on conflict (item, node, element_path) do update set arguments = excluded.arguments;

-- name: pause_pipeline by a person
insert into pauses (pipeline, step, origin, at, who, reason)
select cast($1 as bigint), cast($2 as text), 'person', cast($3 as bigint), o.who, o.reason from operations o where o.id = $4
on conflict (pipeline, step, origin) do nothing returning pipeline;

-- name: pause_by_rule beside what people have paused
insert into pauses (pipeline, step, origin, at, who, reason)
select cast($1 as bigint), '', cast($2 as text), cast($3 as bigint), o.who, o.reason from operations o where o.id = $4
on conflict (pipeline, step, origin) do nothing returning pipeline;

-- name: resume_pipeline a person lifts every pause
delete from pauses where pipeline = $1 and step = $2 returning pipeline;

-- name: resume_by_rule a rule lifts its own pause alone
delete from pauses where pipeline = $1 and step = '' and origin = $2 returning pipeline;

-- name: pipeline_of
select id from pipelines where name = $1;

-- name: pauses
select distinct p.name, x.step from pauses x join pipelines p on p.id = x.pipeline;

-- name: wishes
select id, fence, wish from items where state = 'running' and due = $1;

-- name: effects_of_item
select node, element_path, label, at, value from effects where item = $1;

-- name: drop_effects_of
delete from effects where item = $1;

-- name: edits_of_item
select item, node, element_path, arguments from edits where item = $1;

-- name: add_field
insert into item_fields (pipeline, name, value, item) values ($1, $2, $3, $4) on conflict (pipeline, name, value, item) do nothing;

-- name: add_flag
insert into item_flags (flag, item) values ($1, $2) on conflict (flag, item) do nothing;

-- name: close_dead_letter_because
update dead_letters set state = 'discarded', closed_at = $1, reason = (select reason from operations where id = $2) where id = $3;

-- name: last_of_audit_log
select id, digest from audit_log order by id desc limit 1;

-- name: add_to_audit_log
insert into audit_log (id, at, who, action, target, reason, digest) values ($1, $2, $3, $4, $5, $6, $7);

-- name: audit_log
select id, at, who, action, target, reason, digest from audit_log where id > $1 order by id limit $2;

-- name: newest_of_audit_log
select id, at, who, action, target, reason, digest from audit_log order by id desc limit $1;
