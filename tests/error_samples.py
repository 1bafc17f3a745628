"""A step for each executor that fails in the way that its input says, in a pipeline for each
pattern."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import (
    BadInputError,
    ModelError,
    OutOfMemoryError,
    Retry,
    Timeout,
    TransientError,
    branch,
    each,
    first_ok,
    gather,
    pipeline,
    step,
)
from holdfast.errors import LedgerUnavailableError

OPTIONS: dict[str, Any] = {
    "retry": Retry(attempts=3, base="1ms", cap="5ms"),
    "timeout": Timeout(ceiling="400ms", learn=False),
}


@dataclass
class Case:
    """How to fail."""

    kind: str
    folder: str


def fails(case: Case) -> str:
    """Fail in this way; the infrastructure recovers after two attempts."""
    if case.kind == "infrastructure":
        tries = Path(case.folder) / "infrastructure"
        seen = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (seen + 1))
        if seen < 2:
            raise LedgerUnavailableError("the disk of the artifacts is full")
        return "recovered"
    errors = {
        "transient": TransientError("not now"),
        "model": ModelError("no answer"),
        "bad-input": BadInputError("no such thing"),
        "bug": TypeError("a programming error"),
        "memory": OutOfMemoryError("too large"),
    }
    if case.kind in errors:
        raise errors[case.kind]
    if case.kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    return "fine"


def sync_body(case: Case) -> str:
    """For processes and threads."""
    if case.kind == "timeout":
        time.sleep(30)
    return fails(case)


async def async_body(case: Case) -> str:
    """For the event loop."""
    if case.kind == "timeout":
        await asyncio.sleep(30)
    return fails(case)


def threaded_body(case: Case) -> str:
    """For threads, whose timeout cannot kill them: it ends by itself soon after."""
    if case.kind == "timeout":
        time.sleep(1)
    return fails(case)


@step()
async def fine(case: Case) -> str:
    """The fallback."""
    return f"fallback for {case.kind}"


@step()
async def listed(case: Case) -> list[Case]:
    """One element."""
    return [case]


@step()
async def counted(results: list[str]) -> str:
    """How many elements there were."""
    return str(len(results))


@step()
async def joined(one: str, other: str | None) -> str:
    """What the join gave."""
    return f"{one}, {other}"


@step()
async def shown(result: str | None) -> str:
    """What an optional step gave."""
    return str(result)


PIPELINES: dict[tuple[str, str], Any] = {}
RUNS = {
    "loop": (async_body, "auto"),
    "process": (sync_body, "auto"),
    "threads": (threaded_body, "threads"),
}


def _declare(executor: str) -> None:
    body, runs = RUNS[executor]
    plain: Any = step(**OPTIONS, runs=runs, name=f"in_{executor}")(body)  # type: ignore[call-overload]
    skipped: Any = step(
        **OPTIONS, runs=runs, name=f"optional_{executor}", optional=True, flag="skipped"
    )(body)  # type: ignore[call-overload]
    asked: Any = step(**OPTIONS, runs=runs, name=f"asked_{executor}", exhausted="review")(body)  # type: ignore[call-overload]

    def alone(case: Case) -> str:
        return plain(case)  # type: ignore[no-any-return]

    def optional(case: Case) -> str:
        return shown(skipped(case))

    def reviewed(case: Case) -> str:
        return asked(case)  # type: ignore[no-any-return]

    def fallback(case: Case) -> str:
        return first_ok(plain, fine)(case)

    def element(case: Case) -> str:
        return counted(each(plain, tolerate=1)(listed(case)))

    def joining(case: Case) -> str:
        one, other = gather(fine, branch(plain, missing="wait"))(case)
        return joined(one, other)

    for function in (alone, optional, reviewed, fallback, element, joining):
        name = f"{function.__name__}_{executor}"
        made = pipeline(version="1", key=lambda case: case.kind, name=name)(function)
        PIPELINES[function.__name__, executor] = globals()[name] = made


for _executor in RUNS:
    _declare(_executor)
