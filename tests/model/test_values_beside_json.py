"""What a value has that its JSON does not say: a member's other value, what was computed and
remembered, what hangs on a text, defaults."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, computed_field
from pydantic_core import core_schema

from holdfast import App, Artifact, DefinitionError, pipeline, step
from holdfast.errors import ResultError
from holdfast.executors.attempt import checked_output
from holdfast.model.certain import check_of
from holdfast.model.codec import check_payload, decode, keep
from holdfast.model.differences import difference
from holdfast.model.storable import check_storable


class Shouted(str, enum.Enum):
    """Its value is not what it was written as."""

    A = "a"

    def __new__(cls, value: str) -> Shouted:
        made = str.__new__(cls, value)
        made._value_ = value.upper()
        return made


class Wide(enum.IntEnum):
    """No 64 bits."""

    BIG = 2**63


class Remembers(BaseModel):
    """Computes once."""

    number: int

    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def twice(self) -> int:
        return self.number * 2

    @cached_property
    def thrice(self) -> int:
        return self.number * 3


class Open(BaseModel):
    """Keeps what it does not know, even under the name of a field."""

    model_config = ConfigDict(extra="allow")
    a: int = Field(0, alias="A")


class Noted(str):
    """A text with something beside it."""

    note: str

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            cls, serialization=core_schema.to_string_ser_schema()
        )


class Page(BaseModel):
    """Has such a text."""

    text: Noted


@dataclass
class Plain:
    """Has a default."""

    name: str
    number: int
    words: tuple[str, ...] = ()


def touched() -> Remembers:
    value = Remembers(number=1)
    assert (value.twice, value.thrice) == (2, 3)
    return value


def noted() -> Page:
    value = Page(text="x")  # type: ignore[arg-type]
    value.text.note = "mine"
    return value


def turned() -> Image.Image:
    image = Image.new("RGB", (2, 2))
    image.getexif()[0x0112] = 6
    return image


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (Shouted.A, Shouted, "Invalid enum value"),
        (
            Open.model_validate({"A": 3, "a": 9}),
            Open,
            r"\$\.a \(int\) would be read back as another int",
        ),
        (noted(), Page, r"\$\.text\.note would not be read back"),
        (turned(), Image.Image, r"image\.info\['exif'\] = image\.getexif\(\)\.tobytes\(\)"),
        (
            {(1, 2): 3},
            dict[tuple[int, int], int],
            "a key of .* of type tuple, which JSON has no keys of",
        ),
        ({True: 3}, dict[bool, int], "a key of .* of type bool, which JSON has no keys of"),
    ],
)
def test_what_would_be_lost_beside_it_is_refused(value: Any, kind: Any, said: str) -> None:
    node = SimpleNamespace(name="ocr", step=SimpleNamespace(returns=kind))
    with pytest.raises(ResultError, match=said):
        checked_output(node, value)  # type: ignore[arg-type]


def test_attributes_that_stand_in_for_defaults_are_seen() -> None:
    """A default that was not given is no attribute of an object that was read; another attribute
    may be there in its place."""
    value = decode(b'{"name":"a","number":1}', Plain)
    check = check_of(Plain)
    assert check is not None
    assert check(value), "it need not be read back"
    assert decode(keep(value, Plain), Plain) == value
    value.note = "mine"
    with pytest.raises(ValueError, match="note is no field of Plain"):
        keep(value, Plain)


def test_what_was_computed_from_fields_is_computed_again() -> None:
    kept = decode(keep(touched(), Remembers), Remembers)
    assert difference(touched(), kept) is None
    assert (kept.twice, kept.thrice) == (2, 3)


@pytest.mark.parametrize(
    ("kind", "said"), [(Wide, "cannot be read back"), (Annotated[int, [1]], "cannot be hashed")]
)
def test_a_type_that_no_reader_takes_is_refused_by_name(kind: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=f"^step 'ocr': .*{said}"):
        check_storable("step 'ocr'", kind)


def test_metadata_that_cannot_be_compared_are_refused_at_the_step() -> None:
    with pytest.raises(
        DefinitionError,
        match=r"test_values_beside_json\.py:\d+: step 'take': the annotation of 'number' has "
        r"metadata",
    ):

        @step
        def take(number: Annotated[int, ["unhashable"]]) -> int:
            return number


def test_an_artifact_is_of_bytes_or_of_a_path() -> None:
    with pytest.raises(TypeError, match=r"not a str: give Path\(x\), or x\.encode\(\)"):
        Artifact.of("page.pdf")  # type: ignore[arg-type]


# -- defaults of payloads ------------------------------------------------------------------------


@dataclass
class Upload:
    """Makes its own id."""

    name: str
    id: str = field(default_factory=lambda: uuid4().hex)


class Sent(msgspec.Struct):
    """Likewise."""

    name: str
    id: str = msgspec.field(default_factory=lambda: uuid4().hex)


@dataclass
class Counted:
    """Computes with what it is given."""

    number: int

    def __post_init__(self) -> None:
        self.number += 1


@step(runs="threads")
def one(id: str) -> str:
    """The id, as one step sees it."""
    return id


@step(runs="threads")
def other(id: str, first: str) -> str:
    """As another does."""
    return "equal" if id == first else f"{first} and {id}"


def uploads(kind: Any) -> Any:
    def uploads(upload: Any) -> Any:
        return other(upload.id, one(upload.id))

    uploads.__annotations__ = {"upload": kind, "return": str}
    return pipeline(version="1", key=lambda upload: upload.name)(uploads)


@pytest.mark.parametrize("kind", [Upload, Sent])
def test_a_default_that_is_made_is_made_once_for_all_steps(kind: Any, tmp_path: Path) -> None:
    app, flow = App(home=tmp_path / "home", ledger="", workers=1), uploads(kind)
    app.run([flow], [(flow, {"name": "a"})])
    reads = app.reads()
    assert reads.item(reads.item_by_key("a") or 0)["output"] == b'"equal"'
    assert [one.status for one in app.submit_many(flow, [{"name": "a"}])] == ["same"], (
        "it is the same payload, though its id would be another one"
    )
    assert [one.status for one in app.submit_many(flow, [{"name": "a", "id": "mine"}])] == [
        "conflict"
    ]


def test_a_payload_that_computes_with_what_it_is_given_is_kept_as_it_was_given() -> None:
    assert check_payload({"number": 1}, Counted) == b'{"number":1}'
