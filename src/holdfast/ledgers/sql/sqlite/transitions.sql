-- name: add_pipeline
insert into pipelines (name) values (?) on conflict (name) do nothing;

-- name: version_known
select v.id, v.fingerprint, v.shape from versions v join pipelines p on p.id = v.pipeline where p.name = ? and v.label = ?;

-- name: add_version
insert into versions (pipeline, label, fingerprint, shape, created_at)
values ((select id from pipelines where name = ?), ?, ?, ?, ?) returning id;

-- name: add_body
insert into bodies (hash) values (?) on conflict (hash) do nothing;

-- name: body_id
select id from bodies where hash = ?;

-- name: begin_incarnation
insert into incarnations (host, pid, started_at, expires_at) values (?, ?, ?, ?) returning id;

-- name: expire_others the writer lock is ours alone, so every other incarnation of this file is over
update incarnations set expires_at = ?1, ended_at = coalesce(ended_at, ?1) where id <> ?2 and ended_at is null;

-- name: renew_incarnation
update incarnations set expires_at = ?, beats = beats + 1 where id = ? and ended_at is null returning beats;

-- name: end_incarnation
update incarnations set expires_at = ?1, ended_at = ?1 where id = ?2;

-- name: incarnation_alive
select id from incarnations where id = ? and ended_at is null;

-- name: version_of
select v.id, v.pipeline from versions v join pipelines p on p.id = v.pipeline where p.name = ? and v.label = ?;

-- name: item_of_key
select id, state, digest from items where pipeline = ? and key = ?;

-- name: add_item
insert into items (id, pipeline, version, key, payload, artifact, priority, due, admitted_at, deadline, allowed_ms, digest)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, -?7, ?8, ?9, ?9 - ?8, ?10)
on conflict (pipeline, key) do nothing;

-- name: waiting_items how many wait, counted no further than a limit
select count(*) from (select 1 from items where state = 'queued' limit ?);

-- name: foremost_item
select admitted_at from items where state = 'queued' order by due, id limit 1;

-- name: add_receipt
insert into receipts (item, pipeline, manifest, at) values (?, ?, ?, ?);

-- name: add_manifest
insert into manifests (name) values (?) on conflict (name) do nothing;

-- name: manifest_id
select id from manifests where name = ?;

-- name: claimable_orphans an owner other than this incarnation is over; ids of incarnations only grow
select id from items where state = 'running' and due < ? and version in (select value from carray(?)) limit ?;

-- name: claimable_waiting
select id from items where state = 'waiting' and due <= ? and version in (select value from carray(?)) order by due, id limit ?;

-- name: claimable_queued but what somebody else must stop first
select id from items where state = 'queued' and version in (select value from carray(?))
and id not in (select s.item from stopping s join incarnations n on n.id = s.incarnation and n.ended_at is null) order by due, id limit ?;

-- name: claim
update items set state = 'running', due = ?, fence = fence + 1 where id in (select value from carray(?))
returning id, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags, parent, correlation, trace, wish, revision;

-- name: owned_of those of some items that an incarnation owns
select id, version from items where id in (select value from carray(?2)) and due = ?1 and state = 'running';

-- name: settled_tasks but what redriven dead letters have made void, so that those tasks run again, and what lies in kept stretches
select item, node, element_path, generation, state, attempt, started_at, ended_at, output, artifact, flag
from tasks t where item in (select value from carray(?))
and {not_voided}
and not exists (
    select 1 from each_parts p where p.item = t.item and t.node > p.node and t.node <= p.last
    and (p.element_path = '' or t.element_path like p.element_path || '.%')
    and p.part = cast(case p.element_path when '' then t.element_path else substr(t.element_path, length(p.element_path) + 2) end as integer) / 1024
)
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = t.item), 0)
order by item, generation;

-- name: redriven_dead_letters and, as if they were such, results that a restart has made void; none of before a restart from the start
select item, node, element_path, generation from dead_letters d where item in (select value from carray(?1)) and state = 'redriven'
    and not exists (select 1 from restarts r where r.item = d.item and r.node = -1 and d.generation < r.generation)
    and not exists (select 1 from tasks t where t.item = d.item and t.node = d.node and t.element_path = d.element_path and t.generation = d.generation
        and {stays})
union all
select t.item, t.node, t.element_path, r.generation - 1 from restarts r join tasks t on t.item = r.item and r.node = t.node
    and t.generation < r.generation where r.item in (select value from carray(?1));

-- name: edits_of
select item, node, element_path, arguments from edits where item in (select value from carray(?));

-- name: answers_of
select item, node, element_path, answer, answer_artifact, failure, generation, round from waits
where item in (select value from carray(?)) and state = 'answered';

-- name: effects_of
select item, node, element_path, label, value from effects where item in (select value from carray(?));

-- name: parts_of
select item, node, element_path, part, last, generation, chunk, failed from each_parts where item in (select value from carray(?));

-- name: live_tasks
select item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at
from live_tasks where item in (select value from carray(?));

-- name: fences of running items, as one JSON array: a row of its own for each would hand the interpreter's lock over as often
select json_group_array(json_array(id, fence, version, admitted_at))
from items where id in (select value from carray(?)) and state = 'running';

-- name: all_fences
select id, fence from items where id in (select value from carray(?));

-- name: drop_live
delete from live_tasks where (item, node, element_path) in (values (?, ?, ?));

-- name: drop_task_of many items
delete from live_tasks where item in (select value from carray(?3)) and node = ?1 and element_path = ?2;

-- name: start_tasks the first attempt of one task of many items
insert or replace into live_tasks (item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at)
select value, ?1, ?2, 'running', 1, 0, 0, 0, ?3, 0 from carray(?4);

-- name: drop_all_live
delete from live_tasks where item in (values (?));

-- name: write_live
insert or replace into live_tasks (item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at)
select * from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) where column1 is not null;

-- name: add_plain_task
insert into tasks (item, node, element_path, generation, state, attempt, started_at, ended_at, incarnation, body, output)
select * from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) where column1 is not null;

-- name: add_task
insert into tasks (
    item, node, element_path, generation, state, attempt, started_at, ended_at, incarnation, body, worker, cpu_ms, peak_kib,
    output, artifact, flag, cost, gpu_ms
) select * from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) where column1 is not null;

-- name: add_attempt
insert into attempts (
    item, node, element_path, generation, attempt, started_at, ended_at, error_class, error, message, traceback, charged,
    incarnation, body, worker, cpu_ms, peak_kib, cost, gpu_ms
) select * from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) where column1 is not null;

-- name: add_dead_letter
insert into dead_letters (item, node, element_path, generation, error_class, error, message, traceback, attempts, at, fingerprint, pipeline)
select *, (select i.pipeline from items i where i.id = column1) from (values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) where column1 is not null;

-- name: release_item queued again or waiting, with nobody's lease; at once, if an answer came before the lease was given up. What is
-- asked of it now decides whether it is paused.
with released (item, state, due) as (values (?, ?, ?))
update items set
    state = case when wish = 'pause' then 'paused' when released.state = 'paused' then 'queued' else released.state end,
    due = case
        when wish = 'pause' then 0
        when released.state in ('queued', 'paused') then -priority
        when exists (select 1 from waits w where w.item = items.id and w.state = 'answered') then 1
        else released.due end,
    wish = null
from released where id = released.item;

-- name: finish_item
with ended (item, state, at, node, element_path, output, artifact) as (values (?, ?, ?, ?, ?, ?, ?))
update items set state = ended.state, due = 0, ended_at = ended.at, output_node = ended.node, output_element_path = ended.element_path,
    output = ended.output, output_artifact = ended.artifact, wish = null
from ended where id = ended.item;

-- name: item_flags
select flags from items where id = ?;

-- name: flag_item
update items set flags = ? where id = ?;

-- name: note_command
update incarnations set command = ? where id = ? and ended_at is null;

-- name: last_command
select command from incarnations where id = ?;

-- name: open_dead_letters
select d.id, d.item, i.state, d.node, d.element_path, d.error_class from dead_letters d join items i on i.id = d.item
where d.state = 'open' and d.id in (select value from carray(?)) order by d.id;

-- name: next_generation
update items set state = 'queued', due = -priority, generation = generation + 1, fence = fence + 1, ended_at = null, wish = null,
    deadline = ? + coalesce(allowed_ms, deadline - admitted_at), allowed_ms = coalesce(allowed_ms, deadline - admitted_at),
    output_node = null, output_element_path = null, output = null, output_artifact = null
where id = ?;

-- name: open_dead_letters_left
select count(*) from dead_letters where item = ? and state = 'open';

-- name: discard_item
update items set state = 'discarded' where id = ? and state = 'dead';

-- name: highest_item
select coalesce(max(id), 0) from items;

-- name: next_wake
select due from items where state = 'waiting' and due < 9007199254740991 and version in (select value from carray(?)) order by due, id limit 1;
