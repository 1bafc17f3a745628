"""Generated values of generated types: what goes through the codec is what plain Python would have
passed on, or it is refused.

Many go through a pipeline of steps as attempts read and keep them; a few through real workers and
both ledgers (``tests/faults/test_values_survive.py`` has the kinds by name).
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Optional, TypedDict, Union
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from holdfast import App, DefinitionError, InputError
from holdfast.cli.export import output_of
from holdfast.model.codec import check_payload, decode, encode, join, keep, project, split
from holdfast.model.differences import difference
from holdfast.model.storable import check_storable, stored_path
from holdfast.testing.postgres import LocalPostgres
from tests.round_trip_samples import passed_on

MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))

OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (bool, st.booleans()),
    (float, FINITE),
    (bytes, st.binary()),
    (Decimal, st.decimals(allow_nan=False)),
    (UUID, st.uuids()),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.none() | OFFSETS)),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (type(None), st.none()),
    (Literal["a", 1], st.sampled_from(["a", 1])),
]
HASHABLE = [LEAVES[place] for place in (0, 1, 5, 6, 7)]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.tuples(inner)
        | st.frozensets(st.integers(), max_size=2)
    ),
    max_leaves=8,
)


class Colour(enum.Enum):
    """Two colours."""

    RED = "red"
    BLUE = "blue"


LEAVES.append((Colour, st.sampled_from(Colour)))


_typed_dict: Any = TypedDict


def _aliased(name: str) -> str:
    return f"other-{name}"


@st.composite
def typed(draw: st.DrawFn, depth: int = 2) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type, and a strategy for its values."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        leaf: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(LEAVES))
        return leaf
    inner, values = draw(typed(depth - 1))
    other, others = draw(typed(depth - 1))
    key, keys = draw(st.sampled_from(HASHABLE))
    small: Any = {"max_size": 4}
    fields: list[Any] = [("one", inner), ("two_words", other)]
    both = {"one": values, "two_words": others}
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (list[inner], st.lists(values, **small)),  # type: ignore[valid-type]
        (dict[key, inner], st.dictionaries(keys, values, **small)),  # type: ignore[valid-type]
        (tuple[inner, ...], st.lists(values, **small).map(tuple)),  # type: ignore[valid-type]
        (tuple[inner, other], st.tuples(values, others)),  # type: ignore[valid-type]
        (set[key], st.sets(keys, **small)),  # type: ignore[valid-type]
        (frozenset[key], st.frozensets(keys, **small)),  # type: ignore[valid-type]
        (Optional[inner], st.none() | values),  # noqa: UP045 - built at run time
    ]
    structs: list[Any] = [
        msgspec.defstruct("Struct", fields, rename="camel"),
        msgspec.defstruct("Array", fields, array_like=True, tag=True),
        dataclasses.make_dataclass("Class", fields),
        dataclasses.make_dataclass("Frozen", fields, frozen=True, slots=True),
        NamedTuple("Named", fields),
    ]
    kinds += [(kind, st.builds(kind, **both)) for kind in structs]
    kinds.append((_typed_dict("Typed", dict(fields)), st.fixed_dictionaries(both)))
    found: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(kinds))
    return found


def survives(value: Any, kind: Any) -> bool:
    """Whether a value was kept; then it is the same for everybody who reads it."""
    try:
        data = keep(value, kind)
    except ValueError:
        return False
    assert difference(value, decode(data, kind)) is None
    assert decode(data, kind) == value
    return True


@MANY
@given(st.data())
def test_a_value_that_fits_its_type_comes_back_equal_and_of_the_same_types(
    data: st.DataObject,
) -> None:
    kind, values = data.draw(typed())
    check_storable("a step", kind)
    value = data.draw(values)
    if not survives(value, kind):
        with pytest.raises(ValueError, match=r"\$"):
            keep(value, kind)
        assert _has_a_reason(value), value


def _has_a_reason(value: Any) -> bool:
    """Values that generated types allow and JSON, or the type's reader, does not."""
    return any(sign in repr(value) for sign in ("fold=1", "\\ud", "sNaN", "Infinity"))


@MANY
@given(ANYTHING)
def test_what_has_no_type_survives_or_is_refused(value: Any) -> None:
    plain = _is_plain(value)
    assert survives(value, Any) == plain
    if plain:
        assert check_payload(value, Any) == encode(value)


def _fits(value: Any) -> bool:
    """Whether every integer in a plain value has 64 bits."""
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 64
    inside = value.values() if type(value) is dict else value if type(value) is list else ()
    return all(map(_fits, inside))


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    if type(value) is list:
        return all(map(_is_plain, value))
    return type(value) in (str, int, bool, type(None)) or (
        type(value) is float and math.isfinite(value)
    )


@MANY
@given(st.data())
def test_a_value_of_one_type_under_another_is_kept_as_it_is_or_refused(data: st.DataObject) -> None:
    _, values = data.draw(typed())
    kind, _ = data.draw(typed())
    try:
        check_storable("a step", kind)
    except DefinitionError:
        return
    survives(data.draw(values), kind)


@MANY
@given(st.data())
def test_steps_that_pass_a_value_on_equal_plain_python(data: st.DataObject) -> None:
    """Each step reads the last one's bytes, wraps or takes apart what it got, and keeps it under
    its own type."""
    kind, values = data.draw(typed(1))
    value: Any = data.draw(values)
    plain, kept = value, value
    for _ in range(4):
        try:
            check_storable("a step", kind)
            kept = decode(keep(kept, kind), kind)
        except (ValueError, DefinitionError):
            return
        if data.draw(st.booleans()):
            plain, kept, kind = [plain, plain], [kept, kept], list[kind]  # type: ignore[valid-type]
        else:
            plain, kept, kind = {"x": plain}, {"x": kept}, dict[str, kind]  # type: ignore[valid-type]
        assert difference(plain, kept) is None


@MANY
@given(st.data())
def test_the_parts_of_a_value_are_found_in_its_json(data: st.DataObject) -> None:
    kind, values = data.draw(typed())
    value: Any = data.draw(values)
    try:
        check_storable("a step", kind)
        stored = keep(value, kind)
    except (ValueError, DefinitionError):
        return
    for path in ((name,) for name in ("one", "two_words") if hasattr(value, name)):
        found = project(decode(stored, Any), stored_path(kind, path))
        assert found == decode(encode(getattr(value, path[0])), Any)
    if isinstance(value, list):
        assert join(split(stored)) == stored


class Aliased(BaseModel):
    """Every way of naming a field, of every kind."""

    model_config = ConfigDict(alias_generator=_aliased, extra="allow")
    text: str | None = None
    number: float | None = Field(default=None, validation_alias="x", serialization_alias="y")
    when: datetime | None = None
    parts: dict[UUID, tuple[Decimal, ...]] = {}
    either: Union[int, str, list[bytes]] = 0  # noqa: UP007
    inner: list[Aliased] = []


@MANY
@given(
    st.builds(
        Aliased.model_construct,
        text=st.none() | st.text(),
        number=st.none() | st.floats(),
        when=st.none() | st.datetimes(timezones=st.none() | OFFSETS),
        parts=st.dictionaries(
            st.uuids(), st.lists(st.decimals(allow_nan=False), max_size=2).map(tuple), max_size=2
        ),
        either=st.integers() | st.text() | st.lists(st.binary(max_size=3), max_size=2),
        more=ANYTHING,
    )
)
def test_pydantic_models_survive_or_are_refused(value: Aliased) -> None:
    outer = Aliased.model_construct(inner=[value])
    assert survives(value, Aliased) == survives(outer, Aliased)


@pytest.fixture(params=["sqlite", "postgres"])
def empty(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], App]:
    """Makes an empty Holdfast on either ledger."""
    server: LocalPostgres | None = (
        request.getfixturevalue("server") if request.param == "postgres" else None
    )
    return lambda: App(
        home=tmp_path_factory.mktemp("home"),
        ledger=server.new_database() if server else "",
        workers=1,
    )


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(ANYTHING, min_size=10, max_size=25))
def test_generated_values_through_workers_and_both_ledgers(
    empty: Callable[[], App], values: list[Any]
) -> None:
    app = empty()
    plain = [value for value in values if _is_plain(value)]
    sent = [
        {"key": str(number), "value": value} for number, value in enumerate(plain) if _fits(value)
    ]
    for value in plain:
        if not _fits(value):
            with pytest.raises(InputError, match="64 bits are kept"):
                app.submit(passed_on, {"key": "wide", "value": value})
    app.run([passed_on], [(passed_on, one) for one in sent])
    reads = app.reads()
    for one in sent:
        found = reads.item(reads.item_by_key(str(one["key"])) or 0)
        assert found["state"] == "completed", found["timeline"]
        assert (
            difference([one["value"]], json.loads(output_of(found["output"], app.store()))) is None
        )
