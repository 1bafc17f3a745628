"""When a runner's process is to be replaced: an attempt could not be stopped, and runs on in its
event loop."""

from __future__ import annotations

from typing import Literal

REPLACE_S = 10.0
"""Seconds that a process lives at least before it is replaced, and that the other attempts may take
to end then."""


class Replacing:
    """Says what to do about it, turn by turn.

    Args:
        now_s: when the process began to work, monotonic seconds.
    """

    def __init__(self, now_s: float) -> None:
        self._from = now_s + REPLACE_S
        self._at: float | None = None

    @property
    def due(self) -> bool:
        """Whether the process is to be replaced once its work has ended."""
        return self._at is not None

    def visit(self, now_s: float, escaped: int, busy: bool) -> Literal["", "drain", "end"]:
        """What is to be done now: nothing, begin to drain, or end at once.

        Args:
            now_s: monotonic seconds.
            escaped: attempts that run on though they were reported.
            busy: whether inputs are still being accepted, or the run ends anyway.
        """
        if self._at is not None:
            return "end" if now_s > self._at else ""
        if not escaped or busy or now_s < self._from:
            return ""
        self._at = now_s + REPLACE_S
        return "drain"
