-- An event is named by its producer and its id; subscriptions belong to versions; deliveries, outgoing events and alerts are retried
-- one by one; a pause knows whether a person or a rule asked for it.

-- Names this ledger in the source of what it emits: two ledgers may mint the same item ids.
create table origin (
    id text not null
);
insert into origin values (lower(hex(randomblob(8))));

create table events_2 (
    id integer primary key,
    name text not null,
    type text not null,
    source text not null,
    key text not null,
    -- When it happened, by its producer's clock: data, never an order.
    at integer not null,
    -- When this ledger took it.
    received_at integer not null,
    -- The newest item that was admitted before it came. It counts for that one and all before.
    mark integer not null,
    correlation text not null,
    trace text not null,
    fresh integer not null default 1,
    -- 1 until the broker has it; 2: parked, because the broker did not take it send_tries times.
    outgoing integer not null,
    send_due integer not null default 0,
    send_tries integer not null default 0,
    send_error text,
    data blob,
    artifact text
);
insert into events_2 (id, name, type, source, key, at, received_at, mark, correlation, trace, fresh, outgoing, data, artifact)
select id, name, type, source, key, at, at,
    (min(max(at - 1577836800000, 0) + 1, 2199023255551) << 22) - 1,
     correlation, trace, fresh, outgoing, data, artifact from events;
drop table events;
alter table events_2 rename to events;
create unique index events_identity on events (name, source);
create index events_fresh on events (id) where fresh = 1;
-- 2: it could not be handed out, and is set aside until a runner starts.
create index events_aside on events (id) where fresh = 2;
create index waits_aside on waits (id) where fresh = 2;
create index events_outgoing on events (send_due, id) where outgoing = 1;
create index events_parked on events (id) where outgoing = 2;
create index events_key on events (type, key, id) where key <> '';
create index events_correlation on events (correlation, id) where correlation <> '';

create table subscriptions_2 (
    version integer not null,
    type text not null,
    primary key (version, type)
) without rowid;
insert into subscriptions_2 (version, type)
select max(v.id), s.type from subscriptions s join versions v on v.pipeline = s.pipeline group by s.pipeline, s.type;
drop table subscriptions;
alter table subscriptions_2 rename to subscriptions;
create index subscriptions_type on subscriptions (type);

-- due: not before; tries, reason: how often it failed, and why the last time.
alter table deliveries add column due integer not null default 0;
alter table deliveries add column tries integer not null default 0;
drop index deliveries_open;
create index deliveries_open on deliveries (pipeline, due, id) where state = 'open';
create index deliveries_refused on deliveries (pipeline, id) where state = 'refused';
create index deliveries_failing on deliveries (id) where state = 'open' and tries > 0;

-- What a version has said of an open delivery that it cannot use: why, or nothing when it is of no interest to it.
create table verdicts (
    delivery integer not null,
    version integer not null,
    reason text not null,
    primary key (delivery, version)
) without rowid;

-- Where alerts go: a digest of the address (never the address: it may hold a password), how it is shown, and since when it is known.
create table alert_addresses (
    address text primary key,
    label text not null,
    since integer not null
);

-- One row for an alert and an address, from the first try on.
create table alert_deliveries (
    alert integer not null,
    address text not null,
    state text not null default 'due' check (state in ('due', 'delivered', 'failed')),
    tries integer not null default 0,
    due integer not null,
    delivered_at integer,
    error text,
    primary key (alert, address)
) without rowid;
create index alert_deliveries_due on alert_deliveries (address, due) where state = 'due';
create index alerts_closed on alerts (closed_at);

create table pauses_2 (
    pipeline integer not null,
    step text not null,
    -- Who paused it: 'person', or the rule that did, which lifts no other pause than its own.
    origin text not null default 'person',
    at integer not null,
    who text not null,
    reason text not null,
    primary key (pipeline, step, origin)
) without rowid;
insert into pauses_2 (pipeline, step, origin, at, who, reason)
select pipeline, step, case when who = 'holdfast' and reason like '%its budget is%' then 'budget' else 'person' end, at, who, reason from pauses;
drop table pauses;
alter table pauses_2 rename to pauses;
