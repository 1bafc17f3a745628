"""What a person says of an uncertain step, as one plan."""

from __future__ import annotations

import pytest

from holdfast.core.apply import apply
from holdfast.core.combinators import COMBINATORS
from holdfast.core.events import Answered, Failed
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.restore import begin
from holdfast.model.codec import encode
from holdfast.model.failure import Failure
from holdfast.model.task import LiveTask
from tests.pattern_samples import Claim, wired


@pytest.fixture
def run() -> ItemRun:
    """A claim whose unsafe step is in doubt."""
    made = ItemRun(1, 1, wired.graph, "wired", "1", "a", 1, encode(Claim("a")), COMBINATORS)
    begin(made, 0)
    made.live[0, ""] = LiveTask(0, "", "running", 1)
    made.running.add((0, ""))
    plan = apply(made, Failed((0, ""), 1, Failure("crash", "E", "died")), Plan(1, 1, 1000))
    assert [(one.state, one.wake_at) for one in plan.live] == [("waiting", 0)]
    return made


def test_again_is_written_with_the_end_of_the_wait(run: ItemRun) -> None:
    """A kill campaign found items that waited for ever: the wait was over in the ledger, and the
    task still waited."""
    plan = apply(run, Answered((0, ""), verdict="retry"), Plan(1, 1, 5000))
    assert plan.more is not None
    assert plan.more.ended == ((0, ""),)
    assert [(one.state, one.wake_at) for one in plan.live] == [("retrying", 5000)]
    assert plan.ready == ((0, ""),)


def test_done_settles_it_with_the_value(run: ItemRun) -> None:
    plan = apply(run, Answered((0, ""), value=b'"x"', verdict="done"), Plan(1, 1, 5000))
    assert (plan.state, plan.settled[0].output) == ("completed", b'"x"')


def test_an_answer_to_an_earlier_generation_changes_nothing(run: ItemRun) -> None:
    plan = apply(
        run, Answered((0, ""), generation=7, value=b'"x"', verdict="done"), Plan(1, 1, 5000)
    )
    assert not plan.anything
    assert run.live[0, ""].state == "waiting"
