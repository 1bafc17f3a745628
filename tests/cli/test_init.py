"""As process 1 of a container, the command reaps orphans, passes signals on, and ends as its child
does."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, sys, time
from holdfast.cli.init import be_init
from holdfast.executors.linux import children, inherit_orphans

inherit_orphans()  # as process 1 does by itself
be_init()
{body}
"""

ORPHANS = """
mine = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", "raise SystemExit(5)"])
for _ in range(3):
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            time.sleep(0.1)
        os._exit(0)
    os.waitpid(between, 0)
while len(list(children(os.getppid()))) > 1:
    time.sleep(0.01)
print("only I am left:", list(children(os.getppid())) == [os.getpid()])
print("my own:", os.waitstatus_to_exitcode(os.waitpid(mine, 0)[1]))
sys.exit(7)
"""

SIGNALS = """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(9))
print("up", flush=True)
time.sleep(60)
"""


def test_orphans_are_reaped_and_the_childs_own_children_are_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=ORPHANS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == ["only I am left: True", "my own: 5"]


def test_a_signal_reaches_the_program_and_its_code_comes_back() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=SIGNALS)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.wait(60) == 9
    process.stdout.close()


def test_a_program_that_is_killed_is_told_as_a_shell_does() -> None:
    body = "os.kill(os.getpid(), signal.SIGKILL)"
    assert (
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(body=body)], timeout=60, check=False
        ).returncode
        == 128 + 9
    )
