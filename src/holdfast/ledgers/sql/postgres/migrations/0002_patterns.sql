-- Waiting for people, events and child items; events and who listens to them; kept stretches of long eaches; sub-effects; shares of routes.
-- Columns as on SQLite.

alter table live_tasks drop constraint live_tasks_state_check;
alter table live_tasks add constraint live_tasks_state_check check (state in ('running', 'retrying', 'waiting')) not valid;

alter table items add column parent bigint;
alter table items add column correlation text;
alter table items add column trace text;
alter table items add column purged_at bigint;

create table waits (
    id bigint generated always as identity primary key,
    item bigint not null,
    node integer not null,
    place text not null,
    generation integer not null,
    -- A task may ask more than once: the attempt after which it did.
    round integer not null,
    kind text not null check (kind in ('review', 'event', 'child')),
    state text not null default 'open' check (state in ('open', 'answered', 'closed', 'withdrawn')),
    fresh integer not null,
    name text not null,
    key text not null,
    opened_at bigint not null,
    due bigint not null,
    asked bytea,
    digest text,
    shown bytea,
    shown_artifact text,
    proposed_by text,
    proposed bytea,
    answered_at bigint,
    answered_by text,
    failure text,
    answer bytea,
    answer_artifact text,
    unique (item, node, place, generation, round)
);
create index waits_event on waits (name, key) where kind = 'event' and state = 'open';
create index waits_fresh on waits (id) where fresh = 1;
create index waits_answered on waits (item) where state = 'answered';
create index waits_review on waits (id) where kind = 'review' and state = 'open';

create table mail (
    id bigint generated always as identity primary key,
    kind text not null check (kind in ('ended', 'cancel')),
    item bigint not null
);

create table events (
    id bigint generated always as identity primary key,
    name text not null unique,
    type text not null,
    source text not null,
    key text not null,
    at bigint not null,
    correlation text not null,
    trace text not null,
    fresh integer not null default 1,
    outgoing integer not null,
    data bytea,
    artifact text
);
create index events_fresh on events (id) where fresh = 1;
create index events_outgoing on events (id) where outgoing = 1;
create index events_key on events (type, key, at) where key <> '';

create table subscriptions (
    pipeline bigint not null,
    type text not null,
    primary key (pipeline, type)
);

create table deliveries (
    id bigint generated always as identity primary key,
    pipeline bigint not null,
    event bigint not null,
    state text not null default 'open' check (state in ('open', 'done', 'filtered', 'refused')),
    item bigint,
    reason text,
    unique (pipeline, event)
);
create index deliveries_open on deliveries (pipeline, id) where state in ('open', 'refused');

create table each_parts (
    item bigint not null,
    node integer not null,
    place text not null,
    part integer not null,
    last integer not null,
    generation integer not null,
    chunk text not null,
    failed text not null,
    primary key (item, node, place, part)
);

create table effects (
    item bigint not null,
    node integer not null,
    place text not null,
    label text not null,
    at bigint not null,
    value bytea not null,
    primary key (item, node, place, label)
);

create table choices (
    version bigint not null,
    node integer not null,
    minute bigint not null,
    choice text not null,
    incarnation bigint not null,
    number bigint not null,
    primary key (version, node, minute, choice, incarnation)
);

create table learned (
    name text primary key,
    value double precision not null,
    at bigint not null
);
