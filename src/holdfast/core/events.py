"""What can happen to an item in memory: a closed set of events. ``key`` is a task: its node and
element path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from holdfast.core.plan import Need, TaskKey, WantKey
from holdfast.model.failure import Failure
from holdfast.model.task import NOTHING, Usage
from holdfast.model.values import Value


class Succeeded(msgspec.Struct, gc=False):
    """An attempt succeeded.

    Attributes:
        key: the task.
        attempt: its number.
        output: the value; JSON bytes that are large have not been stored yet.
        ran_s: seconds that the body ran.
        usage: what it used.
        cost: what that cost, in dollars.
        transaction: of a transactional step, the open transaction in which it wrote.
    """

    key: TaskKey
    attempt: int
    output: Value
    ran_s: float = 0.0
    usage: Usage = NOTHING
    cost: float = 0.0
    transaction: Any = None


class Failed(msgspec.Struct):
    """An attempt failed.

    Attributes:
        key: the task.
        attempt: its number.
        failure: why.
        jitter: a random number from [0, 1), for the backoff.
        charged: whether it was this attempt that failed, and not merely what it shared a process
            with.
        excused: what the step depends on is known to be unavailable: the failure does not count.
        escaped: it could not be stopped, and runs on in the event loop.
        ran_s: seconds that the body ran.
        usage: what it used.
        cost: what that cost, in dollars.
    """

    key: TaskKey
    attempt: int
    failure: Failure
    jitter: float = 0.0
    charged: bool = True
    excused: bool = False
    escaped: bool = False
    ran_s: float = 0.0
    usage: Usage = NOTHING
    cost: float = 0.0


class Returned(msgspec.Struct):
    """An attempt never began, or its batch failed as a whole: the task is ready again, and nothing
    counts."""

    key: TaskKey
    attempt: int


class Deferred(msgspec.Struct):
    """A ready task must wait until a time (Unix milliseconds) for what it depends on."""

    key: TaskKey
    until: int


class Unavailable(msgspec.Struct):
    """What a task depends on is unavailable, and its step is declared to fail rather than wait."""

    key: TaskKey
    failure: Failure


class CacheAnswered(msgspec.Struct):
    """Whether the result of a cached step is known: the digest that was looked up, and the value or
    None."""

    key: TaskKey
    digest: str
    value: Value | None = None


class ValueLoaded(msgspec.Struct):
    """A value that the core had asked for is at hand, or cannot be had.

    Attributes:
        want: who asked.
        need: what for.
        value: bytes, a value, a chunk or fields, as the need says.
        failure: why there is none, for good.
        unavailable: the artifact store does not answer now.
    """

    want: WantKey
    need: Need
    value: Any = None
    failure: Failure | None = None
    unavailable: bool = False


class TimerDue(msgspec.Struct):
    """The time has come at which a task wakes."""

    key: TaskKey


class DeadlinePassed(msgspec.Struct):
    """The item's deadline has passed."""


class Answered(msgspec.Struct):
    """Somebody or something outside answered a waiting task.

    Attributes:
        key: the task.
        generation: of the item, to which the answer belongs; 0: not said.
        value: the answer, checked against the form.
        failure: why there is none.
        verdict: of a decision about a step: ``retry``, ``done`` or ``bury``.
    """

    key: TaskKey
    generation: int = 0
    round: int = 0
    value: Value | None = None
    failure: Failure | None = None
    verdict: str = ""


class EffectNoted(msgspec.Struct):
    """An attempt had a sub-effect.

    Attributes:
        key: the task.
        attempt: its number.
        label: the sub-effect's label.
        value: what it returned, as JSON.
        reply: told whether it is durable.
    """

    key: TaskKey
    attempt: int
    label: str
    value: bytes
    reply: Callable[[bool], None] | None = None


class HoldChanged(msgspec.Struct):
    """Nothing of the item may start, and it is let go as ``paused`` or ``queued``; or it may go on
    (empty)."""

    held: str


Event = (
    Succeeded
    | Failed
    | Returned
    | Deferred
    | Unavailable
    | CacheAnswered
    | ValueLoaded
    | TimerDue
    | DeadlinePassed
    | Answered
    | EffectNoted
    | HoldChanged
)
