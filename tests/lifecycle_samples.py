"""Pipelines that the tests of operations run: steps that write down when they begin and end, and
wait for a file to go on."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from holdfast import (
    Alerts,
    BadInputError,
    Dependency,
    Keep,
    Retry,
    Timeout,
    TransientError,
    each,
    first_ok,
    pipeline,
    review,
    step,
)

SOON = Retry(attempts=3, base="1ms", cap="5ms")


@dataclass
class Job:
    """A job whose steps write to a folder."""

    id: str
    folder: str
    customer: str = "ACME"
    amount: int = 1
    tags: list[str] | None = None


@dataclass
class Verdict:
    """What a person says."""

    fine: bool


def log(job: Job, what: str) -> None:
    """Append a line."""
    with open(Path(job.folder) / f"{job.id}.log", "a") as file:
        file.write(f"{what}\n")


async def gate(job: Job, name: str) -> None:
    """Wait for a file."""
    while not (Path(job.folder) / name).exists():
        await asyncio.sleep(0.01)


@step(retry=SOON)
async def first(job: Job) -> Job:
    """Waits at its gate."""
    log(job, "first begins")
    try:
        await gate(job, "first")
    except asyncio.CancelledError:
        log(job, "first was stopped")
        raise
    log(job, "first ends")
    return job


@step(retry=SOON)
async def second(job: Job) -> Job:
    """Goes through."""
    log(job, "second")
    return job


@step(retry=SOON)
async def third(job: Job) -> str:
    """The result."""
    log(job, "third")
    return f"{job.id} of {job.customer}"


@pipeline(version="1", key=lambda job: job.id, search=("customer", "amount", "tags"))
def jobs(job: Job) -> str:
    """Three steps."""
    return third(second(first(job)))


@step(retry=SOON)
async def checked(job: Job) -> Job:
    """New in version 2."""
    log(job, "checked")
    return job


@pipeline(version="2", key=lambda job: job.id, name="jobs", search=("customer", "amount", "tags"))
def jobs_2(job: Job) -> str:
    """A step more before the last."""
    return third(checked(second(first(job))))


@step(retry=SOON, pool="press")
def heavy(job: Job) -> str:
    """Runs in a worker process until it is killed."""
    log(job, f"pid {os.getpid()}")
    while not (Path(job.folder) / "heavy").exists():
        time.sleep(0.01)
    log(job, "heavy ends")
    return job.id


@pipeline(version="1", key=lambda job: job.id)
def heavies(job: Job) -> str:
    """One long step in a process."""
    return heavy(job)


@pipeline(version="1", key=lambda job: job.id)
def reviewed(job: Job) -> Verdict:
    """A step, then a person."""
    return review(Verdict)(second(job))


@step(retry=Retry(attempts=1))
async def picky(job: Job) -> Job:
    """Fails for customers that are not there."""
    log(job, "picky")
    if job.customer == "nobody":
        raise BadInputError(f"customer {job.customer!r} of job {job.id} 4711 is unknown")
    return job


@step(retry=Retry(attempts=1))
async def wordy(job: Job) -> str:
    """Fails in another way, for large amounts."""
    if job.amount > 100:
        raise ValueError(f"amount {job.amount} is too large")
    return job.customer


@pipeline(
    version="1",
    key=lambda job: job.id,
    search=("customer", "amount"),
    alerts=Alerts(dead=3, dead_per_hour=5),
)
def picked(job: Job) -> str:
    """Two steps that may fail."""
    return wordy(picky(job))


@step(retry=SOON, cache=True)
async def priced(amount: int) -> int:
    """Cached; counts its runs in a file beside it."""
    with open(os.environ["HOLDFAST_TEST_PRICED"], "a") as file:
        file.write("x")
    return amount * 3


@step()
async def amount_of(job: Job) -> int:
    """What it is about."""
    return job.amount


@step()
async def tags_of(job: Job) -> list[str]:
    """Elements."""
    return job.tags or []


@step(retry=Retry(attempts=1))
async def lettered(tag: str) -> str:
    """Fails for x."""
    if tag == "x":
        raise ValueError("x is no letter")
    return tag.upper()


@pipeline(version="1", key=lambda job: job.id)
def pricing(job: Job) -> int:
    """One cached step."""
    return priced(amount_of(job))


@step(cache=True)
async def essay(amount: int) -> str:
    """Cached, and too large for a row."""
    return "x" * (amount * 100_000)


@step()
async def length(text: str) -> int:
    """How long it is."""
    return len(text)


@pipeline(version="1", key=lambda job: job.id, keep=Keep(intermediates="1ms"))
def essays(job: Job) -> int:
    """What the cache holds is an artifact, and is cleared from the item itself."""
    return length(essay(amount_of(job)))


@pipeline(version="1", key=lambda job: job.id)
def lettering(job: Job) -> list[str]:
    """An each that bears nothing."""
    return each(lettered)(tags_of(job))


@step(
    retry=Retry(attempts=50, base="5ms", cap="20ms"),
    depends=Dependency("ledger-of-clients", failures=3, probe="300ms", probe_cap="1s"),
)
async def called(job: Job) -> str:
    """Its service is there while a file is."""
    log(job, "called")
    if not (Path(job.folder) / "up").exists():
        raise TransientError("503")
    return job.id


@pipeline(version="1", key=lambda job: job.id)
def calling(job: Job) -> str:
    """One step with a dependency."""
    return called(job)


@step(
    retry=Retry(attempts=2, base="1ms", cap="5ms"),
    timeout=Timeout(ceiling="60s", floor="300ms", warm_up=10),
)
async def paced(job: Job) -> str:
    """Takes as many milliseconds as it is told."""
    await asyncio.sleep(job.amount / 1000)
    return job.id


@pipeline(version="1", key=lambda job: job.id)
def pacing(job: Job) -> str:
    """One step with a learned timeout."""
    return paced(job)


@step(retry=Retry(attempts=9, base="1h", cap="1h"))
async def hopeless(job: Job) -> str:
    """Fails, and is retried much later."""
    raise TransientError("not yet")


@pipeline(version="1", key=lambda job: job.id, deadline="3s")
def late(job: Job) -> str:
    """Its deadline comes before its retry."""
    return hopeless(job)


@pipeline(version="1", key=lambda job: job.id)
def falling_back(job: Job) -> str:
    """A fallback chain."""
    return first_ok(wordy, third)(job)
