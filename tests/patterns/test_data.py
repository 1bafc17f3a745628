"""Images, arrays, tables and files pass between steps as artifacts; they are kept as long as
something refers to them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import App, Artifact
from holdfast.model import media
from holdfast.model.codec import decode, encode
from holdfast.model.values import digests
from holdfast.stores.collecting import collect
from holdfast.stores.directory import DirectoryStore
from tests.data_samples import Report, Scan, forgotten, scanned
from tests.patterns.conftest import Patterns


def scan(app: App, name: str, pages: int = 2) -> Scan:
    with media.using(app.store()):
        return Scan(name, Artifact.of(f"the file {name}".encode(), "text/plain", "scan.txt"), pages)


def report(run: Patterns, key: str) -> Report:
    found = run.item(key)["output"]
    data = found if isinstance(found, bytes) else run.app.store().fetch(found)
    made: Report = decode(data, Report)
    return made


def age(app: App, seconds: float = 100_000.0) -> None:
    for path in Path(app.settings.artifacts_place).glob("??/*"):
        os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


def test_every_kind_passes_between_processes_threads_and_the_loop(run: Patterns, app: App) -> None:
    run(scanned, scan(app, "a", 3))
    made = report(run, "a")
    assert made.rows == 3
    with media.using(app.store()):
        assert made.file.read() == b"the file a"
        assert np.load(made.first.open(), allow_pickle=False).shape == (10, 20, 3)
        assert made.table.media_type == "application/vnd.apache.arrow.stream"


def test_plain_python() -> None:
    made = scanned(Scan("a", Artifact.of(b"x")))
    assert made.rows == 2


def test_retention_clears_intermediates_and_collection_removes_what_nothing_refers_to(
    run: Patterns, app: App
) -> None:
    run(scanned, scan(app, "a", 3))
    age(app)
    nothing_yet = app.collect(3600.0)
    assert (nothing_yet.orphans, nothing_yet.referenced) == (0, nothing_yet.artifacts)
    assert app.purge([scanned]) == 1
    assert app.purge([scanned]) == 0
    assert app.collect(3600.0, dry_run=True).orphans > 3
    removed = app.collect(3600.0)
    assert removed.orphans > 3
    assert app.collect(3600.0).orphans == 0
    made = report(run, "a")
    with media.using(app.store()):
        for kept in (made.file, made.first, made.table):
            assert kept.read()
    assert app.reads().audit(0)["balanced"]
    assert [one["state"] for one in run.item("a")["timeline"]].count("succeeded") == 7, (
        "what happened stays known"
    )


def test_outputs_may_go_too_and_the_item_is_archived(run: Patterns, app: App) -> None:
    run(forgotten, scan(app, "a"))
    app.purge([forgotten])
    assert run.state("a")[0] == "archived"
    assert app.reads().audit(0)["balanced"]
    age(app)
    app.collect(3600.0)
    with media.using(app.store()):
        assert len(list(Path(app.settings.artifacts_place).glob("??/*"))) == 2, (
            "the payload and its file"
        )


def test_evidence_of_an_open_dead_letter_is_never_cleared(run: Patterns, app: App) -> None:
    from tests.pattern_samples import Claim, two_of

    run(two_of, Claim("b", words="quick fails"))
    object.__setattr__(two_of, "keep", scanned.keep)
    try:
        assert app.purge([two_of]) == 0
        (dead_letter,) = app.reads().dead_letters(None, "open", 9)
        app.discard([dead_letter["dead_letter"]], "looked at")
        assert app.purge([two_of]) == 1
    finally:
        object.__setattr__(two_of, "keep", type(scanned.keep)())


def test_an_orphan_that_is_put_again_is_young_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    old, again = store.put(b"old"), store.put(b"again")
    for path in (tmp_path / "store").glob("??/*"):
        os.utime(path, (1_000, 1_000))
    store.put(b"again")
    found = collect(
        tmp_path / "store",
        set(),
        os.stat(tmp_path / "store" / again[:2] / again[2:]).st_mtime + 10,
        3600.0,
        False,
    )
    assert found.orphans == 1
    assert store.get(again) == b"again"
    assert old not in set(store.digests())


@pytest.mark.parametrize("put_again", [False, True])
def test_a_collection_that_died_in_between_is_finished_by_the_next(
    tmp_path: Path, put_again: bool
) -> None:
    store = DirectoryStore(tmp_path / "store")
    digest = store.put(b"data")
    path = tmp_path / "store" / digest[:2] / digest[2:]
    os.utime(path, (1_000, 1_000))
    if put_again:
        store.put(b"data")
    now = 10_000.0 if not put_again else path.stat().st_mtime + 10
    os.rename(path, path.with_name(f".orphan-{path.name}"))
    collect(tmp_path / "store", {digest} if put_again else set(), now, 3600.0, False)
    assert path.exists() == put_again
    assert not list((tmp_path / "store").glob("??/.orphan-*"))


def test_nothing_is_pickled() -> None:
    with pytest.raises(TypeError, match="Python objects"):
        encode(np.array([object()], dtype=object))
    harmful = io.BytesIO()
    np.save(harmful, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    one = Artifact.of(harmful.getvalue(), "application/x-npy")
    with pytest.raises(Exception, match="allow_pickle"):
        decode(encode(one), np.ndarray)
    with pytest.raises(Exception, match="no reference"):
        decode(b"[1, 2]", np.ndarray)


def test_a_text_that_looks_like_a_reference_is_none() -> None:
    hostile: Any = {"text": '"$artifact":"' + "0" * 64 + '"'}
    assert digests(json.dumps(hostile).encode()) == ()
    assert digests(encode(Artifact.of(b"x"))) == (Artifact.of(b"x").digest,)
