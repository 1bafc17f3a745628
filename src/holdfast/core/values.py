"""How the core reads values: what is in memory is read at once, what is not is asked for.

A read that needs what is not in memory raises :class:`Absent` with what it needs. Whoever reads
does so before it changes anything, so that it can simply be called again when the value has come.
Only JSON is read here: values of the user's types are made by the engine's I/O pool.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Need, Plan, Purpose, TaskKey, WantKey
from holdfast.core.progress import outer
from holdfast.model.codec import join, split
from holdfast.model.failure import Failure
from holdfast.model.graph import CONSTANT, EDITED, INPUT, TASKS, Graph, Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.storable import stored_path
from holdfast.model.values import INLINE_LIMIT, Listing, Value, inline, weight

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Absent(Exception):
    """A value is not in memory.

    Args:
        need: what must be loaded or stored.
    """

    def __init__(self, need: Need) -> None:
        super().__init__(need.kind)
        self.need = need


class DataError(Exception):
    """What is stored of an item does not fit what its pipeline reads of it.

    Args:
        failure: what to put into the dead letter.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


# -- what a task is given ------------------------------------------------------------------------


def resolve(run: ItemRun, ref: Ref, path: str) -> Argument:
    """Where the value of a reference lies, seen from a task at an element path."""
    number = ref.node
    if number >= 0 and not path and not ref.element:
        found = run.values[number, path]
        if type(found) is bytes:  # as a rule
            return Argument(found, number, False, ref.path)
    if number == INPUT:
        return Argument(run.payload, INPUT, False, ref.path)
    if ref.node == CONSTANT:
        return Argument(ref.constant, CONSTANT)
    node = run.graph.nodes[ref.node]
    if ref.element:
        return _element(run, node, ref, path)
    key = ref.node, outer(path, node.depth) if path else path
    found = run.values[key]
    if isinstance(found, Argument):  # the value of the branch that ran
        return deeper(found, ref.path)
    if isinstance(found, tuple):
        if ref.path:
            return deeper(found[int(ref.path[0])], ref.path[1:])
        return Argument(_whole(run, key, found), ref.node)
    return Argument(found, ref.node, False, ref.path)


def arguments(run: ItemRun, node: Node, path: str) -> tuple[Argument, ...]:
    """All arguments of a task."""
    if run.edits and (node.index, path) in run.edits:
        return tuple([Argument(value, EDITED) for value in split(run.edits[node.index, path])])
    inputs = node.inputs
    if len(inputs) == 1:
        return (resolve(run, inputs[0], path),)
    return tuple([resolve(run, ref, path) for ref in inputs])


def deeper(argument: Argument, path: tuple[str | int, ...]) -> Argument:
    """An argument with a further way into its value."""
    return (
        Argument(argument.value, argument.node, argument.element, (*argument.path, *path))
        if path
        else argument
    )


def _element(run: ItemRun, node: Node, ref: Ref, path: str) -> Argument:
    """What a body is given anew each time: an element of an each, the feedback or the best draft of
    a refine."""
    owner = (node.index, outer(path, node.depth))
    if node.kind == "refine":
        known = run.refinements[owner]
        best = ref.path[:1] == ("best",)
        found = known.best if best else known.feedback
        return deeper(found, ref.path[best:]) if found is not None else Argument(b"null", CONSTANT)
    value = run.eaches[owner].element(int(path.split(".")[node.depth]))
    return Argument(value, ref.node, True, ref.path)


def lost(run: ItemRun, refs: tuple[Ref, ...], path: str) -> Failure | None:
    """Why what these refer to cannot be read: retention has cleared it. None: it is there. A value
    that was cleared is never ``null``."""
    for ref in refs:
        source = run.graph.nodes[ref.node] if ref.node >= 0 and not ref.element else None
        if source is None:
            continue
        at = outer(path, source.depth) if path else path
        inside = range(source.index, source.last + 1)
        gone = (
            (source.index, at) in run.cleared
            if source.kind in TASKS
            else any(node in inside for node, _ in run.cleared)
        )
        if gone:
            how = "was cleared by retention, or could not be stored before its item ended"
            why = (
                f"the result of {source.name!r} {how}: restart the item from "
                f"{source.name!r} or from an earlier step"
            )
            return Failure("bad-input", "ValueCleared", why)
    return None


def check_there(run: ItemRun, node: Node, path: str) -> None:
    """What a node is given has not been cleared by retention.

    Raises:
        DataError: it has.
    """
    if run.cleared and (gone := lost(run, node.inputs, path)) is not None:
        raise DataError(gone)


def _whole(run: ItemRun, key: TaskKey, members: tuple[Argument, ...]) -> Value:
    """The tuple of a join, read as a whole."""
    known = run.joined.get(key)
    if known is None:
        known = list_of(run, members)
        if run.loaded:
            run.joined[key] = known  # it had to be loaded: it is asked for again at every attempt
            run.size += weight(known)
    return known


# -- reading -------------------------------------------------------------------------------------


def content(run: ItemRun, argument: Argument) -> bytes:
    """The JSON bytes of an argument.

    Raises:
        Absent: they are not in memory.
    """
    value = argument.value
    if type(value) is bytes:
        if not argument.path:
            return value
        found = projected(value, kind_of(run.graph, argument), argument.path)
        if found is not None:
            return found
    data: bytes = _known(run, Need("content", (argument,)))
    return data


def value_of(run: ItemRun, argument: Argument, listed: bool = False) -> Value:
    """An argument as a value of its own; a reference to all of a value stays one.

    Raises:
        Absent: it must be loaded, or stored, first.
    """
    if not argument.path and not (argument.element and not isinstance(argument.value, bytes)):
        if not isinstance(argument.value, bytes) or inline(argument.value):
            return argument.value
    elif isinstance(argument.value, bytes):
        found = content(run, argument)
        if inline(found):
            return found
    value: Value = _known(run, Need("value", (argument,), listed))
    return value


def list_of(run: ItemRun, members: tuple[Argument, ...], listed: bool = False) -> Value:
    """Arguments joined to a JSON array.

    Raises:
        Absent: they must be loaded, or the array stored, first.
    """
    need = Need("list", members, listed)
    if run.loaded and need in run.loaded:
        value: Value = run.loaded[need]
        return value
    size, parts = 0, []
    for member in members:
        if type(member.value) is not bytes or len(member.value) > INLINE_LIMIT:
            raise Absent(need)
        part = content(run, member) if member.path else member.value
        size += len(part)
        if size > INLINE_LIMIT:
            raise Absent(need)
        parts.append(part)
    joined = join(parts)
    if not inline(joined):
        raise Absent(need)
    return joined


def elements_of(run: ItemRun, argument: Argument) -> list[bytes] | Listing:
    """The elements of a list, or where they lie.

    Raises:
        Absent: they must be loaded first.
    """
    if isinstance(argument.value, Listing) and not argument.path:
        return argument.value
    if type(argument.value) is bytes and len(argument.value) <= INLINE_LIMIT:
        return _elements_in(content(run, argument))
    found: list[bytes] | Listing = _known(run, Need("elements", (argument,)))
    return found


def fields_for(run: ItemRun, argument: Argument, child: int) -> tuple[tuple[str, str], ...]:
    """What a child is found by.

    Raises:
        Absent: its payload must be looked at first.
    """
    fields: tuple[tuple[str, str], ...] = _known(run, Need("fields", (argument,), child=child))
    return fields


def text_of(run: ItemRun, argument: Argument) -> str:
    """A text argument."""
    data = content(run, argument)
    try:
        return msgspec.json.decode(data, type=str)
    except msgspec.MsgspecError as error:
        raise DataError(
            Failure("bad-input", type(error).__name__, f"a text is needed here: {error}")
        ) from error


def kind_of(graph: Graph, argument: Argument) -> Any:
    """The type whose JSON an argument's value is, before its path is followed."""
    if argument.node == INPUT:
        return graph.input_type
    if argument.node < 0:
        return Any
    node = graph.nodes[argument.node]
    return node.element if argument.element else node.type


def projected(data: bytes, kind: Any, path: tuple[str | int, ...]) -> bytes | None:
    """What lies at a path of JSON bytes, as it stands there; None when only the type itself can
    tell."""
    try:
        names = _stored_path(kind, path)
    except TypeError:  # a type that cannot be hashed
        names = stored_path(kind, path)
    found: Any = data
    try:
        for name in names:
            parts: Any = (_array if type(name) is int else _object).decode(found)
            found = parts[name]
    except (msgspec.MsgspecError, LookupError):
        return None
    return bytes(found)


@lru_cache(maxsize=4096)
def _stored_path(kind: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return stored_path(kind, path)


def _elements_in(data: bytes) -> list[bytes]:
    try:
        return split(data)
    except msgspec.MsgspecError as error:
        what = f"an each runs over a list, and this is none: {error}"
        raise DataError(Failure("bad-input", type(error).__name__, what)) from error


def _known(run: ItemRun, need: Need) -> Any:
    try:
        return run.loaded[need]
    except KeyError:
        raise Absent(need) from None


# -- asking --------------------------------------------------------------------------------------


def want(
    run: ItemRun, purpose: Purpose, node: int, path: str, need: Need, plan: Plan, number: int = 0
) -> None:
    """Ask for a value; the node counts as active until it has come."""
    key = WantKey(purpose, node, path, number)
    if run.wanted.get(key) != need:
        run.wanted[key] = need
        plan.jobs += ((key, need),)


NODE: tuple[Purpose, ...] = ("start", "window", "part", "close")
"""What a node itself waits for, other than to have its output stored."""


def unwant(run: ItemRun, node: int, path: str, purposes: tuple[Purpose, ...]) -> bool:
    """A node waits for no such value any more; whether it did."""
    if not run.wanted:
        return False
    wanted = run.wanted
    gone = [
        key for key in wanted if key.node == node and key.path == path and key.purpose in purposes
    ]
    for key in gone:
        del wanted[key]
    return bool(gone)


# -- the result ----------------------------------------------------------------------------------


def result_of(run: ItemRun) -> tuple[int, str] | Value:
    """Where the item's result lies: in a task's row when it is that task's whole output, else spelt
    out.

    Raises:
        Absent: it must be loaded, or stored, first.
    """
    argument = resolve(run, run.graph.regions[0].result, "")
    if (
        argument.node >= 0
        and not argument.path
        and not argument.element
        and run.graph.nodes[argument.node].kind in TASKS
    ):
        if run.values.get((argument.node, "")) is argument.value:
            return argument.node, ""
        for key, value in run.values.items():
            if key[0] == argument.node and value is argument.value:
                return key
    return value_of(run, argument)
