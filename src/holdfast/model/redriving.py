"""Dead letters that go back by themselves."""

from __future__ import annotations

import msgspec

from holdfast.errors import DefinitionError
from holdfast.model.duration import Duration, seconds


class RedriveRule(msgspec.Struct, frozen=True):
    """Dead letters that a runner redrives without being asked: those whose cause passes by itself, though not within the step's retries.

    Args:
        step: of this step; empty: of any.
        error: of this error class (``"timeout"``) or error type (``"httpx.ReadTimeout"``); empty: of any.
        after: a duration: how long they have been open.
        times: how often a task is sent back, by whomever, before it is left to people.
    """

    step: str = ""
    error: str = ""
    after: Duration = "1h"
    times: int = 3

    def __post_init__(self) -> None:
        seconds(self.after)
        if self.times < 1:
            raise DefinitionError("RedriveRule(): times is at least 1")

    def text(self) -> str:
        """The rule as it is written down with what it does."""
        concerned = " ".join([f"step:{self.step}"] * bool(self.step) + [f"error:{self.error}"] * bool(self.error)) or "any"
        return f"rule {concerned} after {self.after}, {self.times} times at most"
