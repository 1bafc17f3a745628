"""Tracing: the pipeline function is called once with stand-ins, and what it calls becomes the
graph."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, Union, get_args, get_origin

from holdfast.errors import DefinitionError
from holdfast.model.arguments import refuse
from holdfast.model.codec import describe, keep
from holdfast.model.edge_types import check_edge, element_type
from holdfast.model.fusing import fuse
from holdfast.model.graph import CONSTANT, INPUT, READ, Graph, Node, NodeKind, Ref, Region
from holdfast.model.source_check import check_source
from holdfast.model.storable import check_storable, read_alike, read_as

_active: ContextVar[Tracer | None] = ContextVar("holdfast_tracer", default=None)


def tracer() -> Tracer | None:
    """The tracer of the definition under way, or None when code runs as plain Python."""
    return _active.get()


class Traced:
    """Stands for a value that does not exist yet. Field access and fixed unpacking work; what
    computes is an error."""

    __slots__ = ("_ref", "_source", "_type")

    def __init__(self, ref: Ref, kind: Any, source: str) -> None:
        self._ref = ref
        self._type = kind
        self._source = source

    def __getattr__(self, name: str) -> Traced:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._into(name, _field_type(self._type, name, self._source))

    def __getitem__(self, index: str | int) -> Traced:
        if isinstance(index, Traced) or not isinstance(index, str | int):
            raise DefinitionError(
                f"{self._source} is indexed by something that is not a constant: do it in a step"
            )
        arguments, origin = get_args(self._type), get_origin(self._type) or self._type
        if origin is tuple and arguments and Ellipsis not in arguments:
            if not isinstance(index, int) or not -len(arguments) <= index < len(arguments):
                raise DefinitionError(
                    f"{self._source} gives {describe(self._type)}, which has no [{index!r}]"
                )
            return self._into(index % len(arguments), arguments[index])
        if origin is dict:
            return self._into(index, arguments[1] if arguments else Any)
        return self._into(index, element_type(self._type) or Any)

    def __iter__(self) -> Iterator[Traced]:
        arguments, origin = get_args(self._type), get_origin(self._type)
        if origin is tuple and Ellipsis not in arguments:
            return iter([self._into(index, kind) for index, kind in enumerate(arguments)])
        return self._computes("iterating", "each(step)(values)")

    def _into(self, part: str | int, kind: Any) -> Traced:
        ref = self._ref
        return Traced(
            Ref(ref.node, (*ref.path, part), ref.element, ref.constant),
            kind,
            f"{self._source}.{part}",
        )

    def _computes(self, what: str, instead: str) -> NoReturn:
        raise DefinitionError(
            f"{what} over the output of {self._source} while the pipeline is traced: use {instead}"
        )

    def __bool__(self) -> NoReturn:
        self._computes(
            "a truth test (if, while, and, or, not)", "route(case(key, step), …)(key, value)"
        )

    def __eq__(self, other: object) -> NoReturn:
        self._computes(
            "a comparison", "a step that returns the result, or route(case(key, step), …)"
        )

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, other: object) -> NoReturn:
        self._computes("a membership test", "a step that returns the result")

    def __len__(self) -> NoReturn:
        self._computes("len()", "a step that returns it")

    def __format__(self, spec: str) -> NoReturn:
        self._computes("formatting (an f-string)", "a step that builds the text")

    def __str__(self) -> NoReturn:
        self._computes("str()", "a step that builds the text")

    def _operator(self, other: object = None) -> NoReturn:
        self._computes("an operator", "a step that computes it")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __mod__ = (
        __and__
    ) = __or__ = _operator

    def __repr__(self) -> str:
        return f"<the output of {self._source}: {describe(self._type)}>"

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self._computes("calling a method", "a step that calls it")


def _field_type(kind: Any, name: str, source: str) -> Any:
    if kind is Any:
        return Any
    if type(None) in get_args(kind):
        raise DefinitionError(
            f"{source} may be None ({describe(kind)}), so .{name} is not safe: take it in a "
            "step that handles None"
        )
    owner = get_origin(kind) or kind
    try:
        hints = typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError):
        hints = dict(getattr(owner, "__annotations__", {}))
    if name in hints:
        return hints[name]
    what = "a method or property: call it in a step" if hasattr(owner, name) else "no field of it"
    raise DefinitionError(f"{source} gives {describe(kind)}, and {name!r} is {what}")


class Tracer:
    """Collects nodes while the pipeline function runs once."""

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self.nodes: list[Node] = []
        self.regions: list[Region] = [Region(0, -1, 0)]
        self._region = self.regions[0]
        self._prefix = ""
        self._names: set[str] = set()

    def add(
        self, kind: NodeKind, name: str, inputs: tuple[Ref, ...], type: Any, **fields: Any
    ) -> Node:
        """Append a node to the current region under the first free name."""
        base = f"{self._prefix}{name}"
        unique, ordinal = base, 2
        while unique in self._names:
            unique, ordinal = f"{base}-{ordinal}", ordinal + 1
        self._names.add(unique)
        node = Node(
            len(self.nodes),
            unique,
            kind,
            self._region.index,
            self._region.depth,
            inputs,
            type=type,
            **fields,
        )
        self.nodes.append(node)
        self._region.nodes = (*self._region.nodes, node.index)
        return node

    def call(self, owner: str, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call what a combinator was given, if it takes so many arguments.

        Raises:
            DefinitionError: it does not.
        """
        try:
            inspect.signature(fn).bind(*arguments)
        except TypeError as error:
            given = f"{len(arguments)} argument{'s' * (len(arguments) != 1)}"
            refuse(
                f"{owner} in pipeline {self.pipeline!r}",
                f"{name_of(fn)} is called with {given}: {error}",
            )
        except ValueError:
            pass
        return fn(*arguments)

    def body(
        self, owner: Node, fn: Callable[..., Any], arguments: tuple[Any, ...], deeper: bool = False
    ) -> Any:
        """Trace ``fn(*arguments)`` as a region of ``owner``; return the type of its result."""
        with self.region(owner, name_of(fn), deeper) as region:
            check_source(fn, arguments, self.pipeline, Traced)
            region.result, kind = self.reference(
                self.call(owner.name, fn, arguments), f"the result of {name_of(fn)} in {owner.name}"
            )
        return kind

    @contextmanager
    def region(self, owner: Node, name: str, deeper: bool = False) -> Iterator[Region]:
        """What is called meanwhile becomes a region of ``owner``; the caller sets its result."""
        region = Region(len(self.regions), owner.index, self._region.depth + deeper, name)
        self.regions.append(region)
        outer, prefix = self._region, self._prefix
        self._region, self._prefix = region, f"{owner.name}/"
        try:
            yield region
        finally:
            self._region, self._prefix = outer, prefix
        owner.regions = (*owner.regions, region.index)

    def reference(self, value: Any, where: str, wanted: Any = Any) -> tuple[Ref, Any]:
        """Return the reference and type of an argument: traced, or a constant that can be kept as
        the type that is ``wanted``."""
        if isinstance(value, Traced):
            return value._ref, value._type
        if isinstance(value, list | tuple) and any(isinstance(part, Traced) for part in value):
            raise DefinitionError(
                f"{where} is a {type(value).__name__} of steps' outputs: pass each by itself, "
                "or join them in a step"
            )
        try:
            data = keep(value, wanted)
        except (ValueError, DefinitionError) as error:
            raise DefinitionError(
                f"{where} is neither a step's output nor a constant that can be kept: {error}"
            ) from None
        return Ref(CONSTANT, constant=data), type(value)

    def argument(self, value: Any, consumer: str, parameter: str, wanted: Any) -> Ref:
        """Return a reference to an argument after checking its edge."""
        if isinstance(value, Traced):
            check_edge(value._source, value._type, consumer, parameter, wanted)
            return value._ref
        ref, kind = self.reference(value, f"{parameter!r} of {consumer}", read_as(wanted))
        if read_as(wanted) is not wanted:
            check_edge("a constant", kind, consumer, parameter, wanted)
        return ref

    def handed_on(self, value: Any, consumer: str, wanted: Any) -> Ref:
        """Return a reference to a payload that another item reads from JSON, as its own type."""
        ref = self.argument(value, consumer, "payload", wanted)
        if isinstance(value, Traced) and not read_alike(value._type, wanted):
            raise DefinitionError(
                f"{consumer} reads its payload as {describe(wanted)}, and is given "
                f"{describe(value._type)}, which would come out changed: "
                f"annotate both with the same type"
            )
        return ref

    def output(self, node: Node) -> Traced:
        """The stand-in for a node's output."""
        return Traced(Ref(node.index), node.type, f"step {node.name!r}")


def either(kinds: list[Any]) -> Any:
    """The union of types, or ``Any`` when one of them is."""
    return Any if Any in kinds else Union[tuple(kinds)]  # noqa: UP007 - built at run time


def name_of(fn: Any) -> str:
    """A callable's name as its author would say it."""
    inner = getattr(fn, "func", fn)  # functools.partial
    return str(
        getattr(inner, "name", None) or getattr(inner, "__name__", None) or type(inner).__name__
    )


def trace(fn: Callable[[Any], Any], name: str, input_type: Any) -> Graph:
    """Call ``fn`` once with a stand-in for the payload and return the graph of what it called.

    Raises:
        DefinitionError: the source computes over traced values, an edge does not fit, or the result
            is no step's output.
    """
    tracing = Tracer(name)
    token = _active.set(tracing)
    try:
        payload = Traced(Ref(INPUT), input_type, f"the payload of {name!r}")
        check_source(fn, (payload,), name, Traced)
        result = fn(payload)
        ref, output_type = tracing.reference(result, f"what pipeline {name!r} returns")
    finally:
        _active.reset(token)
    if not tracing.nodes:
        raise DefinitionError(f"pipeline {name!r} calls no step")
    tracing.regions[0].result = ref
    graph = Graph(tracing.nodes, tracing.regions, input_type, output_type)
    fuse(graph)
    graph.link()
    check_storable(f"the payload of {name!r}", input_type)
    for node in graph.nodes:
        if node.kind in READ:
            check_storable(f"{node.kind} {node.name!r}", node.type)
    return graph
