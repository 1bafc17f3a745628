"""Eaches that follow each other become one: an element goes on to the next as soon as it is done
with the last."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from holdfast.model.graph import Graph, Node, Ref


def fuse(graph: Graph) -> None:
    """Merge every each that takes another's whole output, if nothing else takes it, into that other
    one."""
    while (pair := next(_pairs(graph), None)) is not None:
        _merge(graph, *pair)


def _pairs(graph: Graph) -> Iterator[tuple[Node, Node]]:
    for second in graph.nodes:
        if (
            second.kind != "each"
            or second.inputs[0].node < 0
            or second.inputs[0].path
            or second.inputs[0].element
        ):
            continue
        first = graph.nodes[second.inputs[0].node]
        takers = sum(ref.node == first.index and not ref.element for ref in _references(graph))
        if (
            first.kind == "each"
            and first.region == second.region
            and takers == 1
            and _stands_alone(graph, first, second)
        ):
            yield first, second


def _references(graph: Graph) -> Iterator[Ref]:
    for node in graph.nodes:
        yield from node.inputs
        if node.kind == "refine":
            yield node.spec.verdict
    for region in graph.regions:
        yield region.result


def _stands_alone(graph: Graph, first: Node, second: Node) -> bool:
    """Whether nothing lies between the two, so that the order of nodes stays the order of their
    making."""
    return second.index == first.stages[-1].last + 1


def _merge(graph: Graph, first: Node, second: Node) -> None:
    """Put the body of ``second`` behind that of ``first``, and close the gap that it leaves among
    the nodes."""
    body, more = graph.regions[first.regions[0]], graph.regions[second.regions[0]]
    given = body.result
    gone = second.index

    def moved(ref: Ref) -> Ref:
        if ref.node == gone:
            if ref.element:
                return replace(given, path=(*given.path, *ref.path))
            return replace(ref, node=first.index)
        return replace(ref, node=ref.node - 1) if ref.node > gone else ref

    body.result = moved(more.result)
    body.nodes = (*body.nodes, *more.nodes)
    first.type = second.type
    first.stages = (*first.stages, *second.stages)
    for index in more.nodes:
        graph.nodes[index].region = body.index
    graph.regions[second.region].nodes = tuple(
        index for index in graph.regions[second.region].nodes if index != gone
    )
    del graph.nodes[gone]
    last = graph.regions.pop(more.index)
    assert last is more
    for region in graph.regions:
        region.result = moved(region.result) if region is not body else region.result
        region.nodes = tuple(index - (index > gone) for index in region.nodes)
        region.owner -= region.owner > gone
    for region in graph.regions:
        region.index -= region.index > more.index
    for node in graph.nodes:
        node.index -= node.index > gone
        node.region -= node.region > more.index
        node.inputs = tuple(moved(ref) for ref in node.inputs)
        node.regions = tuple(index - (index > more.index) for index in node.regions)
        node.stages = tuple(
            replace(stage, last=stage.last - (stage.last >= gone)) for stage in node.stages
        )
        if node.kind == "refine":
            node.spec = replace(
                node.spec,
                verdict=moved(node.spec.verdict),
                until=node.spec.until - (node.spec.until > gone),
            )
