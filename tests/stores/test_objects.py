"""Artifacts on object storage, against a real local server that speaks S3, and on the library's own local backend."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import App
from holdfast.errors import InputError, LedgerUnavailableError, StoreError
from holdfast.model.codec import encode
from holdfast.model.values import Listing, Stored
from holdfast.stores.objects import ObjectStore
from holdfast.stores.opening import open_store
from tests.samples import Order, large


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """An S3 server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture(params=["s3", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "local":
        (tmp_path / "objects").mkdir()
        return f"file://{tmp_path}/objects"
    for name, value in (
        ("AWS_ENDPOINT", request.getfixturevalue("endpoint")), ("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = f"holdfast-{os.urandom(4).hex()}"
    _make_bucket(os.environ["AWS_ENDPOINT"], bucket)
    return f"s3://{bucket}/artifacts"


def _make_bucket(endpoint: str, bucket: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    client.create_bucket(Bucket=bucket)


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
    assert [store.fetch(listing.locate(n)) for n in (0, 1, 2999)] == [encode({"n": n, "text": "y" * 100}) for n in (0, 1, 2999)]
    assert store.fetch(listing) == elements


def test_a_pipeline_keeps_its_large_values_there(place: str, postgres: str, tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger=postgres, artifacts=place, workers=1)
    app.run([large], [(large, Order("a"))])
    (row,) = app.reads().status()
    assert (row["completed"], app.reads().audit(0)["balanced"]) == (1, True)
    assert not (tmp_path / "home" / "artifacts").exists()


def test_an_address_that_cannot_be_read_and_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="s3://BUCKET/PREFIX"):
        open_store("nonsense://x")
    for name, value in (("AWS_ENDPOINT", "http://127.0.0.1:1"), ("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(LedgerUnavailableError, match="cannot be reached"):
        ObjectStore("s3://bucket/x").put(b"1")
