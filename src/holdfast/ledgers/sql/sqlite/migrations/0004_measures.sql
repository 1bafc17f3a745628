-- What steps cost, how long they held GPUs, and what is measured of each step in each minute.

alter table tasks add column cost integer;
alter table attempts add column cost integer;
alter table tasks add column gpu_ms integer;
alter table attempts add column gpu_ms integer;

-- What a runner has in hand, as it last said: JSON.
alter table incarnations add column load text;

-- Of a step (node -1: of whole items) in a minute, by the incarnation that wrote it (0 and below: who admits). Sums of the rows of tasks and
-- attempts, written with them. durations: counts by bucket; errors: counts by class; both JSON.
create table measures (
    minute integer not null,
    incarnation integer not null,
    version integer not null,
    node integer not null,
    admitted integer not null default 0,
    succeeded integer not null default 0,
    skipped integer not null default 0,
    dead integer not null default 0,
    cancelled integer not null default 0,
    cached integer not null default 0,
    passed integer not null default 0,
    lost integer not null default 0,
    failed integer not null default 0,
    excused integer not null default 0,
    busy_ms integer not null default 0,
    cpu_ms integer not null default 0,
    gpu_ms integer not null default 0,
    cost integer not null default 0,
    stored integer not null default 0,
    peak_kib integer not null default 0,
    durations text not null default '{}',
    errors text not null default '{}',
    primary key (minute, incarnation, version, node)
) without rowid;

-- What people did, in order: see model/trail.py.
create table trail (
    id integer primary key,
    at integer not null,
    who text not null,
    action text not null,
    target text not null,
    reason text not null,
    digest text not null
);

-- When an alert was delivered, and until when somebody is delivering it.
alter table alerts add column notified_at integer;
alter table alerts add column telling_until integer;

-- What an item cost until its end, where that is a cent or more: millionths of a dollar.
alter table items add column cost integer;
create index items_cost on items (cost) where cost is not null;

-- What an item set off; items that nobody set off are not in these.
create index items_parent on items (parent) where parent is not null;
create index items_correlation on items (correlation, id) where correlation is not null;
create index events_correlation on events (correlation, id) where correlation <> '';

-- Of which pipeline a dead letter is, so that one's letters are counted without looking at all others.
alter table dead_letters add column pipeline integer;
update dead_letters set pipeline = (select i.pipeline from items i where i.id = dead_letters.item);
create index dead_letters_pipeline on dead_letters (pipeline, id) where state = 'open';

-- What was there before: without durations.
insert into measures (minute, incarnation, version, node, admitted)
select min(r.at) / 60000, 0, i.version, -1, count(*) from receipts r join items i on i.id = r.item group by r.at / 60000, i.version;
insert into measures (minute, incarnation, version, node, succeeded, skipped, dead, cancelled, cached, passed, busy_ms, cpu_ms)
select t.ended_at / 60000, t.incarnation, i.version, t.node, sum(case when t.state = 'succeeded' then 1 else 0 end),
    sum(case when t.state = 'skipped' then 1 else 0 end), sum(case when t.state = 'dead' then 1 else 0 end),
    sum(case when t.state = 'cancelled' then 1 else 0 end), sum(case when t.state = 'succeeded' and t.attempt = 0 then 1 else 0 end),
    sum(case when t.state in ('succeeded', 'skipped') and t.place = '' then 1 else 0 end),
    sum(case when t.state = 'succeeded' and t.attempt > 0 then t.ended_at - t.started_at else 0 end),
    coalesce(sum(case when t.state = 'succeeded' then t.cpu_ms else 0 end), 0)
from tasks t join items i on i.id = t.item where t.incarnation > 0 group by t.ended_at / 60000, t.incarnation, i.version, t.node;
insert into measures (minute, incarnation, version, node, failed, excused, busy_ms, cpu_ms)
select a.ended_at / 60000, a.incarnation, i.version, a.node, sum(a.charged), sum(1 - a.charged), sum(a.ended_at - a.started_at), coalesce(sum(a.cpu_ms), 0)
from attempts a join items i on i.id = a.item where a.incarnation > 0 group by a.ended_at / 60000, a.incarnation, i.version, a.node
on conflict (minute, incarnation, version, node) do update set failed = excluded.failed, excused = excluded.excused,
    busy_ms = measures.busy_ms + excluded.busy_ms, cpu_ms = measures.cpu_ms + excluded.cpu_ms;

-- With the version, so that what waits is counted by the index alone.
drop index items_state;
create index items_state on items (state, due, id, version);
