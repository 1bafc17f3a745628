-- What lies in the artifact store, and what is known of who may be about to name more of it.

-- name: ledger_identity whose an artifact is: a copy in another database is another ledger
select ledger from identity;

-- name: allow_attempts of a version, so long; what it allowed before may still run
update versions set longest_s = case when longest_s > cast($1 as double precision) then longest_s else cast($1 as double precision) end where id = $2;

-- name: longest_attempt of all versions
select coalesce(max(longest_s), 0) from versions;

-- name: unknown_attempts versions that a runner serves, and that only an older release has registered
select distinct p.name, v.label from serving s
join versions v on v.id = s.version join pipelines p on p.id = v.pipeline
join incarnations i on i.id = s.incarnation and i.ended_at is null
where v.longest_s is null order by p.name, v.label limit 20;

-- name: artifact_references every value that lies in the artifact store
select artifact from items where artifact is not null
union all select output_artifact from items where output_artifact is not null
union all select artifact from tasks where artifact is not null
union all select shown_artifact from waits where shown_artifact is not null
union all select answer_artifact from waits where answer_artifact is not null
union all select artifact from events where artifact is not null
union all select artifact from cache where artifact is not null
union all select artifact from revisions where artifact is not null
union all select output_artifact from revisions where output_artifact is not null;

-- name: part_references
select chunk from each_parts;

-- name: values_in_rows that may refer to artifacts though they lie in their rows
select value from effects union all select value from past_effects union all select arguments from edits union all select output from cache where output is not null
union all select answer from waits where answer is not null union all select proposed from waits where proposed is not null;
