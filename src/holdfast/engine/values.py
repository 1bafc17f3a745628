"""What the I/O pool does for the core: load, project, join and store values, and check answers with
the user's types."""

from __future__ import annotations

from typing import Any

from holdfast.core.events import Answered
from holdfast.core.plan import Need, TaskKey
from holdfast.core.values import kind_of
from holdfast.model import media
from holdfast.model.codec import decode, encode, join, project, split
from holdfast.model.failure import Failure, failure_of
from holdfast.model.forms import Uncertain
from holdfast.model.graph import Graph, Node
from holdfast.model.outcome import Argument
from holdfast.model.search import fields_of
from holdfast.model.specs import ChildSpec
from holdfast.model.task import Answer
from holdfast.store import Store


def provide(need: Need, graph: Graph, store: Store) -> Any:
    """What the core needs.

    Raises:
        StoreError: an artifact is missing or damaged.
        LedgerUnavailableError: the store is full, failing or away.
        Exception: whatever the user's types say of data that do not fit them.
    """
    media.here(store)
    if need.kind == "content":
        return content(need.arguments[0], graph, store)
    if need.kind == "value":
        return store.keep(content(need.arguments[0], graph, store), need.listed)
    contents = [content(argument, graph, store) for argument in need.arguments]
    if need.kind == "list":
        return store.keep(join(contents), need.listed)
    if need.kind == "chunk":
        return store.chunk(contents)
    if need.kind == "elements":
        return split(contents[0])
    spec: ChildSpec = graph.nodes[need.child].spec
    return fields_of(contents[0], spec.pipeline.search, spec.pipeline.input_type)


def content(argument: Argument, graph: Graph, store: Store) -> bytes:
    """The JSON bytes of an argument, read as its own type where it has a path."""
    value = argument.value
    data = value if isinstance(value, bytes) else store.fetch(value)
    if not argument.path:
        return data
    return encode(project(decode(data, kind_of(graph, argument)), argument.path))


def checked(answer: Answer, node: Node, store: Store) -> Answered:
    """An answer, checked by the type that the node gives: data of any origin, or a form that says
    more than its schema.

    Raises:
        StoreError, LedgerUnavailableError: it cannot be read from the store.
    """
    key: TaskKey = answer.node, answer.element_path
    if answer.failure is not None or answer.value is None:
        return Answered(
            key,
            answer.generation,
            answer.round,
            failure=answer.failure or Failure("child", "NoAnswer", "there is no answer"),
        )
    media.here(store)
    data = answer.value if isinstance(answer.value, bytes) else store.fetch(answer.value)
    if node.kind == "step":
        return _decision(answer, data, node)
    try:
        decode(data, node.type)
    except Exception as error:
        why = _misfit(error, f"the answer to {node.name!r} does not fit")
        return Answered(key, answer.generation, answer.round, failure=why)
    return Answered(key, answer.generation, answer.round, value=answer.value)


def _decision(answer: Answer, data: bytes, node: Node) -> Answered:
    """What a person says of a step that may have taken effect."""
    key: TaskKey = answer.node, answer.element_path
    try:
        decided = decode(data, Uncertain)
        if decided.verdict != "done":
            return Answered(key, answer.generation, answer.round, verdict=decided.verdict)
        value = encode(decided.value)
        decode(value, node.step.returns)
    except Exception as error:
        why = _misfit(error, f"the decision about {node.name!r} does not fit")
        return Answered(key, answer.generation, answer.round, failure=why)
    return Answered(key, answer.generation, answer.round, value=value, verdict="done")


def _misfit(error: Exception, what: str) -> Failure:
    found = failure_of(error)
    return Failure("bad-input", found.error, f"{what}: {found.message}", found.traceback)
