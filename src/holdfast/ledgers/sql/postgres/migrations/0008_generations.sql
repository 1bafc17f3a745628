-- Revised items, attempts that must stop before their item goes on, and the generation in every message between items.
-- An older runner writes no generation, and does not say that attempts are over: its items go on when it ends.

-- How often the item's payload was replaced. Idempotency keys are made with it.
alter table items add column revision bigint not null default 0;
-- Of a child: the generation of its parent that asked for it last. null: the first.
alter table items add column parent_generation bigint;

-- One row for each payload that was replaced, with what the item was until then. A receipt is never written again.
create table revisions (
    id bigint generated always as identity primary key,
    item bigint not null,
    -- The generation that began with it.
    generation bigint not null,
    at bigint not null,
    -- null: the engine did it, to a child whose parent gives it another input.
    operation bigint,
    who text not null,
    reason text not null,
    version bigint not null,
    state text not null,
    flags text,
    digest_before text,
    digest_after text,
    payload bytea,
    artifact text,
    output bytea,
    output_artifact text,
    -- When retention cleared the output.
    cleared_at bigint
);
create index revisions_item on revisions (item);

-- What ctx.once had recorded for a payload that was replaced: history, never read by a step again.
create table past_effects (
    revision bigint not null,
    item bigint not null,
    node int not null,
    place text not null,
    label text not null,
    at bigint not null,
    value bytea not null
);
create index past_effects_item on past_effects (item);

-- Items that were cancelled, restarted, moved or revised while an attempt ran: nobody claims one until that incarnation says that its
-- attempts are over, or has ended itself.
create table stopping (
    item bigint primary key,
    incarnation bigint not null,
    at bigint not null
);

-- A cancellation: the parent's generation that no longer wants the child. An end: the child's generation that has ended.
alter table mail add column generation bigint;

-- Nodes whose steps have effects outside: a JSON object of number and kind (unsafe, transaction). null: not known.
alter table versions add column effects text;

-- A revised item is found by its new values alone.
create index item_fields_item on item_fields (item);
