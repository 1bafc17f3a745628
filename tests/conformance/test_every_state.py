"""The table of docs/operations.md: what each operation makes of an item in each state, on every
ledger."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.ledger import Ledger
from holdfast.model.changes import Cancel, Change, Discard, Move, Operation, Pause, Restart, Resume
from holdfast.model.failure import Failure
from holdfast.model.states import ItemState
from holdfast.model.task import DeadLetter, LiveTask, Transition
from tests.conformance.test_ledger import NOW, SPEC, claim, settled, submit
from tests.conformance.test_lifecycle import ask

STATES = ("queued", "waiting", "running", "paused", "completed", "dead", "cancelled", "discarded")

AFTER: dict[str, dict[str, str | None]] = {
    "pause": {"queued": "paused", "waiting": "paused", "running": "running"},
    "resume": {"paused": "queued"},
    "cancel": dict.fromkeys(("queued", "waiting", "running", "paused"), "cancelled"),
    "restart": dict.fromkeys(
        ("queued", "waiting", "running", "paused", "completed", "dead", "cancelled"), "queued"
    ),
    "move": {
        **dict.fromkeys(("queued", "waiting", "running", "dead"), "queued"),
        "paused": "paused",
    },
}
"""The item's state afterwards; what is not there changes nothing."""


def brought(ledger: Ledger, version: int, state: str) -> int:
    """An item in a state."""
    (item,) = submit(ledger, state)
    if state == "paused":
        assert ask(ledger, Pause(), item) == [item]
    if state in ("queued", "paused"):
        return item
    incarnation, (claimed,) = claim(ledger, version)
    failure = Failure("bad-input", "E", "no")
    end: dict[str, ItemState] = {
        "waiting": "waiting",
        "completed": "completed",
        "dead": "dead",
        "discarded": "dead",
    }
    done = Transition(item, claimed.fence, NOW, state=end.get(state))
    if state in ("waiting", "running", "cancelled"):
        done.live, done.wake_at = (LiveTask(0, "", "running", 1),), NOW + 60_000
    elif state == "completed":
        done.settled, done.output = (settled(0), settled(1)), (1, "")
    else:
        done.settled, done.dead_letters = (
            (settled(0, "dead"),),
            (DeadLetter(0, "", 1, failure, 1, NOW, "f" * 16),),
        )
    assert ledger.commit(incarnation, 1, [done]) == [True]
    if state == "cancelled":
        assert ask(ledger, Cancel(), item) == [item]
    if state == "discarded":
        operation = ledger.lifecycle.begin_operation(
            Operation("discard", "dead_letters", "me", "why"), NOW
        )
        assert ledger.lifecycle.change(operation, Discard(), [1], NOW) == [1]
    return item


def state_of(ledger: Ledger, item: int, key: str) -> str:
    """The item's state, as a receipt for its key says it."""
    from holdfast.model.item import Submission

    (receipt,) = ledger.admit([Submission("p", "1", key, b"1")], NOW)
    assert (receipt.item, receipt.status) == (item, "conflict")
    return receipt.state


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", list(AFTER))
def test_an_operation_does_what_the_table_says(
    verb: str, state: str, ledger: Ledger, version: int
) -> None:
    item = brought(ledger, version, state)
    assert state_of(ledger, item, state) == state
    newer = ledger.register(SPEC.__class__("p", "2", "e" * 64, SPEC.shape, {}), NOW).version
    changes: dict[str, Change] = {
        "pause": Pause(),
        "resume": Resume(),
        "cancel": Cancel(),
        "restart": Restart(),
        "move": Move(newer, {version: {0: 0, 1: 1}}),
    }
    after = AFTER[verb].get(state)
    assert ask(ledger, changes[verb], item) == ([] if after is None else [item])
    assert state_of(ledger, item, state) == (after or state)
    if verb != "restart":
        assert ask(ledger, changes[verb], item) == [], "to ask again changes nothing more"


def test_the_table_of_the_docs_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| ([a-z, ]+) \|(.*)\|$", text[text.index("| item is |") :], re.MULTILINE)
    for states, cells in rows:
        said = [cell.strip() for cell in cells.split("|")]
        for state in states.split(", "):
            if state == "archived" or states == "item is":
                continue
            for verb, cell in zip(
                ("pause", "resume", "cancel", "restart", "move"), said, strict=True
            ):
                if (verb, state) == ("resume", "running"):
                    assert cell == "takes a pause back"
                else:
                    assert (cell == "–") == (state not in AFTER[verb]), (state, verb, cell)
