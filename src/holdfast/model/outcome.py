"""What an executor is asked to run, and what it reports back."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.model.failure import Failure
from holdfast.model.task import NOTHING, Usage
from holdfast.model.values import Value

UNISOLATED = "RunnerDied"
"""The error of an attempt that had to run alone in a worker process, where workers cannot import
its pipeline."""

CANNOT_ISOLATE = (
    "two runners died while this attempt ran in them, and it cannot run alone in a worker process"
)


class Argument(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One argument of an invocation: the value, and which node's type (or element type) reads
    it."""

    value: Value
    node: int
    element: bool = False
    path: tuple[str | int, ...] = ()


class Invocation(msgspec.Struct, array_like=True, gc=False):
    """One attempt to run.

    Attributes:
        item: the item's id.
        fence: the fence under which it runs.
        pipeline: name of the pipeline.
        version: label of the version.
        node: the step's node.
        place: the task's place.
        attempt: number of the attempt.
        generation: the item's generation.
        key: the item's key.
        arguments: its inputs.
        timeout_s: seconds that it may run once begun.
        deadline: the item's deadline, Unix milliseconds, or None.
        alone: run in a worker by itself: it is suspected of killing what it shares a process with.
        effects: sub-effects of earlier attempts and generations: JSON by label, or None.
        correlation: of what set the item off, or empty.
        trace: W3C trace id of what set the item off, or empty.
        revision: how often the item's payload was replaced.
    """

    item: int
    fence: int
    pipeline: str
    version: str
    node: int
    element_path: str
    attempt: int
    generation: int
    key: str
    arguments: tuple[Argument, ...]
    timeout_s: float
    deadline: int | None = None
    alone: bool = False
    effects: dict[str, bytes] | None = None
    correlation: str = ""
    trace: str = ""
    revision: int = 0

    @property
    def task(self) -> tuple[int, int, str]:
        """Item, node and element path: what names the task while its runner lives."""
        return self.item, self.node, self.element_path

    @property
    def attempted(self) -> tuple[int, int, str, int, int]:
        """Item, node, element path, fence and attempt: what names this attempt and no other of its
        task."""
        return self.item, self.node, self.element_path, self.fence, self.attempt


class Outcome(msgspec.Struct, gc=False):
    """What became of an attempt.

    Attributes:
        invocation: what was run.
        output: the value, when it succeeded.
        failure: why it did not, otherwise.
        charged: whether a failure counts; one that was merely behind a crash does not.
        whole: the batch that it was in failed as a whole, so nobody knows yet whose fault it was.
        ran_s: seconds from begin to end.
        together: how many elements of a batch ran in that time.
        usage: what it used.
        transaction: of a transactional step that succeeded, the open transaction in which it wrote.
        escaped: it could not be stopped and runs on in the event loop: its next attempt runs where
            it can be killed.
    """

    invocation: Invocation
    output: Value | None = None
    failure: Failure | None = None
    charged: bool = True
    whole: bool = False
    ran_s: float = 0.0
    together: int = 1
    usage: Usage = NOTHING
    transaction: Any = None
    escaped: bool = False
