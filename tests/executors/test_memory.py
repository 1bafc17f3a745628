"""Limits of memory, and the guard of a machine that runs out of it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, DefinitionError, Retry, step
from holdfast.errors import InputError
from holdfast.executors.figures import LinuxFigures, Room
from holdfast.executors.memory import REST_S, Holder, MemoryGuard, Upkeep, Wear, default_reserve
from holdfast.model.size import bytes_of, show_size
from holdfast.settings import read_settings
from tests.hygiene_samples import Need, counting, devouring, gathering, hoarding

GB = 10**9


class Figures:
    """Figures that a test makes up."""

    def __init__(self, total: int = 16 * GB, free: int = 8 * GB) -> None:
        self.now: Room | None = Room(total, free)
        self.sizes: dict[int, int] = {}
        self.shared: dict[int, int] = {}
        self.killed = 0
        self.asked: list[int] = []

    def room(self) -> Room | None:
        """As set."""
        return self.now

    def used(self, pid: int) -> int:
        """As set."""
        self.asked.append(pid)
        return self.sizes.get(pid, 0)

    def fair(self, pid: int) -> int:
        """As set."""
        return self.shared.get(pid, self.sizes.get(pid, 0))

    def kills(self) -> int:
        """As set."""
        return self.killed


# -- sizes and settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * GB), ("1.5 GiB", 3 << 29), ("512mb", 512_000_000), (17, 17), ("1B", 1)],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "2", "2 apples", "-1GB", "0MB", 0, -5, True, 1.5, None, "GB", "2G B"]
)
def test_what_is_no_size_is_refused_with_the_forms_that_are(text: Any) -> None:
    with pytest.raises(DefinitionError, match="size"):
        bytes_of(text)


def test_sizes_are_shown_as_people_read_them() -> None:
    assert [show_size(size) for size in (2_345_000_000, 512_000_000, 17_000, 3)] == [
        "2.3 GB",
        "512 MB",
        "17 kB",
        "3 bytes",
    ]


def test_settings_take_sizes_and_refuse_what_is_none() -> None:
    settings = read_settings(worker_calls=100, worker_memory="4GB", memory_reserve="0")
    assert (settings.worker_calls, settings.worker_memory_bytes, settings.memory_reserve_bytes) == (
        100,
        4 * GB,
        0,
    )
    assert (read_settings().worker_memory_bytes, read_settings().memory_reserve_bytes) == (0, None)
    for name in ("worker_memory", "memory_reserve"):
        with pytest.raises(InputError, match=f"{name}=.*is not a size"):
            read_settings(**{name: "a lot"})
    with pytest.raises(InputError, match="worker_calls=-1"):
        read_settings(worker_calls=-1)


def test_a_limit_is_for_steps_in_worker_processes_and_is_read_where_it_is_written() -> None:
    @step(memory="2GB")
    def limited(x: int) -> int:
        return x

    assert limited.memory == 2 * GB  # type: ignore[attr-defined]
    with pytest.raises(
        DefinitionError, match="step 'on_the_loop'.*memory='2GB'.*inside the runner"
    ):

        @step(memory="2GB")
        async def on_the_loop(x: int) -> int:
            return x

    with pytest.raises(DefinitionError, match="step 'in_a_thread'.*runs='threads'"):

        @step(memory="2GB", runs="threads")
        def in_a_thread(x: int) -> int:
            return x

    with pytest.raises(DefinitionError, match="step 'odd': memory='2 apples'.*is not a size"):

        @step(memory="2 apples", retry=Retry(attempts=1))
        def odd(x: int) -> int:
            return x


# -- the guard -----------------------------------------------------------------------------------


def test_a_worker_above_its_limit_is_named_with_both_numbers() -> None:
    figures = Figures()
    figures.sizes = {1: 2_300_000_000, 2: 2_300_000_000, 3: GB}
    guard = MemoryGuard(figures=figures)
    (excess,) = guard.look(
        [Holder(1, 2 * GB, "memory='2GB'"), Holder(2), Holder(3, 2 * GB, "memory='2GB'")], 1.0
    )
    assert (excess.pid, excess.peak) == (1, 2_300_000_000)
    assert excess.message == "used 2.3 GB, limit memory='2GB': its worker was killed"
    assert figures.asked == [1, 3], (
        "nobody without a limit is measured while there is memory enough"
    )
    assert guard.peak(1) == 2_300_000_000


def test_what_processes_share_counts_once() -> None:
    figures = Figures()
    figures.sizes, figures.shared = {1: 3 * GB}, {1: GB}
    assert MemoryGuard(figures=figures).look([Holder(1, 2 * GB, "memory='2GB'")], 1.0) == []


def test_near_exhaustion_the_largest_worker_goes_one_at_a_time() -> None:
    figures = Figures(16 * GB, 500_000_000)
    figures.sizes = {1: GB, 2: 7_400_000_000, 3: 3 * GB}
    guard, holders = MemoryGuard(figures=figures), [Holder(1), Holder(2), Holder(3)]
    (excess,) = guard.look(holders, 1.0)
    assert excess.pid == 2
    assert "used 7.4 GB" in excess.message
    assert "only 500 MB of 16.0 GB of memory is left in the machine" in excess.message
    assert guard.look([Holder(1), Holder(3)], 1.1) == [], "its memory is still coming back"
    figures.now = Room(16 * GB, 7 * GB)
    assert guard.look([Holder(1), Holder(3)], 1.0 + 2 * REST_S) == []
    figures.now = Room(16 * GB, 100_000_000)
    assert [one.pid for one in guard.look([Holder(1), Holder(3)], 1.0 + 3 * REST_S)] == [3]


def test_when_others_hold_the_memory_no_worker_is_killed_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    figures = Figures(16 * GB, 100_000_000)
    figures.sizes = {1: 60_000_000, 2: 90_000_000}
    guard = MemoryGuard(figures=figures)
    for look in range(5):
        assert guard.look([Holder(1), Holder(2)], float(look)) == []
    assert "it is not the workers that hold it" in caplog.text
    assert len(caplog.records) == 1
    assert "only 100 MB" in guard.trouble
    figures.now = Room(16 * GB, 8 * GB)
    guard.look([Holder(1)], 9.0)
    assert guard.trouble == ""


def test_a_machine_that_says_nothing_and_a_reserve_of_nothing_kill_nobody() -> None:
    figures = Figures(16 * GB, 0)
    figures.sizes = {1: 15 * GB}
    assert MemoryGuard(0, figures).look([Holder(1)], 1.0) == []
    assert [one.pid for one in MemoryGuard(1, figures).look([Holder(1)], 1.0)] == [1]
    figures.now = None
    assert MemoryGuard(None, figures).look([Holder(1)], 1.0) == []


def test_the_reserve_fits_small_and_large_machines() -> None:
    assert [default_reserve(total) for total in (GB // 2, 4 * GB, 16 * GB, 512 * GB)] == [
        50_000_000,
        256_000_000,
        800_000_000,
        2 * GB,
    ]


def test_a_kill_by_linux_is_known_for_some_seconds_only() -> None:
    figures = Figures()
    figures.killed = 3
    guard = MemoryGuard(figures=figures)
    guard.look([], 1.0)
    assert not guard.killed_by_linux()
    figures.killed = 4
    assert guard.killed_by_linux()
    for second in range(2, 8):
        guard.look([], float(second))
    assert not guard.killed_by_linux(), "a process that is killed now was not killed for that"


# -- what Linux says -----------------------------------------------------------------------------


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MACHINE = (
    "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    8000000 kB\nBuffers: 1 kB\n"
)
V2 = "30 23 0:27 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n"


def test_version_2_nested_groups_the_tightest_counts_without_its_page_cache(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": MACHINE,
            "proc/self/cgroup": "0::/pod/container\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/pod/memory.max": "2000000000\n",
            "sys/fs/cgroup/pod/memory.current": "1900000000\n",
            "sys/fs/cgroup/pod/memory.stat": (
                "anon 1\ninactive_file 300000000\nactive_file "
                "100000000\nslab_reclaimable 50000000\n"
            ),
            "sys/fs/cgroup/pod/memory.events": "low 0\noom 1\noom_kill 1\n",
            "sys/fs/cgroup/pod/container/memory.max": "max\n",
            "sys/fs/cgroup/pod/container/memory.high": "max\n",
            "sys/fs/cgroup/pod/container/memory.current": "1000000000\n",
            "sys/fs/cgroup/pod/container/memory.events": "oom 7\noom_kill 2\n",
        },
    )
    figures = LinuxFigures(tmp_path)
    assert figures.room() == Room(2_000_000_000, 550_000_000, "its control group")
    assert figures.kills() == 2


def test_the_softer_limit_of_version_2_counts_as_well(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": MACHINE,
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/memory.max": "4000000000",
            "sys/fs/cgroup/memory.high": "3000000000",
            "sys/fs/cgroup/memory.current": "1000000000",
        },
    )
    assert LinuxFigures(tmp_path).room() == Room(3_000_000_000, 2_000_000_000, "its control group")


def test_version_1_in_a_container_whose_path_is_told_as_outside(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": MACHINE,
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu:/docker/abc\n",
            "proc/self/mountinfo": (
                "36 31 0:33 /docker/abc /sys/fs/cgroup/memory rw,relatime "
                "- cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000000",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "950000000",
            "sys/fs/cgroup/memory/memory.stat": (
                "cache 5\ntotal_inactive_file 50000000\ntotal_active_file 0\n"
            ),
            "sys/fs/cgroup/memory/memory.oom_control": (
                "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"
            ),
        },
    )
    figures = LinuxFigures(tmp_path)
    assert figures.room() == Room(1_000_000_000, 100_000_000, "its control group")
    assert figures.kills() == 5


def test_without_limits_it_is_the_machine_and_without_a_machine_nothing(tmp_path: Path) -> None:
    write(
        tmp_path / "a",
        {
            "proc/meminfo": MACHINE,
            "proc/vmstat": "nr_free_pages 5\noom_kill 9\n",
            "proc/self/cgroup": "4:memory:/x\n",
            "proc/self/mountinfo": (
                "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "9",
        },
    )
    figures = LinuxFigures(tmp_path / "a")
    assert figures.room() == Room(16_384_000_000, 8_192_000_000)
    assert figures.kills() == 9
    nothing = LinuxFigures(tmp_path / "b")
    assert (nothing.room(), nothing.kills(), nothing.used(1)) == (None, 0, 0)


def test_a_limit_that_is_set_later_is_noticed(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": MACHINE,
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/memory.max": "max",
            "sys/fs/cgroup/memory.current": "1000000000",
        },
    )
    figures = LinuxFigures(tmp_path)
    assert figures.room() == Room(16_384_000_000, 8_192_000_000)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1100000000")
    rooms = [figures.room() for _ in range(150)]
    assert rooms[-1] == Room(1_100_000_000, 100_000_000, "its control group")


# -- real workers --------------------------------------------------------------------------------


def run_with(
    tmp_path: Path, pipeline: Any, needs: list[Need], **settings: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    app = App(home=tmp_path / "home", ledger="", workers=1, **settings)
    app.run([pipeline], [(pipeline, need) for need in needs])
    reads = app.reads()
    row = next(row for row in reads.status() if row["pipeline"] == pipeline.name)
    return row, reads.dead_letters(None, "open", 20)


def test_a_step_that_takes_more_than_its_limit_is_killed_and_its_dead_letter_names_the_peak(
    tmp_path: Path,
) -> None:
    row, dead_letters = run_with(tmp_path, devouring, [Need(1, 1000), Need(2, 20)])
    assert (row["completed"], row["dead"]) == (1, 1)
    (dead_letter,) = dead_letters
    assert (dead_letter["error_class"], dead_letter["attempts"]) == ("memory", 2)
    assert "limit memory='300MB'" in dead_letter["message"]
    used = int(dead_letter["message"].split()[1])
    assert 300 < used < 1100
    assert "MB" in dead_letter["message"]


def test_children_count_and_what_they_share_counts_once_and_address_space_does_not(
    tmp_path: Path,
) -> None:
    needs = [Need(1, 600, "child"), Need(2, 150, "forks"), Need(3, 10_000, "address space")]
    row, dead_letters = run_with(tmp_path, devouring, needs)
    assert (row["completed"], row["dead"]) == (2, 1)
    assert [(dead_letter["key"], dead_letter["error_class"]) for dead_letter in dead_letters] == [
        ("1", "memory")
    ]


def test_a_batch_above_the_limit_is_halved_until_it_fits(
    tmp_path: Path, output: Callable[[str], Any]
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1)
    app.run([gathering], [(gathering, number) for number in range(1, 5)])
    assert [output(str(number)) for number in range(1, 5)] == [1, 2, 3, 4], (
        "each alone in the end, though every step has one attempt"
    )


def test_a_limit_for_all_workers_kills_attempts_above_it(tmp_path: Path) -> None:
    row, dead_letters = run_with(tmp_path, hoarding, [Need(1, 600)], worker_memory="300MB")
    assert row["dead"] == 1
    assert dead_letters[0]["error_class"] == "memory"
    assert "HOLDFAST_WORKER_MEMORY=300 MB" in dead_letters[0]["message"]


def test_a_worker_that_keeps_too_much_is_replaced_between_two_calls(
    tmp_path: Path, output: Callable[[str], Any]
) -> None:
    row, _ = run_with(tmp_path, hoarding, [Need(n, 400) for n in range(2)], worker_memory="460MB")
    assert row["completed"] == 2
    assert output("0") != output("1")


def test_a_worker_looks_at_its_memory_now_and_then_and_only_where_there_is_a_limit() -> None:
    figures = Figures()
    figures.sizes = {os.getpid(): 950}
    assert Wear(Upkeep(), figures).after_call(1.0, 0) == ""
    assert figures.asked == []
    wear = Wear(Upkeep(memory=2000), figures)
    assert wear.after_call(1.0, 0) == ""
    assert wear.after_call(1.001, 1000) == "", "not yet again"
    assert "may hold 1 kB" in wear.after_call(2.0, 1000)
    figures.shared = {os.getpid(): 500}
    assert wear.after_call(3.0, 1000) == "", "what it shares with its children counts once"


def test_a_worker_is_replaced_after_so_many_calls(
    tmp_path: Path, output: Callable[[str], Any]
) -> None:
    row, _ = run_with(tmp_path, counting, [Need(n, 0) for n in range(6)], worker_calls=2)
    assert row["completed"] == 6
    pids = [output(str(n)) for n in range(6)]
    assert all(pids.count(pid) == 2 for pid in pids), pids


def test_linux_would_rather_kill_a_worker_than_its_runner(
    tmp_path: Path, output: Callable[[str], Any]
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1)
    seen: set[int] = set()

    def look(session: Any) -> None:
        for pid in session._processes.pids():
            try:
                seen.add(int(Path(f"/proc/{pid}/oom_score_adj").read_text()))
            except OSError:
                pass

    app.run([hoarding], [(hoarding, Need(1, 20))], each_tick=look)
    assert 500 in seen
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 500


def test_looking_costs_nothing_that_anybody_notices() -> None:
    figures = LinuxFigures()
    began = time.process_time()
    for _ in range(100):
        figures.room()
        figures.used(os.getpid())
    assert time.process_time() - began < 0.5, (
        "ten seconds of looking: 5 % of one processor would be far too much"
    )


def test_when_memory_is_short_the_attempt_of_the_largest_worker_fails_with_what_it_held(
    tmp_path: Path,
) -> None:
    row, dead_letters = run_with(tmp_path, hoarding, [Need(1, 400)], memory_reserve="1000TB")
    assert row["dead"] == 1
    assert dead_letters[0]["error_class"] == "memory"
    assert "of memory is left in" in dead_letters[0]["message"]
    assert "the largest worker was killed" in dead_letters[0]["message"]


@pytest.mark.parametrize(("counts", "error_class"), [(True, "memory"), (False, "crash")])
def test_a_worker_that_linux_killed_for_want_of_memory_failed_with_memory(
    counts: bool, error_class: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = itertools.count()
    monkeypatch.setattr(LinuxFigures, "kills", lambda self: next(kills) if counts else 0)
    row, dead_letters = run_with(tmp_path, counting, [Need(1, 0, "killed")])
    assert row["dead"] == 1
    assert dead_letters[0]["error_class"] == error_class
