"""Whatever a step does, it ends as exactly one outcome: counted, classified, stored, in bounded
time."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, BadInputError, ModelError, TransientError, error_class
from holdfast.errors import LedgerUnavailableError, OutOfMemoryError
from holdfast.model import classes
from holdfast.model.exceptions import seconds_of
from holdfast.model.failure import Failure, failure_of, storable
from tests.boundary_samples import HOSTILE, PIPELINES, TASKS, TRIES, WAYS, Way, tasking


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(home=tmp_path / "home", ledger="", workers=2)


def _items(app: App, keys: Any) -> dict[str, dict[str, Any]]:
    with closing(app.reads()) as reads:
        assert reads.audit(app.clock.now_ms())["balanced"]
        return {key: reads.item(reads.item_by_key(key) or 0) for key in keys}


@pytest.mark.parametrize("where", ["loop", "process", "threads"])
def test_every_way_to_fail_is_counted_and_classified(where: str, app: App, tmp_path: Path) -> None:
    one = PIPELINES[where, "safe"]
    app.run([one], [(one, Way(how, str(tmp_path))) for how in WAYS])
    for how, item in _items(app, WAYS).items():
        kind = WAYS[how][0]
        tries = [entry for entry in item["timeline"] if entry["state"] == "failed"]
        assert item["state"] == "dead", (how, item["state"])
        assert {entry["error_class"] for entry in tries} == {kind}, (how, tries)
        assert len(tries) == len((tmp_path / how).read_text()) == TRIES.get(kind, 3), how
        assert all(entry["charged"] for entry in tries)
        (dead_letter,) = item["dead_letters"]
        assert (dead_letter["error_class"], dead_letter["state"]) == (kind, "open")
        assert "\0" not in dead_letter["message"] + dead_letter["traceback"]
        assert len(dead_letter["message"]) <= 2_000
        assert len(dead_letter["traceback"]) <= 16_000


@pytest.mark.parametrize("where", ["loop", "process", "threads"])
def test_what_is_unsafe_is_never_blindly_repeated(where: str, app: App, tmp_path: Path) -> None:
    one = PIPELINES[where, "unsafe"]
    app.run([one], [(one, Way(how, str(tmp_path))) for how in WAYS])
    for how, item in _items(app, WAYS).items():
        assert (tmp_path / how).read_text() == "x", how
        assert item["state"] == ("dead" if WAYS[how][0] == "bad-input" else "waiting"), how


def test_what_steps_do_to_the_loop_harms_no_other_and_the_run_ends(
    app: App, tmp_path: Path
) -> None:
    beside = [Way("beside", str(tmp_path))]
    result = app.run(
        [tasking],
        [(tasking, way) for way in [*beside, *[Way(how, str(tmp_path)) for how in TASKS]]],
    )
    assert not result.stopped
    ends = {how: item["state"] for how, item in _items(app, [*TASKS, "beside"]).items()}
    assert ends == {**TASKS, "beside": "completed"}


def test_tasks_that_are_left_behind_are_named_once(
    app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.run([tasking], [(tasking, Way("leaves-a-sleeper", str(tmp_path)))])
    said = [record.getMessage() for record in caplog.records if "behind" in record.getMessage()]
    assert said == [
        "step tasked leaves 1 asyncio tasks behind (_sleeps): they are cancelled when the run ends"
    ]


# -- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(WAYS))
def test_every_failure_is_bounded_and_storable(how: str) -> None:
    try:
        WAYS[how][1]()
    except BaseException as error:
        failure = failure_of(error)
    assert failure == storable(failure)
    assert failure.error_class == WAYS[how][0]
    text = failure.error + failure.message + failure.traceback
    assert text.encode().decode() == text
    assert "\0" not in text
    assert len(failure.message) <= 2_000
    assert len(failure.traceback) <= 16_000


def test_hostile_text_is_kept_visibly() -> None:
    assert failure_of(ValueError(HOSTILE)).message == "a\\x00b ? \u202e \x1b[31m red"
    assert "__str__ raised AttributeError" in failure_of(_raised("no-text")).message
    assert "__str__ raised SystemExit" in failure_of(_raised("exits-in-text")).message


def test_a_text_that_never_comes_is_not_waited_for() -> None:
    class Slow(Exception):
        def __str__(self) -> str:
            while True:
                pass

    failure = failure_of(Slow(), ())
    assert (failure.error_class, failure.message) == (
        "transient",
        "its text could not be read (it took too long)",
    )


def _raised(how: str) -> BaseException:
    try:
        WAYS[how][1]()
    except BaseException as error:
        return error
    raise AssertionError(how)


def test_a_traceback_without_end_is_cut_in_the_middle() -> None:
    trace = failure_of(_raised("deep")).traceback
    assert trace.startswith("Traceback (most recent call last):\n")
    assert "frames are left out]" in trace
    assert trace.rstrip().endswith("RecursionError: maximum recursion depth exceeded")


def test_notes_and_causes_are_shown() -> None:
    error = ValueError("outside")
    error.add_note("page 3")
    error.__cause__ = KeyError("inside")
    trace = failure_of(error).traceback
    assert (
        "KeyError: 'inside'\n\nThe above exception was the direct cause of the following "
        "exception:\n\nValueError: outside\npage 3"
    ) in trace


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1", 1.0),
        (" 2.5 ", 2.5),
        (b"3", 3.0),
        (4, 4.0),
        (5.5, 5.5),
        (Decimal(6), 6.0),
        (timedelta(minutes=1), 60.0),
        (10**400, 86_400.0),
        (math.inf, 86_400.0),
        (-math.inf, 0.0),
        (-1, 0.0),
        ("-7", 0.0),
        (math.nan, None),
        ("nan", None),
        ("soon", None),
        (b"\xff", None),
        (True, None),
        (object(), None),
        ([1], None),
        ({}, None),
        (None, None),
        ("9" * 5_000, 86_400.0),
        (Decimal("sNaN"), None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_a_wait_is_a_number_of_seconds_or_nothing(said: Any, seconds: float | None) -> None:
    assert seconds_of(said) == seconds
    assert failure_of(TransientError("later", retry_after=said)).retry_after == seconds


def test_a_failure_from_elsewhere_is_checked_again() -> None:
    good = Failure("transient", "E", "m", "t", 3.0)
    assert storable(good) is good
    wild = Failure("nonsense", "E\0" * 900, "\ud800" * 9_000, "x" * 99_999, math.inf)  # type: ignore[arg-type]
    tamed = storable(wild)
    assert (tamed.error_class, tamed.retry_after) == ("internal", 86_400.0)
    assert (len(tamed.error), tamed.message, len(tamed.traceback)) == (300, "?" * 2_000, 16_000)
    assert storable(tamed) is tamed


# -- groups, causes, rules -----------------------------------------------------------------------

BAD, LATER, DISK = (
    BadInputError("bad"),
    TransientError("later", retry_after=7),
    LedgerUnavailableError("full"),
)


@pytest.mark.parametrize(
    ("members", "kind", "wait"),
    [
        ([BAD], "bad-input", None),
        ([BAD, BadInputError("worse")], "bad-input", None),
        ([BAD, LATER], "transient", 7.0),
        ([LATER, TransientError("much later", retry_after=9)], "transient", 9.0),
        ([BAD, TypeError("x")], "bug", None),
        ([TypeError("x"), ModelError("x")], "model", None),
        ([ModelError("x"), TimeoutError()], "timeout", None),
        ([TimeoutError(), LATER], "transient", 7.0),
        ([LATER, OutOfMemoryError("x")], "memory", 7.0),
        ([OutOfMemoryError("x"), DISK], "infrastructure", None),
        (
            [
                ExceptionGroup("inner", [BAD]),
                ExceptionGroup("other", [ExceptionGroup("inmost", [LATER])]),
            ],
            "transient",
            7.0,
        ),
    ],
)
def test_the_most_patient_member_of_a_group_decides(
    members: list[Exception], kind: str, wait: float | None
) -> None:
    failure = failure_of(ExceptionGroup("unhandled errors in a TaskGroup", members))
    assert (failure.error_class, failure.retry_after) == (kind, wait)
    assert "(in ExceptionGroup: unhandled errors in a TaskGroup" in failure.message


def test_what_was_cancelled_for_another_does_not_decide() -> None:
    group = BaseExceptionGroup("both", [asyncio.CancelledError(), BAD])
    assert failure_of(group).error_class == "bad-input"
    assert (
        failure_of(BaseExceptionGroup("one", [asyncio.CancelledError()])).error_class == "transient"
    )


def test_a_wrapper_that_no_rule_knows_is_its_cause() -> None:
    class VendorError(Exception): ...

    def wrapped(error: Exception, cause: BaseException) -> Exception:
        error.__cause__ = cause
        return error

    twice = wrapped(VendorError("call failed"), wrapped(RuntimeError("vendor"), LATER))
    failure = failure_of(twice)
    assert (failure.error_class, failure.retry_after, failure.error) == (
        "transient",
        7.0,
        "holdfast.errors.TransientError",
    )
    assert failure.message.startswith("later (in ")
    assert "VendorError: call failed)" in failure.message
    assert failure_of(wrapped(VendorError(), BAD)).error_class == "bad-input"
    assert (
        failure_of(wrapped(VendorError(), ValueError()), (ValueError,)).error_class == "bad-input"
    )
    assert failure_of(wrapped(ModelError("its own"), BAD)).error_class == "model", (
        "what says its class itself is believed"
    )
    assert failure_of(wrapped(VendorError(), ExceptionGroup("g", [BAD]))).error_class == "bad-input"
    handled = VendorError("while something else was handled")
    handled.__context__ = BAD
    assert failure_of(handled).error_class == "transient", (
        "what was merely being handled says nothing"
    )


@pytest.fixture
def rules() -> Iterator[None]:
    known = dict(classes._RULES)
    yield
    classes._RULES.clear()
    classes._RULES.update(known)


class Ruled(Exception):
    """For rules."""


def _forever(error: Any) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda error: error.code, "raised AttributeError"),
        (lambda error: "fatal", "returned 'fatal', which is no error class"),
        (lambda error: 7, "returned a value of type int, which is no error class"),
        (lambda error: ["bad-input"], "returned a value of type list, which is no error class"),
        (lambda error: sys.exit(1), "raised SystemExit"),
        (_forever, "took longer than 1 s"),
    ],
)
def test_a_rule_that_is_broken_is_that_attempts_failure(rule: Any, said: str, rules: None) -> None:
    error_class(Ruled, rule)
    failure = failure_of(Ruled("what happened"))
    assert failure.error_class == "bug"
    assert failure.message.startswith(f"the error_class rule for {Ruled.__module__}.Ruled {said}")
    assert failure.message.endswith("what happened")


def test_never_may_be_broken_too() -> None:
    class Meta(type):
        def __subclasscheck__(cls, other: type) -> bool:
            raise RuntimeError("no")

    class Odd(Exception, metaclass=Meta): ...

    failure = failure_of(ValueError("x"), (Odd,))
    assert (failure.error_class, failure.message.partition(";")[0]) == (
        "bug",
        "Retry(never=…) could not be asked: RuntimeError",
    )
