"""An executor that breaks its contract: raises where it must not, and reports what cannot be."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from holdfast.model.failure import Failure
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.testing.faults import FaultyExecutor

if TYPE_CHECKING:
    from holdfast.testing.hostile.world import HostileWorld

MANY = 8
"""Attempts of a step that never fails for good by failures that pass."""

OUTPUTS: tuple[Any, ...] = (
    b"NaN",
    b"\xff\xfe",
    b"",
    b'"\\ud800"',
    b"[" * 100 + b"]" * 100,
    b'{"a":' * 3_000,
    "text",
    object(),
    5,
)
FAILURES: tuple[Any, ...] = (
    Failure("transient", "E\0", "\ud800", "\0", "1"),  # type: ignore[arg-type]
    Failure("nonsense", "E", "m"),  # type: ignore[arg-type]
    Failure("transient", None, 5, b"x", float("nan")),  # type: ignore[arg-type]
    "no failure",
)


class HostileExecutor(FaultyExecutor):
    """Calls the bodies for real, counts their successes, and breaks its contract as the world
    says."""

    def hostile(self, world: HostileWorld, rng: random.Random) -> HostileExecutor:
        """Break the contract as a world says."""
        self.world, self._spoiling = world, rng
        self._fences: dict[tuple[int, int, str], int] = {}
        return self

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Start, unless an attempt of the same task under an older fence is running here."""
        for one in invocations:
            fence = self._fences.get(one.task, one.fence)
            if one.task in self._open and fence != one.fence:
                self.world.broken(
                    "I24 beside itself",
                    f"{one.task} began under fence {one.fence} while it ran under fence {fence}",
                )
            self._fences[one.task] = one.fence
        super().start(step, invocations)

    def tick(self) -> None:
        """Something may be wrong."""
        if (
            self.world.strikes.open
            and self.world.executors_raise
            and self._spoiling.random() < 0.01
        ):
            self.world.strikes.note("executor tick", None)
            raise self.world.strikes.alien()

    def _outcomes(self, step: Step, invocations: list[Invocation]) -> list[Outcome]:
        usual = self._rates
        if self.world.exact and step.policy.retry.attempts < MANY:
            # what is tried a few times may fail for good, and then its end is not known
            self._rates = {}
        outcomes = super()._outcomes(step, invocations)
        self._rates = usual
        strikes = self.world.strikes
        for one in outcomes:
            if (
                strikes.open
                and one.invocation.item == strikes.victim
                and self.world.spoils
                and self._spoiling.random() < 0.3
            ):
                strikes.note("outcome", one.invocation.item)
                spoilt: Any = one
                if self._spoiling.random() < 0.5:
                    spoilt.failure, spoilt.output = None, self._spoiling.choice(OUTPUTS)
                else:
                    spoilt.failure, spoilt.output = self._spoiling.choice(FAILURES), None
            elif one.failure is None:
                self.world.ran(one.invocation)
        return outcomes
