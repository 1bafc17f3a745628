"""Which programming errors are tried again in a fresh process, and which are known to be the step's
own."""

from __future__ import annotations

from holdfast.executors.doubts import Doubts
from holdfast.model.failure import Failure

BUG, OTHER = Failure("bug", "ModuleNotFoundError", "json"), Failure("transient", "OSError", "later")


def test_an_error_in_a_used_process_may_come_from_elsewhere_and_in_a_fresh_one_does_not() -> None:
    doubts = Doubts()
    assert "step 'parse' failed with ModuleNotFoundError" in doubts.about(
        "parse", [b"1", BUG], False, 0.0
    )
    assert not doubts.about("parse", [BUG], True, 10.0)
    assert not doubts.about("parse", [BUG], False, 20.0), (
        "it has failed so where nothing had run before"
    )
    assert doubts.about("other", [BUG], False, 30.0)


def test_what_is_no_programming_error_or_comes_too_soon_replaces_nobody() -> None:
    doubts = Doubts()
    assert not doubts.about("parse", [b"1", OTHER], False, 0.0)
    assert doubts.about("parse", [BUG], False, 0.0)
    assert not doubts.about("parse", [BUG], False, 0.5)
    assert doubts.about("parse", [BUG], False, 1.5)
