"""What one ledger takes, the other takes and gives back; what one refuses, both refuse with the
same words."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from holdfast import App, Pipeline, emit, pipeline, step, wait_for
from holdfast.control import RemoteLedger, serve
from holdfast.errors import DefinitionError, HoldfastError, InputError, ResultError
from holdfast.ledger import Ledger, VersionSpec
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_reads import postgres_reads
from holdfast.ledgers.reads import LedgerReads
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
from holdfast.model.alerts import Alert
from holdfast.model.audit_log import Entry
from holdfast.model.changes import Operation, Pause
from holdfast.model.codec import check_json, decode, keep, plainly
from holdfast.model.combinators.review import review
from holdfast.model.combinators.route import case
from holdfast.model.context import Context
from holdfast.model.domain import MOST, NAME_LIMIT, NESTING, TEXT_LIMIT, storable
from holdfast.model.events import Event, opened
from holdfast.model.failure import Failure
from holdfast.model.holdings import Held
from holdfast.model.item import Submission, refusal
from holdfast.model.nesting import too_deep
from holdfast.model.search import Exact, Filter
from holdfast.model.task import (
    Asked,
    Beyond,
    DeadLetter,
    Effect,
    LiveTask,
    SettledTask,
    Transition,
    Wait,
)

T = TypeVar("T")

NOW = 1_800_000_000_000
SPEC = VersionSpec(
    "p",
    "1",
    "f" * 64,
    [{"name": "a", "kind": "step"}, {"name": "b", "kind": "step"}],
    {0: "a" * 64},
)

HOSTILE = (
    "",
    " ",
    "\t\n ",
    "\x00",
    "a\x00b",
    "\x00" * 600,
    "\ud800",
    "a\udcffb",
    "\udfff\ud800",
    "𐀀" * NAME_LIMIT,
    "\U0010ffff",
    "\ufeff",
    "\ufffe\uffff",
    "שלום\u202eגרוע",
    "e\u0301",
    "\x1b[31m\x7f\x80\x9f",
    "'; drop table items; --",
    "%_\\*?[a]",
    "k" * NAME_LIMIT,
    "k" * (NAME_LIMIT + 1),
    "k" * 1_000_000,
    "$1 {} {0} %s",
)

texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(), max_size=30),  # lone surrogates and NUL among them
    st.integers(1, 700).map(
        lambda size: "".join(
            chr(0x10000 + (place * 7919 + size * 104_729) % 0xFFFF0) for place in range(size)
        )
    ),
)
"""Texts of every kind; the last do not compress, and have four bytes a character."""

fast = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)


@dataclass
class Both:
    """Two ledgers with the same pipeline."""

    ledgers: list[Ledger]
    reads: list[LedgerReads]
    count: int = 0

    def __post_init__(self) -> None:
        self.versions = [one.register(SPEC, NOW).version for one in self.ledgers]

    def each(self, work: Callable[[Ledger, LedgerReads], T]) -> T:
        """Do something with each ledger, and find the same."""
        said: list[Any] = []
        for ledger, reads in zip(self.ledgers, self.reads, strict=True):
            try:
                said.append(work(ledger, reads))
            except HoldfastError as error:
                said.append((type(error), str(error)))
        assert said[0] == said[1]
        if isinstance(said[0], tuple) and isinstance(said[0][0], type):
            raise said[0][0](said[0][1])
        return said[0]  # type: ignore[no-any-return]

    def new(self) -> str:
        """A key that is not there."""
        self.count += 1
        return f"key-{self.count}"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, server: Any) -> Iterator[Both]:
    path, url = str(tmp_path_factory.mktemp("domain") / "ledger.db"), server.new_database()
    ledgers: list[Ledger] = [SqliteLedger(path), PostgresLedger(url)]
    made = Both(ledgers, [sqlite_reads(path), postgres_reads(url)])
    yield made
    for reads in made.reads:
        reads.close()
    for ledger in ledgers:
        ledger.close()


def taken(work: Callable[[], T], allowed: bool, says: str = "is not allowed") -> T | None:
    """Whether something is accepted exactly when it may be, and otherwise refused in words."""
    if allowed:
        return work()
    with pytest.raises(InputError, match=says) as error:
        work()
    str(error.value).encode()
    assert "\x00" not in str(error.value)
    return None


def fits(text: str, limit: int = NAME_LIMIT, least: int = 0) -> bool:
    return storable(text) and least <= len(text) <= limit


@fast
@given(key=texts, manifest=texts, value=texts)
def test_keys_manifests_and_searchable_values(
    both: Both, key: str, manifest: str, value: str
) -> None:
    name = f"{both.new()}."

    def work(ledger: Ledger, reads: LedgerReads) -> tuple[str, list[str]]:
        fresh = name + key
        (receipt,) = ledger.admit(
            [Submission("p", "1", fresh, b"1", manifest=manifest, fields=(("f", value),))], NOW
        )
        found = reads.item(receipt.item)["key"]
        assert reads.item_by_key(fresh) == receipt.item
        assert receipt.item in reads.find_ids(Filter(fields=(("f", Exact(value)),)), _page(), NOW)
        return found, reads.keys("p", manifest) if manifest else []

    allowed = fits(name + key) and fits(manifest) and fits(value)
    found = taken(lambda: both.each(work), allowed)
    if found is not None:
        assert found[0] == name + key
        assert not manifest or name + key in found[1]


def _page() -> Any:
    from holdfast.ledgers.search import Page

    return Page(100)


@fast
@given(name=texts, kind=texts, source=texts, key=texts)
def test_events_from_outside(both: Both, name: str, kind: str, source: str, key: str) -> None:
    name = f"{both.new()}.{name}"

    def work(ledger: Ledger, reads: LedgerReads) -> list[Event]:
        (new,) = ledger.mail.publish([Event(name, kind, source, key, NOW, b"1", outgoing=True)])
        assert new == "new"
        kept = [one.event for one in ledger.mail.outgoing(NOW, 10_000) if one.event.id == name]
        ledger.mail.distribute(NOW)
        ledger.mail.sent([(name, source)])
        return kept

    allowed = (
        fits(name)
        and fits(source)
        and fits(key)
        and fits(kind, least=1)
        and len(kind.encode()) <= 610
    )
    allowed = allowed and len(name.encode()) <= 1_000 and len(source.encode()) <= 1_000
    kept = taken(lambda: both.each(work), allowed)
    if kept is not None:
        assert [(one.id, one.type, one.source, one.key) for one in kept] == [
            (name, kind, source, key)
        ]


@fast
@given(who=texts, reason=texts, target=texts)
def test_persons_and_reasons(both: Both, who: str, reason: str, target: str) -> None:
    def work(ledger: Ledger, reads: LedgerReads) -> tuple[str, str, str]:
        number = ledger.lifecycle.begin_operation(Operation("pause", target, who, reason), NOW)
        ledger.lifecycle.end_operation(number, "done", NOW)
        ledger.lifecycle.note(Entry(NOW, who, "look", target, reason))
        row = reads.operation(number)
        return row["who"], row["reason"], row["target"]

    kept = taken(
        lambda: both.each(work), fits(who) and fits(reason, TEXT_LIMIT) and fits(target, TEXT_LIMIT)
    )
    assert kept in (None, (who, reason, target))
    assert both.each(lambda ledger, reads: reads.audit(NOW)["balanced"])


@fast
@given(text=texts)
def test_what_is_searched_for(both: Both, text: str) -> None:
    """A search never fails in a driver: it finds nothing, or says that such a text is none."""

    def work(ledger: Ledger, reads: LedgerReads) -> str:
        said = []
        for ask in (
            lambda: reads.item_by_key(text),
            lambda: reads.naming.item(text),
            lambda: reads.naming.filter(Filter(key=text)),
            lambda: reads.naming.filter(Filter(fields=((text, "x"),))),
            lambda: reads.naming.filter(Filter(fields=(("f", text),))),
            lambda: reads.naming.filter(Filter(flag=text)),
            lambda: reads.naming.filter(Filter(error=text)),
            lambda: reads.naming.filter(Filter(step=text)),
            lambda: reads.keys("p", text),
            lambda: reads.reviews(text, None, 9),
        ):
            try:
                ask()
                said.append("")
            except InputError as error:
                said.append(str(error).replace(reads.where, "LEDGER"))
        return "\n".join(said)

    both.each(work)


@fast
@given(
    number=st.one_of(
        st.integers(), st.sampled_from([0, -1, MOST, MOST + 1, -MOST - 1, -MOST - 2, 10**40])
    )
)
def test_numbers(both: Both, number: int) -> None:
    def work(ledger: Ledger, reads: LedgerReads) -> str:
        said = []
        for ask in (
            lambda: reads.item(number),
            lambda: reads.dead_letter(number),
            lambda: reads.operation(number),
            lambda: reads.naming.filter(Filter(operation=number)),
            lambda: reads.naming.filter(
                Filter(older_s=float(number) if abs(number) < 10**300 else 1e300)
            ),
            lambda: ledger.lifecycle.change(number, Pause(), [1], NOW),
        ):
            try:
                ask()
                said.append("")
            except InputError as error:
                said.append(str(error).replace(reads.where, "LEDGER"))
        return "\n".join(said)

    both.each(work)


# -- what the engine writes ----------------------------------------------------------------------


def claim(both: Both) -> tuple[str, list[tuple[int, int, int]]]:
    """An item of its own in both ledgers, claimed: its key, and incarnation, item and fence in
    each."""
    key, claimed = both.new(), []
    for ledger, version in zip(both.ledgers, both.versions, strict=True):
        ledger.admit([Submission("p", "1", key, b"1")], NOW)
        incarnation = ledger.begin("host", 1, NOW, 600_000)
        (one,) = [
            one for one in ledger.claim(incarnation, [version], 100_000, NOW) if one.key == key
        ]
        claimed.append((incarnation, one.item, one.fence))
    return key, claimed


@fast
@given(label=texts, title=texts, waited=texts, flag=texts, choice=texts)
def test_effects_waits_flags_and_choices(
    both: Both, label: str, title: str, waited: str, flag: str, choice: str
) -> None:
    """What a step or its declaration is refused for (see below) never comes here; what comes here
    is kept as it is, or refused alike."""
    assume(all(storable(one) and len(one) <= 200 for one in (label, title, waited, flag, choice)))
    _, claimed = claim(both)
    asked = msgspec.json.encode(Asked(msgspec.Raw(b"{}")))
    done: list[list[bool]] = []
    for ledger, (incarnation, item, fence) in zip(both.ledgers, claimed, strict=True):
        more = Beyond(
            waits=(
                Wait(0, "", 1, "review", title, asked=asked, digest="d" * 64),
                Wait(1, "", 1, "event", "e.f", key=waited),
            ),
            effects=(Effect(0, "", label, b"1"),),
            choices=((1, choice),),
            events=(Event(f"{incarnation}.{item}", "e.f", "s", waited, NOW, b"1"),),
        )
        live = (
            LiveTask(0, "", "waiting", started_at=NOW),
            LiveTask(1, "", "waiting", started_at=NOW),
        )
        done.append(
            ledger.commit(
                incarnation, 1, [Transition(item, fence, NOW, live=live, flags=(flag,), more=more)]
            )
        )
    assert done == [[True], [True]]
    found = [
        (
            one.claimed(item).effects,
            one.claimed(item).flags,
            [row["title"] for row in one.reviews(None, None, 1_000)][-1:],
        )
        for one, (_, item, _) in zip(both.reads, claimed, strict=True)
    ]
    assert found[0] == found[1]
    assert found[0][0] == [Effect(0, "", label, b"1")]


@fast
@given(error=texts, message=texts, trace=texts)
def test_texts_of_failures_are_cleaned(both: Both, error: str, message: str, trace: str) -> None:
    from holdfast.model.failure import storable as kept

    failure = kept(Failure("transient", error or "x", message, trace))
    _, claimed = claim(both)
    dead_letters = []
    for ledger, reads, (incarnation, item, fence) in zip(
        both.ledgers, both.reads, claimed, strict=True
    ):
        settled = (SettledTask(0, "", 1, "dead", 1, NOW, NOW, None),)
        one = Transition(
            item,
            fence,
            NOW,
            settled=settled,
            dead_letters=(DeadLetter(0, "", 1, failure, 1, NOW),),
            state="dead",
        )
        assert ledger.commit(incarnation, 1, [one]) == [True]
        dead_letters.append(
            next(
                row
                for row in reads.dead_letters(None, None, 10_000)
                if row["item"] == reads.item(item)["item"]
            )
        )
    assert [(one["error"], one["message"]) for one in dead_letters] == [
        (failure.error, failure.message)
    ] * 2


@fast
@given(why=texts, reason=texts)
def test_texts_of_our_own_making_are_cleaned(both: Both, why: str, reason: str) -> None:
    def work(ledger: Ledger, reads: LedgerReads) -> tuple[list[str], list[str]]:
        ledger.health.heal("service")
        ledger.health.trip("service", why, NOW, NOW)
        ledger.health.watch({}, [Alert("disk-full", "here", why)], NOW)
        ledger.admit([], NOW, 0, [refusal("p", f"file {why}", reason, "type", why)])
        row = next(iter(reads.refused_inputs("p", None, 1)))
        return [one.why for one in ledger.health.breakers()], [row["reason"], row["key"]]

    found = both.each(work)
    assert all(storable(one) for part in found for one in part)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@fast
@given(value=values)
def test_values_come_back_from_both_as_they_were(both: Both, value: Any) -> None:
    """-0.0, subnormal and huge numbers, NUL in texts, whatever JSON carries: one is refused before
    it comes to a ledger, or is the same in both."""
    try:
        data = plainly(value)
    except ValueError:
        return
    _, claimed = claim(both)
    for ledger, reads, (incarnation, item, fence) in zip(
        both.ledgers, both.reads, claimed, strict=True
    ):
        more = Beyond(effects=(Effect(0, "", "l", data),))
        done = Transition(
            item,
            fence,
            NOW,
            settled=(SettledTask(0, "", 1, "succeeded", 1, NOW, NOW, data),),
            more=more,
            state="completed",
            output=data,
        )
        assert ledger.commit(incarnation, 1, [done]) == [True]
        assert reads.item(item)["output"] == data
        again = reads.claimed(item)
        assert again.settled[0].output == data
        assert [one.value for one in again.effects] == [data]
    back = decode(data, Any)
    assert back == value
    assert not isinstance(value, float) or math.copysign(1, back) == math.copysign(1, value)


# -- nesting -------------------------------------------------------------------------------------


def nested(levels: int, kind: str = "[]") -> bytes:
    return (
        (b"[" * levels + b"]" * levels)
        if kind == "[]"
        else b'{"a":' * levels + b"1" + b"}" * levels
    )


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_values_are_nested_at_most_64_levels(kind: str) -> None:
    value = msgspec.json.decode(nested(NESTING, kind))
    assert plainly(value) == nested(NESTING, kind)
    with pytest.raises(ValueError, match="deeper than 64 levels"):
        plainly(msgspec.json.decode(nested(NESTING + 1, kind)))
    assert check_json(nested(NESTING, kind))
    for levels in (NESTING + 1, 900, 100_000):
        with pytest.raises(ValueError, match="deeper than 64 levels"):
            check_json(nested(levels, kind))


def test_brackets_in_texts_are_no_levels() -> None:
    text = json.dumps(["[" * 500, '{"[', "\\", '\\"[[['] * 50).encode()
    assert not too_deep(text)
    assert too_deep(b"[" + text[:-1] + b"," + nested(NESTING) + b"]")


@given(
    st.recursive(
        st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=300,
    )
)
def test_levels_are_counted_as_they_are(value: Any) -> None:
    def depth(one: Any) -> int:
        inner = (
            list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else None
        )
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    under = NESTING - depth(value)
    assume(under >= 0)
    for _ in range(under):
        value = [value]
    assert not too_deep(msgspec.json.encode(value))
    assert too_deep(msgspec.json.encode([value]))


class Tree(msgspec.Struct):
    parts: list[Tree] = []


def tree(levels: int) -> Tree:
    found = Tree()
    for _ in range(levels // 2 - 1):
        found = Tree([found])
    return found


@step()
async def grown(levels: int) -> Tree:
    return tree(levels)


@step()
async def anything(data: list[Any]) -> int:
    return 1


@pipeline(version="1", key=lambda levels: str(levels))
def growing(levels: int) -> Tree:
    return grown(levels)


@pipeline(version="1", key=lambda data: str(len(json.dumps(data))))
def taking(data: list[Any]) -> int:
    return anything(data)


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    ledger = "" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return App(home=tmp_path / "home", ledger=ledger, workers=1)


def states(app: App) -> dict[str, str]:
    with closing(app.reads()) as reads:
        return {row["key"]: row["state"] for row in reads.items(None, None, 99)}


def test_every_door_refuses_deeper_values_and_says_so(either: App) -> None:
    app = either
    app.run([growing, taking], [(growing, NESTING), (growing, NESTING + 2)])
    assert states(app) == {str(NESTING): "completed", str(NESTING + 2): "dead"}
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert dead_letter["error"].endswith("ResultError")
    assert "deeper than 64 levels" in dead_letter["message"]
    right, deep = (msgspec.json.decode(nested(levels)) for levels in (NESTING, NESTING + 1))
    (receipt,) = app.submit_many(taking, [right])
    assert receipt.created
    for door in (
        lambda: list(app.submit_many(taking, [deep])),
        lambda: app.publish("e.f", deep),
        lambda: app.redrive([dead_letter["dead_letter"]], [deep]),
        lambda: app.decide(1, deep, "d" * 64, "me"),
    ):
        with pytest.raises(InputError, match="deeper than 64 levels"):
            door()
    assert app.publish("e.f", right)
    app.run([taking, growing])
    assert app.reads().audit(0)["balanced"]


@pytest.mark.parametrize("levels", [NESTING + 1, 1_500, 200_000])
def test_a_hostile_cloud_event_overflows_nothing(levels: int) -> None:
    envelope = b'{"id":"1","source":"s","type":"t","specversion":"1.0","data":%s}'
    with pytest.raises(InputError, match="nested|deeper"):
        opened(envelope % nested(levels), NOW)
    with pytest.raises(InputError, match="no CloudEvent|cannot be kept"):
        opened(envelope % b"1e999", NOW)
    assert opened(envelope % nested(NESTING), NOW).data == nested(NESTING)


@pytest.mark.parametrize("field", ["subject", "type", "source", "correlationid"])
def test_a_hostile_name_in_a_cloud_event_is_refused(field: str) -> None:
    for text in ("a\x00", "x" * 1_000_000):
        given = {
            "id": "1",
            "source": "s",
            "type": "t",
            "specversion": "1.0",
            "data": 1,
            field: text,
        }
        with pytest.raises(InputError, match="is not allowed"):
            opened(json.dumps(given).encode(), NOW)
    with pytest.raises(InputError, match="no CloudEvent"):
        opened(b'{"id":"1","source":"s","type":"t","data":1,"subject":"\\ud800"}', NOW)


def test_the_runners_socket_refuses_a_hostile_frame(tmp_path: Path) -> None:
    """Nested msgpack: an answer of a hundred thousand arrays in each other."""
    frame = b"\x92\xa1c\x96\xa6decide\x01" + b"\x91" * 100_000 + b"\x01\xa1d\xa1w\x90"

    class Nobody:
        def call(self, verb: Any, then: Any) -> None:
            raise AssertionError("it is not understood")

    async def go() -> str:
        server = await serve(
            tmp_path / "s",
            Nobody(),  # type: ignore[arg-type]
            lambda: NOW,
            lambda: None,
            0,
            lambda: Held(0, []),
        )
        async with server:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            # it says that it listens
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
            writer.write(len(frame).to_bytes(4, "little") + frame)
            size = int.from_bytes(await reader.readexactly(4), "little")
            reply = msgspec.msgpack.decode(await reader.readexactly(size))
            writer.close()
        return str(reply[0])

    assert "did not understand" in asyncio.run(go())
    assert RemoteLedger.decide is not None


# -- what steps and declarations say -------------------------------------------------------------


@dataclass
class Named:
    id: str
    about: str


@step()
async def passed(one: Named) -> Named:
    return one


@step()
async def counted(one: Named) -> int:
    return len(one.about)


@pipeline(version="1", key=lambda one: one.id)
def telling(one: Named) -> int:
    known = passed(one)
    emit("claim.read")(known, key=known.about)
    return counted(known)


@pipeline(version="1", key=lambda one: one.id)
def hearing(one: Named) -> int:
    known = passed(one)
    return wait_for("claim.paid", int)(known.about)


@pytest.mark.parametrize("of", [telling, hearing], ids=["emit", "wait"])
@pytest.mark.parametrize("about", ["a\x00b", "x" * (NAME_LIMIT + 1), "x" * 100_000])
def test_a_key_that_a_step_has_made_is_a_dead_letter_and_the_step_ran_once(
    either: App, of: Pipeline[Any, Any], about: str
) -> None:
    app = either
    app.run([of], [(of, Named("bad", about)), (of, Named("good", "good𐀀"))])
    found = states(app)
    assert found == {"bad": "dead", "good": "completed" if of is telling else "waiting"}
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["error_class"], dead_letter["error"]) == ("bad-input", "KeyNotAllowed")
    assert "512 characters, without NUL" in dead_letter["message"]
    item = app.reads().item_by_key("bad")
    assert item is not None
    ran = [one["step"] for one in app.reads().item(item)["timeline"] if one["state"] == "succeeded"]
    assert ran.count("passed") == 1
    assert app.reads().audit(0)["balanced"]
    app.redrive([dead_letter["dead_letter"]])
    app.run([of])
    assert states(app)["bad"] == "dead", "and again, without the step"


def test_declarations_are_refused_where_they_are_made() -> None:
    for declared in (
        lambda: case("a\x00", counted),
        lambda: case("x" * 201, counted),
        lambda: review(Named, title="a\x00"),
        lambda: review(Named, title="\ud800"),
        lambda: review(Named, by="a\x00"),
        lambda: step(name="a\x00")(lambda x: x),
        lambda: emit("a\x00"),
        lambda: pipeline(version="a\x00", key=str),
        lambda: pipeline(version="1", key=str, search="x" * 201),
    ):
        with pytest.raises(DefinitionError):
            declared()


@pytest.mark.parametrize("label", ["", "a\x00", "\ud800", "x" * 501])
def test_a_label_is_refused_before_its_effect(label: str) -> None:
    happened: list[int] = []
    with pytest.raises(InputError, match=r"ctx\.once"):
        Context().once(label, lambda: happened.append(1))
    assert not happened


def test_integers_beyond_64_bits_are_refused_at_the_door_and_kept_exactly_as_results(
    either: App,
) -> None:
    for number in (2**64, -(2**63) - 1, 10**300):
        with pytest.raises(InputError, match="64 bits"):
            list(either.submit_many(taking, [[number]]))
        try:
            data = keep(number, int)
        except ValueError:
            continue
        assert decode(data, int) == number


def test_what_a_step_returns_beyond_its_type_is_a_result_error() -> None:
    from types import SimpleNamespace

    from holdfast.executors.attempt import checked_output

    node = SimpleNamespace(name="grown", step=SimpleNamespace(returns=Any))
    for value in ("\ud800", float("inf"), msgspec.json.decode(nested(NESTING + 1))):
        with pytest.raises(ResultError):
            checked_output(node, value)  # type: ignore[arg-type]
