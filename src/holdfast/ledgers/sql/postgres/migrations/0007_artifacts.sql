-- How long an attempt may run, so that nothing that one holds is collected.

-- The longest attempt that a version has ever allowed, in seconds; null: it was registered by an older release.
alter table versions add column longest_s double precision;
