"""What a person says of an uncertain step, as one transition."""

from __future__ import annotations

import pytest

from holdfast.engine.advance import begin
from holdfast.engine.answers import settle_answer
from holdfast.engine.outside import ask_about
from holdfast.engine.passage import Passage
from holdfast.model.codec import encode
from holdfast.model.failure import Failure
from holdfast.model.task import Answer, LiveTask, Transition
from tests.pattern_samples import Claim, wired


@pytest.fixture
def passage() -> Passage:
    """A claim whose unsafe step is in doubt."""
    made = Passage(1, 1, wired.graph, "wired", "1", "a", 1, encode(Claim("a")), lambda reference: b"")
    begin(made)
    made.live[0, ""] = LiveTask(0, "", "running", 1)
    asked = Transition(1, 1, 1000)
    ask_about(made, (0, ""), Failure("crash", "E", "died"), asked, lambda data: data)
    assert [(one.state, one.wake_at) for one in asked.live] == [("waiting", 0)]
    return made


def test_again_is_written_with_the_end_of_the_wait(passage: Passage) -> None:
    """A kill campaign found items that waited for ever: the wait was over in the ledger, and the task still waited."""
    transition = Transition(1, 1, 5000)
    assert settle_answer(passage, (0, ""), Answer(1, 0, "", b'{"verdict":"retry"}'), transition) is None
    assert transition.more is not None
    assert transition.more.ended == ((0, ""),)
    assert [(one.state, one.wake_at) for one in transition.live] == [("retrying", 5000)]


def test_done_settles_it_with_the_value(passage: Passage) -> None:
    transition = Transition(1, 1, 5000)
    advance = settle_answer(passage, (0, ""), Answer(1, 0, "", b'{"verdict":"done","value":"x"}'), transition)
    assert advance is not None
    assert (advance.finished, transition.settled[0].output) == ("completed", b'"x"')
