"""The parts of a clean state: streams that take everything, what belongs to a process, what is left
behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.executors.clean_state import merged
from holdfast.executors.facets import facets
from holdfast.executors.left_behind import Leaks
from holdfast.executors.streams import Sink, text_to


def in_a_process(code: str, folder: Path) -> str:
    """Run code that may do anything to its process; returns what it prints to a descriptor of its
    own."""
    prologue = (
        "import os, sys\n"
        "said = os.dup(1)\n"
        "from holdfast.executors.clean_state import CleanState\n"
        "from holdfast.executors.streams import Standard\n"
        "def say(*what): os.write(said, (' '.join(map(str, what)) + '\\n').encode())\n"
        "clean = CleanState(Standard())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", prologue + code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_stream_takes_what_its_descriptor_does_not() -> None:
    reading, writing = os.pipe()
    stream = text_to(writing)
    stream.write("one\n")
    assert os.read(reading, 10) == b"one\n"
    stream.write("\ud800 and \udcff\n")
    assert os.read(reading, 40) == b"\\ud800 and \\udcff\n"
    os.close(reading)
    assert stream.write("nobody reads\n") == 13
    os.close(writing)
    assert stream.write("nobody reads\n") == 13
    assert Sink(writing).write(b"x" * 100_000) == 100_000
    assert not Sink(writing).isatty()
    stream.close()


@pytest.mark.parametrize(
    ("was", "before", "after", "becomes"),
    [
        (
            {"a": 1},
            {"a": 1, "attempt": 1},
            {"a": 1, "attempt": 1, "module": 1},
            {"a": 1, "module": 1},
        ),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2}, {"a": 1}),
        (["x"], ["attempt", "x"], ["module", "attempt", "x"], ["module", "x"]),
        (["x"], ["x"], ["x", "x"], ["x", "x"]),
        ((1, 2, 3), (9, 2, 3), (9, 7, 3), (1, 7, 3)),
        ("was", "attempt", "attempt", "was"),
        ("was", "attempt", "module", "module"),
    ],
)
def test_only_what_changed_meanwhile_belongs_to_the_process(
    was: Any, before: Any, after: Any, becomes: Any
) -> None:
    assert merged(was, before, after) == becomes


def test_a_module_keeps_what_it_does_and_the_attempt_that_imports_it_does_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "lazily.py").write_text(
        "import os, sys, io\nos.environ['MODULE'] = 'yes'\nos.chdir('/')\nsys.stdout = "
        "io.StringIO()\n"
    )
    said = in_a_process(
        "def body():\n"
        "    os.environ['ATTEMPT'] = 'yes'\n"
        "    os.umask(0o7)\n"
        "    sys.stderr = None\n"
        "    import lazily\n"
        "sys.path.insert(0, os.getcwd())\n"
        "for _ in range(2):\n"
        "    clean.context().run(clean.run, body, 'step')\n"
        "    say(os.environ.get('MODULE'), os.environ.get('ATTEMPT'), os.getcwd(), "
        "type(sys.stdout).__name__)\n"
        "    say(sys.stderr is None, [clean.retire()])\n",
        tmp_path,
    )
    assert said.splitlines() == ["yes None / StringIO", "False ['']"] * 2


def test_a_module_that_fails_to_import_and_one_that_imports_others(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("import os\nos.environ['INNER'] = 'yes'\n")
    (tmp_path / "outer.py").write_text(
        "import inner, os\nos.environ['OUTER'] = 'yes'\nraise RuntimeError('half way')\n"
    )
    said = in_a_process(
        "def body():\n"
        "    try:\n"
        "        import outer\n"
        "    except RuntimeError as error:\n"
        "        say(error)\n"
        "    import inner\n"
        "    say(inner.__loader__.exec_module.__func__.__qualname__)\n"
        "sys.path.insert(0, os.getcwd())\n"
        "clean.run(body, 'step')\n"
        "say(os.environ['INNER'], os.environ['OUTER'])\n",
        tmp_path,
    )
    assert said.splitlines() == ["half way", "_LoaderBasics.exec_module", "yes yes"]


def test_a_step_that_closes_every_descriptor_is_a_reason_to_replace_the_worker(
    tmp_path: Path,
) -> None:
    said = in_a_process(
        "clean.run(lambda: [os.close(number) for number in range(3, 60) if number != said and "
        "os.path.exists(f'/proc/self/fd/{number}')], 'step')\n"
        "print('still prints')\n"
        "say(bool(clean.retire()))\n",
        tmp_path,
    )
    assert said == "True"


def test_what_raises_is_the_bodys_own_error_and_the_state_is_clean_all_the_same(
    tmp_path: Path,
) -> None:
    said = in_a_process(
        "def body():\n"
        "    os.chdir('/')\n"
        "    sys.exit(3)\n"
        "here = os.getcwd()\n"
        "try:\n"
        "    clean.run(body, 'step')\n"
        "except SystemExit as error:\n"
        "    say(error.code, os.getcwd() == here)\n",
        tmp_path,
    )
    assert said == "3 True"


def test_context_variables_of_an_attempt_end_with_it(tmp_path: Path) -> None:
    said = in_a_process(
        "import decimal\n"
        "for number in (3, 4):\n"
        "    def body():\n"
        "        was, decimal.getcontext().prec = decimal.getcontext().prec, number\n"
        "        return was\n"
        "    say(clean.context().run(clean.run, body, 'step'))\n",
        tmp_path,
    )
    assert said.splitlines() == ["28", "28"]


def test_every_facet_reads_the_same_twice_and_takes_back_what_it_read() -> None:
    for facet in facets():
        found = facet.copy(facet.read())
        assert facet.read() == found, facet.name
        facet.restore(facet.copy(found))
        assert facet.read() == found, facet.name


def test_open_descriptors_are_seen_by_the_lowest_that_is_free() -> None:
    leaks = Leaks()
    assert leaks.look() == ""
    before = leaks.now()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    assert leaks.now()[1] >= before[1] + 20
    for number in held:
        os.close(number)
    assert leaks.now() == before


def test_what_a_short_attempt_of_a_calm_step_changes_is_put_back_before_the_worker_waits(
    tmp_path: Path,
) -> None:
    code = (
        "import signal\n"
        "for _ in range(25): clean.restore('calm', 1e-9)\n"
        "usual = signal.getsignal(signal.SIGUSR1)\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "os.environ['LEFT'] = 'behind'\n"
        "clean.restore('calm', 1e-9)\n"
        "say('LEFT' in os.environ, signal.getsignal(signal.SIGUSR1) == usual)\n"
        "for _ in range(25): clean.restore('calm', 1e-9)\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "clean.restore('calm', 1e-9)\n"
        "clean.before_waiting()\n"
        "say(signal.getsignal(signal.SIGUSR1) == usual)\n"
    )
    assert in_a_process(code, tmp_path).split("\n") == ["False True", "True"]
