"""An each opens its region once per element, a window at a time, and joins what came of them in
order.

Up to :data:`PART` results are joined in memory. Of a longer list, every stretch of as many elements
is kept in the artifact store as soon as it is done, and written down: memory holds the window and
the open stretches, and a later claim reads no element of a kept one.
"""

from __future__ import annotations

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Need, Plan, WantKey
from holdfast.core.progress import EachProgress, Scope, inside
from holdfast.core.regions import cancel_waiting, fail, open_region, settle
from holdfast.core.settle import flag
from holdfast.core.values import NODE, Absent, elements_of, list_of, resolve, unwant, want
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument
from holdfast.model.task import EachPart
from holdfast.model.values import PART, Chunk, Listing

WINDOW = 64
"""Elements of one each that are open at a time."""

MISSING = "elements-missing"


def start(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """Read the list, open the first elements."""
    elements = elements_of(run, resolve(run, node.inputs[0], path))
    count = elements.count if isinstance(elements, Listing) else len(elements)
    progress = run.eaches[node.index, path] = EachProgress(count, elements, node.stages)
    for part in run.parts.pop((node.index, path), ()):
        if part.generation >= run.generation_of(node.inputs[0], path):
            progress.take(part)
            run.generations[node.index, path] = max(
                part.generation, run.generations.get((node.index, path), 1)
            )
    if any(progress.failed):
        flag(run, MISSING, plan)
    look(run, node, path, progress, plan)


def done(run: ItemRun, node: Node, path: str, scope: Scope, result: Argument, plan: Plan) -> None:
    """An element succeeded."""
    progress = run.eaches[node.index, path]
    index = int(scope.path.split(".")[node.depth])
    progress.results.setdefault(index // PART, {})[index] = result
    run.size += run.weigh(result)
    run.forget(scope.region, scope.path)
    _ended(run, node, path, progress, index, plan)


def failed(run: ItemRun, node: Node, path: str, scope: Scope, doomed: bool, plan: Plan) -> None:
    """An element failed: it is left out, or there are too many of them."""
    progress = run.eaches[node.index, path]
    index = int(scope.path.split(".")[node.depth])
    stopped = progress.stopped
    progress.fail(index, scope.culprit)
    run.forget(scope.region, scope.path)
    if not progress.stopped:
        if not doomed:
            flag(run, MISSING, plan)
    elif not stopped:
        cancel_waiting(run, node, path, plan)
    _ended(run, node, path, progress, index, plan)


def loaded(run: ItemRun, node: Node, key: WantKey, value: list[bytes], plan: Plan) -> None:
    """A chunk of elements is in memory: the window moves on."""
    progress = run.eaches.get((node.index, key.path))
    if progress is not None:
        progress.loaded[key.number] = value
        look(run, node, key.path, progress, plan)


def part_kept(run: ItemRun, node: Node, key: WantKey, chunk: Chunk, plan: Plan) -> None:
    """A stretch's results are in the store: memory lets go of them."""
    progress, part = run.eaches.get((node.index, key.path)), key.number
    if progress is None:
        return
    plan.beyond().parts += (
        EachPart(
            node.index, key.path, part, node.last, run.generation, chunk, progress.failures(part)
        ),
    )
    for result in progress.results.pop(part, {}).values():
        run.size -= run.weigh(result)
    progress.chunks[part] = chunk
    look(run, node, key.path, progress, plan)


def look(run: ItemRun, node: Node, path: str, progress: EachProgress, plan: Plan) -> None:
    """Close the each, or let the window move on."""
    home = run.scopes.get((node.region, path))
    if progress.stopped or home is None or home.failed:
        if progress.open == 0 and not progress.closed:
            progress.closed = True
            unwant(run, node.index, path, NODE)
            del run.eaches[node.index, path]
            fail(run, node, path)
    elif progress.complete:
        if not progress.closed:
            _close(run, node, path, progress, plan)
    elif not progress.opening:
        progress.opening = True
        _open(run, node, path, progress, plan)
        progress.opening = False
        if progress.complete or progress.stopped:
            look(run, node, path, progress, plan)


def _open(run: ItemRun, node: Node, path: str, progress: EachProgress, plan: Plan) -> None:
    """Open elements as far as the window, and the chunks in memory, reach."""
    while progress.open < WINDOW and not progress.stopped:
        index = progress.upcoming()
        if index is None:
            return
        lacking = progress.lacks(index)
        if lacking is not None:
            chunks = progress.elements.chunks  # type: ignore[union-attr]
            one = Listing(chunks[lacking].count, chunks[lacking].size, (chunks[lacking],))
            need = Need("elements", (Argument(one, node.index, True),))
            want(run, "window", node.index, path, need, plan, lacking)
            return
        progress.open_element(index)
        open_region(run, node.regions[0], inside(path, index), plan)


def _ended(
    run: ItemRun, node: Node, path: str, progress: EachProgress, index: int, plan: Plan
) -> None:
    progress.close_element(index)
    if progress.long and progress.end(index):
        part = index // PART
        results = progress.results.get(part, {})
        need = Need("chunk", tuple([results[one] for one in sorted(results)]))
        want(run, "part", node.index, path, need, plan, part)
    look(run, node, path, progress, plan)


def _close(run: ItemRun, node: Node, path: str, progress: EachProgress, plan: Plan) -> None:
    """Every element has ended: join what came of them."""
    if progress.long:
        chunks = tuple(
            progress.chunks[part] for part in sorted(progress.chunks) if progress.chunks[part].count
        )
        progress.closed = True
        _settle(
            run,
            node,
            path,
            plan,
            Listing(sum(one.count for one in chunks), sum(one.size for one in chunks), chunks),
        )
        return
    results = progress.results.get(0, {})
    try:
        value = list_of(run, tuple([results[index] for index in sorted(results)]), node.listed)
    except Absent as absent:
        want(run, "close", node.index, path, absent.need, plan, -1)
        return
    progress.closed = True
    for result in results.values():
        run.size -= run.weigh(result)
    _settle(run, node, path, plan, value)


def _settle(
    run: ItemRun, node: Node, path: str, plan: Plan, value: Listing | bytes | object
) -> None:
    if run.forgets:
        del run.eaches[node.index, path]
    settle(run, node, path, value)  # type: ignore[arg-type]
