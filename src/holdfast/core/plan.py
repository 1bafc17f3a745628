"""What one event leads to: rows to write in one transaction, and what the engine is to do around
it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from holdfast.model.outcome import Argument
from holdfast.model.task import Transition

TaskKey = tuple[int, str]
"""Node and element path."""

Purpose = Literal["start", "window", "part", "close", "scope", "output", "result"]


class WantKey(NamedTuple):
    """Who waits for a value: a node at an element path, for what, and which of several."""

    purpose: Purpose
    node: int
    path: str
    number: int = 0


class Need(msgspec.Struct, frozen=True):
    """A value that is not at hand as the core needs it.

    Attributes:
        kind: ``content``: the JSON bytes of one argument. ``value``: one argument as a value of its
            own, stored when it is large. ``list``: arguments joined to a JSON array, stored when it
            is large. ``chunk``: arguments as a chunk of a long list. ``elements``: the elements of
            a list. ``fields``: what an item of another pipeline is found by.
        arguments: where the values lie.
        listed: a large list is stored so that its elements are readable alone.
        child: for ``fields``, the node of the child.
    """

    kind: Literal["content", "value", "list", "chunk", "elements", "fields"]
    arguments: tuple[Argument, ...]
    listed: bool = False
    child: int = -1


class Plan(Transition, gc=False):
    """A transition with what is never written.

    Attributes:
        ready: tasks that may start as soon as there is capacity.
        stop: running tasks, with their attempts, to be stopped.
        jobs: values to load or store, with who asked.
        lookups: cached tasks whose result may be known, by digest.
        wakes: live tasks whose time to wake was set.
        asks: tasks that begin to wait for somebody or something outside; empty once the plan is
            made.
        timers: joins that begin to wait for their deadline, in seconds; empty once the plan is
            made.
        tally: tasks that ended or were retried: node and what became of it.
        usual: all of it is that one task succeeded, and that another is ready.
        granted: ready tasks for which capacity is reserved; it is given back when the plan is not
            carried out.
        ends: a task whose outcome the plan follows; its slot is free.
    """

    ready: tuple[TaskKey, ...] = ()
    stop: tuple[tuple[TaskKey, int], ...] = ()
    jobs: tuple[tuple[WantKey, Need], ...] = ()
    lookups: tuple[tuple[TaskKey, str], ...] = ()
    wakes: tuple[TaskKey, ...] = ()
    asks: tuple[TaskKey, ...] = ()
    timers: tuple[tuple[TaskKey, float], ...] = ()
    tally: tuple[tuple[int, str], ...] = ()
    usual: bool = False
    granted: Sequence[TaskKey] = ()

    def settles(self, key: TaskKey) -> bool:
        """Whether the success of a task is in it."""
        if any((row[1], row[2]) == key for row in self.plain):
            return True
        return any(
            (one.node, one.element_path) == key and one.state == "succeeded" for one in self.settled
        )
