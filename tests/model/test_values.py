"""Policies, codecs and ids: small values, checked with random ones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pydantic.dataclasses
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    field_serializer,
    field_validator,
)

from holdfast import DefinitionError, InputError, Retry, StepError, pipeline, step
from holdfast.errors import LedgerUnavailableError, NotFoundError, ResultError
from holdfast.executors.attempt import checked_output
from holdfast.model import media
from holdfast.model.certain import check_of
from holdfast.model.classes import classify
from holdfast.model.codec import check_payload, decode, encode, join, keep, plainly, split
from holdfast.model.differences import difference
from holdfast.model.duration import seconds
from holdfast.model.edge_types import fits
from holdfast.model.failure import clean, failure_of
from holdfast.model.ids import Minter, parse, show
from holdfast.model.values import Element, Listing, decode_reference, encode_reference
from holdfast.stores.directory import DirectoryStore


@dataclass
class Inner:
    a: int


class Model(BaseModel):
    b: int
    inner: Inner


@pytest.mark.parametrize(
    ("text", "value"),
    [("50ms", 0.05), ("60s", 60), ("5m", 300), ("2h", 7200), ("7d", 604800), (1.5, 1.5)],
)
def test_durations(text: Any, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "1", "1 week", "-1s", 0, -1])
def test_durations_that_are_none(text: Any) -> None:
    with pytest.raises(DefinitionError):
        seconds(text)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_below_the_cap(failures: int, jitter: float) -> None:
    delay = Retry(base="1s", cap="60s").delay(failures, jitter)
    assert 0 <= delay <= 60
    assert delay == jitter * min(60, 2.0 ** (failures - 1))


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(),
            lambda inner: st.lists(inner),
        )
    )
)
def test_lists_split_and_join(values: list[Any]) -> None:
    parts = split(encode(values))
    assert [msgspec.json.decode(part) for part in parts] == values
    assert msgspec.json.decode(join(parts)) == values


def test_dataclasses_and_pydantic_models_come_back_as_themselves() -> None:
    value = Model(b=1, inner=Inner(2))
    assert decode(encode(value), Model) == value


@pytest.mark.parametrize("payload", [{"a": "x"}, object(), "\ud800"])
def test_a_payload_that_does_not_fit_is_refused(payload: Any) -> None:
    with pytest.raises(InputError, match="not a"):
        check_payload(payload, Inner)


@given(st.lists(st.integers(0, 2**42), min_size=1))
def test_ids_grow_whatever_the_clock_does_and_read_back(clock: list[int]) -> None:
    minter = Minter()
    ids = [minter.mint(now) for now in clock]
    assert ids == sorted(set(ids))
    assert [parse(show(one)) for one in ids] == ids


@pytest.mark.parametrize("text", ["", "..", "../../etc", "0" * 12, "u" * 13])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(NotFoundError):
        parse(text)


@pytest.mark.parametrize(
    ("produced", "wanted", "fit"),
    [
        (list[int], list[int], True),
        (bool, int, True),
        (int, float, True),
        (int, int | None, True),
        (int | None, int, False),
        (list[int], list[str], False),
        (Any, int, True),
        (list, list[int], True),
        (str, object, True),
        (Inner, Model, False),
    ],
)
def test_edge_types(produced: Any, wanted: Any, fit: bool) -> None:
    assert fits(produced, wanted) is fit


def test_errors_are_classified_and_cleaned() -> None:
    assert classify(MemoryError()) == "memory"
    assert classify(ValueError()) == "transient"
    assert classify(ValueError(), (ValueError,)) == "bad-input"
    assert failure_of(StepError("lone \ud800 surrogate")).message == "lone ? surrogate"
    assert clean("ok") == "ok"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(alphabet='xyz\n"é', max_size=300), min_size=400, max_size=3000))
def test_a_long_list_is_kept_in_chunks_readable_alone(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    store = DirectoryStore(tmp_path_factory.mktemp("artifacts"))
    data = encode(values)
    kept = store.keep(data, as_list=True)
    if isinstance(kept, Listing):
        assert decode_reference(encode_reference(kept)) == kept
        for index in (0, len(values) // 2, len(values) - 1):
            assert msgspec.json.decode(store.fetch(kept.locate(index))) == values[index]
        assert msgspec.json.decode(store.fetch(kept)) == values
    else:
        assert kept == data


def test_artifacts_have_no_path_from_outside(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a")
    for digest in ("../../x", "A" * 64, ""):
        with pytest.raises(Exception, match="no artifact digest"):
            store.fetch(Element(digest, 0))


def test_a_damaged_artifact_is_noticed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a")
    digest = store.put(b"x" * 100_000)
    (tmp_path / "a" / digest[:2] / digest[2:]).write_bytes(b"y")
    with pytest.raises(Exception, match="damaged"):
        store.get(digest)


class Base(BaseModel):
    """A model with a private attribute, and a validator that changes its field once more each
    time."""

    number: int = 0
    _seen: int = PrivateAttr(0)


class Derived(Base):
    """Has one field more."""

    more: int = 1


class Grows(BaseModel):
    """Is not idempotent."""

    number: int

    @field_validator("number")
    @classmethod
    def _grow(cls, number: int) -> int:
        return number + 1


class Shown(BaseModel):
    """Writes its field in a way that cannot be read."""

    number: int

    @field_serializer("number")
    def _show(self, number: int) -> str:
        return f"{number}!"


class Hidden(BaseModel):
    """Has a field that is never written."""

    text: str = ""
    tokens: list[int] = Field(default_factory=list, exclude=True)


class Holder(BaseModel):
    """Holds one of those."""

    inner: dict[str, Hidden | None] = {}


class Swapped(BaseModel):
    """Each field has the other's name as its alias."""

    a: int = Field(1, alias="b")
    b: int = Field(2, alias="a")


class Login(BaseModel):
    """Has a secret."""

    password: SecretStr


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic's, with defaults that only pydantic understands."""

    number: int = Field(default=3, alias="Number")
    list_: list[int] = Field(default_factory=list)


@dataclass
class Wider(Inner):
    """A subclass with a field of its own."""

    b: int = 2


@dataclass
class Grown:
    """Computes with what it is given."""

    a: int

    def __post_init__(self) -> None:
        self.a += 1


@dataclass
class Loaded:
    """Takes something that is no field."""

    a: int
    extra: InitVar[int] = 0


@dataclass
class Weight:
    """A number."""

    kilos: float


@dataclass
class Branch:
    """Holds itself."""

    inner: list[Branch]


@dataclass
class Held:
    """A secret deep in an annotation."""

    logins: dict[str, list[SecretBytes]]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def branches(depth: int) -> Branch:
    value = Branch([])
    for _ in range(depth):
        value = Branch([value])
    return value


def noted(value: Any) -> Any:
    value.note = "mine"
    return value


def seen(value: Base) -> Base:
    value._seen = 3
    return value


def jpeg() -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "JPEG")
    return file


CYCLE: list[Any] = []
CYCLE.append({"again": CYCLE})
BERLIN = datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, float),
        ([1, 2.0], list[float]),
        (-0.0, float),
        (2**70, Any),
        ("nul \0", str),
        ({"z": 1, "a": 2}, dict[str, int]),
        ({UUID(int=1): {1: 2}}, dict[UUID, dict[int, int]]),
        (Decimal("1.10"), Decimal),
        (datetime(2024, 1, 1, 1, 2, 3, 4, timezone(timedelta(hours=5, minutes=30))), datetime),
        (datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")), datetime),
        (Base(number=1), Base),
        (Derived(more=7), Base | Derived),
        (Checked(Number=4, list_=[1]), Checked),
        (bytearray(b"x"), bytearray),
        (nested(63), Any),
        (branches(31), Branch),
        (np.ones((4, 4), order="F")[::2], np.ndarray),
        (np.array([(1, 2)], dtype=[("a", int), ("b", "M8[s]")]), np.ndarray),
    ],
)
def test_what_comes_back_as_it_is(value: Any, kind: Any) -> None:
    assert difference(value, decode(keep(value, kind), kind)) is None


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (
            Derived(),
            Base,
            r"\$ is of type \S+Derived, and would be read back as \S+Base: give a plain Base",
        ),
        ([Inner(1), Wider(1)], list[Inner], r"\$\[1\] is of type \S+Wider"),
        (seen(Base()), Base, r"\$\._seen"),
        (Grows(number=1), Grows, r"\$\.number"),
        (Shown(number=1), Shown, r"\$\.number: Input should be a valid integer"),
        (Grown(1), Grown, r"\$\.a \(int\) would be read back as another int"),
        (noted(Inner(1)), Inner, r"\$\.note is no field of Inner"),
        (Weight(3), Weight, r"\$\.kilos is of type int, .* float: give a plain float"),
        (Weight(float("nan")), Weight, r"\$\.kilos is nan"),
        (True, int, "bool"),
        (3.0, int, "float"),
        (None, str, "is a return missing"),
        ((1, 2), Any, "tuple, and would be read back as list: say tuple in the annotation"),
        ({1: 2}, Any, r"a key of \$ is of type int"),
        ({"a": {"\ud800": 1}}, Any, r"a key of \$\.a is of type str: text with a lone surrogate"),
        (UUID(int=1), Any, "UUID"),
        (np.int64(3), int, r"give x\.item\(\)"),
        (np.ma.masked_array([1], [True]), np.ndarray, "MaskedArray"),
        (np.array([1], dtype=np.dtype("i4", metadata={"a": 1})), np.ndarray, "cannot be kept"),
        (BERLIN, datetime, "only the offset of Europe/Berlin"),
        (datetime(2024, 1, 1, fold=1), datetime, "another datetime"),
        (Image.open(jpeg()), Image.Image, r"image\.copy\(\)"),
        (CYCLE, Any, "contains itself"),
        (nested(300), Any, "deeper than 64"),
        (nested(100_000), Any, "too deeply"),
        (branches(300), Branch, "deeper than 64"),
        (memoryview(b"abcd").cast("I"), memoryview, "memoryview"),
    ],
)
def test_what_would_be_changed_is_refused_with_its_field_and_type(
    value: Any, kind: Any, said: str
) -> None:
    node = SimpleNamespace(name="ocr", step=SimpleNamespace(returns=kind))
    with pytest.raises(
        ResultError, match=f"^step 'ocr' returned something that is not a .*{said}"
    ) as error:
        checked_output(node, value)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert classify(error.value) == "bug"
    with pytest.raises(InputError, match=said):
        check_payload(value, kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Hidden, "field tokens: it has exclude=True"),
        (list[Holder], "field inner.tokens: it has exclude=True"),
        (Swapped, "field a: its alias 'b' is the name of another field"),
        (Login, r"field password: it is a SecretStr.*holdfast\.secret\(name\)"),
        (Held, r"field logins: it is a SecretBytes.*holdfast\.secret\(name\)"),
        (SecretStr | None, "SecretStr"),
        (Loaded, "InitVar"),
        (Inner | Wider, "more than one dataclass"),
        (Path, r"Path is no .* type; give str\(x\)"),
        (np.float64, "a plain number"),
        (Iterator[int], r"give list\(x\)"),
        (dict[str, complex], "complex"),
    ],
)
def test_a_type_that_loses_something_is_refused_where_it_is_declared(kind: Any, said: str) -> None:
    def give(given: str) -> Any:
        return given

    give.__annotations__ = {"given": str, "return": kind}
    made = step(name="give")(give)
    with pytest.raises(DefinitionError, match=rf"^tests/\S+:\d+: step 'give': .*{said}"):
        pipeline(version="1", key=str, name="giving")(_taking(str, made))
    give.__annotations__ = {"given": kind, "return": str}
    with pytest.raises(DefinitionError, match=said):
        pipeline(version="1", key=str, name="taking")(_taking(kind, step(name="take")(give)))


def _taking(kind: Any, made: Any) -> Any:
    def taking(given: Any) -> Any:
        return made(given)

    taking.__annotations__ = {"given": kind}
    return taking


@pytest.mark.parametrize(
    "mode", "1 L P RGB RGBA CMYK YCbCr LAB HSV I F LA PA RGBX RGBa La I;16 I;16B".split()
)
def test_images_of_every_mode_come_back_with_their_metadata(mode: str) -> None:
    size = (5, 7)
    image = Image.frombytes(
        mode,
        size,
        bytes(number * 37 % 256 for number in range(len(Image.new(mode, size).tobytes()))),
    )
    if mode in ("P", "PA"):
        image.putpalette(bytes(range(256)) * 3)
    image.info = {
        "dpi": (300.0, 300),
        "exif": b"x",
        "ratio": IFDRational(1, 3),
        "list": [{1: None}],
    }
    back = decode(keep(image, Image.Image), Image.Image)
    assert back == image
    assert (type(back), back.info["ratio"]) == (Image.Image, IFDRational(1, 3))
    image.info["what"] = object()
    with pytest.raises(ValueError, match=r"image\.info\['what'\] is of type builtins\.object"):
        keep(image, Image.Image)


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)])
def test_an_empty_image_is_one(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    assert decode(keep(image, Image.Image), Image.Image) == image


def test_an_ordinary_image_file_is_read_as_one() -> None:
    back = decode(encode(media.Artifact.of(jpeg().getvalue(), "image/jpeg")), Image.Image)
    assert (type(back), back.size, back.mode) == (Image.Image, (4, 4), "RGB")


def test_a_full_disk_is_not_the_values_fault() -> None:
    class Full:
        def put(self, data: bytes) -> str:
            raise LedgerUnavailableError("no space left")

        def get(self, digest: str) -> bytes:
            raise LedgerUnavailableError("no disk")

    with media.using(Full()), pytest.raises(LedgerUnavailableError):
        keep([np.zeros(3)], list[np.ndarray])


def test_aliases_are_understood_from_outside_and_names_are_kept() -> None:
    given = {"Number": 4, "list_": [1]}
    assert check_payload(given, Checked) == b'{"number":4,"list_":[1]}'
    assert decode(b"{}", Checked) == Checked()


def test_a_number_too_long_to_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="digits"):
        keep({"x": 10**5000}, Any)


def test_plain_data_are_taken_for_a_type_and_other_data_are_not() -> None:
    assert check_payload({"a": 1}, Inner) == b'{"a":1}'
    with pytest.raises(InputError, match=r"\$\.a is of type tuple"):
        check_payload({"a": (1,)}, Any)
    assert plainly(Inner(1)) == b'{"a":1}'


@pytest.mark.parametrize(
    "kind",
    [
        str,
        float,
        str | None,
        Inner,
        list[Weight],
        dict[str, Any],
        Any,
        tuple[int, ...],
        tuple[str, Inner],
    ],
)
def test_most_values_are_seen_to_be_safe_without_being_read_back(kind: Any) -> None:
    check = check_of(kind)
    assert check is not None
    good = {
        str: "x",
        float: 1.5,
        str | None: None,
        Inner: Inner(1),
        list[Weight]: [Weight(1.0)],
        dict[str, Any]: {"a": [1, {"b": 2.0}] * 30},
        Any: [{"a": 1}] * 30,
        tuple[int, ...]: (1, 2),
        tuple[str, Inner]: ("x", Inner(2)),
    }
    assert check(good[kind])
    for bad in (
        float("inf"),
        [Weight(float("nan"))],
        [Weight(1)],
        Wider(1),
        Inner(True),
        [1],
        {"a": float("nan")},
        {1: 2},
        (True,),
        noted(Inner(1)),
    ):
        assert not check(bad) or decode(keep(bad, kind), kind) == bad
