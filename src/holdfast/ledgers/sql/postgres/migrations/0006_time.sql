-- Deadlines of equal length for every generation, a server's clock that is set, and ledgers that were restored. Older runners leave the new
-- columns empty.

-- How long the item is given: a generation's deadline is so far after its beginning. Null (an older release): the deadline's distance from
-- admission.
alter table items add column allowed_ms bigint;

-- How often an incarnation renewed its lease: what it was told is never less in the ledger, unless that is an older copy.
alter table incarnations add column beats bigint not null default 0;

-- Names this ledger and its copies.
create table identity (
    id integer primary key check (id = 1),
    ledger text not null
);
insert into identity (id, ledger) values (1, replace(gen_random_uuid()::text, '-', ''));

-- Restores that somebody has accepted.
create table restores (
    id bigint generated always as identity primary key,
    at bigint not null,
    who text not null,
    reason text not null,
    report text not null
);

-- By how much the server's clock is ahead of the ledger's time: it was set while runners worked, and is approached little by little.
create table clock (
    id integer primary key check (id = 1),
    ahead_ms bigint not null
);
insert into clock (id, ahead_ms) values (1, 0);

create or replace function now_ms() returns bigint language sql stable as $$
    select (extract(epoch from clock_timestamp()) * 1000)::bigint - (select ahead_ms from clock)
$$;
