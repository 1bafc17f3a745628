-- Revised items, attempts that must stop before their item goes on, and the generation in every message between items.

-- How often the item's payload was replaced. Idempotency keys are made with it.
alter table items add column revision integer not null default 0;
-- Of a child: the generation of its parent that asked for it last. null: the first.
alter table items add column parent_generation integer;

-- One row for each payload that was replaced, with what the item was until then. A receipt is never written again.
create table revisions (
    id integer primary key,
    item integer not null,
    -- The generation that began with it.
    generation integer not null,
    at integer not null,
    -- null: the engine did it, to a child whose parent gives it another input.
    operation integer,
    who text not null,
    reason text not null,
    version integer not null,
    state text not null,
    flags text,
    digest_before text,
    digest_after text,
    payload blob,
    artifact text,
    output blob,
    output_artifact text,
    -- When retention cleared the output.
    cleared_at integer
);
create index revisions_item on revisions (item);

-- What ctx.once had recorded for a payload that was replaced: history, never read by a step again.
create table past_effects (
    revision integer not null,
    item integer not null,
    node integer not null,
    place text not null,
    label text not null,
    at integer not null,
    value blob not null
);
create index past_effects_item on past_effects (item);

-- Items that were cancelled, restarted, moved or revised while an attempt ran: nobody claims one until that incarnation says that its
-- attempts are over, or has ended itself.
create table stopping (
    item integer primary key,
    incarnation integer not null,
    at integer not null
);

-- A cancellation: the parent's generation that no longer wants the child. An end: the child's generation that has ended.
alter table mail add column generation integer;

-- Nodes whose steps have effects outside: a JSON object of number and kind (unsafe, transaction). null: not known.
alter table versions add column effects text;

-- A revised item is found by its new values alone.
create index item_fields_item on item_fields (item);
