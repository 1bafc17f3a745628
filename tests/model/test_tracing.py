"""What a pipeline may and may not say; every error names the combinator to use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from holdfast import (
    DefinitionError,
    EdgeTypeError,
    Retry,
    case,
    each,
    first_ok,
    pipeline,
    route,
    step,
)
from holdfast.model.drawing import mermaid, svg, text
from holdfast.model.graph import Graph
from tests.samples import Order, average, fallback, nested, routed


@dataclass
class Thing:
    """A thing."""

    name: str
    kind: Literal["a", "b"]
    parts: list[int]
    pair: tuple[int, str]
    maybe: int | None = None


@step()
def parts(thing: Thing) -> list[int]:
    return thing.parts


@step()
def one(number: int) -> str:
    return str(number)


@step()
def named(name: str) -> str:
    return name


@step()
def joined(texts: list[str]) -> str:
    return "".join(texts)


@step()
def pair(thing: Thing) -> tuple[int, str]:
    return thing.pair


def define(fn: Callable[[Thing], Any]) -> Graph:
    return pipeline(version="1", key=str)(fn).graph


def with_if(thing: Thing) -> str:
    if thing.name:
        return named(thing.name)
    return "nothing"


def with_loop(thing: Thing) -> str:
    for number in parts(thing):
        one(number)
    return "x"


def with_comprehension(thing: Thing) -> str:
    return joined([one(number) for number in parts(thing)])


def with_format(thing: Thing) -> str:
    return named(f"{thing.name}!")


def with_is(thing: Thing) -> str:
    return named("x" if thing.maybe is None else "y")


def with_and(thing: Thing) -> str:
    return named(thing.name and "x")


def with_not(thing: Thing) -> str:
    return named(str(not thing.name))


def with_compare(thing: Thing) -> str:
    same = thing.name == "x"
    return named(str(same))


def with_match(thing: Thing) -> str:
    match thing.kind:
        case "a":
            return named("a")
    return "b"


def with_try(thing: Thing) -> str:
    try:
        return named(thing.name)
    except ValueError:
        return named("x")


def with_while(thing: Thing) -> str:
    while thing.parts:
        pass
    return "x"


def helper(thing: Thing) -> str:
    return "x" if thing.maybe else named(thing.name)


def with_helper(thing: Thing) -> str:
    return helper(thing)


@pytest.mark.parametrize(
    ("fn", "what"),
    [
        (with_if, "`if`.*route"),
        (with_loop, "`for`.*each"),
        (with_comprehension, "a comprehension.*each"),
        (with_format, "an f-string.*step"),
        (with_is, "`if`.*route"),
        (with_and, "`and` or `or`.*route"),
        (with_not, "`not`.*route"),
        (with_compare, "a comparison.*step"),
        (with_match, "`match`.*route"),
        (with_try, "`try`.*first_ok"),
        (with_while, "`while`.*refine"),
        (with_helper, "`if`.*route"),
    ],
)
def test_what_computes_is_refused_with_file_line_and_combinator(
    fn: Callable[[Thing], Any], what: str
) -> None:
    with pytest.raises(DefinitionError, match=rf"test_tracing\.py:\d+: {what}"):
        define(fn)


def test_without_source_the_stand_ins_still_refuse() -> None:
    names: dict[str, Any] = {"named": named}
    exec("def unseen(thing):\n    return named('x') if thing.name else named('y')", names)  # noqa: S102
    names["unseen"].__annotations__ = {"thing": Thing}
    with pytest.raises(DefinitionError, match="truth test.*route"):
        define(names["unseen"])


def test_an_edge_that_does_not_fit_names_both_steps_and_both_types() -> None:
    def wrong(thing: Thing) -> str:
        return joined(parts(thing))  # type: ignore[arg-type]

    with pytest.raises(
        EdgeTypeError, match=r"'parts' gives list\[int\], but step 'joined' takes list\[str\]"
    ):
        define(wrong)


def test_fields_and_fixed_unpacking_become_projections() -> None:
    def projected(thing: Thing) -> str:
        _, word = pair(thing)
        named(thing.name)
        return named(word)

    graph = define(projected)
    assert [node.inputs[0].path for node in graph.steps()] == [(), ("name",), (1,)]


@pytest.mark.parametrize(
    ("fn", "what"),
    [
        (lambda thing: named(thing.nothing), "no field"),
        (lambda thing: named(thing.maybe.real), "may be None"),
        (lambda thing: named(thing.name.upper()), "method"),
        (lambda thing: each(one)(thing.name), "takes a list"),
        (lambda thing: named(), "missing a required argument"),  # type: ignore[call-arg]
        (lambda thing: (named(thing.name), named(thing.name)), "tuple of steps"),
        (lambda thing: "constant", "calls no step"),
        (lambda thing: route(case("a", named))(thing.kind, thing.name), r"no case for 'b'"),
    ],
)
def test_other_mistakes_are_named(fn: Callable[[Any], Any], what: str) -> None:
    fn.__annotations__ = {"thing": Thing}
    fn.__name__ = "mistaken"
    with pytest.raises(DefinitionError, match=what):
        define(fn)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: step(optional=True),  # type: ignore[call-overload]
        lambda: step(flag="x"),  # type: ignore[call-overload]
        lambda: step(exhausted="skip"),  # type: ignore[call-overload]
        lambda: step(nonsense=1),  # type: ignore[call-overload]
        lambda: Retry(attempts=0),
        lambda: Retry(base="soon"),
        lambda: each(one, tolerate=-1),
        lambda: each(one, tolerate=1.5),
        lambda: route(),  # type: ignore[call-overload]
        lambda: route(case("a", named), case("a", named)),
        lambda: first_ok(),  # type: ignore[call-overload]
    ],
)
def test_contradicting_keywords_are_refused(declare: Callable[[], Any]) -> None:
    with pytest.raises(DefinitionError):
        declare()


def test_names_are_stable_and_shapes_compare() -> None:
    assert [node.name for node in nested.graph.nodes] == [
        "numbers_of",
        "each",
        "each/square",
        "each/square-2",
        "total",
    ]
    assert (
        nested.graph.fingerprint() == pipeline(version="2", key=str)(nested.fn).graph.fingerprint()
    )
    assert nested.graph.fingerprint() != average.graph.fingerprint()


@pytest.mark.parametrize("drawn", [average, nested, routed, fallback], ids=lambda one: one.name)
def test_every_graph_can_be_drawn(drawn: Any) -> None:
    names = [node.name.rsplit("/", 1)[-1] for node in drawn.graph.nodes]
    for picture in (text(drawn), mermaid(drawn), svg(drawn)):
        assert all(name in picture for name in names)
    assert svg(drawn).startswith("<svg")


def test_a_pipeline_in_a_pipeline_is_traced_inline() -> None:
    def outer(order: Order) -> float:
        return average(order)

    assert len(define(outer).nodes) == 3  # type: ignore[arg-type]
