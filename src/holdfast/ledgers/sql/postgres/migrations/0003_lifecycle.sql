-- Dead letters in groups; pausing, restarting and moving items; what operations did; breakers, learned durations, alerts; search.

alter table dead_letters add column fingerprint text;
create index dead_letters_group on dead_letters (fingerprint, id) where state = 'open';

-- What is asked of an item that a runner drives: 'pause'.
alter table items add column wish text;
-- A beginning is a range only where characters have their own order.
alter table items alter column key type text collate "C";
create index items_version on items (version, id);
-- Of what took ten seconds or more: quick items should not pay for it.
create index items_duration on items ((ended_at - admitted_at)) where ended_at - admitted_at >= 10000;

-- Values of the payload, and flags, by which items are found.
create table item_fields (
    pipeline bigint not null,
    name text not null,
    value text collate "C" not null,
    item bigint not null,
    primary key (pipeline, name, value, item)
);

create table item_flags (
    flag text not null,
    item bigint not null,
    primary key (flag, item)
);

-- Settled tasks of a node (-1: of every node) that are older than a generation do not count any more: the item was restarted.
create table restarts (
    item bigint not null,
    node integer not null,
    generation integer not null,
    primary key (item, node)
);

-- Tasks older than a generation belong to a version that the item has left.
create table moves (
    item bigint not null,
    generation integer not null,
    version bigint not null,
    primary key (item, generation)
);

-- Inputs of a dead task that a person has put right, as a JSON array of its arguments.
create table edits (
    item bigint not null,
    node integer not null,
    place text not null,
    arguments bytea not null,
    primary key (item, node, place)
);

-- Every operation of a person or a program on items, pipelines, dead letters: append-only but for its progress.
create table operations (
    id bigint generated always as identity primary key,
    at bigint not null,
    who text not null,
    verb text not null,
    target text not null,
    reason text not null,
    state text not null default 'running' check (state in ('running', 'done', 'stopped')),
    changed bigint not null default 0,
    ended_at bigint
);

-- What each operation changed.
create table operated (
    operation bigint not null,
    item bigint not null,
    letter bigint not null default 0,
    primary key (operation, item, letter)
);
create index operated_item on operated (item);

-- Pipelines, and steps of them (step '': all), in which nothing starts.
create table pauses (
    pipeline bigint not null,
    step text not null,
    at bigint not null,
    who text not null,
    reason text not null,
    primary key (pipeline, step)
);

-- Dependencies whose breaker is open.
create table breakers (
    name text primary key,
    opened_at bigint not null,
    probes integer not null,
    probe_at bigint not null,
    why text not null
);

-- How long a step's attempts take: a histogram, see model/durations.py.
create table durations (
    pipeline text not null,
    step text not null,
    sketch text not null,
    at bigint not null,
    primary key (pipeline, step)
);

create table alerts (
    id bigint generated always as identity primary key,
    kind text not null,
    subject text not null,
    message text not null,
    opened_at bigint not null,
    seen_at bigint not null,
    closed_at bigint
);
create unique index alerts_open on alerts (kind, subject) where closed_at is null;

-- The versions that a runner serves.
create table serving (
    incarnation bigint not null,
    version bigint not null,
    primary key (incarnation, version)
);

-- Successes of cached steps by body and inputs.
create table cache (
    digest text primary key,
    at bigint not null,
    output bytea,
    artifact text
);
