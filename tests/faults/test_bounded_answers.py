"""Whoever asks a writer that cannot write is answered, and the answer is true: not written, or not
known.

A test waits for answers, never for a time: what would not answer would hang here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import httpx
import msgspec
import pytest

from holdfast import App, pipeline, step
from holdfast.control import RemoteLedger, remote, serving, wire
from holdfast.control import serve as listen
from holdfast.errors import (
    InputError,
    LedgerError,
    LedgerLockedError,
    LedgerUnavailableError,
    LedgerUnknownError,
    NotFoundError,
)
from holdfast.ledger import Ledger
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_connection import Connection
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model.changes import Operation
from holdfast.model.events import Event, Published
from holdfast.model.holdings import Held
from holdfast.model.item import Submission
from holdfast.model.task import Transition
from holdfast.server.access import Person
from holdfast.server.application import LOCAL
from holdfast.server.problems import refusal
from holdfast.server.serving import bound
from holdfast.server.serving import serving as web
from tests.command_line import Line

TARGET = "tests.faults.test_bounded_answers:doubled"


@step()
async def twice(number: int) -> int:
    return number * 2


@pipeline(version="1", key=str)
def doubled(number: int) -> int:
    return twice(number)


class CommitQueue:
    """A committer with a thread that can be held up before a verb, or by one.

    Attributes:
        calls: verbs that the thread came to.
    """

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger
        self.free = threading.Event()
        self.calls = 0
        self._over = False
        self._waiting: list[tuple[Callable[[Ledger], Any], Callable[[Any], None]]] = []
        self._wake = threading.Condition()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        with self._wake:
            self._waiting.append((verb, then))
            self._wake.notify()

    def commit(self, transition: Transition, then: Callable[[bool], None]) -> None:
        raise AssertionError

    def _run(self) -> None:
        while True:
            self.free.wait()
            with self._wake:
                while not self._waiting:
                    self._wake.wait()
                verb, then = self._waiting.pop(0)
            try:
                answer: Any = verb(self.ledger)
            except Exception as error:
                answer = error
            self.calls += 1
            self._loop.call_soon_threadsafe(then, answer)


class Slow:
    """A ledger whose verbs return when they may."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.admitted: list[str] = []
        self.operations = 0
        self.mail = self.lifecycle = self

    def admit(self, submissions: list[Submission], *given: Any) -> list[Any]:
        self.begun.set()
        self.may_end.wait()
        self.admitted += [one.key for one in submissions]
        return []

    def change(self, operation: int, *given: Any) -> list[int]:
        self.begun.set()
        self.may_end.wait()
        self.operations += 1
        return [operation]

    def publish(self, events: list[Event]) -> list[Published]:
        raise LedgerUnavailableError("the disk is full", 7.0)

    def begin_operation(self, operation: Operation, now_ms: int) -> int:
        raise NotFoundError("no such")


Asked = Callable[[RemoteLedger], Any]


def over_the_socket(
    path: Path, ask: Callable[[CommitQueue, Slow, RemoteLedger], None], trouble: str | None = None
) -> None:
    """Serve a slow ledger, and ask it from a thread."""

    async def main() -> None:
        slow = Slow()
        commit_queue = CommitQueue(slow)
        server = await listen(
            path,
            commit_queue,  # type: ignore[arg-type]
            lambda: 0,
            lambda: None,
            0,
            lambda: Held(1, []),
            lambda: trouble,
        )
        with closing(await asyncio.to_thread(RemoteLedger, path)) as far:
            await asyncio.to_thread(ask, commit_queue, slow, far)
        server.close()

    asyncio.run(main())


ONE = [Submission("p", "1", "k", b"1")]


def test_what_was_not_handed_to_the_ledger_is_unavailable_and_never_written(tmp_path: Path) -> None:
    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        slow.may_end.set()
        with pytest.raises(LedgerUnavailableError, match="was not handed to it") as told:
            far.admit(ONE, 0)
        assert not isinstance(told.value, LedgerUnknownError)
        assert "the disk is full" in str(told.value)
        assert told.value.retry_after == 5.0
        commit_queue.free.set()
        assert far.admit([Submission("p", "1", "later", b"1")], 0) == []
        assert (commit_queue.calls, slow.admitted) == (2, ["later"]), "it was taken back"

    over_the_socket(tmp_path / "s", ask, "the disk is full")


def test_what_was_handed_to_the_ledger_is_unknown(tmp_path: Path) -> None:
    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        commit_queue.free.set()
        with pytest.raises(LedgerUnknownError, match="unknown whether it is written") as told:
            far.admit(ONE, 0)
        assert told.value.command
        assert slow.begun.is_set()
        assert slow.admitted == []
        slow.may_end.set()
        far.admit([], 0)
        assert slow.admitted == ["k"], "it was written after all"

    over_the_socket(tmp_path / "s", ask)


def test_a_command_asked_again_under_its_identity_is_done_once(tmp_path: Path) -> None:
    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        commit_queue.free.set()
        command = wire.Command("the same", wire.Apply(3, wire_change(), [1]))
        for _ in range(2):
            with pytest.raises(LedgerUnknownError):
                far._answered(command)
        slow.may_end.set()
        answers = [bytes(far._answered(command).answer) for _ in range(2)]
        assert (answers, slow.operations) == ([b"\x91\x03"] * 2, 1)

    over_the_socket(tmp_path / "s", ask)


def test_an_operation_that_has_begun_asks_again_by_itself(tmp_path: Path) -> None:
    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        commit_queue.free.set()
        answers: list[Any] = []
        asking = threading.Thread(
            target=lambda: answers.append(far.change(3, wire_change(), [1], 0))
        )
        asking.start()
        slow.begun.wait()
        with closing(RemoteLedger(tmp_path / "s")) as other, pytest.raises(LedgerUnavailableError):
            other.admit(ONE, 0)  # answered after the first answer to the operation
        slow.may_end.set()
        asking.join()
        assert (answers, slow.operations) == ([[3]], 1)

    over_the_socket(tmp_path / "s", ask)


def test_errors_of_the_ledger_stay_what_they_are(tmp_path: Path) -> None:
    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        commit_queue.free.set()
        with pytest.raises(LedgerUnavailableError, match="the disk is full") as told:
            far.publish([])
        assert type(told.value) is LedgerUnavailableError
        assert (told.value.retry_after, refusal(told.value).headers) == (7.0, {"Retry-After": "7"})
        with pytest.raises(NotFoundError):
            far.begin_operation(Operation("pause", "x", "me", ""), 0)

    over_the_socket(tmp_path / "s", ask)


def test_more_commands_than_may_wait_are_answered_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST", 0)

    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        commit_queue.free.set()
        with pytest.raises(LedgerUnavailableError, match="busy"):
            far.admit(ONE, 0)
        assert commit_queue.calls == 0

    over_the_socket(tmp_path / "s", ask)


def wire_change() -> Any:
    from holdfast.model.changes import Pause

    return Pause()


RUNNER = """
import os, sys
from holdfast import App
from tests.faults.test_bounded_answers import doubled
App().run([doubled], (), until_idle=False, each_tick=lambda session: None, wait=True)
"""


@contextmanager
def runner(app: App, **more: Any) -> Iterator[subprocess.Popen[Any]]:
    """A runner in a process of its own; listening."""
    environment = {**os.environ, "HOLDFAST_HOME": str(app.settings.home), "HOLDFAST_WORKERS": "1"}
    process = subprocess.Popen([sys.executable, "-c", RUNNER], env=environment, **more)
    try:
        while True:
            try:
                RemoteLedger(app.settings.socket_path or Path()).close()
                break
            except (OSError, LedgerUnavailableError):
                assert process.poll() is None
                threading.Event().wait(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_runner_that_is_stopped_is_unavailable_until_it_goes_on(
    app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with runner(app) as process:
        far = RemoteLedger(app.settings.socket_path or Path())
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(LedgerUnavailableError, match="Nothing was sent to it") as told:
            list(app.submit_many(doubled, [1]))
        assert not isinstance(told.value, LedgerUnknownError)
        with pytest.raises(LedgerUnknownError):
            far.admit([], 0)  # it had been greeted: this was sent
        environment = {**os.environ, "HOLDFAST_HOME": str(app.settings.home)}
        command = [sys.executable, "-m", "holdfast", "submit", TARGET, "1"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "Nothing was sent to it" in done.stderr
        assert "(retry after 1 s)" in done.stderr
        process.send_signal(signal.SIGCONT)
        while True:
            try:
                assert [one.status for one in app.submit_many(doubled, [1])] == ["new"]
                break
            except LedgerUnavailableError:
                continue
        far.close()


def test_a_runner_that_dies_with_a_command_leaves_it_unknown(app: App) -> None:
    with runner(app) as process:
        far = RemoteLedger(app.settings.socket_path or Path())
        process.send_signal(signal.SIGSTOP)
        threading.Timer(0.1, process.kill).start()
        with pytest.raises(LedgerUnknownError):
            far.admit([], 0)
        process.wait()
        with pytest.raises(LedgerUnavailableError) as told:
            far.admit([], 0)
        assert not isinstance(told.value, LedgerUnknownError), "there was nobody to send it to"


def test_a_frame_that_was_not_sent_whole_was_not_handed_in(app: App) -> None:
    with runner(app) as process:
        far = RemoteLedger(app.settings.socket_path or Path())
        process.send_signal(signal.SIGSTOP)
        large = [Submission("doubled", "1", "k", b"1" * 8_000_000)]
        with pytest.raises(LedgerUnavailableError, match="takes nothing") as told:
            far.admit(large, 0)
        assert not isinstance(told.value, LedgerUnknownError)


def test_a_lock_that_somebody_has_who_does_not_listen(
    app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    with closing(app.open_ledger()):
        with pytest.raises(LedgerLockedError) as told:
            list(app.submit_many(doubled, [1]))
        assert isinstance(told.value, LedgerUnavailableError)
        assert refusal(told.value).status == 503
        assert refusal(told.value).headers == {"Retry-After": "1"}
        assert "already has a runner" in Line(capsys)("submit", TARGET, "1", code=2)


def test_a_runner_that_starts_is_waited_for(app: App) -> None:
    ledger = app.open_ledger(starting=True)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.extend(app.submit_many(doubled, [1])))
    asking.start()
    asking.join(remote.HELLO_S * 1.5)
    assert asking.is_alive()
    ledger.close()
    asking.join()
    assert [one.status for one in answers] == ["new"]


def test_a_file_that_another_program_has_locked_is_unavailable(app: App) -> None:
    list(app.submit_many(doubled, [1]))
    with closing(apsw.Connection(str(app.settings.ledger_path))) as other:
        other.execute("begin immediate")
        with pytest.raises(LedgerUnavailableError) as told:
            list(app.submit_many(doubled, [2]))
        assert not isinstance(told.value, LedgerUnknownError)
        other.execute("rollback")
    assert [one.status for one in app.submit_many(doubled, [2])] == ["new"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no byte; the file that takes them."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def test_a_full_disk_at_the_start_is_unavailable_and_holds_nothing(small_disk: Path) -> None:
    app = App(home=small_disk / "home", ledger="", workers=1)
    filler = fill(small_disk)
    for _ in range(3):
        for use in (lambda: list(app.submit_many(doubled, [1])), lambda: app.run([doubled])):
            with pytest.raises(LedgerUnavailableError) as told:
                use()
            assert not isinstance(told.value, LedgerLockedError | LedgerUnknownError)
    filler.unlink()
    assert [one.status for one in app.submit_many(doubled, [1])] == ["new"]


@pytest.mark.parametrize("made", [False, True], ids=["nothing is there", "a ledger is there"])
def test_a_runner_that_starts_on_a_full_disk_waits_for_space(small_disk: Path, made: bool) -> None:
    app = App(home=small_disk / "home", ledger="", workers=1)
    if made:
        list(app.submit_many(doubled, [1]))
    filler = fill(small_disk)
    environment = {**os.environ, "HOLDFAST_HOME": str(app.settings.home), "HOLDFAST_WORKERS": "1"}
    command = [sys.executable, "-m", "holdfast", "runner", "--until-idle", TARGET]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    while said.startswith("serving "):
        said = process.stderr.readline()
    assert said, "it has ended"
    assert any(words in said for words in ("No space left", "is full", "cannot be written")), said
    filler.unlink()
    _, rest = process.communicate()
    assert process.returncode == 0, said + rest
    if made:
        assert app.reads().status()[0]["completed"] == 1


def test_a_full_disk_at_intake_is_unavailable_by_every_door(
    small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(home=small_disk / "home", ledger="", workers=1)
    list(app.submit_many(doubled, [0]))
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    with runner(app):
        server = web(
            app, [doubled], bound("127.0.0.1", 0), hosts=LOCAL, local=Person("me", "admin")
        )
        with server as address, httpx.Client(base_url=address, timeout=None) as client:
            filler = fill(small_disk)
            numbers = iter(range(10_000_000, 1 << 60))
            body = {"payloads": [next(numbers) for _ in range(1000)]}
            while (
                got := client.post("/api/v1/pipelines/doubled/items", json=body)
            ).status_code == 201:
                body = {"payloads": [next(numbers) for _ in range(1000)]}
            assert got.status_code == 503, got.text
            assert int(got.headers["retry-after"]) >= 1
            event = client.post("/api/v1/events", json={"type": "x.y", "data": "x" * 60_000})
            assert (event.status_code, "retry-after" in event.headers) == (503, True)
            large = ("submit", TARGET, *(str(next(numbers)) for _ in range(1000)))
            with pytest.raises(LedgerUnavailableError):
                list(app.submit_many(doubled, [next(numbers) for _ in range(1000)]))
            Line(capsys)(*large, code=2)  # the exit code itself is tested with a process
            filler.unlink()
            while client.post("/api/v1/pipelines/doubled/items", json=body).status_code != 201:
                pass
            keys = set(app.reads().keys("doubled", None))
            assert {str(one) for one in body["payloads"]} <= keys


def test_a_commit_that_the_disk_has_not_confirmed_is_unknown(app: App) -> None:
    """After such an error the frames may be in the log nevertheless, and be there after a crash."""
    with closing(app.open_ledger()) as opened:
        assert isinstance(opened, SqliteLedger)
        from holdfast.ledgers.sqlite_file import transaction

        class Failing:
            in_transaction = False

            def execute(self, text: str) -> None:
                if text == "commit":
                    raise apsw.IOError("disk I/O error")

        failing: Any = Failing()
        with pytest.raises(LedgerUnknownError), transaction(failing, "ledger.db"):
            pass


def test_a_commit_that_the_server_has_not_answered_is_unknown(postgres: str) -> None:
    with closing(PostgresLedger(postgres)) as ledger:

        class Losing:
            """Sends COMMIT, and hears nothing."""

            def __init__(self, real: Connection) -> None:
                self.real = real

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

            def execute(self, query: Any, *values: Any) -> Any:
                got = self.real.execute(query, *values)
                if query == "commit":
                    self.real.execute("select pg_terminate_backend(pg_backend_pid())")
                return got

        real: Any = ledger._connection
        ledger._connection = Losing(real)  # type: ignore[assignment]
        with pytest.raises(LedgerUnknownError, match="not answered"):
            ledger.begin("h", 1, 1, 1)
        assert ledger.begin("h", 1, 1, 1) == 2, "it was written"


def test_what_is_asked_of_a_future_release_is_refused_not_unknown(tmp_path: Path) -> None:
    def ask(commit_queue: CommitQueue, slow: Slow, far: RemoteLedger) -> None:
        far._send(wire.framed(["identity", ["a verb to come"]]))
        reply = msgspec.msgpack.decode(far._frame(remote.REPLY_S * 8), type=wire.Reply)
        assert isinstance(wire.error_of(reply, ""), InputError)

    over_the_socket(tmp_path / "s", ask)


def test_an_event_without_an_id_says_under_which_it_is_asked_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost:
        """A runner's ledger that takes everything and answers nothing."""

        kept: list[Event] = []
        answers = False

        @property
        def mail(self) -> Lost:
            return self

        def publish(self, events: list[Event]) -> list[Published]:
            known = {one.id for one in self.kept}
            new: list[Published] = ["same" if one.id in known else "new" for one in events]
            self.kept += events
            if not self.answers:
                raise LedgerUnknownError("nobody knows")
            return new

        def close(self) -> None: ...

    lost = Lost()
    monkeypatch.setattr(App, "writer", lambda self: lost)
    with pytest.raises(LedgerError) as told:
        app.publish("a.b", 1)
    lost.answers = True
    assert app.publish("a.b", 1, id=lost.kept[0].id) is False
    assert lost.kept[0].id in str(told.value)
