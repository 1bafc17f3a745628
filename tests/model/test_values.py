"""Policies, codecs and ids: small values, checked with random ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from holdfast import DefinitionError, InputError, Retry, StepError
from holdfast.errors import NotFoundError
from holdfast.model.classes import classify
from holdfast.model.codec import check_payload, decode, encode, join, split
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


@pytest.mark.parametrize(("text", "value"), [("50ms", 0.05), ("60s", 60), ("5m", 300), ("2h", 7200), ("7d", 604800), (1.5, 1.5)])
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


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(), lambda inner: st.lists(inner))))
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
def test_a_long_list_is_kept_in_chunks_readable_alone(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
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
