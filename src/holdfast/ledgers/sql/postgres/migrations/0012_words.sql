-- contract: the words of the vocabulary. A task belongs to an element path (it was called place), an operation concerns
-- dead letters, and what people did is the audit log (it was called trail). Runners of older releases are refused from now on.
alter table tasks rename column place to element_path;
alter table attempts rename column place to element_path;
alter table dead_letters rename column place to element_path;
alter table live_tasks rename column place to element_path;
alter table waits rename column place to element_path;
alter table each_parts rename column place to element_path;
alter table effects rename column place to element_path;
alter table past_effects rename column place to element_path;
alter table edits rename column place to element_path;
alter table items rename column output_place to output_element_path;
alter table operated rename column letter to dead_letter;

drop trigger trail_end on trail;
drop function keep_trail_end();
alter table trail rename to audit_log;
alter index trail_at rename to audit_log_at;
create function keep_audit_log_end() returns trigger language plpgsql as $$
begin
    execute format('update %I.meta set value = $1 where name = ''audit-log-end''', tg_table_schema)
    using new.id || ' ' || new.digest;
    return null;
end;
$$;
create trigger audit_log_end after insert on audit_log for each row execute function keep_audit_log_end();
