-- Which ledger this is, and whose; and nothing names the schema, so that it may have any name.

-- One row, written when the ledger is made.
create table ledger_identity (
    one integer primary key check (one = 1),
    id text not null,
    project text not null,
    created_at bigint not null
);

do $do$
begin
    execute format($make$
        create or replace function check_item_transition() returns trigger language plpgsql as %L
    $make$, format($body$
begin
    if not exists (select from %I.item_transitions where before = old.state and after = new.state) then
        raise exception 'illegal item transition from %% to %%', old.state, new.state using errcode = 'check_violation';
    end if;
    return new;
end $body$, current_schema()));
end $do$;
