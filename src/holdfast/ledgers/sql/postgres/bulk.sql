-- Operations on many: items and dead letters by lists of their numbers.

-- name: redriven_now
update dead_letters set state = 'redriven', closed_at = $1 where id = any ($2::bigint[]);

-- name: parts_among
select distinct item from each_parts where item = any ($1::bigint[]);

-- name: next_generations
update items set state = 'queued', due = 0, generation = generation + 1, fence = fence + 1, ended_at = null, wish = null,
    deadline = $1 + coalesce(allowed_ms, deadline - admitted_at), allowed_ms = coalesce(allowed_ms, deadline - admitted_at),
    output_node = null, output_element_path = null, output = null, output_artifact = null
where id = any ($2::bigint[]);

-- name: note_operated_dead_letters
insert into operated (operation, item, dead_letter) select $1::bigint, item, id from dead_letters where id = any ($2::bigint[])
on conflict (operation, item, dead_letter) do nothing;

-- name: dead_letters_now
select d.id, d.item, d.node, d.element_path, d.state, i.state from dead_letters d join items i on i.id = d.item where d.id = any ($1::bigint[]) order by d.item;

-- name: lock_items
select id from items where id = any ($1::bigint[]) order by id for no key update;

-- name: lock_audit_log its entries are numbered without gaps
lock table audit_log in exclusive mode;

-- name: foremost_of of what is queued foremost, the oldest of a pipeline
select min(i.id) from versions v join pipelines p on p.id = v.pipeline
cross join lateral (select id from items where state = 'queued' and version = v.id order by priority desc, id limit 1) i where p.name = $1;

-- name: begin_snapshot what is asked until its end is as of one moment
begin isolation level repeatable read, read only;

-- name: end_snapshot
rollback;

-- name: purged_among
select id from items where id = any ($1::bigint[]) and purged_at is not null;
