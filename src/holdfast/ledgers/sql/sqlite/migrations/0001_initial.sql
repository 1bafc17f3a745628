-- The ledger of Holdfast. Times are Unix milliseconds, durations milliseconds. Large values are references (column artifact).

create table pipelines (
    id integer primary key,
    name text not null unique
);

create table versions (
    id integer primary key,
    pipeline integer not null references pipelines (id),
    label text not null,
    fingerprint text not null,
    shape text not null,
    created_at integer not null,
    unique (pipeline, label)
);

-- The hash of a step's body as it ran.
create table bodies (
    id integer primary key,
    hash text not null unique
);

-- One start of a runner. Its expiry is the lease of every item that it owns; command is its last committed group.
create table incarnations (
    id integer primary key,
    host text not null,
    pid integer not null,
    started_at integer not null,
    expires_at integer not null,
    ended_at integer,
    command integer not null default 0
);

create table manifests (
    id integer primary key,
    name text not null unique
);

-- Append-only: written in the transaction that admits, never changed. What was received is counted here alone.
create table receipts (
    id integer primary key,
    item integer not null,
    pipeline integer not null,
    manifest integer,
    at integer not null
);

create table item_transitions (
    before text not null,
    after text not null,
    primary key (before, after)
) without rowid;

create table items (
    id integer primary key,
    pipeline integer not null,
    version integer not null,
    key text not null,
    state text not null default 'queued' check (
        state in ('queued', 'running', 'waiting', 'paused', 'completed', 'dead', 'discarded', 'cancelled', 'archived')
    ),
    generation integer not null default 1,
    fence integer not null default 0,
    priority integer not null default 0,
    -- queued: its priority, negated; waiting: when it may be claimed; running: the incarnation that owns it; ended: 0.
    -- So one index serves all claims.
    due integer not null default 0,
    deadline integer,
    admitted_at integer not null,
    ended_at integer,
    flags text,
    output_node integer,
    output_place text,
    -- Last, so that reading a fence never walks through a large payload.
    payload blob,
    artifact text,
    output blob,
    output_artifact text
);
create unique index items_key on items (pipeline, key);
create index items_state on items (state, due, id);

create trigger items_transition before update of state on items
when not exists (select 1 from item_transitions where before = old.state and after = new.state)
begin
    select raise (abort, 'illegal item transition');
end;

create trigger receipts_append_only before update on receipts
begin
    select raise (abort, 'receipts are append-only');
end;

create trigger receipts_never_deleted before delete on receipts
begin
    select raise (abort, 'receipts are append-only');
end;

-- Tasks that started and have not ended: small and hot.
create table live_tasks (
    item integer not null,
    node integer not null,
    place text not null,
    state text not null check (state in ('running', 'retrying')),
    attempt integer not null,
    failures integer not null,
    crashes integer not null,
    suspect integer not null,
    started_at integer not null,
    wake_at integer not null,
    primary key (item, node, place)
) without rowid;

-- Tasks that ended: written once. The unique index makes a second settlement impossible.
create table tasks (
    id integer primary key,
    item integer not null,
    node integer not null,
    place text not null,
    generation integer not null,
    state text not null check (state in ('succeeded', 'skipped', 'dead', 'cancelled')),
    attempt integer not null,
    started_at integer not null,
    ended_at integer not null,
    incarnation integer not null,
    body integer,
    worker integer,
    cpu_ms integer,
    peak_kib integer,
    output blob,
    artifact text,
    flag text
);
create unique index tasks_item on tasks (item, node, place, generation);

-- Attempts that did not succeed: append-only, with the whole failure.
create table attempts (
    id integer primary key,
    item integer not null,
    node integer not null,
    place text not null,
    generation integer not null,
    attempt integer not null,
    started_at integer not null,
    ended_at integer not null,
    error_class text not null,
    error text not null,
    message text not null,
    traceback text not null,
    charged integer not null,
    incarnation integer not null,
    body integer,
    worker integer,
    cpu_ms integer,
    peak_kib integer
);
create index attempts_item on attempts (item);

create table dead_letters (
    id integer primary key,
    item integer not null,
    node integer not null,
    place text not null,
    generation integer not null,
    error_class text not null,
    error text not null,
    message text not null,
    traceback text not null,
    attempts integer not null,
    at integer not null,
    state text not null default 'open' check (state in ('open', 'redriven', 'discarded')),
    closed_at integer,
    reason text
);
create index dead_letters_item on dead_letters (item);
create index dead_letters_state on dead_letters (state, id);

create view item_counts as select pipeline, state, count(*) as number from items group by pipeline, state;
