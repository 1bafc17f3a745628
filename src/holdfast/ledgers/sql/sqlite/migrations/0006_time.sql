-- Deadlines of equal length for every generation, waits that survive a clock that is set, and ledgers that were restored.

-- How long the item is given: a generation's deadline is so far after its beginning. Null (an older release): the deadline's distance from
-- admission.
alter table items add column allowed_ms integer;

-- What the writer's clock said when the ledger's time was written down: see ledgers/timekeeping.py.
create table clock (
    id integer primary key check (id = 1),
    ledger_ms integer not null,
    wall_ms integer not null,
    up_ms integer not null,
    boot text not null
);

-- How often an incarnation renewed its lease: what it was told is never less in the ledger, unless that is an older copy.
alter table incarnations add column beats integer not null default 0;

-- Names this ledger and its copies.
create table identity (
    id integer primary key check (id = 1),
    ledger text not null
);
insert into identity (id, ledger) values (1, lower(hex(randomblob(16))));

-- Restores that somebody has accepted.
create table restores (
    id integer primary key,
    at integer not null,
    who text not null,
    reason text not null,
    report text not null
);
