"""An each opens its region once per element, a window at a time, and joins what came of them in order.

Up to :data:`PART` results are joined in memory. Of a longer list, every stretch of as many elements is kept in the artifact store as soon
as it is done, and written down: memory holds the window and the open stretches, and a later claim reads no element of a kept one.
"""

from __future__ import annotations

from holdfast.engine.flow import Advance, cancel_waiting, fail, open_region, settle
from holdfast.engine.passage import Passage
from holdfast.engine.progress import EachProgress, Scope, inside
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument
from holdfast.model.values import PART, Chunk, Listing

WINDOW = 64
"""Elements of one each that are open at a time."""

MISSING = "elements-missing"


def start(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Read the list, open the first elements."""
    progress = passage.open_each(node, place)
    for part in passage.parts.pop((node.index, place), ()):
        if part.generation >= passage.generation_of(node.inputs[0], place):
            progress.take(part)
            passage.generations[node.index, place] = max(part.generation, passage.generations.get((node.index, place), 1))
    if any(progress.failed):
        out.further().flags += (MISSING,)
    _look(passage, node, place, progress, out)


def done(passage: Passage, node: Node, place: str, scope: Scope, result: Argument, out: Advance) -> None:
    """An element succeeded."""
    progress = passage.eaches[node.index, place]
    index = int(scope.place.split(".")[node.depth])
    progress.results.setdefault(index // PART, {})[index] = result
    passage.size += passage.weigh(result)
    passage.forget(scope.region, scope.place)
    _ended(passage, node, place, progress, index, out)


def failed(passage: Passage, node: Node, place: str, scope: Scope, doomed: bool, out: Advance) -> None:
    """An element failed: it is left out, or there are too many of them."""
    progress = passage.eaches[node.index, place]
    index = int(scope.place.split(".")[node.depth])
    stopped = progress.stopped
    progress.fail(index, scope.culprit)
    passage.forget(scope.region, scope.place)
    if not progress.stopped:
        out.further().flags += () if doomed else (MISSING,)
    elif not stopped:
        cancel_waiting(passage, node, place, out)
    _ended(passage, node, place, progress, index, out)


def part_kept(passage: Passage, node: Node, place: str, part: int, chunk: Chunk, out: Advance) -> None:
    """A stretch's results are in the store: memory lets go of them."""
    progress = passage.eaches.get((node.index, place))
    if progress is not None:
        for result in progress.results.pop(part, {}).values():
            passage.size -= passage.weigh(result)
        progress.chunks[part] = chunk
        _look(passage, node, place, progress, out)


def _ended(passage: Passage, node: Node, place: str, progress: EachProgress, index: int, out: Advance) -> None:
    progress.open -= 1
    if progress.long and progress.end(index):
        out.further().parts += (((node.index, place), index // PART),)
    _look(passage, node, place, progress, out)


def _look(passage: Passage, node: Node, place: str, progress: EachProgress, out: Advance) -> None:
    """Close the each, or let the window move on."""
    home = passage.scopes.get((node.region, place))
    if progress.stopped or home is None or home.failed:
        if progress.open == 0 and not progress.closed:
            progress.closed = True
            del passage.eaches[node.index, place]
            fail(node, place, out)
    elif progress.complete:
        if not progress.closed:
            progress.closed = True
            _close(passage, node, place, progress, out)
    elif not progress.opening:
        progress.opening = True
        while progress.open < WINDOW and not progress.stopped and (index := progress.advance()) is not None:
            open_region(passage, node.regions[0], inside(place, index), out)
        progress.opening = False
        if progress.complete:
            _look(passage, node, place, progress, out)


def _close(passage: Passage, node: Node, place: str, progress: EachProgress, out: Advance) -> None:
    value: Listing | bytes
    if progress.long:
        chunks = tuple(progress.chunks[part] for part in sorted(progress.chunks) if progress.chunks[part].count)
        value = Listing(sum(chunk.count for chunk in chunks), sum(chunk.size for chunk in chunks), chunks)
    else:
        value = passage.join_each(progress)
        for result in progress.results.get(0, {}).values():
            passage.size -= passage.weigh(result)
    if passage.forgets:
        del passage.eaches[node.index, place]
    settle(passage, node, place, value, out)
