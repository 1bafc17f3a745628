"""How far the parts of a run are: scopes, eaches, joins, refinements; and how element paths are
named."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

from holdfast.model.combinators.each import bearable
from holdfast.model.graph import Stage
from holdfast.model.outcome import Argument
from holdfast.model.task import EachPart
from holdfast.model.values import PART, Chunk, Element, Listing, Value

SMALL = 4_096
"""Elements of at most so many bytes, on average, are read a chunk at a time."""


def inside(path: str, index: int) -> str:
    """The element path of the ``index``-th element or iteration of what is at ``path``."""
    return f"{path}.{index}" if path else str(index)


def outer(path: str, depth: int) -> str:
    """The part of an element path that names the enclosing ``depth`` eaches and refines."""
    return path if not path else ".".join(path.split(".")[:depth])


@dataclass(slots=True)
class Scope:
    """A region that has started at an element path: how many of its nodes are unsettled, how many
    of those have started, which one failed, and which are settled."""

    region: int
    path: str
    left: int
    active: int = 0
    failed: bool = False
    culprit: int = -1
    settled: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Join:
    """A gather that has begun: what is there, what failed, which branches were sent back, and (once
    decided) its members."""

    there: dict[int, Argument] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    awaited: set[int] = field(default_factory=set)
    members: tuple[int, ...] | None = None
    fired: bool = False
    broken: bool = False
    overdue: bool = False

    def members_there(self) -> bool:
        """Whether all members of a join that had been decided are at hand again."""
        return self.members is not None and all(number in self.there for number in self.members)


@dataclass(slots=True, frozen=True)
class Refinement:
    """A refine that has begun: the verdict on the last iteration, the best draft so far and its
    score."""

    feedback: Argument | None = None
    best: Argument | None = None
    score: float = 0.0


@dataclass(slots=True)
class EachProgress:
    """An each that has begun: its elements, how far the window has come, failures by stage, results
    by stretch, and stretches that are kept. ``loaded``: chunks of elements that are in memory."""

    count: int
    elements: list[bytes] | Listing
    stages: tuple[Stage, ...]
    next: int = 0
    open: int = 0
    opening: bool = False
    closed: bool = False
    given_up: bool = False
    failed: list[int] = field(default_factory=list)
    results: dict[int, dict[int, Argument]] = field(default_factory=dict)
    chunks: dict[int, Chunk] = field(default_factory=dict)
    _left: dict[int, int] = field(default_factory=dict)
    _failures: dict[int, list[int]] = field(default_factory=dict)
    loaded: dict[int, list[bytes]] = field(default_factory=dict)
    _open_in: dict[int, int] = field(default_factory=dict)
    _ends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.failed = [0] * len(self.stages)
        if isinstance(self.elements, Listing):
            self._ends = list(accumulate(chunk.count for chunk in self.elements.chunks))

    @property
    def long(self) -> bool:
        """Whether its results are kept stretch by stretch."""
        return self.count > PART

    @property
    def stopped(self) -> bool:
        """It was given up, or more elements failed than are tolerated; a later stage counts those
        that reach it."""
        if self.given_up:
            return True
        reach = self.count
        for failed, stage in zip(self.failed, self.stages):
            if failed > bearable(stage.tolerate, reach):
                return True
            reach -= failed
        return False

    @property
    def complete(self) -> bool:
        """Every element has ended, and every stretch of a long one is kept."""
        kept = not self.long or len(self.chunks) == -(-self.count // PART)
        return self.open == 0 and self.next >= self.count and kept

    def upcoming(self) -> int | None:
        """The index of the next element that is not in a kept stretch, or None at the end."""
        while self.next < self.count and self.next // PART in self.chunks:
            self.next = (self.next // PART + 1) * PART
        return self.next if self.next < self.count else None

    def lacks(self, index: int) -> int | None:
        """The number of the chunk that must be loaded before an element can be opened, or None."""
        if not isinstance(self.elements, Listing):
            return None
        number = self._chunk_of(index)
        chunk = self.elements.chunks[number]
        return None if number in self.loaded or chunk.size > SMALL * chunk.count else number

    def open_element(self, index: int) -> None:
        """Open the element that comes next."""
        self.next = index + 1
        self.open += 1
        if self._ends:
            number = self._chunk_of(index)
            self._open_in[number] = self._open_in.get(number, 0) + 1

    def close_element(self, index: int) -> None:
        """An element has ended; a chunk of which none is open any more is let go."""
        self.open -= 1
        if self._ends:
            number = self._chunk_of(index)
            self._open_in[number] -= 1
            if not self._open_in[number] and self._ends[number] <= self.next:
                self.loaded.pop(number, None)

    def _chunk_of(self, index: int) -> int:
        return bisect_right(self._ends, index)

    def fail(self, index: int, culprit: int) -> None:
        """An element failed at a node of its body."""
        stage = next(
            (number for number, one in enumerate(self.stages) if culprit <= one.last),
            len(self.stages) - 1,
        )
        self.failed[stage] += 1
        self._failures.setdefault(index // PART, [0] * len(self.stages))[stage] += 1

    def end(self, index: int) -> bool:
        """An element of a long each ended; whether its stretch is done with it."""
        part = index // PART
        left = self._left.setdefault(part, min(PART, self.count - part * PART)) - 1
        self._left[part] = left
        if left == 0:
            del self._left[part]
        return left == 0

    def failures(self, part: int) -> tuple[int, ...]:
        """Failures by stage in a stretch."""
        return tuple(self._failures.get(part, [0] * len(self.stages)))

    def take(self, part: EachPart) -> None:
        """A stretch that an earlier claim has kept."""
        self.chunks[part.part] = part.chunk
        self.failed = [known + more for known, more in zip(self.failed, part.failed)]

    def element(self, index: int) -> Value:
        """An element that is open: small ones are in memory, large ones are read by whoever needs
        them."""
        if not isinstance(self.elements, Listing):
            return self.elements[index]
        number = self._chunk_of(index)
        chunk = self.elements.chunks[number]
        at = index - (self._ends[number] - chunk.count)
        return self.loaded[number][at] if number in self.loaded else Element(chunk.digest, at)
