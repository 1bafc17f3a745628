-- The ledger's time: see ledgers/postgres_time.py.

-- name: ledger_time
select now_ms();

-- name: clock_ahead
select ahead_ms, now_ms() from clock where id = 1;

-- name: lock_clock
select ahead_ms from clock where id = 1 for update;

-- name: set_ahead
update clock set ahead_ms = $1 where id = 1;

-- name: shorten_leases what was renewed while the clock was ahead
update incarnations set expires_at = least(expires_at, now_ms() + $1::bigint) where ended_at is null and not swept;

-- name: foremost_incarnation the one that sees to what concerns all
select min(id) from incarnations where ended_at is null and not swept and expires_at > now_ms();

-- name: move_waiting what waits for something else than a time stays
update items set due = due + $1::bigint where state = 'waiting' and due > 1 and due < 9007199254740991;

-- name: move_deadlines
update items set deadline = deadline + $1::bigint where deadline is not null and state in ('queued', 'running', 'waiting', 'paused');

-- name: move_tasks
update live_tasks set wake_at = wake_at + $1::bigint where wake_at > 0;

-- name: move_waits
update waits set due = due + $1::bigint where due > 0 and state = 'open';

-- name: move_probes
update breakers set probe_at = probe_at + $1::bigint;

-- name: leave_out_incarnations the sequence goes on after them
insert into incarnations (id, host, pid, place, born, started_at, expires_at, ended_at, swept) overriding system value
select setval(pg_get_serial_sequence('incarnations', 'id'), (select coalesce(max(id), 0) from incarnations) + $2::bigint),
    'restored', 0, '', 0, $1::bigint, $1::bigint, $1::bigint, true;
