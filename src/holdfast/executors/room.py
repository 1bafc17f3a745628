"""How much work the worker processes may be given, by what is learned of how long each step
takes."""

from __future__ import annotations

from holdfast.executors.slots import DEPTH
from holdfast.model.step import Step

AHEAD_S = 0.020
"""Seconds of learned work that one worker may hold."""
UNKNOWN_S = 1.0
"""What a step is taken to last before it has run."""
READY = 2
"""Calls per worker that may be durably started: one runs, one waits here for whichever worker is
free first, so that no worker waits for a commit between two calls."""
_LEAST_S = 0.00005


class Room:
    """Counts the calls that are reserved, and how long they are taken to last.

    Args:
        workers: how many worker processes there are.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._known: dict[Step, float] = {}
        self._reserved: dict[tuple[Step, bool], int] = {}
        self._ahead: float | None = (
            0.0  # None: a step's cost has changed, so that the sum is made anew
        )
        self.calls = 0
        """How many calls are reserved."""

    def cost(self, step: Step, alone: bool) -> float:
        """Seconds that a call is taken to last."""
        return UNKNOWN_S if alone else self._known.get(step, UNKNOWN_S)

    def take(self, step: Step, alone: bool) -> bool:
        """Reserve a call: for a free worker, next in line, or within the 20 ms that each worker may
        hold ahead."""
        cost = self.cost(step, alone)
        if self._ahead is None:
            self._ahead = sum(number * self.cost(*key) for key, number in self._reserved.items())
        long = self._ahead + cost > self._workers * AHEAD_S
        if self.calls >= READY * self._workers and (long or self.calls >= self._workers * DEPTH):
            return False
        self._reserved[step, alone] = self._reserved.get((step, alone), 0) + 1
        self.calls += 1
        self._ahead += cost
        return True

    def give_back(self, step: Step, alone: bool) -> None:
        """A call that was reserved is over, or is not made."""
        left = self._reserved[step, alone] - 1
        if left > 0:
            self._reserved[step, alone] = left
        else:
            del self._reserved[step, alone]
        self.calls -= 1
        if self._ahead is not None:
            self._ahead -= self.cost(step, alone)

    def learn(self, step: Step, ran_s: float) -> None:
        """A call of a step has lasted so long."""
        known = self._known.get(step)
        self._ahead = None
        self._known[step] = (
            ran_s + _LEAST_S if known is None else max(0.9 * known + 0.1 * ran_s, _LEAST_S)
        )

    def learn_at_least(self, step: Step, ran_s: float) -> None:
        """A call of a step was killed after so long."""
        self._known[step] = max(self._known.get(step, 0.0), ran_s)
        self._ahead = None
