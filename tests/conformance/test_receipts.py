"""What a receipt says, on every ledger and over a runner's socket; and what is kept of inputs that
were not accepted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from holdfast import App, InputError, pipeline, step
from holdfast.inputs import Input, Refused
from holdfast.ledger import Ledger
from holdfast.model.changes import Operation, Restart
from holdfast.model.content import content_digest
from holdfast.model.item import SOURCE_LIMIT, Receipt, Submission, refusal
from holdfast.model.values import Stored
from holdfast.session import Session
from tests.conformance.test_ledger import NOW
from tests.intake_samples import Row, rows


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    """Holdfast on either ledger."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return App(home=tmp_path / "home", ledger=url, workers=1)


def given(key: str, payload: bytes, digest: bool = True, source: str = "") -> Submission:
    return Submission(
        "p", "1", key, payload, digest=content_digest(payload) if digest else "", source=source
    )


def statuses(receipts: list[Receipt]) -> list[str]:
    return [one.status for one in receipts]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_a_known_key_is_the_same_or_a_conflict_by_its_content(
    ledger: Ledger, version: int, kept: bool, told: bool
) -> None:
    ledger.admit([given("k", b'{"a":1,"b":2}', kept)], NOW)
    again = [
        given("k", payload, told)
        for payload in (b'{"b":2, "a":1}', b'{"a":1,"b":3}', b'{"a":1}', b'{"a":1,"b":2}')
    ]
    receipts = ledger.admit(again, NOW)
    assert statuses(receipts) == ["same", "conflict", "conflict", "same"]
    assert len({one.item for one in receipts}) == 1


def test_two_of_one_key_in_a_batch_are_compared_too(ledger: Ledger, version: int) -> None:
    batch = [given("k", b"1"), given("k", b"1"), given("k", b"2"), given("l", b"2")]
    assert statuses(ledger.admit(batch, NOW)) == ["new", "same", "conflict", "new"]


def test_large_payloads_are_compared_by_what_they_refer_to(ledger: Ledger, version: int) -> None:
    one, other = Stored("a" * 64, 70_000), Stored("b" * 64, 70_000)
    ledger.admit(
        [Submission("p", "1", "k", one), Submission("p", "1", "l", one, digest="c" * 64)], NOW
    )
    again = [
        Submission("p", "1", "k", one),
        Submission("p", "1", "k", other),
        Submission("p", "1", "k", b"1"),
    ]
    assert statuses(ledger.admit(again, NOW)) == ["same", "conflict", "conflict"]
    assert statuses(ledger.admit([Submission("p", "1", "l", other, digest="c" * 64)], NOW)) == [
        "same"
    ]


def test_a_restarted_item_is_compared_with_its_payload_of_now(ledger: Ledger, version: int) -> None:
    (receipt,) = ledger.admit([given("k", b"1")], NOW)
    for change, same in (
        (Restart(payload=b"2", digest=content_digest(b"2")), b"2"),
        (Restart(payload=b"3"), b"3"),
    ):
        operation = ledger.lifecycle.begin_operation(Operation("restart", "items", "me"), NOW)
        assert ledger.lifecycle.change(operation, change, [receipt.item], NOW) == [receipt.item]
        assert statuses(ledger.admit([given("k", b"1"), given("k", same)], NOW)) == [
            "conflict",
            "same",
        ]


def test_a_refusal_is_kept_once_counted_and_closed_when_its_source_is_accepted(app: App) -> None:
    bad = [
        Input(Row("nodash"), "line 1 of a"),
        Refused("/x/locked", "cannot be read"),
        Input(Row("r-1", 1.0), "line 2 of a"),
    ]
    for _ in range(3):
        receipts = list(app.submit_many(rows, bad, "monday", refused="keep"))
    assert [(one.status, one.source, one.key) for one in receipts] == [
        ("refused", "line 1 of a", ""),
        ("refused", "/x/locked", ""),
        ("same", "", "1"),
    ]
    found = {row["source"]: row for row in app.reads().refused_inputs(None, None, 9)}
    assert {
        (row["count"], row["state"], row["manifest"], row["pipeline"]) for row in found.values()
    } == {(3, "open", "monday", "rows")}
    assert "key function" in found["line 1 of a"]["reason"]
    assert app.reads().audit(0)["refused"] == {"rows": {"open": 2, "accepted": 0}}
    (fine,) = app.submit_many(rows, [Input(Row("r-9"), "line 1 of a")])
    closed = next(row for row in app.reads().refused_inputs("rows", "accepted", 9))
    assert (closed["source"], app.reads().item_by_key("9"), fine.status) == (
        "line 1 of a",
        fine.item,
        "new",
    )
    assert app.reads().audit(0)["balanced"]
    list(app.submit_many(rows, bad, refused="keep"))
    assert app.reads().refused_counts() == {"rows": {"open": 2, "accepted": 0}}, (
        "refused again, it is open again"
    )


def test_hostile_text_in_a_refusal_is_kept(app: App) -> None:
    source = "bad\udcff name\n\x00" + "x" * 10_000
    app.register([rows])
    with closing(app.open_ledger()) as ledger:
        ledger.admit(
            [], NOW, 0, [refusal("rows", source, "why\x00" * 9_999, "name", "k\ud800\x00", "m")]
        )
        ledger.admit([], NOW, 0, [refusal("rows", source + "y", "another one", "name")])
    found = app.reads().refused_inputs("rows", "open", 9)
    assert sorted(row["reason"][:3] for row in found) == ["ano", "why"], (
        "two sources that differ at their end are two"
    )
    for row in found:
        assert "\x00" not in "".join(str(value) for value in row.values())
        assert len(row["source"].encode()) <= SOURCE_LIMIT * 4


def test_what_fits_before_a_bad_payload_is_accepted_and_its_receipt_yielded(app: App) -> None:
    receipts = app.submit_many(rows, [Row("r-1"), Row("r-2"), {"id": 7}, Row("r-3")])
    assert [next(receipts).key, next(receipts).key] == ["1", "2"]
    with pytest.raises(InputError, match="not a Row"):
        next(receipts)
    assert app.reads().status()[0]["received"] == 2
    with pytest.raises(InputError, match="locked"):
        list(app.submit_many(rows, [Refused("/x/locked", "cannot be read")]))


@pytest.fixture
def running(app: App) -> Iterator[App]:
    """A live runner: with SQLite, everything goes over its socket."""
    sessions: list[Session] = []
    began = threading.Event()

    def tick(session: Session) -> None:
        sessions[:] = [session]
        began.set()

    thread = threading.Thread(target=app.run, args=([rows], [], False), kwargs={"each_tick": tick})
    thread.start()
    assert began.wait(60)
    yield app
    sessions[0].stop_now()
    thread.join(60)


def test_receipts_and_refusals_go_over_a_live_runner(running: App) -> None:
    given_ = [Row("r-1", 1.0), {"id": "r-1", "amount": 1}, Row("r-1", 2.0), {"id": 3}]
    receipts = list(running.submit_many(rows, given_, refused="keep"))
    assert statuses(receipts) == ["new", "same", "conflict", "refused"]
    assert "which has other content" in receipts[2].reason
    assert {row["kind"] for row in running.reads().refused_inputs(None, "open", 9)} == {
        "conflict",
        "type",
    }


class Before(msgspec.Struct):
    """A payload as it was."""

    id: str
    amount: float


class After(msgspec.Struct):
    """The same, with fields that were added since."""

    id: str
    amount: float
    note: str | None = None
    large: str = ""


@step()
async def seen_before(row: Before) -> str:
    """Nothing much."""
    return row.id


@step()
async def seen_after(row: After) -> str:
    """Nothing much."""
    return row.id


@pipeline(version="1", key=lambda row: row.id, name="docs")
def before(row: Before) -> str:
    """The release before."""
    return seen_before(row)


@pipeline(version="2", key=lambda row: row.id, name="docs")
def after(row: After) -> str:
    """This release."""
    return seen_after(row)


def test_a_payload_that_reads_as_the_same_value_is_the_same(app: App) -> None:
    list(app.submit_many(before, [Before("a", 1.0), Before("b", 2.0)]))
    again = [
        After("a", 1.0),
        {"amount": 1, "id": "a"},
        After("a", 1.0, note="new"),
        After("b", 2.0),
        After("b", 2.0, large="x" * 100_000),
    ]
    assert statuses(list(app.submit_many(after, again))) == [
        "same",
        "same",
        "conflict",
        "same",
        "conflict",
    ]
    assert app.run([after], [(after, one) for one in again]).conflicts == 2


def test_a_large_payload_is_the_same_or_a_conflict(app: App) -> None:
    large = [After("a", 1.0, large=dead_letter * 100_000) for dead_letter in "xxy"]
    assert statuses(list(app.submit_many(after, large))) == ["new", "same", "conflict"]
