-- Waiting for people, events and child items; events and who listens to them; kept stretches of long eaches; sub-effects; shares of routes.

create table live_tasks_2 (
    item integer not null,
    node integer not null,
    place text not null,
    state text not null check (state in ('running', 'retrying', 'waiting')),
    attempt integer not null,
    failures integer not null,
    crashes integer not null,
    suspect integer not null,
    started_at integer not null,
    wake_at integer not null,
    primary key (item, node, place)
) without rowid;
insert into live_tasks_2 select * from live_tasks;
drop table live_tasks;
alter table live_tasks_2 rename to live_tasks;

-- The item that this one is a child of; what set it off, and its trace. An item that sets off something itself has none.
alter table items add column parent integer;
alter table items add column correlation text;
alter table items add column trace text;
alter table items add column purged_at integer;

-- Tasks that wait, or have waited, for somebody or something outside. One decision: state leaves 'open' once.
create table waits (
    id integer primary key,
    item integer not null,
    node integer not null,
    place text not null,
    generation integer not null,
    -- A task may ask more than once: the attempt after which it did.
    round integer not null,
    kind text not null check (kind in ('review', 'event', 'child')),
    state text not null default 'open' check (state in ('open', 'answered', 'closed', 'withdrawn')),
    -- 1 until the mail room has looked whether what it waits for is there already.
    fresh integer not null,
    name text not null,
    key text not null,
    opened_at integer not null,
    due integer not null,
    asked blob,
    digest text,
    shown blob,
    shown_artifact text,
    proposed_by text,
    proposed blob,
    answered_at integer,
    answered_by text,
    failure text,
    answer blob,
    answer_artifact text,
    unique (item, node, place, generation, round)
);
create index waits_event on waits (name, key) where kind = 'event' and state = 'open';
create index waits_fresh on waits (id) where fresh = 1;
create index waits_answered on waits (item) where state = 'answered';
create index waits_review on waits (id) where kind = 'review' and state = 'open';

-- What others must hear of an item: that it has ended, that it is to be cancelled. A row goes when they have.
create table mail (
    id integer primary key,
    kind text not null check (kind in ('ended', 'cancel')),
    item integer not null
);

-- Every event, emitted here or received. fresh: not handed out yet; outgoing: 1 until the broker has it.
create table events (
    id integer primary key,
    name text not null unique,
    type text not null,
    source text not null,
    key text not null,
    at integer not null,
    correlation text not null,
    trace text not null,
    fresh integer not null default 1,
    outgoing integer not null,
    data blob,
    artifact text
);
create index events_fresh on events (id) where fresh = 1;
create index events_outgoing on events (id) where outgoing = 1;
create index events_key on events (type, key, at) where key <> '';

create table subscriptions (
    pipeline integer not null,
    type text not null,
    primary key (pipeline, type)
) without rowid;

-- An event for a pipeline that listens: open until it is an item, was not of interest, or was refused with a reason.
create table deliveries (
    id integer primary key,
    pipeline integer not null,
    event integer not null,
    state text not null default 'open' check (state in ('open', 'done', 'filtered', 'refused')),
    item integer,
    reason text,
    unique (pipeline, event)
);
create index deliveries_open on deliveries (pipeline, id) where state in ('open', 'refused');

create table each_parts (
    item integer not null,
    node integer not null,
    place text not null,
    part integer not null,
    last integer not null,
    generation integer not null,
    chunk text not null,
    failed text not null,
    primary key (item, node, place, part)
) without rowid;

create table effects (
    item integer not null,
    node integer not null,
    place text not null,
    label text not null,
    at integer not null,
    value blob not null,
    primary key (item, node, place, label)
) without rowid;

-- How often a route took which case, minute by minute; by incarnation, so that runners never wait for each other's row.
create table choices (
    version integer not null,
    node integer not null,
    minute integer not null,
    choice text not null,
    incarnation integer not null,
    number integer not null,
    primary key (version, node, minute, choice, incarnation)
) without rowid;

-- What the engine has learned of a step, such as the batch size that fits its memory.
create table learned (
    name text primary key,
    value real not null,
    at integer not null
) without rowid;
