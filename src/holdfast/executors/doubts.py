"""Programming errors that may be another step's doing: they are tried again in a fresh process.

A step may replace what other steps use (a function of a library, an entry of ``sys.modules``), and
nobody can put all of that back.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.model.failure import Failure
from holdfast.model.values import Value

EVERY_S = 1.0
"""Seconds between two workers that are replaced for a doubt."""

KNOWN = 1_000
"""Most errors that are remembered."""


class Doubts:
    """Which errors are known to be a step's own: it failed with them as the first call of a
    worker."""

    def __init__(self) -> None:
        self._own: set[tuple[str, str]] = set()
        self._next = 0.0

    def about(self, step: str, results: Sequence[Value | Failure], first: bool, now: float) -> str:
        """Why the worker that has answered is to be replaced, or nothing.

        Args:
            step: the step's name.
            results: what became of the call.
            first: whether it was the worker's first call.
            now: monotonic seconds.
        """
        errors = {
            (step, one.error)
            for one in results
            if isinstance(one, Failure) and one.error_class == "bug"
        }
        if first and errors:
            if len(self._own) > KNOWN:
                self._own.clear()
            self._own |= errors
        fresh = errors - self._own
        if not fresh or now < self._next:
            return ""
        self._next = now + EVERY_S
        return (
            f"step {step!r} failed with {min(fresh)[1]}, which may come from what another "
            "call has done to the process"
        )
