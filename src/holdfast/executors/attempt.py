"""One attempt, wherever it runs: read the inputs, call the step, keep the output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

from holdfast.errors import BadInputError
from holdfast.model.codec import decode, describe, encode, project
from holdfast.model.context import Context, Recorder, idempotency_key
from holdfast.model.events import trace_of
from holdfast.model.graph import CONSTANT, EDITED, INPUT, Graph, Node
from holdfast.model.ids import show
from holdfast.model.outcome import Argument, Invocation
from holdfast.model.step import Step
from holdfast.store import Store

running: ContextVar[tuple[str, Invocation] | None] = ContextVar("holdfast_running", default=None)
"""The attempt that runs here, and its step's name: in a worker process or a thread."""

on_the_loop: list[Callable[[asyncio.Task[Any]], tuple[str, Invocation] | None]] = []
"""Who knows which attempt an asyncio task is: asked when something is logged, so that nothing need be noted at every start."""


def attempt_here() -> tuple[str, Invocation] | None:
    """The attempt that this code runs in, with its step's name; None outside of one."""
    found = running.get()
    if found is None and on_the_loop:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return None
        found = next((one for ask in on_the_loop if task is not None and (one := ask(task)) is not None), None)
    return found


def read_arguments(graph: Graph, node: Node, invocation: Invocation, store: Store) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a call, freshly decoded, so that no two attempts share an object."""
    wanted = node.step.references
    if wanted:
        values = [_read(graph, argument, store, wanted.get(place)) for place, argument in enumerate(invocation.arguments)]
    elif invocation.arguments and invocation.arguments[0].node == EDITED:
        kinds = node.step.kinds(node.keywords)
        values = [
            decode(argument.value, kind) for argument, kind in zip(invocation.arguments, kinds, strict=True) if isinstance(argument.value, bytes)
        ]
    else:
        values = [_read(graph, argument, store) for argument in invocation.arguments]
    if not node.keywords:
        return values, {}
    split = len(values) - len(node.keywords)
    return values[:split], dict(zip(node.keywords, values[split:], strict=True))


def _read(graph: Graph, argument: Argument, store: Store, reference: Any = None) -> Any:
    """One argument; ``reference``: the type of a parameter that takes artifacts, loaded or by reference, or None."""
    data = argument.value if isinstance(argument.value, bytes) else store.fetch(argument.value)
    if reference is not None:
        return decode(encode(project(decode(data, Any), argument.path)), reference)
    if argument.node in (CONSTANT, EDITED):
        return decode(data, Any)
    kind = graph.input_type if argument.node == INPUT else graph.nodes[argument.node].element if argument.element else graph.nodes[argument.node].type
    value = decode(data, kind)
    return project(value, argument.path) if argument.path else value


def checked_output(node: Node, value: Any) -> bytes:
    """The step's result as JSON, checked against its annotation so that the step at fault is the one blamed.

    Raises:
        BadInputError: the result does not fit the annotation.
    """
    step: Step = node.step
    try:
        data = encode(value)
        decode(data, step.returns)
    except Exception as error:
        raise BadInputError(f"step {node.name!r} returned something that is not a {describe(step.returns)}: {error}") from error
    return data


def context_of(node: Node, invocation: Invocation, recorder: Recorder | None) -> Context:
    """What a step that asks for its context is given."""
    item = show(invocation.item)
    deadline = None if invocation.deadline is None else invocation.deadline / 1000
    key = idempotency_key(item, node.name, invocation.place)
    correlation, trace = invocation.correlation or item, invocation.trace or trace_of(item)
    return Context(item, invocation.key, node.name, invocation.attempt, invocation.generation, key, deadline, correlation, trace, recorder)


def call_of(graph: Graph, node: Node, invocation: Invocation, store: Store, recorder: Recorder | None = None) -> Callable[[], Any]:
    """The call of a step with everything that it takes; ``recorder``: for ``ctx.once`` and ``ctx.cost``."""
    step: Step = node.step
    values, keywords = read_arguments(graph, node, invocation, store)
    if step.wants_context:
        values.insert(0, context_of(node, invocation, recorder))
    return partial(step.instance(), *values, **keywords)
