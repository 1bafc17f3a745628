"""Events: one producer's id is not another's, an old release takes nothing away, and what is wrong
with one event concerns no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, InputError, on, pipeline, step, wait_for
from holdfast.errors import (
    BusError,
    ConflictError,
    EventRefusedError,
    LedgerUnavailableError,
    StoreError,
)
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model.events import CONFLICT, MALFORMED, Event, envelope, opened
from holdfast.model.ids import parse
from holdfast.model.values import Stored
from holdfast.relay import TRIES, Relay
from holdfast.testing.clock import FakeClock
from holdfast.testing.memory_store import MemoryStore

CLOUD = {"specversion": "1.0", "id": "1", "source": "elsewhere", "type": "paid"}
NOW = 1_800_000_000_000


@step()
async def upper(text: str) -> str:
    """A step."""
    return text.upper()


@step()
async def size(paid: dict[str, int]) -> int:
    """A step."""
    return len(paid)


@pipeline(version="1", key=str, name="orders")
def old(text: str) -> str:
    """A release that does not listen."""
    return upper(text)


@on("order.created")
@pipeline(version="2", key=str, name="orders")
def new(text: str) -> str:
    """The release after it, which does."""
    return upper(upper(text))


@pipeline(version="1", key=str)
def awaits(text: str) -> int:
    """Waits for an event about its key."""
    return size(wait_for("paid", dict[str, int])(text))


broken = True
"""Whether the condition below has its bug."""


def interesting(text: str) -> bool:
    """A condition with a bug."""
    if broken and text == "bad":
        raise KeyError("amount")
    return True


@on("order.created", where=interesting)
@pipeline(version="1", key=str)
def choosy(text: str) -> str:
    """Listens, with a condition that fails for one event."""
    return upper(text)


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    """On both ledgers."""
    ledger = "" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return App(home=tmp_path / "home", ledger=ledger, workers=1)


def test_an_id_is_its_producers(app: App) -> None:
    assert app.publish("order.created", {}, id="42", source="api/alice")
    assert app.publish("order.created", {"a": 1}, id="42", source="api/bob")
    assert not app.publish("order.created", {}, id="42", source="api/alice")
    with pytest.raises(
        ConflictError, match=r"'api/alice' has published another event under the id '42'"
    ):
        app.publish("order.paid", {}, id="42", source="api/alice")
    assert {(row["event"], row["source"]) for row in app.reads().events(None, None, 9)} == {
        ("42", "api/alice"),
        ("42", "api/bob"),
    }
    with pytest.raises(InputError, match="2 producers have an event '42'"):
        app.reads().event("42")
    assert json.loads(app.reads().event("42", "api/bob")["data"]) == {"a": 1}


@pytest.mark.parametrize("away_ms", [-60_000, -(10**13), 10**12])
def test_an_event_counts_by_when_it_came_and_not_by_its_producers_clock(
    app: App, away_ms: int
) -> None:
    app.run([awaits], [(awaits, "k")])
    writer = app.writer()
    at = max(app.clock.now_ms() + away_ms, -62_135_596_800_000)
    assert writer.mail.publish([Event("e1", "paid", "elsewhere", "k", at, b"{}")]) == ["new"]
    writer.close()
    app.run([awaits])
    assert app.reads().items("awaits", None, 9)[0]["state"] == "completed"


def test_an_event_that_came_before_the_item_does_not_count_though_its_producer_dates_it_later(
    app: App,
) -> None:
    app.run([awaits], [(awaits, "first")])
    writer = app.writer()
    writer.mail.publish([Event("e1", "paid", "elsewhere", "k", app.clock.now_ms() + 10**9, b"{}")])
    writer.close()
    app.run([awaits], [(awaits, "k")])
    assert {row["key"]: row["state"] for row in app.reads().items("awaits", None, 9)} == {
        "first": "waiting",
        "k": "waiting",
    }


def test_an_old_release_takes_the_listeners_of_the_new_one_not_away(app: App) -> None:
    app.run([new])
    list(app.submit_many(old, ["from the old release"]))
    app.publish("order.created", "B")
    app.run([new])
    assert {row["key"]: row["state"] for row in app.reads().items("orders", None, 9)} == {
        "from the old release": "queued",
        "B": "completed",
    }
    app.run([old])
    app.publish("order.created", "C")
    app.run([old])
    later = app.clock.now_ms() + 3_600_000
    (stuck,) = app.reads().stuck_events(later, 1_000, 9)
    assert (stuck["pipeline"], stuck["version"]) == ("orders", "2")
    assert "no runner serves version 2" in stuck["why"]
    app.run([new])
    assert app.reads().item_by_key("C") is not None
    assert app.reads().stuck_events(later, 1_000, 9) == []


def test_a_subscription_that_nobody_will_serve_is_ended_by_a_person(app: App) -> None:
    app.run([new])
    app.publish("order.created", "C")
    app.run([old])
    ended = app.unsubscribe("orders", "2", reason="it is not coming back", who="anna")
    assert (ended.types, ended.deliveries) == (["order.created"], 1)
    assert [row["state"] for row in app.reads().deliveries(None, None, 9)] == ["filtered"]
    assert app.reads().stuck_events(app.clock.now_ms() + 3_600_000, 1_000, 9) == []


def test_a_bug_in_a_condition_refuses_nothing_and_holds_up_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.run([choosy])
    for text in ("bad", "good", "also good"):
        app.publish("order.created", text)
    app.run([choosy])
    assert {row["key"] for row in app.reads().items("choosy", "completed", 9)} == {
        "good",
        "also good",
    }
    (failing,) = app.reads().deliveries(None, "open", 9)
    assert "KeyError" in failing["reason"]
    assert failing["tries"] == 1
    ledger = app.open_ledger()
    alerts = ledger.health.watch({}, [], app.clock.now_ms() + 120_000)
    ledger.close()
    assert {(one.kind, one.subject) for one in alerts} & {
        ("undelivered-events", "choosy"),
        ("unserved-version", "choosy 1"),
    }
    monkeypatch.setattr("tests.faults.test_events_are_kept.broken", False)
    assert app.redeliver([failing["delivery"]]) == [failing["delivery"]]
    app.run([choosy])
    assert {row["key"] for row in app.reads().items("choosy", "completed", 9)} == {
        "bad",
        "good",
        "also good",
    }


def test_data_that_do_not_fit_are_refused_for_good_and_with_the_reason(app: App) -> None:
    app.run([new])
    app.publish("order.created", {"not": "text"})
    app.run([new])
    (refused,) = app.reads().deliveries(None, "refused", 9)
    assert "do not fit" in refused["reason"]


@pytest.mark.parametrize(
    "trouble",
    [
        LedgerUnavailableError("the disk is full"),
        StoreError("an artifact is not there"),
        OSError(28, "no space"),
        MemoryError(),
    ],
)
def test_a_store_that_fails_refuses_no_event(
    app: App, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    large = {"text": "x" * 100_000}

    @on("large")
    @pipeline(version="1", key=lambda it: "k", name="large")
    def large_one(it: dict[str, str]) -> int:
        return _count(it)

    app.run([large_one])
    app.publish("large", large)
    with monkeypatch.context() as failing:

        def fails(self: object, reference: object) -> bytes:
            raise trouble

        failing.setattr("holdfast.stores.directory.DirectoryStore.fetch", fails)
        app.run([large_one])
    (row,) = app.reads().deliveries(None, None, 9)
    assert (row["state"], row["tries"]) == ("open", 1)
    app.redeliver([row["delivery"]])
    app.run([large_one])
    assert [one["state"] for one in app.reads().items("large", None, 9)] == ["completed"]


@step()
async def _count(it: dict[str, str]) -> int:
    return len(it)


def test_every_date_is_read_or_refused() -> None:
    def at(text: str) -> int:
        return opened(json.dumps({**CLOUD, "time": text}).encode(), NOW).at

    assert at("0001-01-01T00:00:00") == -62_135_596_800_000
    assert at("2024-02-29T12:00:00+02:00") == int(
        datetime(2024, 2, 29, 10, tzinfo=UTC).timestamp() * 1000
    )
    assert at("9999-12-31T23:59:59Z") == 253_402_300_799_000
    for text in ("10000-01-01T00:00:00Z", "never", ""):
        with pytest.raises(InputError):
            at(text)
    early = opened(json.dumps({**CLOUD, "time": "0001-01-01T00:00:00"}).encode(), NOW)
    assert opened(envelope(early, b"null"), NOW) == early


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'"text"',
        b'{"a":',
        json.dumps({**CLOUD, "id": ""}).encode(),
        json.dumps({**CLOUD, "id": "a\0b"}).encode(),
        json.dumps({**CLOUD, "source": "\0"}).encode(),
        json.dumps({**CLOUD, "source": ""}).encode(),
        json.dumps({**CLOUD, "id": "x" * 1_001}).encode(),
        json.dumps({**CLOUD, "type": "x" * 611}).encode(),
        json.dumps({**CLOUD, "subject": "x" * 513}).encode(),
        b'{"specversion":"1.0","id":"\\ud800","source":"s","type":"t"}',
        json.dumps({**CLOUD, "specversion": "0.3"}).encode(),
        json.dumps({**CLOUD, "data": 1, "data_base64": "AA=="}).encode(),
        json.dumps(CLOUD).encode()[:-1] + b',"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_poison_message_is_kept_and_acknowledged(app: App, message: bytes) -> None:
    ledger = app.open_ledger()
    store = app.store()

    async def scenario() -> tuple[float | None, float | None]:
        relay = Relay(Broker(), Here(ledger), FakeClock(), store, lambda: None)
        return await relay.receive(message), await relay.receive(
            json.dumps({**CLOUD, "id": "later"}).encode()
        )

    assert asyncio.run(scenario()) == (None, None), "both are acknowledged"
    ledger.close()
    kinds = {row["event"]: row["type"] for row in app.reads().events(None, None, 9)}
    assert kinds.pop("later") == "paid"
    assert list(kinds.values()) == [MALFORMED]
    (refused,) = app.reads().refused_inputs(None, "open", 9)
    assert refused["kind"] == "unreadable"
    assert app.reads().audit(0)["broken"] == []


def test_an_id_that_a_producer_uses_twice_is_kept_as_a_conflict(app: App) -> None:
    ledger = app.open_ledger()
    store = app.store()

    async def scenario() -> list[float | None]:
        relay = Relay(Broker(), Here(ledger), FakeClock(), store, lambda: None)
        one, other = ({**CLOUD, "data": data} for data in (1, 2))
        return [await relay.receive(json.dumps(message).encode()) for message in (one, one, other)]

    assert asyncio.run(scenario()) == [None, None, None]
    ledger.close()
    assert [row["type"] for row in app.reads().events(None, None, 9)] == [CONFLICT, "paid"]


def test_a_message_that_cannot_be_kept_yet_comes_again_later_and_later() -> None:
    ledger, answers = SqliteLedger(":memory:"), []
    clock = FakeClock()

    async def scenario() -> None:
        relay = Relay(
            Broker(),
            Here(ledger, LedgerUnavailableError("full")),
            clock,
            MemoryStore(),
            lambda: None,
        )
        answers.extend([await relay.receive(json.dumps(CLOUD).encode()) for _ in range(20)])

    asyncio.run(scenario())
    assert all(answers), "it is never given up while the ledger is away"


def test_binary_data_arrive() -> None:
    event = opened(json.dumps({**CLOUD, "data_base64": "AAEC"}).encode(), NOW)
    assert event.data == b'"AAEC"'


class Here:
    """A committer without a thread."""

    def __init__(self, ledger: Any, trouble: Exception | None = None) -> None:
        self._ledger, self._trouble = ledger, trouble

    def hand_over(self, entries: Any) -> None:
        """No items here."""
        raise AssertionError

    def ask(self, verb: Callable[[Any], Any]) -> Any:
        """Nobody waits here."""
        raise AssertionError

    def answers(self) -> list[Any]:
        """No items here."""
        return []

    def call(self, verb: Callable[[Any], Any], then: Callable[[Any], None]) -> None:
        """Run a verb."""
        try:
            answer = verb(self._ledger) if self._trouble is None else self._trouble
        except Exception as error:
            answer = error
        then(answer)


class Broker:
    """Takes what it likes."""

    def __init__(self, refuses: Callable[[str], Exception | None] = lambda id: None) -> None:
        self.sent: list[str] = []
        self._refuses = refuses

    async def start(self, received: Any) -> None:
        """Nothing comes."""

    async def publish(self, type: str, id: str, data: bytes) -> None:
        """Take one."""
        trouble = self._refuses(id)
        if trouble is not None:
            raise trouble
        self.sent.append(id)

    async def close(self) -> None:
        """Nothing to close."""


def relayed(
    ledger: SqliteLedger,
    broker: Broker,
    turns: int,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let a relay turn so often, a minute or more apart."""

    async def scenario() -> None:
        turned = 0

        async def sleep(seconds: float) -> None:
            nonlocal turned
            turned += 1
            clock.advance(600_000)
            if turned >= turns:
                raise asyncio.CancelledError

        monkeypatch.setattr("holdfast.relay.asyncio.sleep", sleep)
        await Relay(broker, Here(ledger), clock, MemoryStore(), lambda: None).run()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())


def outgoing(*names: str, **bad: Any) -> SqliteLedger:
    ledger = SqliteLedger(":memory:")
    ledger.mail.publish(
        [Event(name, "paid", "s", "", 1, bad.get(name, b"1"), outgoing=True) for name in names]
    )
    return ledger


@pytest.mark.parametrize(
    "why",
    [
        "its artifact is missing",
        "the broker refuses it",
        "the broker never answers for it",
        "a bug",
    ],
)
def test_one_event_blocks_no_other_on_its_way_out(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles: dict[str, Exception] = {
        "the broker refuses it": EventRefusedError("too large"),
        "the broker never answers for it": BusError("no answer"),
        "a bug": TypeError("a bug"),
    }
    bad: dict[str, Any] = (
        {"first": Stored("0" * 64, 100_000)} if why == "its artifact is missing" else {}
    )
    ledger = outgoing("first", *(f"later{number}" for number in range(150)), **bad)
    broker = Broker(lambda id: troubles.get(why) if id == "first" else None)
    relayed(ledger, broker, 40, FakeClock(), monkeypatch)
    assert sorted(broker.sent) == sorted(f"later{number}" for number in range(150))
    (row,) = list(
        ledger.connection.execute(
            "select name, outgoing, send_tries, send_error from events where outgoing > 0"
        )
    )
    assert row[3]
    assert row[1:3] == ((1, 0) if why == "the broker never answers for it" else (2, TRIES)), (
        "parked, unless it may be the broker's fault"
    )


def test_a_broker_that_is_away_parks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = outgoing("first", "second")
    away = True
    broker = Broker(lambda id: BusError("away") if away else None)
    clock = FakeClock()
    relayed(ledger, broker, 100, clock, monkeypatch)
    away = False
    relayed(ledger, broker, 10, clock, monkeypatch)
    assert sorted(broker.sent) == ["first", "second"]


def test_what_two_ledgers_emit_has_two_sources(tmp_path: Path) -> None:
    from tests.pattern_samples import Claim, telling

    sources = set()
    for name in ("here", "there"):
        one = App(home=tmp_path / name, ledger="", workers=1)
        one.run([telling], [(telling, Claim("x", 50))])
        (row,) = one.reads().events(None, None, 9)
        sources.add(row["source"])
        (item,) = one.reads().items("telling", None, 9)
        assert one.reads().lineage(parse(item["item"]))["events"][0]["source"] == row["source"]
    assert len(sources) == 2
    assert all(source.startswith("holdfast/telling/") for source in sources)
