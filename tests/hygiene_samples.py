"""Steps that do things to the process that they run in, and steps that allocate memory."""

from __future__ import annotations

import asyncio
import decimal
import faulthandler
import gc
import io
import locale
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from holdfast import Batch, Failed, Retry, pipeline, step
from holdfast.executors.linux import descendants

ONCE = Retry(attempts=1)


@dataclass
class Deed:
    """What a step is to do, in which folder."""

    id: int
    kind: str = "look"
    folder: str = ""


def state() -> dict[str, Any]:
    """What an attempt finds."""
    numbers = sorted(int(one) for one in signal.valid_signals())
    return {
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "umask": oct(umask()),
        "handlers": [str(signal.getsignal(number)) for number in numbers],
        "mask": sorted(int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timers": [
            signal.getitimer(which)[0] > 0
            for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
        ],
        "limits": [
            list(resource.getrlimit(which))
            for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
        ],
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "streams": [
            stream is not None and not stream.closed
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "files": [file_of(number) for number in (0, 1, 2)],
        "locale": locale.setlocale(locale.LC_ALL),
        "collector": gc.isenabled(),
        "socket": socket.getdefaulttimeout(),
        "tracing": sys.gettrace() is not None,
        "precision": decimal.getcontext().prec,
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "user": os.geteuid(),
        "below": len(descendants(os.getpid())),
    }


def umask() -> int:
    """The umask of this process."""
    now = os.umask(0o022)
    os.umask(now)
    return now


def file_of(number: int) -> list[int]:
    """Which file a descriptor is of."""
    found = os.fstat(number)
    return [found.st_dev, found.st_ino]


def _removed_directory(deed: Deed) -> None:
    folder = tempfile.mkdtemp(dir=deed.folder)
    os.chdir(folder)
    os.rmdir(folder)


def _environment(deed: Deed) -> None:
    os.environ["HYGIENE"] = "leaked"
    os.environ.pop("PATH", None)
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()


def _other_environment(deed: Deed) -> None:
    os.environ = {"HYGIENE": "another object"}  # type: ignore[assignment]  # noqa: B003


def _handlers(deed: Deed) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 3):
        signal.signal(number, lambda *_: os._exit(9))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})


def _timers(deed: Deed) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    signal.setitimer(signal.ITIMER_PROF, 0.2)
    faulthandler.dump_traceback_later(0.2, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115


def _raising_timer(deed: Deed) -> None:
    def late(*_: Any) -> None:
        raise TimeoutError("an alarm of the step")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)


def _limits(deed: Deed) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _closed_descriptors(deed: Deed) -> None:
    for number in (0, 1, 2):
        os.close(number)
    print("into nothing", flush=True)
    print("into nothing", file=sys.stderr, flush=True)


def _other_descriptors(deed: Deed) -> None:
    file = os.open(f"{deed.folder}/output", os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _broken_pipe(deed: Deed) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    os.close(writing)
    print("nobody reads this", flush=True)
    print("\ud800 is no character", flush=True)


def _closed_streams(deed: Deed) -> None:
    sys.stdout.close()
    sys.stderr.close()
    sys.stdin = None


def _other_streams(deed: Deed) -> None:
    sys.stdout = sys.stderr = io.StringIO()


def _interpreter(deed: Deed) -> None:
    sys.setrecursionlimit(150)
    sys.path.insert(0, deed.folder)
    gc.disable()
    sys.settrace(lambda *_: None)
    socket.setdefaulttimeout(0.001)
    decimal.getcontext().prec = 2
    locale.setlocale(locale.LC_ALL, "C.UTF-8")


def _dropped_child(deed: Deed) -> None:
    subprocess.Popen(["sleep", "60"])
    subprocess.Popen(["true"])


def _daemon(deed: Deed) -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)


def _fork_that_returns(deed: Deed) -> None:
    os.fork()


def _fork_that_raises(deed: Deed) -> None:
    if os.fork() == 0:
        raise RuntimeError("in the child")


DEEDS: dict[str, Callable[[Deed], Any]] = {
    "look": lambda deed: None,
    "chdir": lambda deed: os.chdir(deed.folder),
    "removed directory": _removed_directory,
    "environment": _environment,
    "other environment": _other_environment,
    "umask": lambda deed: os.umask(0o777),
    "handlers": _handlers,
    "timers": _timers,
    "raising timer": _raising_timer,
    "limits": _limits,
    "closed descriptors": _closed_descriptors,
    "other descriptors": _other_descriptors,
    "broken pipe": _broken_pipe,
    "closed streams": _closed_streams,
    "other streams": _other_streams,
    "interpreter": _interpreter,
    "priority": lambda deed: os.nice(1),
    "dropped child": _dropped_child,
    "daemon": _daemon,
    "fork that returns": _fork_that_returns,
    "fork that raises": _fork_that_raises,
}
"""What a step can do to its process and what can be put back."""


@step(retry=ONCE)
def meddle(deed: Deed) -> dict[str, Any]:
    """Say what it finds, then do it."""
    found = state()
    DEEDS[deed.kind](deed)
    return found


@pipeline(version="1", key=lambda deed: str(deed.id))
def meddling(deed: Deed) -> dict[str, Any]:
    """One step that changes its process."""
    return meddle(deed)


@step(retry=ONCE)
def fork_and_fail(deed: Deed) -> int:
    """Forks, fails in the parent, and comes back in the child."""
    if os.fork() != 0:
        raise ValueError("the parent's verdict counts")
    return 1


@pipeline(version="1", key=lambda deed: str(deed.id))
def forking(deed: Deed) -> int:
    """One step that forks."""
    return fork_and_fail(deed)


@step(retry=ONCE)
def large_under_a_umask(deed: Deed) -> str:
    """A result that is kept as a file, after the step has set a umask that forbids everything."""
    os.umask(0o777)
    return f"{deed.id}" * 100_000


@pipeline(version="1", key=lambda deed: str(deed.id))
def keeping(deed: Deed) -> str:
    """One step with a large result."""
    return large_under_a_umask(deed)


_kept: list[Any] = []


@step(retry=ONCE)
def leak(deed: Deed) -> int:
    """Leaves something behind that nobody can take back, in which process."""
    if deed.kind == "threads":
        for _ in range(50):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    elif deed.kind == "descriptors":
        _kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(400))
    elif deed.kind == "children":
        _kept.extend(subprocess.Popen(["sleep", "60"]) for _ in range(12))
    elif deed.kind == "user":
        os.setuid(65534)
    return os.getpid()


@pipeline(version="1", key=lambda deed: str(deed.id))
def leaking(deed: Deed) -> int:
    """One step that leaks."""
    return leak(deed)


@step(retry=ONCE)
def import_late(deed: Deed) -> dict[str, Any]:
    """Imports a module that changes the process; says what it finds."""
    os.environ["HYGIENE_OF_AN_ATTEMPT"] = "goes"
    found = dict(os.environ)
    import tests.hygiene_lazy

    assert tests.hygiene_lazy
    return {
        "module": os.environ.get("HYGIENE_OF_A_MODULE"),
        "attempts": found.get("HYGIENE_OF_A_MODULE"),
        "path": sys.path[-1],
        "precision": decimal.getcontext().prec,
    }


@pipeline(version="1", key=lambda deed: str(deed.id))
def importing(deed: Deed) -> dict[str, Any]:
    """One step that imports late."""
    return import_late(deed)


class Owner:
    """A step's class: what it makes when it is built, it has in every attempt."""

    def __init__(self) -> None:
        os.environ["HYGIENE_OF_A_CLASS"] = "stays"
        self.server = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.threads = ThreadPoolExecutor(4)

    def __call__(self, deed: Deed) -> dict[str, Any]:
        """Ask the child process and a thread."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(b"hello\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline().decode().strip()
        thread = self.threads.submit(threading.get_ident).result()
        return {
            "child": answer,
            "pid": self.server.pid,
            "thread": thread > 0,
            "variable": os.environ.get("HYGIENE_OF_A_CLASS"),
        }


owner = step.of(Owner, retry=ONCE)


@pipeline(version="1", key=lambda deed: str(deed.id))
def owning(deed: Deed) -> dict[str, Any]:
    """One step with a class."""
    return owner(deed)


def _double(number: int) -> int:
    return 2 * number


_pools: list[ProcessPoolExecutor] = []


@step(retry=ONCE)
def pooled(deed: Deed) -> list[int]:
    """Uses a pool of processes that the first attempt has made."""
    if not _pools:
        _pools.append(ProcessPoolExecutor(1))
    return [_pools[0].submit(_double, deed.id).result(), _pools[0].submit(os.getpid).result()]


@pipeline(version="1", key=lambda deed: str(deed.id))
def pooling(deed: Deed) -> list[int]:
    """One step with a pool."""
    return pooled(deed)


@dataclass
class Need:
    """How many megabytes a step is to touch, and how."""

    id: int
    mb: int
    how: str = "itself"


def touch(mb: int) -> list[bytearray]:
    """Allocate, a few megabytes at a time, and hold it for a while at the end."""
    held = []
    for _ in range(mb // 10):
        held.append(bytearray(b"x") * 10_000_000)
        time.sleep(0.005)
    time.sleep(0.4)
    return held


@step(retry=Retry(attempts=2, base="1ms", cap="2ms"), memory="300MB")
def devour(need: Need) -> int:
    """Take as much memory as it is told to."""
    if need.how == "itself":
        return len(touch(need.mb))
    if need.how == "child":
        code = f"import time\nheld = bytearray(b'x') * {need.mb * 1_000_000}\ntime.sleep(0.6)"
        return subprocess.run([sys.executable, "-c", code], check=False).returncode
    if need.how == "forks":  # what they share counts once
        held = touch(need.mb)
        children = [os.fork() for _ in range(3)]
        if 0 in children:
            time.sleep(0.6)
            os._exit(0)
        for child in children:
            os.waitpid(child, 0)
        return len(held)
    space = mmap.mmap(-1, need.mb * 1_000_000)  # address space that is never touched
    space[0] = 1
    time.sleep(0.4)
    return space[0]


@pipeline(version="1", key=lambda need: str(need.id))
def devouring(need: Need) -> int:
    """One step with a limit."""
    return devour(need)


@step(retry=ONCE)
def hoard(need: Need) -> int:
    """Keep memory beyond the attempt; no limit of its own."""
    _kept.append(touch(need.mb))
    return os.getpid()


@pipeline(version="1", key=lambda need: str(need.id))
def hoarding(need: Need) -> int:
    """One step that keeps memory."""
    return hoard(need)


class Together:
    """Several elements at a time need more memory than one."""

    def __call__(self, numbers: list[int]) -> list[int | Failed]:
        """Hold something for each."""
        held = [bytearray(b"x") * 130_000_000 for _ in numbers]
        time.sleep(0.4 if len(held) > 1 else 0)
        return [number * len(numbers) for number in numbers]


together = step.batched(Together, batch=Batch(size=4, wait="50ms"), memory="220MB", retry=ONCE)


@pipeline(version="1", key=str)
def gathering(number: int) -> int:
    """A batched step with a limit."""
    return together(number)


@step(retry=ONCE)
def pid_of(need: Need) -> int:
    """Which process it runs in."""
    if need.how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@pipeline(version="1", key=lambda need: str(need.id))
def counting(need: Need) -> int:
    """One step."""
    return pid_of(need)


@step(retry=ONCE)
async def disturb(deed: Deed) -> str:
    """Changes the runner's own process, and waits a little."""
    if deed.kind == "disturb":
        os.chdir(deed.folder)
        os.umask(0o777)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
            asyncio.get_running_loop().remove_signal_handler(number)
    await asyncio.sleep(0.15)
    return os.getcwd()


@step(retry=ONCE)
async def enlarge(text: str, deed: Deed) -> str:
    """A result that is kept as a file."""
    return text + "x" * 100_000


@step(retry=ONCE)
async def find_out(text: str, deed: Deed) -> list[str]:
    """What is found afterwards."""
    await asyncio.sleep(0.5)
    return [os.getcwd(), oct(umask())]


@pipeline(version="1", key=lambda deed: str(deed.id))
def disturbing(deed: Deed) -> list[str]:
    """A step on the loop that changes the process that everything shares."""
    return find_out(enlarge(disturb(deed), deed), deed)


@step(retry=ONCE)
def talk(deed: Deed) -> str:
    """Prints, whatever its output is connected to."""
    print("said by a step", flush=True)
    print("said by a step", file=sys.stderr, flush=True)
    return "said"


@pipeline(version="1", key=lambda deed: str(deed.id))
def talking(deed: Deed) -> str:
    """One step that prints."""
    return talk(deed)
