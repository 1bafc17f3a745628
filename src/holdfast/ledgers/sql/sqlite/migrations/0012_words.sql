-- The words of the vocabulary. A task belongs to an element path (it was called place), an operation concerns dead letters,
-- and what people did is the audit log (it was called trail). SQLite changes indexes and triggers with the columns.
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

drop trigger trail_end;
drop index trail_at;
alter table trail rename to audit_log;
create trigger audit_log_end after insert on audit_log
begin
    update meta set value = new.id || ' ' || new.digest where name = 'audit-log-end';
end;
create index audit_log_at on audit_log (at);
