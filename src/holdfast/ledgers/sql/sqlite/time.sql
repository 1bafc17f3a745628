-- The ledger's time: see ledgers/timekeeping.py.

-- name: clock_kept
select ledger_ms, wall_ms, up_ms, boot from clock;

-- name: keep_clock
insert into clock (id, ledger_ms, wall_ms, up_ms, boot) values (1, ?1, ?2, ?3, ?4)
on conflict (id) do update set ledger_ms = excluded.ledger_ms, wall_ms = excluded.wall_ms, up_ms = excluded.up_ms, boot = excluded.boot;

-- name: move_waiting what waits for something else than a time stays
update items set due = due + ?1 where state = 'waiting' and due > 1 and due < 9007199254740991;

-- name: move_deadlines
update items set deadline = deadline + ?1 where deadline is not null and state in ('queued', 'running', 'waiting', 'paused');

-- name: move_tasks
update live_tasks set wake_at = wake_at + ?1 where wake_at > 0;

-- name: move_waits
update waits set due = due + ?1 where due > 0 and state = 'open';

-- name: move_probes
update breakers set probe_at = probe_at + ?1;

-- name: leave_out_incarnations
insert into incarnations (id, host, pid, started_at, expires_at, ended_at) select coalesce(max(id), 0) + ?2, 'restored', 0, ?1, ?1, ?1 from incarnations;
