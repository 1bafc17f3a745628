-- What a payload's content is, so that another content under the same key is noticed; and inputs that were not accepted.

-- SHA-256 of the payload's canonical JSON (model/content.py); null: admitted before this was kept, or by another item.
alter table items add column digest text;

-- Beside receipts, never among them. One row for a source, however often it is refused.
create table refused_inputs (
    id integer primary key,
    pipeline integer not null,
    -- SHA-256 of the source, whose text is bounded.
    identity text not null,
    source text not null,
    -- Its key, or its path below the folder that was given: what a manifest names it by.
    key text not null,
    kind text not null,
    reason text not null,
    manifest integer,
    first_at integer not null,
    last_at integer not null,
    count integer not null default 1,
    state text not null default 'open' check (state in ('open', 'accepted')),
    -- The item that has the key (of a conflict), or that it became later.
    item integer,
    accepted_at integer,
    unique (pipeline, identity)
);
create index refused_inputs_open on refused_inputs (pipeline, id) where state = 'open';
