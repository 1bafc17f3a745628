-- contract
-- An event is named by its producer and its id; subscriptions belong to versions; deliveries, outgoing events and alerts are retried
-- one by one; a pause knows whether a person or a rule asked for it.

-- Names this ledger in the source of what it emits: two ledgers may mint the same item ids.
create table origin (
    id text not null
);
insert into origin values (substr(replace(gen_random_uuid()::text, '-', ''), 1, 16));

-- at: when it happened, by its producer's clock: data, never an order. received_at: when this ledger took it.
alter table events add column received_at bigint;
-- The newest receipt that was there when it came: it counts for the item of that one and for all before. (Several runners mint
-- ids of items, so these are in no order; on SQLite, mark is an item.)
alter table events add column mark bigint;
-- outgoing: 1 until the broker has it; 2: parked, because the broker did not take it send_tries times.
alter table events add column send_due bigint not null default 0;
alter table events add column send_tries integer not null default 0;
alter table events add column send_error text;
update events set received_at = at, mark = coalesce((
    select r.id from receipts r where r.item <= (least(greatest(at - 1577836800000, 0) + 1, 2199023255551) << 22) - 1 order by r.item desc limit 1
), 0);
alter table events alter column received_at set not null, alter column mark set not null;
alter table events drop constraint events_name_key;
create unique index events_identity on events (name, source);
drop index events_outgoing;
-- 2: it could not be handed out, and is set aside until a runner starts.
create index events_aside on events (id) where fresh = 2;
create index waits_aside on waits (id) where fresh = 2;
create index events_outgoing on events (send_due, id) where outgoing = 1;
create index events_parked on events (id) where outgoing = 2;
drop index events_key;
create index events_key on events (type, key, id) where key <> '';

alter table subscriptions rename to subscriptions_of_pipelines;
create table subscriptions (
    version bigint not null,
    type text not null,
    primary key (version, type)
);
insert into subscriptions (version, type)
select max(v.id), s.type from subscriptions_of_pipelines s join versions v on v.pipeline = s.pipeline group by s.pipeline, s.type;
drop table subscriptions_of_pipelines;
create index subscriptions_type on subscriptions (type);

-- due: not before; tries, reason: how often it failed, and why the last time.
alter table deliveries add column due bigint not null default 0;
alter table deliveries add column tries integer not null default 0;
drop index deliveries_open;
create index deliveries_open on deliveries (pipeline, due, id) where state = 'open';
create index deliveries_refused on deliveries (pipeline, id) where state = 'refused';
create index deliveries_failing on deliveries (id) where state = 'open' and tries > 0;

-- What a version has said of an open delivery that it cannot use: why, or nothing when it is of no interest to it.
create table verdicts (
    delivery bigint not null,
    version bigint not null,
    reason text not null,
    primary key (delivery, version)
);

-- Where alerts go: a digest of the address (never the address: it may hold a password), how it is shown, and since when it is known.
create table alert_addresses (
    address text primary key,
    label text not null,
    since bigint not null
);

-- One row for an alert and an address, from the first try on.
create table alert_deliveries (
    alert bigint not null,
    address text not null,
    state text not null default 'due' check (state in ('due', 'delivered', 'failed')),
    tries integer not null default 0,
    due bigint not null,
    delivered_at bigint,
    error text,
    primary key (alert, address)
);
create index alert_deliveries_due on alert_deliveries (address, due) where state = 'due';
create index alerts_closed on alerts (closed_at);

-- Who paused it: 'person', or the rule that did, which lifts no other pause than its own.
alter table pauses add column origin text not null default 'person';
update pauses set origin = 'budget' where who = 'holdfast' and reason like '%its budget is%';
alter table pauses drop constraint pauses_pkey;
alter table pauses add primary key (pipeline, step, origin);
