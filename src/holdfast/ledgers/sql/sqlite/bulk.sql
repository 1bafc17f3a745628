-- Operations on many: items and dead letters by lists of their numbers.

-- name: redriven_now
update dead_letters set state = 'redriven', closed_at = ?1 where id in (select value from carray(?2));

-- name: parts_among
select distinct item from each_parts where item in (select value from carray(?1));

-- name: next_generations
update items set state = 'queued', due = -priority, generation = generation + 1, fence = fence + 1, ended_at = null, wish = null,
    deadline = ?1 + coalesce(allowed_ms, deadline - admitted_at), allowed_ms = coalesce(allowed_ms, deadline - admitted_at),
    output_node = null, output_element_path = null, output = null, output_artifact = null
where id in (select value from carray(?2));

-- name: note_operated_dead_letters
insert into operated (operation, item, dead_letter) select cast(?1 as integer), item, id from dead_letters where id in (select value from carray(?2))
on conflict (operation, item, dead_letter) do nothing;

-- name: dead_letters_now
select d.id, d.item, d.node, d.element_path, d.state, i.state from dead_letters d join items i on i.id = d.item where d.id in (select value from carray(?1)) order by d.item;

-- name: lock_items
select id from items where id in (select value from carray(?1));

-- name: lock_audit_log nobody else writes
select 1;

-- name: foremost_of of what is queued foremost, the oldest of a pipeline
select min(q.id) from (select id, version from items where state = 'queued' order by due, id limit 1000) q
join versions v on v.id = q.version join pipelines p on p.id = v.pipeline where p.name = ?1;

-- name: begin_snapshot what is asked until its end is as of one moment
begin;

-- name: end_snapshot
rollback;

-- name: purged_among
select id from items where id in (select value from carray(?1)) and purged_at is not null;
