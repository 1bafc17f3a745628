-- No statement here has a plan that can flip on a young table: rows are found by lists of keys, or by a lateral subquery with
-- a limit or a lock, which the planner may not turn round.

-- name: add_pipeline
insert into pipelines (name) values ($1) on conflict (name) do nothing;

-- name: version_known
select v.id, v.fingerprint, v.shape from versions v join pipelines p on p.id = v.pipeline where p.name = $1 and v.label = $2;

-- name: add_version
insert into versions (pipeline, label, fingerprint, shape, created_at)
values ((select id from pipelines where name = $1), $2, $3, $4, $5) on conflict (pipeline, label) do nothing;

-- name: add_body
insert into bodies (hash) values ($1) on conflict (hash) do nothing;

-- name: body_id
select id from bodies where hash = $1;

-- name: begin_incarnation born is a random number: the name that the runner has among its neighbours (ledgers/presence.py)
insert into incarnations (host, pid, place, born, started_at, expires_at) values ($1, $2, $3, $4, now_ms(), now_ms() + $5) returning id;

-- name: neighbours
select id, pid, born from incarnations where not swept and ended_at is null and place = $1 and place <> '' and born > 0 and id <> $2;

-- name: renew_incarnation
update incarnations set expires_at = now_ms() + $2, beats = beats + 1 where id = $1 and ended_at is null returning beats, now_ms();

-- name: end_incarnation
update incarnations set expires_at = now_ms(), ended_at = coalesce(ended_at, now_ms()) where id = $1;

-- name: end_expired irrevocably: whoever finds a lease expired ends it, and from then on nothing is written under it
update incarnations set ended_at = now_ms() where id = any (array(
    select id from incarnations where not swept and ended_at is null and expires_at < now_ms() and id <> $1 for update skip locked
));

-- name: ended_unswept
select id from incarnations where not swept and ended_at is not null order by id;

-- name: mark_swept only when nothing runs under it, in whatever version
update incarnations set swept = true where id = $1 and not exists (select from items where state = 'running' and due = $1);

-- name: lease_of whether it is over, and the time, before anything goes by it
select expires_at, now_ms() from incarnations where id = $1 and ended_at is null for share;

-- name: version_of
select v.id, v.pipeline from versions v join pipelines p on p.id = v.pipeline where p.name = $1 and v.label = $2;

-- name: add_items in the order given; a known key is left out
insert into items (id, pipeline, version, key, payload, artifact, priority, admitted_at, deadline, allowed_ms, digest)
select (least(greatest($1::bigint - 1577836800000, 0), 2199023255551) << 22) | nextval('item_ids'), w.pipeline, w.version, w.key, w.payload, w.artifact, w.priority, $1,
    w.deadline, w.deadline - $1, w.digest
from unnest($2::bigint[], $3::bigint[], $4::text[], $5::bytea[], $6::text[], $7::int[], $8::bigint[], $9::text[])
    with ordinality as w (pipeline, version, key, payload, artifact, priority, deadline, digest, position)
order by w.position
on conflict (pipeline, key) do nothing
returning id, pipeline, key;

-- name: waiting_items how many wait, counted no further than a limit
select count(*) from (select from items where state = 'queued' limit $1) w;

-- name: foremost_item
select admitted_at from items where state = 'queued' order by version, priority desc, id limit 1;

-- name: items_of_keys
select i.pipeline, i.key, i.id, i.state, i.digest from unnest($1::bigint[], $2::text[]) as w (pipeline, key)
cross join lateral (select id, pipeline, key, state, digest from items where pipeline = w.pipeline and key = w.key limit 1) i;

-- name: add_receipts
insert into receipts (item, pipeline, manifest, at)
select item, pipeline, manifest, $4 from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as w (item, pipeline, manifest);

-- name: add_manifest
insert into manifests (name) values ($1) on conflict (name) do nothing;

-- name: manifest_id
select id from manifests where name = $1;

-- name: announce a hint that something may be claimable; the poll is the truth
select pg_notify('holdfast_' || md5(current_schema()), '');

-- name: claimable_orphans of an incarnation that is over
select i.id from unnest($2::bigint[]) as v (version)
cross join lateral (
    select id from items where state = 'running' and due = $1 and version = v.version order by id limit $3 for update skip locked
) i limit $3;

-- name: claimable_waiting
select i.id from unnest($2::bigint[]) as v (version)
cross join lateral (
    select id, due from items where state = 'waiting' and version = v.version and due <= $1 order by due, id limit $3 for update skip locked
) i order by i.due, i.id limit $3;

-- name: claimable_queued but what somebody else must stop first
select i.id from unnest($1::bigint[]) as v (version)
cross join lateral (
    select id, priority from items where state = 'queued' and version = v.version
    and id <> all (array(
        select s.item from stopping s where s.item > 0 and (select n.ended_at from incarnations n where n.id = s.incarnation) is null
    ))
    order by priority desc, id limit $2 for update skip locked
) i order by i.priority desc, i.id limit $2;

-- name: claim
update items set state = 'running', due = $1, fence = fence + 1 where id = any ($2::bigint[])
returning id, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags, parent, correlation, trace, wish, revision;

-- name: claimed_before what an unanswered COMMIT of a claim may have given this incarnation
select id, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags, parent, correlation, trace, wish, revision
from items where id = any ($2::bigint[]) and state = 'running' and due = $1;

-- name: owned_of those of some items that an incarnation owns
select id, version from items where id = any ($2::bigint[]) and due = $1 and state = 'running';

-- name: settled_tasks but what redriven dead letters have made void, so that those tasks run again, and what lies in kept stretches
select item, node, element_path, generation, state, attempt, started_at, ended_at, output, artifact, flag
from tasks t where item = any ($1::bigint[])
and {not_voided}
and not exists (
    select 1 from each_parts p where p.item = t.item and t.node > p.node and t.node <= p.last
    and (p.element_path = '' or t.element_path like p.element_path || '.%')
    and p.part = nullif(split_part(case p.element_path when '' then t.element_path else substr(t.element_path, length(p.element_path) + 2) end, '.', 1), '')::int / 1024
)
and not exists (select 1 from restarts r where r.item = t.item and (r.node = t.node or r.node = -1) and t.generation < r.generation)
and t.generation > coalesce((select max(m.generation) - 1 from moves m where m.item = t.item), 0)
order by item, generation;

-- name: redriven_dead_letters and, as if they were such, results that a restart has made void; none of before a restart from the start
select item, node, element_path, generation from dead_letters d where item = any ($1::bigint[]) and state = 'redriven'
    and not exists (select 1 from restarts r where r.item = d.item and r.node = -1 and d.generation < r.generation)
    and not exists (select 1 from tasks t where t.item = d.item and t.node = d.node and t.element_path = d.element_path and t.generation = d.generation
        and {stays})
union all
select t.item, t.node, t.element_path, r.generation - 1 from restarts r join tasks t on t.item = r.item and r.node = t.node
    and t.generation < r.generation where r.item = any ($1::bigint[]);

-- name: edits_of
select item, node, element_path, arguments from edits where item = any ($1::bigint[]);

-- name: answers_of
select item, node, element_path, answer, answer_artifact, failure, generation, round from waits
where item = any ($1::bigint[]) and state = 'answered';

-- name: effects_of
select item, node, element_path, label, value from effects where item = any ($1::bigint[]);

-- name: parts_of
select item, node, element_path, part, last, generation, chunk, failed from each_parts where item = any ($1::bigint[]);

-- name: live_tasks
select item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at
from live_tasks where item = any ($1::bigint[]);

-- name: fences locks the rows in the order given; one that somebody else holds is left out
select i.id, i.fence, i.version, i.admitted_at from unnest($1::bigint[]) as w (id)
cross join lateral (select id, fence, version, admitted_at from items where id = w.id and state = 'running' for no key update skip locked) i;

-- name: fences_now of items whose rows are not to be locked
select id, fence from items where id = any ($1::bigint[]) and state = 'running';

-- name: all_fences
select id, fence from items where id = any ($1::bigint[]);

-- name: drop_live
delete from live_tasks where ctid = any (array(
    select l.ctid from unnest($1::bigint[], $2::int[], $3::text[]) as w (item, node, element_path)
    cross join lateral (select ctid from live_tasks where item = w.item and node = w.node and element_path = w.element_path limit 1) l
));

-- name: drop_all_live
delete from live_tasks where item = any ($1::bigint[]);

-- name: write_live
insert into live_tasks (item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at)
select * from unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::int[], $9::bigint[], $10::bigint[])
on conflict (item, node, element_path) do update set state = excluded.state, attempt = excluded.attempt, failures = excluded.failures,
    crashes = excluded.crashes, suspect = excluded.suspect, started_at = excluded.started_at, wake_at = excluded.wake_at;

-- name: start_tasks first attempts
insert into live_tasks (item, node, element_path, state, attempt, failures, crashes, suspect, started_at, wake_at)
select item, node, element_path, 'running', 1, 0, 0, 0, started_at, 0
from unnest($1::bigint[], $2::int[], $3::text[], $4::bigint[]) as w (item, node, element_path, started_at)
on conflict (item, node, element_path) do update set state = excluded.state, attempt = excluded.attempt, failures = excluded.failures,
    crashes = excluded.crashes, suspect = excluded.suspect, started_at = excluded.started_at, wake_at = excluded.wake_at;

-- name: copy_plain_tasks
copy tasks (item, node, element_path, generation, state, attempt, started_at, ended_at, incarnation, body, output) from stdin (format binary);

-- name: copy_tasks
copy tasks (
    item, node, element_path, generation, state, attempt, started_at, ended_at, incarnation, body, worker, cpu_ms, peak_kib, output, artifact, flag,
    cost, gpu_ms
) from stdin (format binary);

-- name: add_attempt
insert into attempts (
    item, node, element_path, generation, attempt, started_at, ended_at, error_class, error, message, traceback, charged,
    incarnation, body, worker, cpu_ms, peak_kib, cost, gpu_ms
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- name: add_dead_letter
insert into dead_letters (item, node, element_path, generation, error_class, error, message, traceback, attempts, at, fingerprint, pipeline)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, (select pipeline from items where id = $1));

-- name: release_item queued again or waiting; what is asked of it now decides whether it is paused
update items set
    state = case when wish = 'pause' then 'paused' when $2 = 'paused' then 'queued' else $2 end,
    due = case
        when wish = 'pause' or $2 in ('queued', 'paused') then 0
        when exists (select from waits w where w.item = $1 and w.state = 'answered') then 1
        else $3::bigint end,
    wish = null
where id = $1;

-- name: finish_items whose result lies in the row of the same task
update items set state = $2, due = 0, ended_at = $3, output_node = $4, output_element_path = $5, wish = null where id = any ($1::bigint[]);

-- name: finish_item
update items set state = $2, due = 0, ended_at = $3, output_node = $4, output_element_path = $5, output = $6, output_artifact = $7, wish = null
where id = $1;

-- name: item_flags
select flags from items where id = $1;

-- name: flag_item
update items set flags = $1 where id = $2;

-- name: note_command
update incarnations set command = $1 where id = $2 and ended_at is null returning id;

-- name: task_there
select 1 from tasks where item = $1 and node = $2 and element_path = $3 and generation = $4;

-- name: last_command waits for a COMMIT that is still under way
select command from incarnations where id = $1 for share;

-- name: open_dead_letters
select d.id, d.item, i.state, d.node, d.element_path, d.error_class from dead_letters d join items i on i.id = d.item
where d.state = 'open' and d.id = any ($1::bigint[]) order by d.id for update;

-- name: next_generation
update items set state = 'queued', due = 0, generation = generation + 1, fence = fence + 1, ended_at = null, wish = null,
    deadline = $1 + coalesce(allowed_ms, deadline - admitted_at), allowed_ms = coalesce(allowed_ms, deadline - admitted_at),
    output_node = null, output_element_path = null, output = null, output_artifact = null
where id = $2;

-- name: open_dead_letters_left
select count(*) from dead_letters where item = $1 and state = 'open';

-- name: discard_item
update items set state = 'discarded' where id = $1 and state = 'dead';

-- name: next_wake the next wait that ends; while anybody drives an item, half a second from now, since its lease may end
select least(
    (
        select min(i.due) from unnest($1::bigint[]) as v (version)
        cross join lateral (
            select due from items where state = 'waiting' and version = v.version and due < 9007199254740991 order by due, id limit 1
        ) i
    ),
    (select now_ms() + 500 where exists (select from items where state = 'running' and version = any ($1::bigint[])))
);
