-- Questions about the server itself.

-- name: server
select current_setting('server_version'), current_setting('max_connections')::int, (select count(*) from pg_stat_activity),
    current_setting('autovacuum'), (extract(epoch from clock_timestamp()) * 1000)::bigint,
    (select count(*) from pg_stat_replication where state = 'streaming'),
    (select coalesce(max(extract(epoch from now() - xact_start)), 0)::bigint from pg_stat_activity
     where state = 'idle in transaction' and datname = current_database());
