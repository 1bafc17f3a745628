"""Artifacts belong to the ledgers that put them; none is trusted unseen; none that an attempt may
still name is collected."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import from_url

from holdfast import App, Artifact, pipeline, step
from holdfast.errors import InputError, LedgerUnavailableError, StoreError
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model import media
from holdfast.model.codec import encode
from holdfast.model.values import Element, Listing, Stored
from holdfast.store import StoreAddress
from holdfast.stores import object_marks
from holdfast.stores.directory import DirectoryStore
from holdfast.stores.marks import UNKNOWN, Marks
from holdfast.stores.object_marks import BEGUN, DONE, ObjectMarks
from holdfast.stores.objects import ObjectStore
from holdfast.stores.opening import open_store
from tests.command_line import Line
from tests.object_storage import endpoint, place

__all__ = ["endpoint", "place"]

DAY = 86_400.0
OLD = 200_000.0


@step()
async def size(text: str) -> int:
    return len(text)


@step(timeout="3d")
async def slow(text: str) -> int:
    return len(text)


@pipeline(version="1", key=lambda text: text[:5])
def sized(text: str) -> int:
    return size(text)


@pipeline(version="1", key=lambda text: text[:5])
def slowly(text: str) -> int:
    return slow(text)


@step()
async def weighed(scan: Artifact) -> int:
    return len(scan.read())


@pipeline(version="1", key=lambda scan: scan.digest[:8])
def filed(scan: Artifact) -> int:
    return weighed(scan)


LARGE = "a" * 100_000


def apps(tmp_path: Path, where: str = "") -> tuple[App, App]:
    """Two ledgers with one place for artifacts."""
    shared = where or str(tmp_path / "artifacts")
    return App(home=tmp_path, ledger=f"sqlite:///{tmp_path}/a.db", artifacts=shared), App(
        home=tmp_path, ledger=f"sqlite:///{tmp_path}/b.db", artifacts=shared
    )


def age(app: App, seconds: float = OLD) -> None:
    """So much time has passed since artifacts were put."""
    for path in Path(app.settings.artifacts_place).glob("??/*"):
        os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


def files(app: App) -> set[str]:
    return set(DirectoryStore(Path(app.settings.artifacts_place)).digests())


def states(app: App) -> list[str]:
    with closing(app.reads()) as reads:
        return [row["state"] for row in reads.items(None, None, 99)]


# -- whose they are ------------------------------------------------------------------------------


def test_collecting_for_one_ledger_leaves_what_another_has_put(tmp_path: Path) -> None:
    ours, others = apps(tmp_path)
    list(ours.submit_many(sized, [LARGE]))
    others.register([sized])
    age(ours)
    found = others.collect()
    assert (found.orphans, found.of_others) == (0, 1)
    ours.run([sized])
    assert states(ours) == ["completed"]
    assert ours.reads().audit(0)["balanced"]


def test_what_both_have_put_goes_when_neither_needs_it(tmp_path: Path) -> None:
    ours, others = apps(tmp_path)
    for app in (ours, others):
        app.register([sized])
        app.store().put(LARGE.encode())
    assert len(files(ours)) == 1
    age(ours)
    assert ours.collect().orphans == 0, "the other one has it still"
    assert len(files(ours)) == 1
    assert others.collect().orphans == 1
    assert not files(ours)
    assert not list(Path(ours.settings.artifacts_place).glob(".ledgers/*/??/*")), "nor marks"


def test_what_no_ledger_has_marked_stays_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A store that a release before marks has written: there may be a ledger of that release beside
    this one."""
    ours, others = apps(tmp_path)
    old = DirectoryStore(Path(ours.settings.artifacts_place))
    both, alone = old.put(b"x" * 100), old.put(b"y" * 100)
    ours.register([sized])
    ours.store().put(b"x" * 100)
    age(ours)
    found = ours.collect()
    assert (found.orphans, found.of_nobody) == (0, 2), (
        "also what we have put again: it was there before"
    )
    assert files(ours) == {both, alone}
    assert others.writer().close() is None
    assert ours.collect(unknown=True, dry_run=True).orphans == 2
    assert ours.collect(unknown=True).orphans == 2
    assert not files(ours)


def test_what_a_ledger_of_an_older_release_refers_to_is_marked_by_its_first_collection(
    tmp_path: Path,
) -> None:
    ours, others = apps(tmp_path)
    list(ours.submit_many(sized, [LARGE]))
    marks = Path(ours.settings.artifacts_place) / ".ledgers"
    for one in marks.glob("*/??/*"):
        one.unlink()
    age(ours)
    assert others.writer().close() is None
    assert (others.collect().orphans, len(files(ours))) == (0, 1)
    assert ours.collect().referenced == 1
    assert (others.collect().of_others, len(files(ours))) == (1, 1)
    assert others.collect(unknown=True).orphans == 0, "even then: it has an owner"


def test_each_ledger_has_an_id_of_its_own_and_a_copy_gets_another(
    tmp_path: Path, postgres: str
) -> None:
    ours, others = apps(tmp_path)
    ids = []
    for app in (ours, others, App(home=tmp_path, ledger=postgres)):
        app.writer().close()
        ids.append(app.store_address().ledger)
        assert app.store_address().ledger == ids[-1]
    assert len(set(ids)) == 3
    assert all(len(one) == 32 and one.isalnum() for one in ids)


def test_a_ledger_that_is_moved_to_postgresql_takes_its_artifacts_along(
    tmp_path: Path, postgres: str, line: Line
) -> None:
    ours, _ = apps(tmp_path)
    source = App(home=tmp_path, ledger=ours.settings.ledger)
    list(source.submit_many(sized, [LARGE]))
    line("ledger", "copy", source.settings.ledger, postgres)
    moved = App(home=tmp_path, ledger=postgres)
    age(moved)
    beside = App(
        home=tmp_path,
        ledger=f"sqlite:///{tmp_path}/beside.db",
        artifacts=moved.settings.artifacts_place,
    )
    beside.writer().close()
    assert (beside.collect().orphans, beside.collect(unknown=True).of_others) == (0, 1)
    moved.run([sized])
    assert states(moved) == ["completed"]


@pytest.fixture
def line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Line:
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    return Line(capsys)


def test_the_command_says_what_stays_and_why(
    tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = apps(tmp_path)
    monkeypatch.setenv("HOLDFAST_LEDGER", ours.settings.ledger)
    monkeypatch.setenv("HOLDFAST_ARTIFACTS", ours.settings.artifacts_place)
    ours.register([slowly])
    others.register([sized])
    ours.store().put(b"ours")
    others.store().put(b"theirs")
    DirectoryStore(Path(ours.settings.artifacts_place)).put(b"before")
    age(ours, 4 * DAY)
    said = line("artifacts", "collect", "--grace", "1d", "--reason", "space", "--as", "ops")
    assert "an attempt may take 72.0 hours" in said
    assert "1 orphans of 4 bytes removed" in said
    assert "1 that other ledgers have put stay" in said
    assert "--unknown" in said
    found = json.loads(line("artifacts", "collect", "--json"))
    assert (found["of_others"], found["of_nobody"], found["orphans"], found["grace_s"]) == (
        1,
        1,
        0,
        3 * DAY + 3600,
    )
    assert "removed" in line("artifacts", "collect", "--unknown")
    (_, _, first) = json.loads(line("operations", "--json"))
    assert (first["verb"], first["who"], first["reason"], first["state"]) == (
        "collect",
        "ops",
        "space",
        "done",
    )


# -- when ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nothing_is_collected_that_the_longest_attempt_may_still_name(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    app = App(home=tmp_path, ledger="" if kind == "sqlite" else request.getfixturevalue("postgres"))
    app.register([slowly, sized])
    app.store().put(b"held by an attempt that began two days ago")
    age(app, 2 * DAY)
    found = app.collect(1.0)
    assert (found.orphans, found.grace_s, found.longest_s) == (0, 3 * DAY + 3600, 3 * DAY)
    age(app, 2 * DAY)
    assert app.collect(1.0).orphans == 1


def test_a_shorter_timeout_does_not_shorten_what_older_code_may_take(tmp_path: Path) -> None:
    from msgspec.structs import replace

    from holdfast.app import version_spec

    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    spec = version_spec(slowly)
    for longest in (10.0, 3 * DAY, 20.0, None):
        ledger.register(replace(spec, longest_s=longest), 1)
    ledger.close()
    app = App(home=tmp_path, ledger=f"sqlite:///{tmp_path}/ledger.db")
    assert app.reads().longest_attempt_s() == 3 * DAY


def test_while_a_runner_of_an_older_release_serves_a_version_nothing_is_collected(
    tmp_path: Path,
) -> None:
    from msgspec.structs import replace

    from holdfast.app import version_spec

    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    version = ledger.register(replace(version_spec(sized), longest_s=None), 1).version
    incarnation = ledger.begin("host", 1, 1, 10**12)
    ledger.health.serve(incarnation, {version: ()})
    app = App(home=tmp_path, ledger=f"sqlite:///{tmp_path}/ledger.db")
    with pytest.raises(InputError, match="runners of an older release serve sized 1"):
        app.collect()
    ledger.end(incarnation, 2)
    ledger.close()
    assert app.collect().orphans == 0


def test_a_value_makes_young_what_it_refers_to_and_refuses_what_is_gone(tmp_path: Path) -> None:
    """An upload that is admitted later than any grace, an artifact that a worker has held for
    days."""
    app = App(home=tmp_path)
    app.register([filed])
    with media.using(app.store()):
        scan, gone = Artifact.of(b"the scan"), Artifact.of(b"gone")
    age(app)
    (receipt,) = app.submit_many(filed, [scan])
    assert receipt.created
    assert app.collect(DAY).orphans == 1, "the other one"
    with pytest.raises(
        InputError, match=f"the payload refers to what is not in the artifact store.*{gone.digest}"
    ):
        list(app.submit_many(filed, [gone]))
    app.run([filed])
    assert states(app) == ["completed"]


def test_an_answer_and_an_edited_input_are_references_too(tmp_path: Path) -> None:
    app = App(home=tmp_path)
    app.register([sized])
    with media.using(app.store()):
        scans = [Artifact.of(f"scan {n}".encode()) for n in range(3)]
    list(app.submit_many(sized, ["abc"]))
    ledger = SqliteLedger(f"{app.settings.ledger_path}")
    (item,) = [row[0] for row in ledger.connection.execute("select id from items")]
    ledger.connection.execute("insert into edits values (?, 0, '', ?)", (item, encode([scans[0]])))
    columns = (
        "item, node, element_path, generation, round, kind, fresh, name, key, opened_at, due, "
        "proposed, answer"
    )
    ledger.connection.execute(
        f"insert into waits ({columns}) values (?, 0, '', 1, 0, 'review', 0, '', '', 1, 0, ?, ?)",
        (item, encode(scans[1]), encode(scans[2])),
    )
    ledger.close()
    age(app)
    assert (app.collect().orphans, len(files(app))) == (0, 3)


def test_while_the_ledger_takes_no_writes_nothing_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an attempt has put is older than any grace, and its commit waits for the disk."""
    app = App(home=tmp_path)
    app.register([sized])
    app.store().put(b"waits for its commit")
    age(app)

    def full(*given: object) -> int:
        raise LedgerUnavailableError("the disk is full")

    monkeypatch.setattr("holdfast.ledgers.lifecycle.LedgerLifecycle.begin_operation", full)
    with pytest.raises(LedgerUnavailableError):
        app.collect()
    assert len(files(app)) == 1


def test_a_clock_that_is_ahead_makes_nothing_old(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "s", "aa")
    store.put(b"young")
    assert store.collect(set(), time.time() + 10 * DAY, DAY, False).orphans == 0


# -- what is there already -----------------------------------------------------------------------


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("damage", [shorter, other, empty, longer, linked])
def test_a_damaged_file_is_written_again_and_that_is_logged(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(home=tmp_path)
    data = encode(LARGE)
    digest = app.store().put(data)
    path = Path(app.settings.artifacts_place) / digest[:2] / digest[2:]
    damage(path)
    with caplog.at_level(logging.WARNING, "holdfast"):
        (receipt,) = app.submit_many(sized, [LARGE])
    assert receipt.created
    assert f"artifact {digest} in" in caplog.text
    assert "written again" in caplog.text
    assert path.read_bytes() == data
    assert not path.is_symlink()
    app.run([sized])
    assert states(app) == ["completed"]


@pytest.mark.parametrize("damage", [shorter, other])
def test_reading_verifies_also_one_element_of_a_list(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    store = DirectoryStore(tmp_path / "s")
    elements = [{"n": n, "text": "y" * 100} for n in range(1000)]
    listing = store.keep(encode(elements), as_list=True)
    assert isinstance(listing, Listing)
    path = tmp_path / "s" / listing.chunks[0].digest[:2] / listing.chunks[0].digest[2:]
    assert [store.fetch(listing.locate(n)) for n in (0, 1, 999)] == [
        encode(elements[n]) for n in (0, 1, 999)
    ]
    assert store.holds(listing)
    damage(path)
    refused = 0
    for n in range(1000):
        try:
            assert store.fetch(listing.locate(n)) == encode(elements[n])
        except StoreError:
            refused += 1
    assert refused >= 1
    assert store.holds(listing) == (damage is other), "its size is looked at"
    with pytest.raises(StoreError, match="damaged"):
        store.fetch(listing)


def test_lists_that_an_earlier_release_has_kept_are_read_and_verified(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "s")
    elements = [encode({"n": n}) for n in range(5)]
    ends = [sum(map(len, elements[: n + 1])) for n in range(5)]
    body = b"".join(
        [*elements, *(end.to_bytes(8, "little") for end in ends), (5).to_bytes(8, "little")]
    )
    digest = store.put(body)
    assert [store.fetch(Element(digest, n)) for n in range(5)] == elements
    with pytest.raises(StoreError, match="has 5 elements"):
        store.fetch(Element(digest, 5))
    other(tmp_path / "s" / digest[:2] / digest[2:])
    with pytest.raises(StoreError, match="damaged"):
        store.fetch(Element(digest, 0))


# -- races ---------------------------------------------------------------------------------------


def test_putting_and_collecting_the_same_bytes_at_once_loses_nothing(tmp_path: Path) -> None:
    """Two processes collect as fast as they can what is not young; what was put is there, always,
    and its owner's."""
    root = tmp_path / "s"
    store = DirectoryStore(root, "aa")
    store.put(b"first")
    code = (
        "import sys, time, pathlib\n"
        "from holdfast.stores.directory import DirectoryStore\n"
        "store = DirectoryStore(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "while True: store.collect(set(), 1e12, 3600.0, False)\n"
    )
    collectors = [
        subprocess.Popen([sys.executable, "-c", code, str(root), owner], stdout=subprocess.PIPE)
        for owner in ("aa", "bb")
    ]
    lost: list[str] = []

    def put(owner: str) -> None:
        mine, marks = DirectoryStore(root, owner), Marks(root)
        for n in range(200):
            data = f"{owner} {n % 3}".encode()
            digest = mine.put(data)
            # nobody refers to it: it may go, until it is put again
            os.utime(root / digest[:2] / digest[2:], (1_000, 1_000))
            again = mine.put(data)
            if mine.get(again) != data or owner not in marks.owners(digest):
                lost.append(digest)

    try:
        for one in collectors:
            assert one.stdout is not None
            one.stdout.readline()
        threads = [threading.Thread(target=put, args=(owner,)) for owner in ("aa", "bb", "cc")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for one in collectors:
            one.kill()
            one.wait()
    assert not lost


def test_a_process_that_stands_still_with_the_lock_delays_a_put_and_does_not_stop_it_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.stores.marks.LOCK_S", 0.2)
    store, marks = DirectoryStore(tmp_path / "s", "aa"), Marks(tmp_path / "s")
    with marks.held(alone=True), pytest.raises(LedgerUnavailableError, match="does not go on"):
        store.put(b"x")
    assert store.get(store.put(b"x")) == b"x"
    assert not list((tmp_path / "s").glob("??/.new-*"))


# -- object storage ------------------------------------------------------------------------------


def test_object_storage_knows_whose_an_object_is(place: str) -> None:
    ours, others = ObjectStore(place, "aa"), ObjectStore(place, "bb")
    mine, theirs, both = ours.put(b"mine"), others.put(b"theirs"), ours.put(b"both")
    others.put(b"both")
    needed = ours.put(b"needed")
    before = ObjectStore(place)
    nobodys = before.put(b"before")
    assert ours.collect(set(), time.time(), DAY, False).orphans == 0, "all are young"
    found = ours.collect({needed}, time.time(), -DAY, True)
    assert (found.artifacts, found.orphans, found.of_others, found.of_nobody, found.referenced) == (
        5,
        1,
        2,
        1,
        1,
    )
    done = ours.collect({needed}, time.time(), -DAY, False)
    assert (done.orphans, done.bytes) == (1, 4)
    with pytest.raises(StoreError, match="is not in"):
        ours.get(mine)
    assert [ours.get(one) for one in (theirs, both, needed, nobodys)] == [
        b"theirs",
        b"both",
        b"needed",
        b"before",
    ]
    assert others.collect({theirs}, time.time(), -DAY, False).orphans == 1, (
        "what both had put is nobody's now"
    )
    assert ours.collect({needed}, time.time(), -DAY, False, unknown=True).orphans == 1
    with pytest.raises(StoreError, match="is not in"):
        ours.get(nobodys)


def test_an_object_is_written_again_when_it_is_put_again(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, raw = ObjectStore(place, "aa"), raw_store(place)
    digest = store.put(b"good bytes")
    for damaged in (b"good", b"bad bytes!"):
        obstore.put(raw, f"{digest[:2]}/{digest[2:]}", damaged)
        with pytest.raises(StoreError, match="damaged"):
            store.get(digest)
        assert store.put(b"good bytes") == digest
        assert store.get(digest) == b"good bytes"
    assert "had 4 bytes instead of 10" in caplog.text


def raw_store(place: str) -> Any:
    return from_url(place)


def test_a_put_that_meets_a_collection_puts_again(place: str) -> None:
    store, marks = ObjectStore(place, "aa"), ObjectMarks(raw_store(place))
    digest = hashlib.sha256(b"met").hexdigest()
    marks.done(digest)  # it was collected just before
    assert store.put(b"met") == digest
    assert marks.collecting(digest) is None
    marks.begin(digest)

    def end() -> None:
        time.sleep(0.5)
        obstore.delete(raw_store(place), f"{digest[:2]}/{digest[2:]}")
        marks.drop("aa", digest)
        marks.done(digest)

    collecting = threading.Thread(target=end)
    collecting.start()
    assert store.put(b"met") == digest
    collecting.join()
    assert store.get(digest) == b"met"
    assert marks.owners(digest) == {"aa"}


def test_a_collection_that_died_does_not_stop_a_put_for_ever(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.stores.objects.WAIT_S", 0.5)
    store, marks = ObjectStore(place, "aa"), ObjectMarks(raw_store(place))
    digest = hashlib.sha256(b"left").hexdigest()
    marks.begin(digest)
    assert store.get(store.put(b"left")) == b"left"
    assert marks.collecting(digest) is None


def test_an_object_that_is_put_while_it_is_being_collected_stays(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(place, "aa")
    digest = store.put(b"again")
    now = time.time()
    time.sleep(1.1)  # the service dates objects by the second
    begin = ObjectMarks.begin

    def begun(marks: ObjectMarks, one: str) -> None:
        monkeypatch.setattr(ObjectMarks, "begin", begin)
        obstore.put(raw_store(place), f"{digest[:2]}/{digest[2:]}", b"again")
        begin(marks, one)

    monkeypatch.setattr(ObjectMarks, "begin", begun)
    assert store.collect(set(), now + 1.0, 0.0, False).orphans == 0
    assert store.get(digest) == b"again"
    assert ObjectMarks(raw_store(place)).collecting(digest) is None


def test_what_a_collection_said_is_forgotten_after_an_hour(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, marks = ObjectStore(place, "aa"), ObjectMarks(raw_store(place))
    digest = store.put(b"gone")
    store.collect(set(), time.time(), -DAY, False)
    assert marks.collecting(digest) == DONE
    store.collect(set(), time.time(), 0.0, False)
    assert marks.collecting(digest) == DONE
    monkeypatch.setattr(object_marks, "STALE_S", -DAY)
    store.collect(set(), time.time(), 0.0, False)
    assert marks.collecting(digest) is None
    assert BEGUN != DONE


def test_two_ledgers_on_object_storage(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = apps(tmp_path, place)
    list(ours.submit_many(sized, [LARGE]))
    others.register([sized])
    monkeypatch.setattr("holdfast.operations.MARGIN_S", -10 * DAY)
    assert others.collect(-DAY).of_others == 1
    assert ours.collect(-DAY).referenced == 1
    ours.run([sized])
    assert states(ours) == ["completed"]
    assert isinstance(open_store(place, "aa").keep(encode(LARGE)), Stored)
    assert StoreAddress(place).ledger == ""
    assert UNKNOWN not in ObjectMarks(raw_store(place)).ledgers()


def test_many_references_are_touched_once_in_a_while(place: str) -> None:
    store = ObjectStore(place, "aa")
    digests = tuple(store.put(f"page {n}".encode()) for n in range(12))
    again = ObjectStore(place, "bb")
    again.touch(digests)
    assert all(ObjectMarks(raw_store(place)).owners(one) == {"aa", "bb"} for one in digests)
    obstore.delete(raw_store(place), f"{digests[0][:2]}/{digests[0][2:]}")
    again.touch(digests)
    with pytest.raises(StoreError, match="is not in"):
        ObjectStore(place, "cc").touch(digests)
