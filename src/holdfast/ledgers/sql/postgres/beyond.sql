-- What a transition writes beside tasks, as on SQLite; children are found by their key.

-- name: open_wait a child that was there before is looked at by the mail room: it may have ended
insert into waits (item, node, element_path, generation, round, kind, fresh, name, key, opened_at, due, asked, digest, shown, shown_artifact)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) on conflict (item, node, element_path, generation, round) do nothing;

-- name: tell_cancelled_child of a wait that ends without an answer
insert into mail (kind, item, generation)
select 'cancel', c.id, w.generation from waits w join pipelines p on p.name = w.name join items c on c.pipeline = p.id and c.key = w.key
where w.item = $1 and w.node = $2 and w.element_path = $3 and w.kind = 'child' and w.state = 'open' and w.generation = $4
    and c.state in ('queued', 'running', 'waiting', 'paused');

-- name: end_wait
update waits set state = case state when 'answered' then 'closed' else 'withdrawn' end, fresh = 0
where item = $1 and node = $2 and element_path = $3 and state in ('open', 'answered');

-- name: tell_children of an item that is given up
insert into mail (kind, item, generation)
select 'cancel', c.id, w.generation from waits w join pipelines p on p.name = w.name join items c on c.pipeline = p.id and c.key = w.key
where w.item = $1 and w.kind = 'child' and w.state = 'open' and c.state in ('queued', 'running', 'waiting', 'paused');

-- name: end_waits
update waits set state = case state when 'answered' then 'closed' else 'withdrawn' end, fresh = 0
where item = $1 and state in ('open', 'answered');

-- name: move_review
update waits set asked = $4, due = $5 where item = $1 and node = $2 and element_path = $3 and state = 'open';

-- name: asked_of
select asked from waits where item = $1 and node = $2 and element_path = $3 and state = 'open';

-- name: generation_of
select generation from items where id = $1;

-- name: add_child
insert into items (id, pipeline, version, key, payload, artifact, priority, admitted_at, deadline, allowed_ms, parent, correlation, trace, digest,
    parent_generation)
select (least(greatest($1::bigint - 1577836800000, 0), 2199023255551) << 22) | nextval('item_ids'), v.pipeline, v.id, $4::text, $5::bytea, $6::text, $7::int, $8::bigint,
    $9::bigint, $9::bigint - $8::bigint, $10::bigint, $11::text, $12::text, $13::text, $14::bigint
from versions v join pipelines p on p.id = v.pipeline where p.name = $2 and v.label = $3
on conflict (pipeline, key) do nothing returning id, pipeline;

-- name: child_known
select i.id, i.digest, i.parent from items i join pipelines p on p.id = i.pipeline where p.name = $1 and i.key = $2;

-- name: tell
insert into mail (kind, item, generation) select $1::text, id, generation from items where id = $2;

-- name: add_event
insert into events (name, type, source, key, at, received_at, mark, correlation, trace, outgoing, data, artifact)
values ($1, $2, $3, $4, $5, $6, (select coalesce(max(id), 0) from receipts), $7, $8, $9, $10, $11) on conflict (name, source) do nothing returning id;

-- name: emit_event its source names this ledger
insert into events (name, type, source, key, at, received_at, mark, correlation, trace, outgoing, data, artifact)
values ($1, $2, $3::text || '/' || (select id from origin), $4, $5, $6, (select coalesce(max(id), 0) from receipts), $7, $8, $9, $10, $11)
on conflict (name, source) do nothing returning id;

-- name: add_effect
insert into effects (item, node, element_path, label, at, value) values ($1, $2, $3, $4, $5, $6) on conflict (item, node, element_path, label) do nothing;

-- name: add_part
insert into each_parts (item, node, element_path, part, last, generation, chunk, failed) values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (item, node, element_path, part) do update set generation = excluded.generation, chunk = excluded.chunk, failed = excluded.failed;

-- name: add_choice
insert into choices (version, node, minute, choice, incarnation, number)
select version, $2::int, $3::bigint, $4::text, $5::bigint, $6::bigint from items where id = $1
on conflict (version, node, minute, choice, incarnation) do update set number = choices.number + excluded.number;

-- name: drop_parts the stretch of a redriven element is open again
delete from each_parts where item = $1 and node < $2::int and last >= $2 and (element_path = '' or $3::text like element_path || '.%')
and part = split_part(case element_path when '' then $3 else substr($3, length(element_path) + 2) end, '.', 1)::int / 1024;
