"""Steps that leave something behind which goes on after their attempt has ended; a module that
workers can import."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from holdfast import Batch, Context, Failed, Retry, Timeout, pipeline, step
from holdfast.errors import ResultError
from holdfast.model.context import LARGEST

SOON = Retry(attempts=3, base="1ms", cap="5ms")


@dataclass
class Task:
    """What to do, and a file to write about it."""

    id: str
    do: str = "nothing"
    note: str = ""


def tell(task: Task, what: object) -> int:
    """Add a line to the file."""
    with open(task.note, "a") as file:
        file.write(f"{what}\n")
    return 1


def nothing(task: Task, ctx: Context) -> None:
    """Take a moment."""
    time.sleep(0.1)


def hold_the_interpreter(task: Task, ctx: Context) -> None:
    """A thread that will not let any other run, soon."""

    def hold() -> None:
        time.sleep(0.03)
        re.match(r"(a+)+$", "a" * 45 + "b")

    threading.Thread(target=hold, daemon=True).start()


def stand_still(task: Task, ctx: Context) -> None:
    """Stop the worker when it has nothing to do, or something else."""
    threading.Timer(0.03, lambda: os.kill(os.getpid(), signal.SIGSTOP)).start()


def late_effect(task: Task, ctx: Context) -> None:
    """A thread that wants to have an effect when the attempt is over."""

    def late() -> None:
        time.sleep(0.05)
        try:
            ctx.once("late", lambda: tell(task, "effect"))
        except Exception as error:
            tell(task, type(error).__name__)

    threading.Thread(target=late, daemon=True).start()


def effect_of_a_fork(task: Task, ctx: Context) -> None:
    """A fork that wants to have the effect that its parent has."""
    pid = os.fork()
    if pid == 0:
        try:
            ctx.once("one", lambda: tell(task, "of the fork"))
        except Exception as error:
            tell(task, type(error).__name__)
        os._exit(0)
    os.waitpid(pid, 0)
    ctx.once("one", lambda: tell(task, "of the attempt"))


def many_effects(task: Task, ctx: Context) -> None:
    """Effects of many threads at a time, and one that all of them want."""

    def effects(number: int) -> int:
        ctx.once("shared", lambda: tell(task, "shared"))
        return ctx.once(f"own {number}", lambda: number)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(effects, range(50))) == list(range(50))


def start_programs(task: Task, ctx: Context) -> None:
    """Programs that take longer than anybody waits: below the worker, in a session of their own,
    and as a daemon."""
    program = [sys.executable, "-c", "import time; time.sleep(300)"]
    for apart in (False, True):
        tell(task, subprocess.Popen(program, start_new_session=apart).pid)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            tell(task, os.getpid())
            time.sleep(300)
        os._exit(0)
    time.sleep(
        300
        if ctx.attempt == 1 and ctx.generation == 1 and not Path(f"{task.note}.again").exists()
        else 0
    )


def spoil_streams(task: Task, ctx: Context) -> None:
    """Make standard output useless without closing it."""
    if task.id.endswith("0"):
        sys.stdout.detach()  # type: ignore[union-attr]
    elif task.id.endswith("1"):
        sys.stdout.reconfigure(encoding="ascii", errors="strict", line_buffering=False)  # type: ignore[union-attr]
    elif task.id.endswith("2"):
        sys.stdout.write = None  # type: ignore[method-assign]
    else:
        del sys.stdout


def spoil_library(task: Task, ctx: Context) -> None:
    """Replace what other steps use."""
    sys.modules["colorsys"] = None  # type: ignore[assignment]
    threading.Thread.start = None  # type: ignore[assignment]
    os.putenv("LEFT_BEHIND", "1")


def use_library(task: Task, ctx: Context) -> None:
    """Use it."""
    import colorsys

    colorsys.rgb_to_hsv(1, 0, 0)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert (
        "LEFT_BEHIND"
        not in subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    )


def large_effect(task: Task, ctx: Context) -> None:
    """An effect whose result is too large to be recorded, and one of a type that cannot be."""
    with suppress(ResultError):
        ctx.once("large", lambda: tell(task, "large") * "x" * (LARGEST + 1))
    with suppress(Exception):
        ctx.once("odd", lambda: tell(task, "odd"), kind=threading.Lock)
    assert ctx.attempt > 1


def say(task: Task, ctx: Context) -> None:
    """Print what not every stream takes."""
    print("übergroß, 漢字", flush=True)
    tell(task, f"{os.getpid()} {sys.stdout.encoding}")


@step(retry=SOON, timeout=Timeout(ceiling="20s"))
def work(ctx: Context, task: Task) -> str:
    """Do it."""
    globals()[task.do](task, ctx)
    return task.id


@step(retry=SOON, timeout=Timeout(ceiling="20s"))
def before(ctx: Context, task: Task) -> Task:
    """Do it, and hand the task on."""
    globals()[task.do](task, ctx)
    return task


@step(timeout=Timeout(ceiling="20s"))
async def pause(task: Task) -> Task:
    """The worker has nothing to do meanwhile."""
    await asyncio.sleep(0.3)
    return task


@step(timeout=Timeout(ceiling="20s"))
def then(task: Task) -> str:
    """What nobody has done anything to."""
    return task.id


@step(retry=SOON, timeout=Timeout(ceiling="0.5s"))
async def stubborn(ctx: Context, task: Task) -> str:
    """Swallow every cancellation, and have an effect long after the timeout. The next attempt ends
    at once."""
    if ctx.attempt > 1:
        return task.id

    async def effect() -> int:
        return tell(task, "effect")

    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass
    try:
        await ctx.once("late", effect)
    except Exception as error:
        tell(task, type(error).__name__)
    return task.id


@step(timeout=Timeout(ceiling="20s"), retry=Retry(attempts=1))
async def tidy(task: Task) -> str:
    """Wait a little; one of them cleans up after others, or makes tasks in its own way."""
    if task.do == "cancel":
        for one in asyncio.all_tasks() - {asyncio.current_task()}:
            one.cancel()
    elif task.do == "factory":
        asyncio.get_running_loop().set_task_factory(lambda loop, work, **more: None)  # type: ignore[arg-type]
    await asyncio.sleep(0.3)
    return task.id


class Short(list[str | Failed]):
    """A list that says that nothing is in it."""

    def __iter__(self) -> Iterator[str | Failed]:
        return iter(())


class Broken(list[str | Failed]):
    """A list that cannot be read."""

    def __iter__(self) -> Iterator[str | Failed]:
        raise RuntimeError("not today")

    def __len__(self) -> int:
        raise RuntimeError("nor tomorrow")


class Many:
    """Its verdicts are in a list of its own kind."""

    def __call__(self, tasks: list[Task]) -> list[str | Failed]:
        """Verdicts."""
        verdicts: list[str | Failed] = [task.id for task in tasks]
        return Short(verdicts) if tasks[0].do == "short" else Broken(verdicts)


many = step.batched(Many, batch=Batch(size=4, wait="50ms"))


@pipeline(version="1", key=lambda task: task.id)
def worked(task: Task) -> str:
    """One step."""
    return work(task)


@pipeline(version="1", key=lambda task: task.id)
def with_a_pause(task: Task) -> str:
    """Two steps in a worker, which is idle between them."""
    return then(pause(before(task)))


@pipeline(version="1", key=lambda task: task.id)
def stubbornly(task: Task) -> str:
    """One async step."""
    return stubborn(task)


@pipeline(version="1", key=lambda task: task.id)
def tidied(task: Task) -> str:
    """One async step."""
    return tidy(task)


@pipeline(version="1", key=lambda task: task.id)
def together(task: Task) -> str:
    """One batched step."""
    return many(task)
