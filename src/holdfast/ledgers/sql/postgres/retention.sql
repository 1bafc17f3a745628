-- Clearing values of items that ended long ago; never of one with an open dead letter.

-- name: purgeable
select i.id from items i join pipelines p on p.id = i.pipeline
where p.name = $1 and i.state in ('completed', 'discarded', 'cancelled') and (i.purged_at is null or i.purged_at < i.ended_at) and i.ended_at < $2
and not exists (select 1 from dead_letters d where d.item = i.id and d.state = 'open')
order by i.id limit $3 for no key update of i skip locked;

-- name: purge_tasks but the one that holds the result
update tasks set output = null, artifact = null
where item = $1 and (output is not null or artifact is not null) and not exists (
    select 1 from items i where i.id = tasks.item and i.output_node = tasks.node and i.output_element_path = tasks.element_path
);

-- name: purge_parts
delete from each_parts where item = $1;

-- name: note_purged
update items set purged_at = $2 where id = $1;

-- name: archivable
select i.id from items i join pipelines p on p.id = i.pipeline
where p.name = $1 and i.state in ('completed', 'discarded', 'cancelled') and i.ended_at < $2
and not exists (select 1 from dead_letters d where d.item = i.id and d.state = 'open')
order by i.id limit $3 for no key update of i skip locked;

-- name: archive_item
update items set state = 'archived', output = null, output_artifact = null, output_node = null, output_element_path = null, purged_at = coalesce(purged_at, $2)
where id = $1;
