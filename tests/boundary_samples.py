"""Steps that fail in every way that somebody has thought of, on each executor."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pydantic

from holdfast import BadInputError, Retry, Timeout, TransientError, pipeline, step


@dataclass
class Way:
    """How to fail, and where to leave a mark."""

    how: str
    folder: str = ""


class PanicException(BaseException):
    """As native extensions raise it (pyo3)."""


class NoText(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        return str(self.detail)  # type: ignore[attr-defined]


class ExitsInText(Exception):
    """Its text exits."""

    def __str__(self) -> str:
        sys.exit("in __str__")


class WrongText(Exception):
    """Its text is no text."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class EndlessText(Exception):
    """Its text contains itself."""

    def __str__(self) -> str:
        return str(self)


class LongText(Exception):
    """Its text is megabytes."""

    def __str__(self) -> str:
        return "customer text " * 3_000_000


class Liar(Exception):
    """It says that it is something else, and that it has fields."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    @property
    def response(self) -> Any:
        raise SystemExit(3)

    @property
    def args(self) -> Any:  # type: ignore[override]
        raise KeyError("args")

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __getattr__(self, name: str) -> Any:
        raise OSError(name)


class Answer(pydantic.BaseModel):
    """What a model is to answer."""

    score: int


def _cycle() -> NoReturn:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    one.__context__ = one
    raise one


def _deep() -> int:
    return _deep() + 1


def _nested(depth: int, leaf: Exception) -> Exception:
    return (
        leaf
        if depth == 0
        else ExceptionGroup(f"level {depth}", [_nested(depth - 1, leaf), ValueError("beside")])
    )


def _raise(error: BaseException) -> NoReturn:
    raise error


def _from(error: BaseException, cause: BaseException) -> NoReturn:
    raise error from cause


def _crowd() -> NoReturn:
    raise ExceptionGroup("crowd", [TransientError(str(number)) for number in range(20_000)])


HOSTILE = "a\0b \ud800 \u202e \x1b[31m red"

WAYS: dict[str, tuple[str, Callable[[], Any]]] = {
    "exit": ("bug", lambda: sys.exit("a library called sys.exit()")),
    "exit-zero": ("bug", lambda: sys.exit(0)),
    "interrupt": ("bug", lambda: _raise(KeyboardInterrupt())),
    "generator-exit": ("bug", lambda: _raise(GeneratorExit())),
    "panic": ("bug", lambda: _raise(PanicException("called `Option::unwrap()` on a `None` value"))),
    "base": ("bug", lambda: _raise(BaseException("base"))),
    "cancelled": ("transient", lambda: _raise(asyncio.CancelledError("pool closed"))),
    "stop-iteration": ("bug", lambda: next(iter(()))),
    "no-text": ("transient", lambda: _raise(NoText())),
    "exits-in-text": ("transient", lambda: _raise(ExitsInText())),
    "wrong-text": ("transient", lambda: _raise(WrongText())),
    "endless-text": ("transient", lambda: _raise(EndlessText())),
    "long-text": ("transient", lambda: _raise(LongText())),
    "liar": ("transient", lambda: _raise(Liar())),
    "argument-without-text": ("transient", lambda: _raise(ValueError(NoText()))),
    "retry-after-text": ("transient", lambda: _raise(TransientError("429", retry_after="0.01"))),  # type: ignore[arg-type]
    "retry-after-object": (
        "transient",
        lambda: _raise(TransientError("429", retry_after=object())),  # type: ignore[arg-type]
    ),
    "retry-after-negative": ("transient", lambda: _raise(TransientError("429", retry_after=-3))),
    "retry-after-nan": (
        "transient",
        lambda: _raise(TransientError("429", retry_after=float("nan"))),
    ),
    "cycle": ("transient", _cycle),
    "deep": ("bug", _deep),
    "nested": ("transient", lambda: _raise(_nested(12, TransientError("inside")))),
    "crowd": ("transient", _crowd),
    "text": ("transient", lambda: _raise(ValueError(HOSTILE))),
    "wrapped": (
        "bad-input",
        lambda: _from(RuntimeError("vendor call failed"), BadInputError("no text layer")),
    ),
    "type-error": ("bug", lambda: len(5)),  # type: ignore[arg-type]
    "key-error": ("bug", lambda: dict[str, int]()["missing"]),
    "assertion": ("bug", lambda: _raise(AssertionError())),
    "json": ("model", lambda: json.loads("{'score': 1}")),
    "pydantic": ("model", lambda: Answer.model_validate({"score": "high"})),
    "msgspec": ("model", lambda: msgspec.json.decode(b'"high"', type=int)),
}

TRIES = {"bad-input": 1, "bug": 2}
"""Attempts by class of a step that is declared with three; the others use them all."""


def marked(way: Way) -> int:
    """Fail, after leaving a mark."""
    with (Path(way.folder) / way.how).open("a") as file:
        file.write("x")
    WAYS[way.how][1]()
    return 1


OPTIONS: dict[str, Any] = {
    "retry": Retry(attempts=3, base="1ms", cap="2ms"),
    "timeout": Timeout(ceiling="20s", learn=False),
}


def _declare(where: str, effects: str) -> None:
    if where == "loop":

        async def body(way: Way) -> int:
            await asyncio.sleep(0)
            return marked(way)

        made: Any = step(**OPTIONS, effects=effects, name=f"{where}_{effects}")(body)  # type: ignore[call-overload]
    else:

        def plain(way: Way) -> int:
            return marked(way)

        made = step(**OPTIONS, effects=effects, runs=where, name=f"{where}_{effects}")(plain)  # type: ignore[call-overload]

    def flow(way: Way) -> int:
        return made(way)  # type: ignore[no-any-return]

    name = f"failing_{where}_{effects}"
    PIPELINES[where, effects] = globals()[name] = pipeline(
        version="1", key=lambda way: way.how, name=name
    )(flow)


PIPELINES: dict[tuple[str, str], Any] = {}
for _where in ("loop", "process", "threads"):
    for _effects in ("safe", "unsafe"):
        _declare(_where, _effects)


# -- timeouts and tasks --------------------------------------------------------------------------

SHORT, TWICE = Timeout(ceiling="300ms", learn=False), Retry(attempts=2, base="1ms", cap="2ms")


@step(timeout=SHORT, retry=TWICE)
async def swallows(way: Way) -> int:
    """Swallow every cancellation, for ever."""
    if way.how == "fine":
        return 0
    (Path(way.folder) / "pids").open("a").write(f"{os.getpid()}\n")
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass


@pipeline(version="1", key=lambda way: f"{way.how}")
def swallowing(way: Way) -> int:
    """One step."""
    return swallows(way)


@step(timeout=SHORT, retry=TWICE)
async def once_more(way: Way) -> int:
    """Swallow one cancellation, as retry libraries do, and give a result that nobody waits for."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return -1
    return 1


@pipeline(version="1", key=lambda way: way.how)
def swallowing_once(way: Way) -> int:
    """One step."""
    return once_more(way)


@step(timeout=SHORT, retry=TWICE)
async def hangs_aside(way: Way) -> int:
    """A blocking call without a timeout."""
    await asyncio.to_thread(threading.Event().wait)
    return 1


@step()
async def large(way: Way) -> int:
    """Reads its input aside, and needs a thread of the default pool."""
    return await asyncio.to_thread(len, way.how)


@pipeline(version="1", key=lambda way: way.how[:20])
def hanging_aside(way: Way) -> int:
    """One step."""
    return hangs_aside(way)


@pipeline(version="1", key=lambda way: way.how[:20])
def reading(way: Way) -> int:
    """One step."""
    return large(way)


@step(runs="threads", timeout=SHORT, retry=TWICE)
def hangs_in_thread(way: Way) -> int:
    """Never end, unless it is to be fine."""
    if way.how != "fine":
        time.sleep(3600)
    return 1


@pipeline(version="1", key=lambda way: way.how)
def hanging_thread(way: Way) -> int:
    """One step."""
    return hangs_in_thread(way)


async def _exits() -> None:
    await asyncio.sleep(0.01)
    sys.exit("in a task of the step's own")


async def _sleeps() -> None:
    await asyncio.sleep(3600)


async def _raises() -> None:
    await asyncio.sleep(0.05)
    raise RuntimeError("in a task that was left behind")


async def _swallow() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass


async def _task(how: str) -> int:
    """What steps do to the loop that they run in."""
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()
    assert current is not None
    match how:
        case "task-exits":
            await asyncio.create_task(_exits())
        case "group-exits":
            async with asyncio.TaskGroup() as group:
                group.create_task(_exits())
                group.create_task(_sleeps())
        case "cancels-itself":
            current.cancel()
            await asyncio.sleep(0)
        case "cancels-itself-at-the-end":
            current.cancel()
        case "leaves-a-sleeper":
            KEPT.append(asyncio.create_task(_sleeps()))
        case "leaves-a-raiser":
            KEPT.append(asyncio.create_task(_raises()))
        case "leaves-an-exit":
            KEPT.append(asyncio.create_task(_exits()))
            await asyncio.sleep(0.1)
        case "leaves-a-swallower":
            KEPT.append(asyncio.create_task(_swallow()))
        case "callback-exits":
            loop.call_soon(sys.exit, 1)
            await asyncio.sleep(0.05)
        case "stops-the-loop":
            loop.stop()
            await asyncio.sleep(0.05)
        case "closes-the-loop":
            loop.close()
    return 1


KEPT: list[Any] = []
"""Tasks that steps leave behind: held here, so that they are not collected."""

TASKS = {
    "task-exits": "dead",
    "group-exits": "dead",
    "cancels-itself": "dead",
    "cancels-itself-at-the-end": "completed",
    "leaves-a-sleeper": "completed",
    "leaves-a-raiser": "completed",
    "leaves-an-exit": "completed",
    "leaves-a-swallower": "completed",
    "callback-exits": "completed",
    "stops-the-loop": "completed",
    "closes-the-loop": "dead",
}
"""What each does, and how its item ends."""


@step(retry=Retry(attempts=3, base="1ms", cap="2ms"))
async def tasked(way: Way) -> int:
    """Do something to the loop."""
    if way.how == "beside":
        await asyncio.sleep(0.5)
        return 1
    return await _task(way.how)


@pipeline(version="1", key=lambda way: way.how)
def tasking(way: Way) -> int:
    """One step."""
    return tasked(way)
