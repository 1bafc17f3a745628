"""Steps that treat their worker process badly; a module of their own, so that workers can import
them."""

from __future__ import annotations

import atexit
import ctypes
import gc
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from holdfast import Batch, Failed, Retry, Timeout, pipeline, step

ONCE = Retry(attempts=1)
SOON = Retry(attempts=3, base="1ms", cap="5ms")


@dataclass
class Task:
    """What to do, and a file to write about it."""

    id: str
    do: str = "nothing"
    note: str = ""
    seconds: float = 0.0


def _tell(task: Task, what: object) -> None:
    with open(task.note, "a") as file:
        file.write(f"{what}\n")


def _fork(*works: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            for work in works:
                work()
        finally:
            os._exit(0)
    return pid


def _pipes() -> list[int]:
    """Descriptors that are pipes and open for writing, as whoever wants to do harm finds them."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:") and int(name) > 2:
                flags = (
                    Path(f"/proc/self/fdinfo/{name}").read_text().partition("flags:")[2].split()[0]
                )
                if int(flags, 8) & os.O_ACCMODE == os.O_WRONLY:
                    found.append(int(name))
        except (OSError, ValueError):
            pass
    return found


def nothing(task: Task) -> None:
    """Nothing."""


def sleep(task: Task) -> None:
    """Take a while; say when it began."""
    if task.note:
        _tell(task, f"{task.id} began")
    time.sleep(task.seconds or 60)


def daemon(task: Task) -> None:
    """A daemon as the book has it: two forks and a session of its own. It keeps every descriptor.
    Then run over the timeout."""

    def between() -> None:
        os.setsid()
        _fork(lambda: _tell(task, os.getpid()), lambda: time.sleep(60))

    os.waitpid(_fork(between), 0)
    time.sleep(60)


def daemon_and_die(task: Task) -> None:
    """A daemon, and then the worker is gone by itself."""
    _fork(lambda: os.setsid(), lambda: _tell(task, os.getpid()), lambda: time.sleep(60))
    while not Path(task.note).exists():
        time.sleep(0.01)
    os._exit(7)


def leave_programs(task: Task) -> None:
    """Programs that outlive the call: in the worker's session, in one of their own, and without the
    worker's environment."""
    for apart, environment in ((False, None), (True, None), (True, {})):
        program = [sys.executable, "-c", "import time; time.sleep(60)"]
        _tell(task, subprocess.Popen(program, start_new_session=apart, env=environment).pid)
    _tell(task, os.getpid())


def close_and_go_on(task: Task) -> None:
    """Close what is not one's own, and go on for long."""
    os.closerange(3, 1024)
    time.sleep(15)


def close_and_return(task: Task) -> None:
    """Close what is not one's own."""
    os.closerange(3, 1024)


def kill_group(task: Task) -> None:
    """Kill the own process group."""
    os.killpg(0, signal.SIGKILL)


def stop_itself(task: Task) -> None:
    """Stand still."""
    os.kill(os.getpid(), signal.SIGSTOP)


def become_another(task: Task) -> None:
    """Become another program, which does not know of us."""
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(30)"])


def exec_and_end(task: Task) -> None:
    """Become a program that ends well."""
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def end_well(task: Task) -> None:
    """End the process without an error."""
    os._exit(0)


def abort(task: Task) -> None:
    """Abort."""
    os.abort()


def segfault(task: Task) -> None:
    """Read what is not there."""
    ctypes.string_at(0)


def say_exit(task: Task) -> None:
    """Raise SystemExit."""
    sys.exit("a library gave up")


def fork_and_return(task: Task) -> None:
    """Fork; parent and child return both."""
    os.fork()


def pools(task: Task) -> None:
    """Leave pools of processes and threads behind."""
    globals()["_kept"] = [multiprocessing.get_context("fork").Pool(2), ThreadPoolExecutor(2)]
    globals()["_kept"][1].submit(time.sleep, 60)
    threading.Thread(target=time.sleep, args=(60,)).start()


def garbage(task: Task) -> None:
    """Write into every pipe."""
    for file in _pipes():
        os.write(file, b"hello, world! " * 10)


def little_garbage(task: Task) -> None:
    """Write less than a header."""
    for file in _pipes():
        os.write(file, b"\x10\0\0")


def forged(task: Task) -> None:
    """Answer calls that were not asked, in good form."""
    import msgspec

    from holdfast.executors.frames import framed

    for file in _pipes():
        os.write(
            file, framed(msgspec.msgpack.encode([0, 4711, [b"1"], False, 0.0, [0.0, 0, 0, 0], ""]))
        )


def no_message(task: Task) -> None:
    """A frame that is none of ours."""
    from holdfast.executors.frames import framed

    for file in _pipes():
        os.write(file, framed(b"\xc1\xc1"))


def out_of_memory(task: Task) -> None:
    """As Python says it."""
    raise MemoryError("too large")


def at_exit(task: Task) -> None:
    """Say farewell."""
    atexit.register(_tell, task, "farewell")


def tell_descriptors(task: Task) -> None:
    """Tell what is open here, and in a program that is started without closing anything."""
    code = (
        "import os; print(*{os.readlink(f'/proc/self/fd/{n}') for n in "
        "os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')})"
    )
    here = {
        os.readlink(f"/proc/self/fd/{name}")
        for name in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{name}")
    }
    _tell(task, " ".join(one.replace(" ", "_") for one in here))
    _tell(
        task,
        subprocess.run(
            [sys.executable, "-c", code],
            close_fds=False,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip(),
    )


def spoil_page(task: Task) -> None:
    """Clear the page that is shared with the runner."""
    for one in gc.get_objects():
        if isinstance(one, mmap.mmap):
            one[0:16] = bytes(16)


def doing(task: Task) -> None:
    """Do what the task says."""
    globals()[task.do](task)


@step(retry=ONCE, timeout=Timeout(ceiling="1s"))
def bad(task: Task) -> str:
    """Do it; a minute is too long."""
    doing(task)
    return f"{task.id} {os.getpid()}"


@step(retry=SOON, timeout=Timeout(ceiling="20s"))
def patient(task: Task) -> str:
    """Do it."""
    doing(task)
    return f"{task.id} {os.getpid()}"


@step(effects="unsafe", timeout=Timeout(ceiling="20s"))
def unsafe(task: Task) -> str:
    """Do it, and it has taken effect."""
    _tell(task, "effect")
    globals()[task.do](Task(task.id, task.do))
    return task.id


@step(effects="unsafe", timeout=Timeout(ceiling="20s"))
def risky(task: Task) -> str:
    """Do it. What has begun and failed is for a person, at once."""
    doing(task)
    return f"{task.id} {os.getpid()}"


class Many:
    """Takes several at once."""

    def __call__(self, tasks: list[Task]) -> list[str | Failed]:
        """Do all of it."""
        for task in tasks:
            if task.note:
                _tell(task, f"{task.id} began")
            time.sleep(task.seconds)
        return [task.id for task in tasks]


many = step.batched(Many, batch=Batch(size=4, wait="50ms"))


@pipeline(version="1", key=lambda task: task.id)
def treated(task: Task) -> str:
    """One bad step, killed after a second."""
    return bad(task)


@pipeline(version="1", key=lambda task: task.id)
def treated_long(task: Task) -> str:
    """One step that may take long."""
    return patient(task)


@pipeline(version="1", key=lambda task: task.id)
def treated_once(task: Task) -> str:
    """One step that must not run twice."""
    return unsafe(task)


@pipeline(version="1", key=lambda task: task.id)
def treated_at_risk(task: Task) -> str:
    """One step whose first failure is the last."""
    return risky(task)


@pipeline(version="1", key=lambda task: task.id)
def together(task: Task) -> str:
    """One batched step."""
    return many(task)
