"""Dead letters that go back by themselves."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from holdfast.model.arguments import Declared, instance
from holdfast.model.classes import ErrorClass
from holdfast.model.duration import Span
from holdfast.model.kinds import Kind, UnfitError, meant, several, text, whole


def _error(value: Any) -> str:
    """An error class, or an error type: a dotted name, or a built-in exception in capitals."""
    classes = get_args(ErrorClass)
    if not isinstance(value, str) or (
        value and value not in classes and "." not in value and not value[0].isupper()
    ):
        raise UnfitError(
            f"give {_ERROR.expects}{meant(value, classes)}; classes are {', '.join(classes)}"
        )
    return str(value)


_ERROR = Kind("an error class such as 'timeout', or a type such as 'httpx.ReadTimeout'", _error)


_STEP = text(lambda value: len(value) <= 500, "the name of a step")


class RedriveRule(Declared, frozen=True):
    """Dead letters that a runner redrives without being asked: those whose cause passes by itself,
    though not within the step's retries.

    Args:
        step: of this step; empty: of any.
        error: of this error class (``"timeout"``) or error type (``"httpx.ReadTimeout"``); empty:
            of any.
        after: a duration: how long they have been open.
        times: how often a task is sent back, by whomever, before it is left to people.
    """

    step: Annotated[str, _STEP] = ""
    error: Annotated[str, _ERROR] = ""
    after: Span = "1h"
    times: Annotated[int, whole()] = 3

    def text(self) -> str:
        """The rule as it is written down with what it does."""
        concerned = (
            " ".join(
                [f"step:{self.step}"] * bool(self.step) + [f"error:{self.error}"] * bool(self.error)
            )
            or "any"
        )
        return f"rule {concerned} after {self.after}, {self.times} times at most"


REDRIVE = several(instance(RedriveRule, "the name of a step"), "a RedriveRule(…) or a list of them")
