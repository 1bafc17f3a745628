"""Pure: how long an attempt may run, learned from those that succeeded, and why."""

from __future__ import annotations

import msgspec

from holdfast.model.durations import Durations
from holdfast.model.policy import Timeout


class Limit(msgspec.Struct, frozen=True):
    """The limit of an attempt in seconds, whether it was learned, and why it is what it is."""

    seconds: float
    learned: bool
    why: str


def limit_of(policy: Timeout, known: Durations | None, attempt: int = 1) -> Limit:
    """The limit of a step's next attempt.

    Args:
        policy: what the step declares.
        known: how long its attempts took, or None.
        attempt: the number of the attempt: each further one of a task gets twice as long, so that a
            slow item is not killed for ever.
    """
    ceiling = policy.seconds
    if not policy.learn:
        return Limit(ceiling, False, "declared")
    if known is None or known.successes < policy.warm_up:
        return Limit(
            ceiling,
            False,
            f"the ceiling, until {policy.warm_up} attempts have succeeded "
            f"({known.successes if known else 0} have)",
        )
    usual = known.quantile(policy.quantile)
    wanted = usual * policy.factor
    what = (
        f"{policy.factor:g} x {usual:.3g} s, the {policy.quantile * 100:g}th percentile of "
        f"{known.weight:.0f} attempts"
    )
    if known.killed:
        what += f", {known.killed} of all killed by such a limit"
    learned = max(wanted, policy.floor_s)
    if wanted < policy.floor_s:
        what = f"the floor, above {what}"
    seconds = learned * 2.0 ** min(attempt - 1, 30)
    if seconds >= ceiling:
        return Limit(ceiling, False, f"the ceiling, below {what}")
    return Limit(seconds, True, what)
