"""One ledger has one writer, whatever its file is called, whoever forks, and wherever it is moved
to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, pipeline, step
from holdfast.errors import (
    HoldfastError,
    LedgerError,
    LedgerLockedError,
    LedgerMovedError,
    LedgerRefusedError,
)
from holdfast.ledgers import filesystems
from holdfast.ledgers.filesystems import filesystem_of
from holdfast.ledgers.presence import claim, is_gone, this_place
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.session import Session
from tests.command_line import Line

OPENING = """
import sys
from holdfast.errors import HoldfastError
from holdfast.ledgers.sqlite import SqliteLedger
try:
    ledger = SqliteLedger(sys.argv[1])
    print("opened", flush=True)
except HoldfastError as error:
    print(type(error).__name__, error, flush=True)
"""

HOLDING = OPENING + "sys.stdin.read()\n"


@step()
async def twice(number: int) -> int:
    return number * 2


@pipeline(version="1", key=str)
def doubled(number: int) -> int:
    return twice(number)


def opened(path: Path) -> str:
    """What another process says that opens a ledger for writing."""
    done = subprocess.run(
        [sys.executable, "-c", OPENING, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "ledger.db"


def by_link(path: Path, there: Path) -> Path:
    there.symlink_to(path)
    return there


def by_folder(path: Path, there: Path) -> Path:
    there.symlink_to(path.parent)
    return there / path.name


def by_hard_link(path: Path, there: Path) -> Path:
    os.link(path, there)
    return there


def by_new_name(path: Path, there: Path) -> Path:
    return path.rename(there)


def by_new_name_beside(path: Path, there: Path) -> Path:
    return path.rename(path.with_name("other.db"))


def by_bind_mount(path: Path, there: Path) -> Path:
    there.touch()
    if subprocess.run(
        ["mount", "--bind", path, there], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user cannot mount")
    return there


WAYS = [by_link, by_folder, by_hard_link, by_new_name, by_new_name_beside, by_bind_mount]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_name_of_a_file_leads_to_one_lock(
    path: Path, tmp_path: Path, way: Callable[[Path, Path], Path]
) -> None:
    with closing(SqliteLedger(str(path))):
        other = way(path, tmp_path / "other")
        try:
            assert opened(other) != "opened"
            with pytest.raises((LedgerLockedError, LedgerRefusedError)):
                SqliteLedger(str(other))
        finally:
            subprocess.run(["umount", tmp_path / "other"], capture_output=True, check=False)


def test_a_second_name_is_refused_also_when_nobody_writes(path: Path, tmp_path: Path) -> None:
    """SQLite would look for the newest writes beside that name, and not find them."""
    app = App(home=tmp_path, ledger=f"sqlite:///{path}", workers=1)
    list(app.submit_many(doubled, [1]))
    other = by_hard_link(path, tmp_path / "second.db")
    with pytest.raises(LedgerRefusedError, match="second name"):
        SqliteLedger(str(other))
    with pytest.raises(LedgerRefusedError, match="second name"):
        App(home=tmp_path, ledger=f"sqlite:///{other}").reads()
    assert [one.status for one in app.submit_many(doubled, [1])] == ["same"], "its own name goes on"


def test_nothing_but_sqlite_opens_the_file(path: Path) -> None:
    """Closing any other descriptor of it would drop the locks that SQLite has."""
    script = f"""
import sys
seen = []
sys.addaudithook(lambda event, given: seen.append(str(given[0])) if event == "open" else None)
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
for _ in range(2):
    ledger = SqliteLedger({str(path)!r})
    ledger.end(ledger.begin("h", 1, 1, 1), 2)
    sqlite_reads({str(path)!r}).close()
    ledger.close()
assert {str(path)!r} not in seen and {str(path)!r} + ".lock" in seen
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_lock_ends_with_its_owner_however_that_ends(path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"opened\n"
    assert f"process {owner.pid}" in opened(path)
    owner.kill()
    owner.wait()
    assert opened(path) == "opened"


FORKS = {
    "os.fork": "child = os.fork()\nif child == 0: time.sleep(600)",
    ("in a thread"): (
        "t = threading.Thread(target=lambda: os.fork() or time.sleep(600)); t.start(); t.join(1)"
    ),
    "multiprocessing": (
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,)).start()"
    ),
    "a program": "import subprocess; subprocess.Popen(['sleep', '600'], close_fds=False)",
}


@pytest.mark.parametrize("how", FORKS)
def test_a_child_of_the_owner_has_no_part_in_it(path: Path, how: str) -> None:
    script = f"""
import multiprocessing, os, sys, threading, time
from holdfast.ledgers.sqlite import SqliteLedger
ledger = SqliteLedger({str(path)!r})
{FORKS[how]}
print("forked", flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"forked\n"
        assert "LedgerLockedError" in opened(path), "the fork has taken nothing from its parent"
        owner.kill()
        owner.wait()
        assert opened(path) == "opened"
    finally:
        os.killpg(owner.pid, signal.SIGKILL)


def test_a_forked_child_writes_nothing_through_its_parent(path: Path) -> None:
    with closing(SqliteLedger(str(path))) as ledger:
        reading, writing = multiprocessing.Pipe(duplex=False)

        def child() -> None:
            try:
                ledger.begin("h", 1, 1, 1)
                writing.send("written")
            except LedgerError as error:
                writing.send(str(error))

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        assert "is a fork of it" in reading.recv()
        process.join()
        assert ledger.begin("h", 1, 1, 1) == 1


@step()
async def leaves_a_child(number: int) -> int:
    if os.fork() == 0:
        signal.pause()
    return number


@pipeline(version="1", key=str)
def forking(number: int) -> int:
    return leaves_a_child(number)


RUNNER = """
import sys
from holdfast import App
from tests.faults.test_one_writer import forking
app = App(home=sys.argv[1], ledger="", workers=1)
receipt = lambda one: print(one.key, flush=True)
app.run([forking], [(forking, 1)], until_idle=False, receipt=receipt)
"""


def test_a_child_that_a_step_forked_holds_up_nobody_once_its_runner_is_killed(
    tmp_path: Path,
) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    app = App(home=tmp_path, ledger="", workers=1)
    try:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"1\n"
        while app.reads().status()[0]["completed"] == 0:
            threading.Event().wait(0.05)
        runner.kill()
        runner.wait()
        assert [one.status for one in app.submit_many(forking, [1, 2])] == ["same", "new"]
        app.run([doubled], [(doubled, 3)])
        assert app.reads().audit(app.clock.now_ms())["balanced"]
    finally:
        os.killpg(runner.pid, signal.SIGKILL)


def gone(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed_with_its_log(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def kept_aside(path: Path) -> None:
    path.rename(f"{path}.moved")
    path.with_name(path.name + ".lock").unlink()


@pytest.mark.parametrize(
    "how", [gone, emptied, removed_with_its_log, kept_aside], ids=lambda how: how.__name__
)
def test_no_empty_ledger_begins_where_there_was_one(
    app: App,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Path], None],
) -> None:
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    list(app.submit_many(doubled, [1]))
    path = app.settings.ledger_path
    assert path is not None
    how(path)
    for use in (lambda: list(app.submit_many(doubled, [1])), app.reads, lambda: app.run([doubled])):
        with pytest.raises(LedgerRefusedError, match="To begin an empty one here, remove") as told:
            use()
        assert "name where it is with HOLDFAST_LEDGER" in str(told.value)
    assert "is not there any more" in (said := Line(capsys)("status", code=2)) or "is empty" in said
    for one in str(told.value).rpartition("remove ")[2].split(" and "):
        Path(one).unlink()
    assert [one.status for one in app.submit_many(doubled, [1])] == ["new"], "so it was meant"


def test_a_ledger_that_is_moved_back_goes_on(app: App) -> None:
    list(app.submit_many(doubled, [1]))
    path = app.settings.ledger_path
    assert path is not None
    aside = path.rename(path.with_name("aside.db"))
    with pytest.raises(LedgerRefusedError):
        list(app.submit_many(doubled, [1]))
    aside.rename(path)
    assert [one.status for one in app.submit_many(doubled, [1])] == ["same"]


def test_a_log_without_its_ledger_is_not_thrown_away(path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(b"newest writes")
    with pytest.raises(LedgerRefusedError, match="newest writes"):
        SqliteLedger(str(path))
    assert path.with_name(path.name + "-wal").read_bytes() == b"newest writes"


def test_another_ledger_does_not_take_the_place_of_one_unseen(tmp_path: Path) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for path in (one, other):
        SqliteLedger(str(path)).close()
    os.replace(other, one)
    with pytest.raises(LedgerRefusedError, match="is another ledger"):
        SqliteLedger(str(one))
    one.with_name("one.db.lock").unlink()
    SqliteLedger(str(one)).close()


def test_a_restored_backup_of_the_same_ledger_is_taken(app: App) -> None:
    list(app.submit_many(doubled, [1]))
    path = app.settings.ledger_path
    assert path is not None
    backup = path.read_bytes()
    path.unlink()
    path.write_bytes(backup)
    assert [one.status for one in app.submit_many(doubled, [1])] == ["same"]


def replaced(path: Path) -> None:
    other = path.with_name("new.db")
    SqliteLedger(str(other)).close()
    os.replace(other, path)


def unlinked(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("how", [gone, replaced, unlinked], ids=lambda how: how.__name__)
def test_a_runner_whose_file_goes_stops(app: App, how: Callable[[Path], None]) -> None:
    path = app.settings.ledger_path
    assert path is not None
    began, ended = threading.Event(), threading.Event()
    caught: list[HoldfastError] = []

    def run() -> None:
        try:
            app.run([doubled], [(doubled, 1)], False, each_tick=lambda session: began.set())
        except HoldfastError as error:
            caught.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    began.wait()
    how(path)
    ended.wait()
    thread.join()
    assert isinstance(caught[0], LedgerMovedError)
    assert "this process stops" in str(caught[0])


def test_what_is_written_after_the_move_is_refused_at_once(path: Path) -> None:
    ledger = SqliteLedger(str(path))
    ledger.begin("h", 1, 1, 1)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(LedgerMovedError):
        ledger.begin("h", 1, 1, 1)
    ledger.close()
    moved = SqliteLedger(str(path.with_name("elsewhere.db")))
    assert moved.begin("h", 1, 1, 1) == 2
    moved.close()


def test_a_lock_file_that_is_removed_gives_nobody_the_ledger(path: Path) -> None:
    lock = path.with_name(path.name + ".lock")
    with closing(SqliteLedger(str(path))) as ledger:
        lock.unlink()
        assert "LedgerLockedError" in opened(path), "the file itself is claimed"
        ledger.begin("h", 1, 1, 1)
        assert lock.exists()
        assert "LedgerLockedError" in opened(path)
    assert opened(path) == "opened"


def test_a_lock_file_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.with_name(path.name + ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(LedgerRefusedError, match="is a link"):
        SqliteLedger(str(path))
    assert not (tmp_path / "precious").exists()


def test_commands_reach_a_runner_by_a_link_to_its_ledger(app: App, tmp_path: Path) -> None:
    list(app.submit_many(doubled, [0]))
    path = app.settings.ledger_path
    assert path is not None
    (tmp_path / "elsewhere").mkdir()
    link = by_link(path, tmp_path / "elsewhere" / "mine.db")
    other = App(home=tmp_path / "elsewhere", ledger=f"sqlite:///{link}", workers=1)
    assert other.settings.artifacts_place == app.settings.artifacts_place
    sessions: list[Session] = []
    began = threading.Event()

    def tick(session: Session) -> None:
        sessions[:] = [session]
        began.set()

    run = threading.Thread(target=app.run, args=([doubled], [], False), kwargs={"each_tick": tick})
    run.start()
    began.wait()
    try:
        assert [one.status for one in other.submit_many(doubled, [0, 5])] == ["same", "new"]
    finally:
        sessions[0].stop_now()
        run.join()


def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "filesystem_of", lambda folder: "nfs4")
    with pytest.raises(LedgerRefusedError, match="network file system"):
        SqliteLedger(str(path))
    assert not path.with_name(path.name + ".lock").exists()


def test_the_mount_over_the_longest_part_of_a_path_says_its_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    lines = [
        "27 1 254:0 / / rw - ext4 /dev/vda rw",
        f"28 27 0:40 / {tmp_path} rw shared:1 - nfs4 server:/x rw",
        f"29 28 0:41 / {tmp_path}/local\\040disk rw - tmpfs none rw",
        f"30 29 0:42 / {tmp_path}/over rw - ext4 /dev/vdb rw",
        f"31 29 0:43 / {tmp_path}/over rw - fuse.sshfs me@there rw",
    ]
    mounts.write_text("\n".join(lines))
    places = {
        "": "nfs4",
        "a/b": "nfs4",
        "local disk/x": "tmpfs",
        "local": "nfs4",
        "over": "fuse.sshfs",
    }
    assert {one: filesystem_of(tmp_path / one, str(mounts)) for one in places} == places
    assert filesystem_of(Path("/"), str(mounts)) == "ext4"
    assert filesystem_of(tmp_path, str(tmp_path / "none")) == ""


@pytest.fixture
def hidden_neighbour() -> Iterator[subprocess.Popen[Any]]:
    """A process that has a name, of another user where this one may become such."""
    script = """
import os, sys
from holdfast.ledgers.presence import claim
if os.getuid() == 0:
    os.setuid(65534)
held = claim("test neighbour")
print(1, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    yield process
    process.kill()
    process.wait()


def test_a_neighbour_is_asked_after_by_its_name_whoever_it_is(
    hidden_neighbour: subprocess.Popen[Any],
) -> None:
    assert this_place()
    assert not is_gone("test neighbour", hidden_neighbour.pid)
    hidden_neighbour.kill()
    os.waitid(os.P_PID, hidden_neighbour.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone("test neighbour", hidden_neighbour.pid), "it is still a zombie, and gone"
    mine = claim("test neighbour")
    assert mine is not None
    assert claim("test neighbour") is None
    mine.close()
