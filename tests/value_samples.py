"""Values of many types, and for each a pipeline that hands it from a worker process over the loop
and a thread to another process."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, computed_field

from holdfast import Context, Pipeline, Retry, pipeline, review, step
from holdfast.model.differences import difference

ONCE = Retry(attempts=1)
T = TypeVar("T")


class Invoice(BaseModel):
    """What a language model answers with: camel case, everything optional."""

    number: str | None = Field(default=None, alias="invoiceNumber")
    total: float | None = Field(
        default=None, validation_alias="totalAmount", serialization_alias="sum"
    )


class Priced(BaseModel):
    """Computes a field, and forbids what it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    net: Decimal
    when: datetime
    tags: frozenset[str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gross(self) -> Decimal:
        return self.net * 2


class Box(BaseModel, Generic[T]):
    """A generic model that keeps what it does not know."""

    model_config = ConfigDict(extra="allow")
    content: T


class Cat(BaseModel):
    """One of two."""

    kind: str = "cat"
    lives: int = 9


class Dog(BaseModel):
    """The other."""

    kind: str = "dog"
    tricks: list[str] = []


class Colour(str, enum.Enum):
    """A text that is an enum."""

    RED = "red"


class Level(enum.IntEnum):
    """A number that is an enum."""

    HIGH = 3


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: float = 0.0


class Entry(TypedDict):
    """A typed dict."""

    name: str
    note: NotRequired[str]


class Event(msgspec.Struct, rename="camel", tag="event", omit_defaults=True):
    """A struct under other names."""

    event_name: str
    raised_at: datetime | None = None
    labels: dict[str, int] = {}


@dataclass(slots=True, frozen=True)
class Leaf:
    """A small dataclass."""

    size: int
    weight: float = 1.5


@dataclass
class Tree:
    """One that holds others, and itself."""

    leaves: list[Leaf]
    level: Level = Level.HIGH
    inner: Tree | None = None
    counted: int = field(default=0, init=False)


def _image() -> Image.Image:
    made = Image.frombytes("CMYK", (3, 2), bytes(range(24)))
    made.info = {"dpi": (300.0, 300.0), "exif": b"Exif\0\0"}
    return made


VALUES: dict[str, tuple[Any, Callable[[], Any]]] = {
    "aliased": (
        Invoice,
        lambda: Invoice.model_validate({"invoiceNumber": "R-1", "totalAmount": 12.5}),
    ),
    "priced": (
        Priced,
        lambda: Priced(
            net=Decimal("1.10"),
            when=datetime(2024, 2, 29, 1, 2, 3, 4, UTC),
            tags=frozenset({"a", "b"}),
        ),
    ),
    "generic": (
        Box[Cat],
        lambda: Box[Cat].model_validate({"content": Cat(), "more": [1, {"a": None}]}),
    ),
    "models": (list[Cat | Dog], lambda: [Dog(tricks=["sit"]), Cat(lives=3)]),
    "root": (RootModel[dict[str, int]], lambda: RootModel[dict[str, int]]({"z": 1, "a": 2})),
    "struct": (
        list[Event],
        lambda: [Event("a", datetime(2024, 1, 1, tzinfo=UTC), {"é\0": 1}), Event("b")],
    ),
    "tree": (Tree, lambda: Tree([Leaf(1), Leaf(2, -0.0)], Level.HIGH, Tree([]))),
    "named": (list[Point], lambda: [Point(1, 2.5)]),
    "typed": (Entry, lambda: Entry(name="x")),
    "builtin": (
        tuple[set[int], frozenset[str], bytes, UUID, timedelta, date, time, Colour | None],
        lambda: (
            {3, 1},
            frozenset({"a"}),
            b"\0\xff",
            UUID(int=7),
            timedelta(-1, 3, 4),
            date(2024, 2, 29),
            time(1, 2, 3, 4),
            Colour.RED,
        ),
    ),
    "keys": (
        dict[UUID, dict[int, Decimal]],
        lambda: {UUID(int=7): {-1: Decimal("1.00"), 2**70: Decimal("1E+5")}},
    ),
    "number": (float | None, lambda: 3),
    "plain": (
        Any,
        lambda: {"z": [1, 1.0, True, None, "text\0", {"nested": [-0.0, 2**64]}], "a": ""},
    ),
    "image": (Image.Image, _image),
    "array": (np.ndarray, lambda: np.asfortranarray(np.array([[1.5, math.nan], [math.inf, -0.0]]))),
    "table": (
        pa.Table,
        lambda: pa.table({"n": [1, None], "t": ["a", "b"]}).replace_schema_metadata({"k": "v"}),
    ),
}

REFUSED: dict[str, tuple[Any, Callable[[], Any], str]] = {
    "not-a-number": (float | None, lambda: math.nan, r"\$ is nan"),
    "infinity": (dict[str, Any], lambda: {"x": [1, math.inf]}, r"\$\.x\[1\] is inf"),
    "scalar": (float, lambda: np.float64(1), r"numpy\.float64"),
    "tuple": (list[int], lambda: (1, 2), r"\$ is of type tuple"),
    "any-set": (Any, lambda: {"x": {1}}, r"\$\.x is of type set"),
    "base": (list[Leaf], lambda: [Leaf(1), Point(1)], "Expected"),
    "text": (str, type("Markup", (str,), {}), "Markup"),
    "surrogate": (dict[str, str], lambda: {"x": "\ud800"}, r"\$\.x .*surrogate"),
    "generator": (Any, lambda: {"x": (one for one in "ab")}, r"\$\.x is of type generator"),
    "nothing": (str, lambda: None, "a return missing"),
    "true": (int, lambda: True, "bool"),
    "secret": (dict[str, Any], lambda: {"x": SecretStr("x")}, "SecretStr"),
}


def _annotated(fn: Any, takes: Any, gives: Any) -> Any:
    parameter = fn.__code__.co_varnames[0]
    fn.__annotations__ = {parameter: takes, "return": gives}
    return fn


def handed(
    name: str, kind: Any, make: Callable[[], Any], refused: bool = False
) -> Pipeline[str, str]:
    """A pipeline that makes the value, hands it through every executor, and says how it differs at
    the end from a new one."""

    def give(_: Any) -> Any:
        return make()

    async def over_the_loop(value: Any) -> Any:
        return value

    def in_a_thread(value: Any) -> Any:
        return value

    def look(value: Any) -> Any:
        return difference(make(), value) or "the same"

    made = step(retry=ONCE, name="give")(_annotated(give, str, kind))
    second = step(retry=ONCE, name="over_the_loop")(_annotated(over_the_loop, kind, kind))
    third = step(retry=ONCE, name="in_a_thread", runs="threads")(
        _annotated(in_a_thread, kind, kind)
    )
    last = step(retry=ONCE, name="look")(_annotated(look, kind, str))

    def whole(key: str) -> str:
        return last(third(second(made(key))))  # type: ignore[no-any-return]

    def first(key: str) -> Any:
        return made(key)

    return pipeline(version="1", key=str, name=name)(first if refused else whole)


SENT = {name: handed(f"sent-{name}", kind, make) for name, (kind, make) in VALUES.items()}
LOST = {name: handed(f"lost-{name}", kind, make, True) for name, (kind, make, _) in REFUSED.items()}
globals().update({f"sent_{name}": one for name, one in SENT.items()})
globals().update({f"lost_{name}".replace("-", "_"): one for name, one in LOST.items()})


@step(retry=Retry(attempts=3, base="1ms"))
def pays(ctx: Context, folder: str) -> str:
    """An effect whose result cannot be kept as plain data."""
    return str(ctx.once("pay", lambda: _pay(folder)))


def _pay(folder: str) -> Leaf:
    with open(f"{folder}/paid", "a") as file:
        file.write("paid\n")
    return Leaf(1)


@step()
def pays_typed(ctx: Context, folder: str) -> str:
    """One whose type is said."""
    known = ctx.once("pay", lambda: _pay(folder), kind=Leaf)
    return type(known).__name__


@pipeline(version="1", key=str)
def paying(folder: str) -> str:
    """Refused."""
    return pays(folder)


@pipeline(version="1", key=str)
def paying_typed(folder: str) -> str:
    """Kept."""
    return pays_typed(folder)


@step()
def number_of(invoice: Invoice) -> str:
    """What the answer's field holds."""
    return f"{invoice.number} {invoice.total}"


@pipeline(version="1", key=str)
def answered(key: str) -> str:
    """A person fills a form with aliases in."""
    return number_of(review(Invoice)(key))


class Parcel(msgspec.Struct, rename="camel"):
    """A payload under other names."""

    parcel_id: str
    first_picture: np.ndarray


@step()
def shape(picture: np.ndarray) -> list[int]:
    """Of an array."""
    return list(picture.shape)


@pipeline(version="1", key=lambda parcel: parcel.parcel_id, search=("parcel_id",))
def shaped(parcel: Parcel) -> list[int]:
    """Takes one field of a renamed payload, loaded."""
    return shape(parcel.first_picture)


@step()
def joined(
    order: Invoice,
    sign: str = "-",
    *,
    kinds: tuple[str, ...] = (),
    at: datetime | None = None,
    end: str = "",
) -> str:
    """Parameters that keep their defaults, and constants of types that JSON does not have."""
    return f"{order.number}{sign}{kinds!r}{at!r}{end}"


@step()
def spread(text: str, left: int = 1, right: int = 2) -> str:
    """Two defaults."""
    return f"{text} {left} {right}"


@pipeline(version="1", key=lambda order: str(order.number))
def constants(order: Invoice) -> str:
    """A tuple and a time written in the source; a parameter in between that keeps its default."""
    return spread(joined(order, kinds=("a", "b"), at=datetime(2024, 1, 1)), right=5)


@dataclass(slots=True, frozen=True)
class Special(Leaf):
    """A leaf of its own kind."""


@step()
def count(leaf: Leaf) -> int:
    """Its size."""
    return leaf.size


@pipeline(version="1", key=lambda leaf: str(leaf.size))
def counted(leaf: Leaf) -> int:
    """Takes any leaf."""
    return count(leaf)
