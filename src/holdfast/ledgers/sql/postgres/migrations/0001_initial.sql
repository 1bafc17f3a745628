-- The ledger of Holdfast on PostgreSQL, in a schema of its own. Times are Unix milliseconds, durations milliseconds. Large values
-- are references (column artifact). Columns as on SQLite; what differs says why.

create table pipelines (
    id bigint generated always as identity primary key,
    name text not null unique
);

create table versions (
    id bigint generated always as identity primary key,
    pipeline bigint not null references pipelines (id),
    label text not null,
    fingerprint text not null,
    shape text not null,
    created_at bigint not null,
    unique (pipeline, label)
);

-- The hash of a step's body as it ran.
create table bodies (
    id bigint generated always as identity primary key,
    hash text not null unique
);

-- One start of a runner. Its expiry, by this database's clock, is the lease of every item that it owns; command is its last
-- committed group; swept: it is over, and nothing runs under it any more. Place and born tell its neighbours whether it lives.
create table incarnations (
    id bigint generated always as identity primary key,
    host text not null,
    pid integer not null,
    place text not null,
    born bigint not null,
    started_at bigint not null,
    expires_at bigint not null,
    ended_at bigint,
    swept boolean not null default false,
    command bigint not null default 0
) with (fillfactor = 50);
create index incarnations_unswept on incarnations (id) where not swept;

create table manifests (
    id bigint generated always as identity primary key,
    name text not null unique
);

-- Append-only: written in the transaction that admits, never changed. What was received is counted here alone.
create table receipts (
    id bigint generated always as identity primary key,
    item bigint not null,
    pipeline bigint not null,
    manifest bigint,
    at bigint not null
);
create index receipts_item on receipts (item);
create index receipts_pipeline on receipts (pipeline);

create table item_transitions (
    before text not null,
    after text not null,
    primary key (before, after)
);

-- Ids: 41 bits of milliseconds since 2020, then 22 bits of this sequence, so that many processes mint them.
create sequence item_ids maxvalue 4194303 minvalue 0 cycle cache 1;

create table items (
    id bigint primary key,
    pipeline bigint not null,
    version bigint not null,
    key text not null,
    state text not null default 'queued' check (
        state in ('queued', 'running', 'waiting', 'paused', 'completed', 'dead', 'discarded', 'cancelled', 'archived')
    ),
    generation integer not null default 1,
    fence bigint not null default 0,
    priority integer not null default 0,
    -- waiting: when it may be claimed; running: the incarnation that owns it; otherwise 0.
    due bigint not null default 0,
    deadline bigint,
    admitted_at bigint not null,
    ended_at bigint,
    flags text,
    output_node integer,
    output_place text,
    payload bytea,
    artifact text,
    output bytea,
    output_artifact text
) with (fillfactor = 70);
create unique index items_key on items (pipeline, key);
-- Only what can be claimed is indexed for claims, so that a million finished items cost a claim nothing.
create index items_queued on items (version, priority desc, id) where state = 'queued';
create index items_waiting on items (version, due, id) where state = 'waiting';
create index items_running on items (due, id) where state = 'running';
create index items_ended on items (pipeline, state) where state in ('completed', 'dead', 'discarded', 'cancelled', 'archived', 'paused');

create function check_item_transition() returns trigger language plpgsql as $$
begin
    if not exists (select from holdfast.item_transitions where before = old.state and after = new.state) then
        raise exception 'illegal item transition from % to %', old.state, new.state using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger items_transition before update of state on items for each row execute function check_item_transition();

create function refuse_receipt_change() returns trigger language plpgsql as $$
begin
    raise exception 'receipts are append-only' using errcode = 'check_violation';
end $$;
create trigger receipts_append_only before update or delete on receipts for each row execute function refuse_receipt_change();

-- Tasks that started and have not ended: small and hot, apart from history, vacuumed early.
create table live_tasks (
    item bigint not null,
    node integer not null,
    place text not null,
    state text not null check (state in ('running', 'retrying')),
    attempt integer not null,
    failures integer not null,
    crashes integer not null,
    suspect integer not null,
    started_at bigint not null,
    wake_at bigint not null,
    primary key (item, node, place)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- Tasks that ended: written once. The unique index makes a second settlement impossible. Partitioned by item, whose ids are
-- in time order: a partition holds the items of one month.
create table tasks (
    item bigint not null,
    node integer not null,
    place text not null,
    generation integer not null,
    state text not null check (state in ('succeeded', 'skipped', 'dead', 'cancelled')),
    attempt integer not null,
    started_at bigint not null,
    ended_at bigint not null,
    incarnation bigint not null,
    body bigint,
    worker integer,
    cpu_ms bigint,
    peak_kib bigint,
    output bytea,
    artifact text,
    flag text,
    primary key (item, node, place, generation)
) partition by range (item);
create table tasks_other partition of tasks default;

-- Attempts that did not succeed: append-only, with the whole failure.
create table attempts (
    item bigint not null,
    node integer not null,
    place text not null,
    generation integer not null,
    attempt integer not null,
    started_at bigint not null,
    ended_at bigint not null,
    error_class text not null,
    error text not null,
    message text not null,
    traceback text not null,
    charged integer not null,
    incarnation bigint not null,
    body bigint,
    worker integer,
    cpu_ms bigint,
    peak_kib bigint
) partition by range (item);
create index attempts_item on attempts (item);
create table attempts_other partition of attempts default;

create table dead_letters (
    id bigint generated always as identity primary key,
    item bigint not null,
    node integer not null,
    place text not null,
    generation integer not null,
    error_class text not null,
    error text not null,
    message text not null,
    traceback text not null,
    attempts integer not null,
    at bigint not null,
    state text not null default 'open' check (state in ('open', 'redriven', 'discarded')),
    closed_at bigint,
    reason text
);
create index dead_letters_item on dead_letters (item);
create index dead_letters_state on dead_letters (state, id);

-- The clock of leases.
create function now_ms() returns bigint language sql stable as $$
    select (extract(epoch from clock_timestamp()) * 1000)::bigint
$$;

-- Items by pipeline and state, counted by the partial indexes, so that a large ledger is not read through.
create view item_counts as
select pipeline, state, count(*) as number from items
where state in ('completed', 'dead', 'discarded', 'cancelled', 'archived', 'paused') group by pipeline, state
union all
select v.pipeline, 'queued', sum(q.number)::bigint from versions v
cross join lateral (select count(*) as number from items where state = 'queued' and version = v.id) q group by v.pipeline
union all
select v.pipeline, 'waiting', sum(q.number)::bigint from versions v
cross join lateral (select count(*) as number from items where state = 'waiting' and version = v.id) q group by v.pipeline
union all
select pipeline, state, count(*) from items where state = 'running' group by pipeline, state;
