-- What the audit needs: who the ledger is, where its audit log ends, which items runners say they hold. Columns as on SQLite.
-- An older runner says nothing of its items; its entries of the audit log move the end as well.

create table if not exists meta (
    name text primary key,
    value text not null
);
insert into meta (name, value) values ('ledger-id', replace(gen_random_uuid()::text, '-', '')) on conflict (name) do nothing;

insert into meta (name, value)
select 'audit-log-end', coalesce((select id || ' ' || digest from trail order by id desc limit 1), '0 ');
create function keep_trail_end() returns trigger language plpgsql as $$
begin
    execute format('update %I.meta set value = $1 where name = ''audit-log-end''', tg_table_schema) using new.id || ' ' || new.digest;
    return null;
end;
$$;
create trigger trail_end after insert on trail for each row execute function keep_trail_end();

create table holdings (
    incarnation bigint primary key,
    beat bigint not null,
    items bytea
);

-- What the audit looks up.
create index mail_item on mail (item);
create index trail_at on trail (at);
