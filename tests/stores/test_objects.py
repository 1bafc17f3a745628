"""Artifacts on object storage, against a real local server that speaks S3, and on the library's own
local backend."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from holdfast import App
from holdfast.errors import InputError, LedgerUnavailableError, StoreError
from holdfast.model.codec import encode
from holdfast.model.values import Listing, Stored
from holdfast.stores.objects import ObjectStore
from holdfast.stores.opening import open_store
from tests.samples import Order, large


def test_bytes_come_back_under_their_digest(place: str) -> None:
    store = open_store(place)
    digest = store.put(b"some bytes")
    assert digest == hashlib.sha256(b"some bytes").hexdigest()
    assert store.put(b"some bytes") == digest
    assert open_store(place).get(digest) == b"some bytes"
    with pytest.raises(StoreError, match="restore it from a backup"):
        store.get("0" * 64)
    with pytest.raises(StoreError, match="no artifact digest"):
        store.get("../../etc/passwd")


def test_large_values_and_elements_of_lists(place: str) -> None:
    store = open_store(place)
    text = encode("x" * 100_000)
    kept = store.keep(text)
    assert isinstance(kept, Stored)
    assert store.fetch(kept) == text
    elements = encode([{"n": n, "text": "y" * 100} for n in range(3000)])
    listing = store.keep(elements, as_list=True)
    assert isinstance(listing, Listing)
    assert (listing.count, len(listing.chunks)) == (3000, 3)
    assert [store.fetch(listing.locate(n)) for n in (0, 1, 2999)] == [
        encode({"n": n, "text": "y" * 100}) for n in (0, 1, 2999)
    ]
    assert store.fetch(listing) == elements


def test_a_pipeline_keeps_its_large_values_there(place: str, postgres: str, tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger=postgres, artifacts=place, workers=1)
    app.run([large], [(large, Order("a"))])
    (row,) = app.reads().status()
    assert (row["completed"], app.reads().audit(0)["balanced"]) == (1, True)
    assert not (tmp_path / "home" / "artifacts").exists()


def test_an_address_that_cannot_be_read_and_a_server_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match="s3://BUCKET/PREFIX"):
        open_store("nonsense://x")
    for name, value in (
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "x"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(LedgerUnavailableError, match="cannot be reached"):
        ObjectStore("s3://bucket/x").put(b"1")
