-- Dead letters in groups; pausing, restarting and moving items; what operations did; breakers, learned durations, alerts; search.

alter table dead_letters add column fingerprint text;
create index dead_letters_group on dead_letters (fingerprint, id) where state = 'open';

-- What is asked of an item that a runner drives: 'pause'.
alter table items add column wish text;
create index items_version on items (version, id);
-- Of what took ten seconds or more: quick items should not pay for it.
create index items_duration on items (ended_at - admitted_at) where ended_at - admitted_at >= 10000;

-- Values of the payload, and flags, by which items are found.
create table item_fields (
    pipeline integer not null,
    name text not null,
    value text not null,
    item integer not null,
    primary key (pipeline, name, value, item)
) without rowid;

create table item_flags (
    flag text not null,
    item integer not null,
    primary key (flag, item)
) without rowid;

-- Settled tasks of a node (-1: of every node) that are older than a generation do not count any more: the item was restarted.
create table restarts (
    item integer not null,
    node integer not null,
    generation integer not null,
    primary key (item, node)
) without rowid;

-- Tasks older than a generation belong to a version that the item has left.
create table moves (
    item integer not null,
    generation integer not null,
    version integer not null,
    primary key (item, generation)
) without rowid;

-- Inputs of a dead task that a person has put right, as a JSON array of its arguments.
create table edits (
    item integer not null,
    node integer not null,
    place text not null,
    arguments blob not null,
    primary key (item, node, place)
) without rowid;

-- Every operation of a person or a program on items, pipelines, dead letters: append-only but for its progress.
create table operations (
    id integer primary key,
    at integer not null,
    who text not null,
    verb text not null,
    target text not null,
    reason text not null,
    state text not null default 'running' check (state in ('running', 'done', 'stopped')),
    changed integer not null default 0,
    ended_at integer
);

-- What each operation changed.
create table operated (
    operation integer not null,
    item integer not null,
    letter integer not null default 0,
    primary key (operation, item, letter)
) without rowid;
create index operated_item on operated (item);

-- Pipelines, and steps of them (step '': all), in which nothing starts.
create table pauses (
    pipeline integer not null,
    step text not null,
    at integer not null,
    who text not null,
    reason text not null,
    primary key (pipeline, step)
) without rowid;

-- Dependencies whose breaker is open.
create table breakers (
    name text primary key,
    opened_at integer not null,
    probes integer not null,
    probe_at integer not null,
    why text not null
);

-- How long a step's attempts take: a histogram, see model/durations.py.
create table durations (
    pipeline text not null,
    step text not null,
    sketch text not null,
    at integer not null,
    primary key (pipeline, step)
);

create table alerts (
    id integer primary key,
    kind text not null,
    subject text not null,
    message text not null,
    opened_at integer not null,
    seen_at integer not null,
    closed_at integer
);
create unique index alerts_open on alerts (kind, subject) where closed_at is null;

-- The versions that a runner serves.
create table serving (
    incarnation integer not null,
    version integer not null,
    primary key (incarnation, version)
) without rowid;

-- Successes of cached steps by body and inputs.
create table cache (
    digest text primary key,
    at integer not null,
    output blob,
    artifact text
);
