-- What the audit needs: who the ledger is, where its audit log ends, which items runners say they hold, receipts by item.

create table if not exists meta (
    name text primary key,
    value text not null
) without rowid;
insert into meta (name, value) values ('ledger-id', lower(hex(randomblob(16)))) on conflict (name) do nothing;

-- The end of the audit log, kept apart from it: entry and hash. Entries that are taken off the end leave this behind. (Whoever
-- can write here can change it too: what cannot be forged is a signed head, see `holdfast audit --head`.)
insert into meta (name, value)
select 'audit-log-end', coalesce((select id || ' ' || digest from trail order by id desc limit 1), '0 ');
create trigger trail_end after insert on trail
begin
    update meta set value = new.id || ' ' || new.digest where name = 'audit-log-end';
end;

-- The items that a runner of a shared ledger holds, as it last said: see model/holdings.py.
create table holdings (
    incarnation integer primary key,
    beat integer not null,
    items blob
);

-- What the audit looks up.
create index receipts_item on receipts (item);
create index mail_item on mail (item);
create index trail_at on trail (at);
