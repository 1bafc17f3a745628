"""Do an item's stored values fit the types of another version? Asked before the item is moved to
it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast.errors import HoldfastError
from holdfast.model import media
from holdfast.model.changes import Move
from holdfast.model.codec import decode, split
from holdfast.model.graph import Node
from holdfast.model.ids import show
from holdfast.model.pipeline import Pipeline
from holdfast.model.states import LIVE_ITEM_STATES
from holdfast.model.storable import read_as
from holdfast.model.stored import StoredItem
from holdfast.model.values import Listing, Value, digests
from holdfast.store import Store

NAMED = 20
"""Items that do not fit that are named, with why; the others are counted."""

RACES = 3
"""How often an item is checked again whose runner settled something while it was being checked."""

PART = 200
"""Items that are checked, and then moved, at a time."""


class Misfit(msgspec.Struct, frozen=True):
    """An item that stays where it is.

    Attributes:
        item: its id, as it is shown.
        key: its key.
        why: which of its values does not fit, and how.
    """

    item: str
    key: str
    why: str


class Fitting(msgspec.Struct, frozen=True):
    """What a check of stored values found.

    Attributes:
        checked: items that were checked.
        of: items that a move would concern.
        unfit: how many of the checked ones do not fit.
        misfits: the first of these.
    """

    checked: int
    of: int
    unfit: int
    misfits: tuple[Misfit, ...] = ()


class Sieve:
    """Lets through the items whose stored values fit; remembers the others.

    Args:
        move: the move, which says which results are kept.
        pipeline: the version that the items are moved to.
        store: where large values lie; one is read at a time.
        stored: an item's values by its id, None if there is no such item.
    """

    def __init__(
        self,
        move: Move,
        pipeline: Pipeline[Any, Any],
        store: Store,
        stored: Callable[[int], StoredItem | None],
    ) -> None:
        self._move, self._pipeline, self._store, self._stored = move, pipeline, store, stored
        self._seen: dict[int, tuple[int, int]] = {}
        self._moved: set[int] = set()
        self.checked = self.unfit = 0
        self.misfits: list[Misfit] = []

    def fitting(self, batches: Iterator[list[int]]) -> Iterator[list[int]]:
        """Parts of these batches without the items that do not fit. Between two parts, the first is
        moved."""
        again: list[int] = []
        for batch in batches:
            for start in range(0, len(batch), PART):
                yield (fit := self.sift(batch[start : start + PART]))
                again += self._raced(fit)
        for _ in range(RACES):
            again, raced = [], again
            for start in range(0, len(raced), PART):
                yield (fit := self.sift(raced[start : start + PART]))
                again += self._raced(fit)
        for item in again:
            one = self._stored(item)
            if one is not None and self._concerns(one):
                self._refuse(
                    one, "it was being worked on while it was checked: run the same command again"
                )

    def sift(self, items: list[int]) -> list[int]:
        """Those that fit, and those that the move does not concern."""
        fit = []
        self._seen, self._moved = {}, set()
        for item in items:
            one = self._stored(item)
            if one is not None and self._concerns(one):
                self.checked += 1
                why = self._misfit(one)
                if why:
                    self._refuse(one, why)
                    continue
                self._seen[item] = one.generation, one.rows
            fit.append(item)
        return fit

    def change(self, items: list[int]) -> Move:
        """The move of these items, which leaves alone what has changed since it was checked."""
        return replace(
            self._move, seen={item: self._seen[item] for item in items if item in self._seen}
        )

    def moved(self, items: list[int]) -> None:
        """These have been moved."""
        self._moved |= set(items)

    def result(self, of: int) -> Fitting:
        """What was found, of so many items."""
        return Fitting(self.checked, max(of, self.checked), self.unfit, tuple(self.misfits))

    def _raced(self, items: list[int]) -> list[int]:
        return [item for item in items if item in self._seen and item not in self._moved]

    def _concerns(self, one: StoredItem) -> bool:
        return (
            one.version in self._move.same
            and one.version != self._move.to
            and one.state in (*LIVE_ITEM_STATES, "dead")
        )

    def _refuse(self, one: StoredItem, why: str) -> None:
        self.unfit += 1
        if len(self.misfits) < NAMED:
            self.misfits.append(Misfit(show(one.item), one.key, why))

    def _misfit(self, one: StoredItem) -> str:
        """Which value does not fit, and how; empty when all do."""
        graph, same = self._pipeline.graph, self._move.same[one.version]
        why = (
            "there is no payload"
            if one.payload is None
            else self._unfit(one.payload, graph.input_type)
        )
        if why:
            return f"payload: {why}"
        for node, element_path, body, output in one.results:
            there = same.get(node)
            if (
                there is None
                or output is None
                or (body is not None and self._move.bodies.get(there, body) != body)
            ):
                continue  # it runs again
            why = self._unfit(output, graph.nodes[there].type)
            if why:
                return (
                    "result of "
                    f"{graph.nodes[there].name}{f' [{element_path}]' if element_path else ''}: "
                    f"{why}"
                )
        for node, element_path, arguments in one.edits:
            why = self._unfit_edit(graph.nodes[same[node]], arguments) if node in same else ""
            if why:
                at = f" [{element_path}]" if element_path else ""
                return f"edited input of {graph.nodes[same[node]].name}{at}: {why}"
        return ""

    def _unfit_edit(self, node: Node, arguments: bytes) -> str:
        values = split(arguments)
        if len(values) != len(node.inputs):
            return f"it is given {len(node.inputs)} arguments there, not {len(values)}"
        kinds = node.step.kinds(node.keywords, len(values)) if node.step is not None else []
        return next(
            (
                why
                for value, kind in zip(values, kinds)
                if (why := self._unfit(value, read_as(kind)))
            ),
            "",
        )

    def _unfit(self, value: Value, kind: Any) -> str:
        if not self._store.holds(value):
            return (
                "an artifact that it refers to is missing "
                f"({', '.join(one[:12] for one in digests(value)[:3])})"
            )
        try:
            with media.using(self._store):
                for part in _parts(value):
                    decode(part if isinstance(part, bytes) else self._store.fetch(part), kind)
        except HoldfastError as error:
            return str(error)[:300]
        except (Exception, SystemExit) as error:  # whatever a type of the user's makes of the value
            return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        return ""


def _parts(value: Value) -> Iterator[Value]:
    """A value; of a long list, one chunk at a time."""
    if isinstance(value, Listing):
        for chunk in value.chunks:
            yield Listing(chunk.count, chunk.size, (chunk,))
    else:
        yield value
