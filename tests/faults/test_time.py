"""Time: nobody waits longer, or dies earlier, because a clock was set or is wrong; every generation
has the whole deadline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pytest

from holdfast import App, Context, Retry, TransientError, pipeline, step
from holdfast.cli.export import output_of
from holdfast.clock import SLEW_MS, SystemClock
from holdfast.errors import LeaseLostError, LedgerRefusedError
from holdfast.ledger import Ledger
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_connection import open_connection
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model.changes import Operation, Redrive, Restart
from holdfast.model.events import Event, envelope, opened
from holdfast.model.failure import Failure
from holdfast.model.ids import Minter
from holdfast.model.ids import parse as reads_id
from holdfast.model.item import Submission
from holdfast.model.moments import LedgerTime, Moment, shown
from holdfast.model.task import DeadLetter, LiveTask, Transition
from holdfast.telemetry.doctor import examine
from tests.command_line import Line
from tests.conformance.conftest import ledger, version
from tests.conformance.test_ledger import NOW, SPEC, claim
from tests.patterns.conftest import app as patterns_app

__all__ = ["ledger", "patterns_app", "version"]

HOUR = 3_600_000
DAY = 24 * HOUR


class Machine:
    """A machine whose clocks the test owns."""

    def __init__(self, now_ms: int = NOW) -> None:
        self.wall_ms, self.elapsed_s = now_ms, 1_000.0
        self.clock = SystemClock(lambda: self.wall_ms, lambda: self.elapsed_s)

    def passes(self, seconds: float, looks: int = 10) -> int:
        """Let time pass, looking now and then; returns what the clock gained, milliseconds."""
        before = self.clock.now_ms()
        for _ in range(looks):
            self.elapsed_s += seconds / looks
            self.wall_ms += round(seconds * 1000 / looks)
            assert self.clock.now_ms() >= before
        return self.clock.now_ms() - before


def test_a_clock_that_jumps_ahead_for_a_second_moves_nothing() -> None:
    machine = Machine()
    machine.wall_ms += HOUR
    gained = machine.passes(1)
    machine.wall_ms -= HOUR
    assert 1_000 <= gained <= 1_000 + SLEW_MS
    machine.passes(10)
    assert abs(machine.clock.now_ms() - machine.wall_ms) <= 1, "what was gained is given back"


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_clock_that_was_set_is_approached_slowly_and_never_goes_back(by: int) -> None:
    machine = Machine()
    machine.wall_ms += by
    gained = machine.passes(100, looks=200)
    assert abs(gained - 100_000) <= 100 * SLEW_MS + 1
    assert (gained > 100_000) == (by > 0)
    machine.passes(80_000, looks=160_000)
    assert abs(machine.clock.now_ms() - machine.wall_ms) <= 1


@pytest.mark.parametrize("by", [50 * 365 * DAY, -50 * 365 * DAY])
def test_a_clock_in_another_century_is_not_approached(by: int) -> None:
    machine = Machine()
    machine.wall_ms += by
    assert machine.passes(100) == pytest.approx(100_000, abs=1)


def test_a_server_s_time_is_taken_at_once_and_then_followed() -> None:
    machine = Machine()
    machine.clock.follow(LedgerTime(NOW + DAY, server=True), machine.elapsed_s, machine.elapsed_s)
    assert machine.clock.now_ms() == NOW + DAY
    assert machine.passes(10) == pytest.approx(10_000, abs=1), "not the machine's own clock"
    machine.clock.follow(
        LedgerTime(machine.clock.now_ms() + HOUR, server=True), machine.elapsed_s, machine.elapsed_s
    )
    assert machine.passes(10) <= 10_000 + 10 * SLEW_MS + 1


def test_a_long_silence_does_not_overshoot() -> None:
    machine = Machine()
    machine.wall_ms += 60
    machine.passes(2, looks=2)
    machine.passes(1_000, looks=1)
    machine.passes(10)
    assert abs(machine.clock.now_ms() - machine.wall_ms) <= 60


# -- deadlines -----------------------------------------------------------------------------------


def deadline(ledger: Ledger, incarnation: int, version: int, now: int) -> int:
    (one,) = ledger.claim(incarnation, [version], 9, now)
    assert one.deadline is not None
    buried = DeadLetter(0, "", 1, Failure("bad-input", "E", "no"), 1, now)
    assert ledger.commit(
        incarnation,
        now,
        [Transition(one.item, one.fence, now, dead_letters=(buried,), state="dead")],
    ) == [True]
    return one.deadline - now


def test_every_redrive_and_restart_has_the_whole_deadline(ledger: Ledger, version: int) -> None:
    (receipt,) = ledger.admit([Submission("p", "1", "k", b"1", deadline_s=10)], NOW)
    mine = ledger.begin("host", 1, NOW, 15_000)
    assert deadline(ledger, mine, version, NOW) == 10_000
    for number in range(1, 4):
        now = NOW + number * HOUR
        operation = ledger.lifecycle.begin_operation(Operation("redrive", "", "me", ""), now)
        dead_letters = ledger_dead_letters(ledger)
        assert ledger.lifecycle.change(operation, Redrive(), dead_letters, now)
        assert deadline(ledger, mine, version, now) == 10_000
    now = NOW + 10 * HOUR
    operation = ledger.lifecycle.begin_operation(Operation("restart", "", "me", ""), now)
    assert ledger.lifecycle.change(operation, Restart(), [receipt.item], now)
    assert deadline(ledger, mine, version, now) == 10_000


def ledger_dead_letters(ledger: Ledger) -> list[int]:
    rows = "select id from dead_letters where state = 'open'"
    if isinstance(ledger, SqliteLedger):
        return [row[0] for row in ledger.connection.execute(rows)]
    assert isinstance(ledger, PostgresLedger)
    with open_connection(ledger._url) as connection:
        return [row[0] for row in connection.execute(rows)]


# -- an SQLite file's writer ---------------------------------------------------------------------


def waiting(path: Path, now: int, moment: Moment) -> SqliteLedger:
    """A ledger with an item that waits for an hour, closed by a writer whose clock was right."""
    made = SqliteLedger(str(path))
    made.anchor(moment)
    version = made.register(SPEC, now).version
    made.admit([Submission("p", "1", "k", b"1", deadline_s=7_200)], now)
    mine, (one,) = claim(made, version, now)
    live = LiveTask(0, "", "retrying", 1, wake_at=now + HOUR)
    made.commit(
        mine,
        1,
        [Transition(one.item, one.fence, now, live=(live,), state="waiting", wake_at=now + HOUR)],
    )
    made.keep_time(mine, now, moment)
    made.close()
    return SqliteLedger(str(path))


def waits(ledger: SqliteLedger) -> tuple[int, int, int]:
    rows = ledger.connection.execute(
        "select i.due, i.deadline, l.wake_at from items i join live_tasks l on l.item = i.id"
    ).fetchall()
    assert len(rows) == 1
    due, deadline, wake = rows[0]
    return int(due), int(deadline), int(wake)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", [DAY, -DAY, HOUR, -HOUR])
def test_a_clock_that_is_set_while_nobody_writes_lengthens_and_shortens_no_wait(
    tmp_path: Path, by: int
) -> None:
    opened = waiting(tmp_path / "ledger.db", NOW, Moment(NOW, 1_000, "boot"))
    told = opened.anchor(Moment(NOW + 60_000 + by, 61_000, "boot"))  # a minute later
    assert (told.now_ms, told.moved_ms) == (NOW + 60_000 + by, by)
    assert waits(opened) == (NOW + HOUR + by, NOW + 2 * HOUR + by, NOW + HOUR + by)
    opened.anchor(Moment(NOW + 120_000 + by, 121_000, "boot"))
    assert waits(opened) == (NOW + HOUR + by, NOW + 2 * HOUR + by, NOW + HOUR + by), "moved once"
    opened.close()


def test_after_a_reboot_time_has_passed_unless_the_clock_has_gone_back(tmp_path: Path) -> None:
    opened = waiting(tmp_path / "ledger.db", NOW, Moment(NOW, 1_000, "boot"))
    assert opened.anchor(Moment(NOW + DAY, 5, "another")).moved_ms == 0
    assert waits(opened)[0] == NOW + HOUR
    assert opened.anchor(Moment(NOW - DAY, 5, "third")).moved_ms == -2 * DAY
    assert waits(opened)[0] == NOW + HOUR - 2 * DAY
    opened.close()


def test_clocks_that_differ_a_little_move_nothing(tmp_path: Path) -> None:
    opened = waiting(tmp_path / "ledger.db", NOW, Moment(NOW, 1_000, "boot"))
    # eight seconds in an hour
    assert opened.anchor(Moment(NOW + HOUR + 8_000, HOUR + 1_000, "boot")).moved_ms == 0
    opened.close()


@pytest.mark.parametrize("year", [1, 1970, 2100, 9999, 20_000])
def test_a_machine_in_another_century_does_not_write(tmp_path: Path, year: int) -> None:
    opened = SqliteLedger(str(tmp_path / "ledger.db"))
    with pytest.raises(LedgerRefusedError, match=r"set its clock \(NTP\)"):
        opened.anchor(Moment((year - 1970) * 365 * DAY))
    opened.close()


# -- a live runner -------------------------------------------------------------------------------


class Off:
    """By how much this test's machine is wrong."""

    ms = 0


def off_clock() -> SystemClock:
    return SystemClock(lambda: time.time_ns() // 1_000_000 + Off.ms)


@pytest.fixture(autouse=True)
def right() -> Iterator[None]:
    Off.ms = 0
    yield
    Off.ms = 0


JUMPS = {
    "there and back": {2: HOUR, 4: 0},
    "ahead": {2: HOUR},
    "back": {2: -HOUR},
    "to and fro": {2: -DAY, 3: DAY, 4: 0},
}
ATTEMPTS = {"number": 0}


@step(retry=Retry(attempts=20, base="20ms", cap="20ms"))
async def jumping(kind: str) -> int:
    ATTEMPTS["number"] += 1
    Off.ms = JUMPS[kind].get(ATTEMPTS["number"], Off.ms)
    if ATTEMPTS["number"] < 8:
        raise TransientError("not yet")
    return ATTEMPTS["number"]


@pipeline(version="1", key=str, deadline="5m")
def jumped(kind: str) -> int:
    return jumping(kind)


@pytest.mark.parametrize("kind", list(JUMPS))
@pytest.mark.parametrize("place", ["sqlite", "postgres"])
def test_a_wall_clock_that_jumps_delays_no_retry_and_passes_no_deadline(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, place: str
) -> None:
    app = App(
        home=tmp_path / "home",
        ledger="" if place == "sqlite" else request.getfixturevalue("postgres"),
        workers=1,
    )
    app.clock, ATTEMPTS["number"] = off_clock(), 0
    app.run([jumped], [(jumped, kind)])
    item = app.reads().items("jumped", None, 1)[0]
    assert item["state"] == "completed"
    assert abs(item["ended_at"] - time.time() * 1000) < 60_000, (
        "history is written in the time that everybody knows"
    )


@step
async def plain(number: int) -> int:
    return number


@pipeline(version="1", key=str, deadline="1m")
def hurried(number: int) -> int:
    return plain(number)


@pytest.mark.parametrize("off", [10 * 365 * DAY, -10 * 365 * DAY, -3 * HOUR])
def test_a_host_with_a_wrong_clock_harms_nobody_and_is_reported(
    postgres: str,
    tmp_path: Path,
    off: int,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong, right = (
        App(home=tmp_path / "a", ledger=postgres, workers=1),
        App(home=tmp_path / "b", ledger=postgres, workers=1),
    )
    Off.ms, wrong.clock = off, off_clock()
    # by the server's time: it is not over at once, and not in ten years
    list(wrong.submit_many(hurried, [1]))
    right.run([hurried], [(hurried, 2)])
    list(right.submit_many(hurried, [3]))
    seen: list[int] = []

    def look(session: object) -> None:
        reads = right.reads()
        seen.extend(one["clock_ahead_s"] for one in reads.runners(right.clock.now_ms()))
        reads.close()

    wrong.run([hurried], [(hurried, 4)], each_tick=look)
    reads = right.reads()
    rows = reads.items("hurried", None, 9)
    assert [one["state"] for one in rows] == ["completed"] * 4
    assert all(abs(one["admitted_at"] - time.time() * 1000) < 60_000 for one in rows)
    assert reads.audit(right.clock.now_ms())["balanced"]
    assert "the ledger's time: set it" in caplog.text
    assert any(abs(one - off / 1000) < 60 for one in seen)
    found = {one.check: one for one in examine(wrong)}
    assert found["clock"].state == "bad"
    assert {one.check: one for one in examine(right)}["clock"].state == "ok"


# -- a database server whose clock is set --------------------------------------------------------


@pytest.fixture
def jumpy(postgres: str) -> str:
    """A database whose clock the test may set."""
    PostgresLedger(postgres).close()
    with open_connection(postgres) as connection:
        connection.execute("create table set_by (ms bigint not null)")
        connection.execute("insert into set_by values (0)")
        connection.execute(
            "create or replace function now_ms() returns bigint language sql stable as $$ "
            "select (extract(epoch from clock_timestamp()) * 1000)"
            "::bigint + (select ms from set_by) - (select ahead_ms from clock) $$"
        )
    return postgres


def set_server(url: str, ms: int) -> None:
    with open_connection(url) as connection:
        connection.execute("update set_by set ms = $1", (ms,))


@pytest.mark.parametrize("by", [HOUR, -HOUR, 20 * 365 * DAY])
def test_a_server_whose_clock_is_set_ends_no_lease(jumpy: str, by: int) -> None:
    first, second = PostgresLedger(jumpy), PostgresLedger(jumpy)
    version = first.register(SPEC, NOW).version
    first.admit([Submission("p", "1", key, b"1") for key in "ab"], NOW)
    mine, theirs = first.begin("a", 1, NOW, 15_000), second.begin("b", 1, NOW, 15_000)
    now = first.anchor(Moment(0)).now_ms
    assert len(first.claim(mine, [version], 1, now)) == 1
    assert len(second.claim(theirs, [version], 1, now)) == 1
    for ms in (by, 0, by):
        set_server(jumpy, ms)
        assert first.claim(mine, [version], 9, now) == [], "the other one's items are not taken"
        assert second.renew(theirs, now, 15_000)
        assert second.claim(theirs, [version], 9, now) == []
        assert first.renew(mine, now, 15_000)
        told = first.keep_time(mine, now, Moment(0))
        assert told is not None
        assert abs(told.now_ms - now) < 60_000, "the ledger's time goes on"
    first.end(mine, now)
    second.end(theirs, now)
    told = first.anchor(Moment(0))  # nobody works: the server is right
    assert abs(told.now_ms - now - by) < 60_000
    first.close()
    second.close()


def test_a_lease_that_was_renewed_while_the_clock_was_ahead_is_not_longer(
    jumpy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = PostgresLedger(jumpy), PostgresLedger(jumpy)
    version = first.register(SPEC, NOW).version
    mine, theirs = first.begin("a", 1, NOW, 15_000), second.begin("b", 1, NOW, 15_000)
    first.claim(mine, [version], 1, NOW)
    set_server(jumpy, HOUR)
    third = PostgresLedger(jumpy)  # it has not looked before: to it the clock is right
    late = third.begin("c", 1, NOW, 15_000)
    assert first.claim(mine, [version], 1, NOW) == []
    with open_connection(jumpy) as connection:
        row = connection.execute(
            "select max(expires_at) - now_ms() from incarnations where id = any ($1)",
            ([theirs, late],),
        ).fetchone()
    assert row is not None
    assert row[0] <= 15_000
    for one in (first, second, third):
        one.close()


def test_a_runner_that_stood_still_is_over(jumpy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guard against a set clock must not hide: real time has passed, and the lease with
    it."""
    elapsed = {"s": 0.0}
    monkeypatch.setattr("holdfast.ledgers.postgres.time.monotonic", lambda: elapsed["s"])
    first = PostgresLedger(jumpy)
    version = first.register(SPEC, NOW).version
    mine = first.begin("a", 1, NOW, 15_000)
    first.claim(mine, [version], 1, NOW)
    set_server(jumpy, 60_000)
    elapsed["s"] += 60
    with pytest.raises(LeaseLostError):
        first.claim(mine, [version], 1, NOW)
    first.close()


# -- dates of any year ---------------------------------------------------------------------------


def test_the_command_line_takes_any_length_of_time(
    app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    line = Line(capsys)
    app.run([hurried], [(hurried, 1)])
    for words in (
        "metrics --since 36500d",
        "metrics --since all",
        "stuck --older 36500d --json",
        "funnel hurried --since 36500d",
        "metrics hurried --every 1440 --since 36500d --json",
        "find older:36500d --json",
        "find younger:36500d --json",
        "find slower:36500d --json",
    ):
        line(*words.split())
    for words in ("metrics --since 9999999d", "stuck --older 1000000000d", "find older:99999999d"):
        line(*words.split(), code=2)
    assert json.loads(line("audit", "--json"))["balanced"]


@dataclass(frozen=True)
class Stamp:
    key: str
    at: datetime
    day: date


@step(retry=3)
async def later(stamp: Stamp) -> Stamp:
    return stamp


@pipeline(version="1", key=lambda stamp: stamp.key, search=("at", "day"))
def dated(stamp: Stamp) -> Stamp:
    return later(stamp)


DATES = (
    "0001-01-01T00:00:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1899-12-31T23:59:59.999999Z",
    "1969-12-31T23:59:59Z",
    "2262-04-12T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999999-12:00",
    "9999-12-31T23:59:59",
)


def test_a_payload_s_dates_are_of_any_year_or_refused_at_the_door(patterns_app: App) -> None:
    app, given = (
        patterns_app,
        [
            {"key": text, "at": text, "day": text[:10]}
            for text in (
                *DATES,
                "10000-01-01T00:00:00Z",
                "-0001-01-01T00:00:00Z",
                "0000-01-01T00:00:00Z",
            )
        ],
    )
    result = app.run([dated], [(dated, one) for one in given], refused="keep")
    reads = app.reads()
    rows = reads.items("dated", None, 50)
    assert (result.received, result.refused) == (len(DATES), 3)
    assert {one["state"] for one in rows} == {"completed"}
    for one in rows:
        assert json.loads(output_of(reads.item(reads_id(one["item"]))["output"], app.store()))[
            "at"
        ].startswith(one["key"][:19])
    assert reads.audit(app.clock.now_ms())["balanced"]


@step(retry=Retry(attempts=2, base="10ms"))
async def told_when(number: int) -> int:
    if HEARD:
        return number
    HEARD.append(number)
    raise TransientError("busy", retry_after="Mon, 01 Jan 0001 00:00:00 GMT")  # type: ignore[arg-type]


HEARD: list[int] = []


@pipeline(version="1", key=str)
def patient(number: int) -> int:
    return told_when(number)


def test_a_retry_after_of_the_year_1_is_now(app: App) -> None:
    HEARD.clear()
    app.run([patient], [(patient, 1)])
    assert app.reads().items("patient", None, 1)[0]["state"] == "completed"


@pytest.mark.parametrize(
    "ms", [-(10**18), -62_135_596_800_001, -1, 0, NOW, 253_402_300_800_000, 10**18]
)
def test_a_moment_beyond_every_calendar_is_shown_and_ends_no_process(ms: int) -> None:
    assert shown(ms)
    assert opened(envelope(Event("1", "t", "s", "", ms, b"{}"), b"{}"), NOW).type == "t"
    assert 0 <= Minter().mint(ms) < 1 << 63


@pytest.mark.parametrize("text", DATES)
def test_an_event_of_any_year_is_read(text: str) -> None:
    found = opened(
        json.dumps(
            {"specversion": "1.0", "id": "1", "source": "x", "type": "t", "time": text}
        ).encode(),
        NOW,
    )
    assert shown(found.at)


SEEN: list[float] = []


@step
async def sees_deadline(ctx: Context, number: int) -> int:
    SEEN.append((ctx.deadline or 0) - time.time() - Off.ms / 1000)
    return number


@pipeline(version="1", key=str, deadline="2m")
def told_deadline(number: int) -> int:
    return sees_deadline(number)


def test_a_step_is_told_its_deadline_by_the_clock_that_it_can_read(
    postgres: str, tmp_path: Path
) -> None:
    wrong = App(home=tmp_path, ledger=postgres, workers=1)
    Off.ms, wrong.clock = -DAY, off_clock()
    wrong.run([told_deadline], [(told_deadline, 1)])
    assert 60 < SEEN[-1] <= 121
