-- What a payload's content is, so that another content under the same key is noticed; and inputs that were not accepted.
-- An older runner leaves the digest empty and keeps no refusals.

-- SHA-256 of the payload's canonical JSON (model/content.py); null: admitted before this was kept, or by another item.
alter table items add column digest text;

-- Beside receipts, never among them. One row for a source, however often it is refused.
create table refused_inputs (
    id bigint generated always as identity primary key,
    pipeline bigint not null,
    -- SHA-256 of the source, whose text is bounded.
    identity text not null,
    source text not null,
    -- Its key, or its path below the folder that was given: what a manifest names it by.
    key text not null,
    kind text not null,
    reason text not null,
    manifest bigint,
    first_at bigint not null,
    last_at bigint not null,
    count bigint not null default 1,
    state text not null default 'open' check (state in ('open', 'accepted')),
    -- The item that has the key (of a conflict), or that it became later.
    item bigint,
    accepted_at bigint,
    unique (pipeline, identity)
);
create index refused_inputs_open on refused_inputs (pipeline, id) where state = 'open';

-- An older runner that restarts an item with another payload does not know of its digest: then there is none.
create function items_forget_digest() returns trigger language plpgsql as $$
begin
    if new.digest is not distinct from old.digest
        and (new.payload is distinct from old.payload or new.artifact is distinct from old.artifact) then
        new.digest := null;
    end if;
    return new;
end;
$$;
create trigger items_forget_digest before update of payload, artifact on items for each row execute function items_forget_digest();
