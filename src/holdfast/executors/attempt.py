"""One attempt, wherever it runs: read the inputs, call the step, keep the output.

:func:`run_attempt` and :func:`run_batch` are the step boundary: whatever the step does, they return
what became of it, and never raise. An async step has the same boundary in
:mod:`holdfast.executors.loop`, made of the same parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from holdfast.errors import BadInputError, HoldfastError, LedgerUnavailableError, ResultError
from holdfast.executors.loops import run_in
from holdfast.model.codec import decode, decoder, describe, encode, keep, project
from holdfast.model.context import Context, Recorder, idempotency_key
from holdfast.model.events import trace_of
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import CONSTANT, EDITED, INPUT, Graph, Node
from holdfast.model.ids import show
from holdfast.model.media import by_reference
from holdfast.model.outcome import Argument, Invocation
from holdfast.model.step import Failed, Step
from holdfast.model.storable import read_as, stored_path
from holdfast.model.values import Reference, Value, inline
from holdfast.store import Store

T = TypeVar("T")


class Process(Protocol):
    """What puts the process back after a body that may change it."""

    def build(self, step: Step) -> None:
        """Build the class of a step, if it has one and it is not built yet. May raise what that
        raises."""
        ...

    def run(self, body: Callable[[], T], step: str) -> T:
        """Run a body of the step of a name."""
        ...


running: ContextVar[tuple[str, Invocation] | None] = ContextVar("holdfast_running", default=None)
"""The attempt that runs here, and its step's name: in a worker process or a thread."""

on_the_loop: list[Callable[[asyncio.Task[Any]], tuple[str, Invocation] | None]] = []
"""Who knows which attempt an asyncio task is: asked when something is logged, so that nothing need
be noted at every start."""


def attempt_here() -> tuple[str, Invocation] | None:
    """The attempt that this code runs in, with its step's name; None outside of one."""
    found = running.get()
    if found is None and on_the_loop:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return None
        found = next(
            (one for ask in on_the_loop if task is not None and (one := ask(task)) is not None),
            None,
        )
    return found


def read_arguments(
    graph: Graph, node: Node, invocation: Invocation, store: Store
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a call, freshly decoded, so that no two attempts share an
    object."""
    values: list[Any] = []
    plain = not node.step.references
    for argument in invocation.arguments:  # for every attempt, so without the calls of _read
        number, data = argument.node, argument.value
        if number <= CONSTANT or not plain:
            plain = False
            break
        if number == INPUT:
            kind = graph.input_type
        else:
            source = graph.nodes[number]
            kind = source.element if argument.element else source.type
        value = decoder(kind).decode(
            data if type(data) is bytes else store.fetch(cast(Reference, data))
        )
        values.append(project(value, argument.path) if argument.path else value)
    if not plain or not values:
        values = _read_each_for(graph, node, invocation, store)
    if not node.keywords:
        return values, {}
    split = len(values) - len(node.keywords)
    return values[:split], dict(zip(node.keywords, values[split:], strict=True))


def _read_each_for(graph: Graph, node: Node, invocation: Invocation, store: Store) -> list[Any]:
    """Arguments of which some are read as their parameters' own types: see :func:`_read_for`."""
    step: Step = node.step
    edited = invocation.arguments[0].node == EDITED if invocation.arguments else bool(node.inputs)
    if edited and len(invocation.arguments) != len(node.inputs):
        raise BadInputError(
            f"the edited input of step {node.name!r} has {len(invocation.arguments)} "
            f"arguments, and it takes {len(node.inputs)}"
        )
    kinds = step.kinds(node.keywords, len(invocation.arguments))
    return [
        _read_for(graph, argument, store, kind)
        for argument, kind in zip(invocation.arguments, kinds, strict=True)
    ]


def _read(graph: Graph, argument: Argument, store: Store) -> Any:
    """What a step before has produced, or the item's payload."""
    data = argument.value if isinstance(argument.value, bytes) else store.fetch(argument.value)
    value = decode(data, _kind_of(graph, argument))
    return project(value, argument.path) if argument.path else value


def _read_for(graph: Graph, argument: Argument, store: Store, wanted: Any) -> Any:
    """What is read as the parameter's own type: a constant, what a person has put right, an
    artifact (loaded, or by reference)."""
    if argument.node not in (CONSTANT, EDITED) and not by_reference(wanted):
        return _read(graph, argument, store)
    data = argument.value if isinstance(argument.value, bytes) else store.fetch(argument.value)
    if argument.path:
        path = (
            argument.path
            if argument.node in (CONSTANT, EDITED)
            else stored_path(_kind_of(graph, argument), argument.path)
        )
        data = encode(project(decode(data, Any), path))
    return decode(data, read_as(wanted))


def _kind_of(graph: Graph, argument: Argument) -> Any:
    if argument.node == INPUT:
        return graph.input_type
    node = graph.nodes[argument.node]
    return node.element if argument.element else node.type


def checked_output(node: Node, value: Any) -> bytes:
    """The step's result as JSON, which is read back as it is, so that the step at fault is the one
    blamed.

    Raises:
        ResultError: it would not be; the message names the step, its type, and where in the value.
    """
    step: Step = node.step
    try:
        return keep(value, step.returns)
    except ValueError as error:
        raise ResultError(
            f"step {node.name!r} returned something that is not a {describe(step.returns)}: {error}"
        ) from error


def context_of(node: Node, invocation: Invocation, recorder: Recorder | None) -> Context:
    """What a step that asks for its context is given."""
    item = show(invocation.item)
    deadline = None if invocation.deadline is None else invocation.deadline / 1000
    key = idempotency_key(item, node.name, invocation.element_path, invocation.revision)
    correlation, trace = invocation.correlation or item, invocation.trace or trace_of(item)
    return Context(
        item,
        invocation.key,
        node.name,
        invocation.attempt,
        invocation.generation,
        key,
        deadline,
        correlation,
        trace,
        recorder,
    )


def call_of(
    graph: Graph,
    node: Node,
    invocation: Invocation,
    store: Store,
    recorder: Recorder | None = None,
    leading: tuple[Any, ...] = (),
) -> Callable[[], Any]:
    """The call of a step with everything that it takes.

    Args:
        graph: the pipeline's.
        node: the step's node.
        invocation: the attempt.
        store: where large values lie.
        recorder: for ``ctx.once`` and ``ctx.cost``.
        leading: arguments that come before the others: a transaction.

    Raises:
        BadInputError: a stored value does not fit what the step declares.
    """
    values, keywords = given_arguments(graph, node, invocation, store)
    step: Step = node.step
    if step.wants_context:
        values.insert(0, context_of(node, invocation, recorder))
    return partial(step.instance(), *leading, *values, **keywords)


def given_arguments(
    graph: Graph, node: Node, invocation: Invocation, store: Store
) -> tuple[list[Any], dict[str, Any]]:
    """:func:`read_arguments`; what does not fit the step's declared input is bad input, whatever
    type of error says so.

    Raises:
        BadInputError: a stored value does not fit.
        HoldfastError: the store cannot give it.
    """
    try:
        return read_arguments(graph, node, invocation, store)
    except Exception as error:
        found = unfit(node, error)
        if found is error:
            raise
        raise found from error


def unfit(node: Node, error: BaseException) -> BaseException:
    """What is raised while arguments are read: bad input, unless the store or the memory is at
    fault."""
    if not isinstance(error, Exception) or isinstance(error, HoldfastError | MemoryError | OSError):
        return error
    found = failure_of(error)
    misfit = BadInputError(
        f"the input does not fit step {node.name!r}: {found.error}: {found.message}"
    )
    misfit.__cause__ = error
    return misfit


def in_the_store(invocation: Invocation) -> list[Argument]:
    """The arguments that must be read from the store."""
    return [argument for argument in invocation.arguments if type(argument.value) is not bytes]


# -- the boundary --------------------------------------------------------------------------------


def run_attempt(
    graph: Graph,
    node: Node,
    invocation: Invocation,
    store: Store,
    recorder: Recorder | None = None,
    leading: tuple[Any, ...] = (),
    process: Process | None = None,
) -> Value | Failure:
    """Run one attempt in this thread, to exactly one outcome: the stored output, or why there is
    none. Never raises.

    Args:
        graph: the pipeline's.
        node: the step's node.
        invocation: the attempt.
        store: where large values lie.
        recorder: for ``ctx.once`` and ``ctx.cost``.
        leading: arguments that come before the others: a transaction.
        process: puts the process back after the body, before its result is kept; None: nobody does.
    """
    step: Step = node.step
    try:
        if process is not None and step.kind != "function":
            process.build(step)
        body = call_of(graph, node, invocation, store, recorder, leading)
        if step.is_async:
            body = partial(_awaited, body)
        return _kept(node, body() if process is None else process.run(body, node.name), store)
    except BaseException as error:
        return failure_of(error, step.policy.retry.never)


def _awaited(body: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return run_in(asyncio.new_event_loop, body())


def run_batch(
    graph: Graph,
    node: Node,
    invocations: list[Invocation],
    store: Store,
    process: Process | None = None,
) -> tuple[list[Value | Failure], bool]:
    """Run a batch in this thread: one outcome per element, and whether the call failed as a whole,
    before any verdict. Never raises.

    An element whose input does not fit fails alone; the others are called without it. ``process``:
    as for :func:`run_attempt`.
    """
    step: Step = node.step
    results: dict[int, Value | Failure] = {}
    elements: list[tuple[int, Any]] = []
    for number, invocation in enumerate(invocations):
        try:
            elements.append((number, given_arguments(graph, node, invocation, store)[0][0]))
        except BaseException as error:
            results[number] = failure_of(error, step.policy.retry.never)
    try:
        verdicts = (
            _called(step, [element for _, element in elements], node.name, process)
            if elements
            else []
        )
        if isinstance(verdicts, list):
            verdicts = list.copy(verdicts)  # as it is, whatever a subclass says
        if not isinstance(verdicts, list) or len(verdicts) != len(elements):
            what = (
                f"{len(verdicts)} came back"
                if isinstance(verdicts, list)
                else f"a {type(verdicts).__name__} came back"
            )
            raise ResultError(
                f"step {node.name!r} must return a list with one verdict per element: "
                f"{len(elements)} went in, {what}"
            )
    except BaseException as error:
        why = failure_of(error, step.policy.retry.never)
        return [why for _ in invocations], len(invocations) > 1
    for (number, _), verdict in zip(elements, verdicts, strict=True):
        results[number] = _verdict(node, verdict, store)
    return [results[number] for number in range(len(invocations))], False


def _called(step: Step, elements: list[Any], name: str, process: Process | None) -> Any:
    if process is None:
        return step.instance()(elements)
    process.build(step)
    return process.run(partial(step.instance(), elements), name)


def _verdict(node: Node, verdict: Any, store: Store) -> Value | Failure:
    try:
        return (
            failure_of(verdict.error())
            if isinstance(verdict, Failed)
            else _kept(node, verdict, store)
        )
    except BaseException as error:
        return failure_of(error)


def _kept(node: Node, value: Any, store: Store) -> Value:
    data = checked_output(node, value)
    return data if inline(data) else stored(data, node, store)


def stored(data: bytes, node: Node, store: Store) -> Value:
    """A large output, in the store; as it is while the store is full or away: the body has
    succeeded, and the engine stores its output as soon as that is possible."""
    try:
        return store.keep(data, node.listed)
    except (LedgerUnavailableError, OSError):
        return data
