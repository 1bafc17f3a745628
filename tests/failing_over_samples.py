"""Pipelines whose first branch calls a service that a file switches on and off."""

from __future__ import annotations

from pathlib import Path

import msgspec

from holdfast import Dependency, Retry, TransientError, each, first_ok, gather, pipeline, step


class Ask(msgspec.Struct, frozen=True):
    """A question, and the folder in which ``up`` says that the service is there."""

    id: str
    folder: str


def _call(ask: Ask, name: str) -> str:
    with (Path(ask.folder) / f"{name}.log").open("a") as log:
        log.write(f"{ask.id}\n")
    if not (Path(ask.folder) / "up").exists():
        raise TransientError("503")
    return f"{name} {ask.id}"


BIG = Dependency("big-model", failures=2, window=4, probe="100ms", probe_cap="100ms", reserve=50)
SLOW_PROBE = Dependency("slow-probe", failures=2, window=4, probe="1h", probe_cap="1h", reserve=50)
FAILING = Dependency(
    "failing", failures=2, window=4, probe="1h", probe_cap="1h", reserve=50, when_open="fail"
)
WAITING = Dependency(
    "waiting", failures=2, window=4, probe="200ms", probe_cap="200ms", reserve=50, when_open="wait"
)
BACKOFF = Retry(attempts=50, base="1h", cap="1h")
QUICK = Retry(attempts=50, base="5ms", cap="10ms")


@step(depends=BIG, retry=QUICK)
async def big(ask: Ask) -> str:
    """The model that is asked first, probed often."""
    return _call(ask, "big")


@step(depends=SLOW_PROBE, retry=QUICK)
async def remote(ask: Ask) -> str:
    """A model whose probe goes out after an hour."""
    return _call(ask, "remote")


@step(depends=SLOW_PROBE, retry=BACKOFF)
async def patient(ask: Ask) -> str:
    """The same service, with an hour between attempts."""
    return _call(ask, "patient")


@step(depends=FAILING, retry=QUICK)
async def failing(ask: Ask) -> str:
    """Fails wherever it is used."""
    return _call(ask, "failing")


@step(depends=FAILING, retry=QUICK, optional=True, flag="no-extra")
async def extra(ask: Ask) -> str:
    """Fails wherever it is used, and is optional."""
    return _call(ask, "extra")


@step(depends=WAITING, retry=QUICK)
async def waiting(ask: Ask) -> str:
    """Waits wherever it is used."""
    return _call(ask, "waiting")


@step
async def small(ask: Ask) -> str:
    """The fallback."""
    return f"small {ask.id}"


@step
async def prepared(ask: Ask) -> Ask:
    """A step before the call."""
    return ask


@step
async def several(ask: Ask) -> list[Ask]:
    """Three of them."""
    return [ask] * 3


@step
async def first_of(texts: list[str]) -> str:
    """The first."""
    return texts[0]


@step
async def shown(texts: tuple[str | None, str | None]) -> str:
    """As text."""
    return f"{texts[0]} and {texts[1]}"


@step
async def ended(text: str | None) -> str:
    """What came."""
    return str(text)


def inlined(ask: Ask) -> str:
    """A branch of several steps."""
    return first_of(each(remote)(several(prepared(ask))))


def of(ask: Ask) -> str:
    """Its key."""
    return ask.id


@pipeline(version="1", key=of)
def probed(ask: Ask) -> str:
    """Fails over to the small model; branches are the probes."""
    return first_ok(big, small)(ask)


@pipeline(version="1", key=of)
def long_branch(ask: Ask) -> str:
    """A branch of several steps fails over."""
    return first_ok(inlined, small)(ask)


@pipeline(version="1", key=of)
def in_backoff(ask: Ask) -> str:
    """The branch waits for an hour between attempts."""
    return first_ok(patient, small)(ask)


@pipeline(version="1", key=of)
def last_waits(ask: Ask) -> str:
    """Two branches with one dependency: the last one waits."""
    return first_ok(remote, patient)(ask)


@pipeline(version="1", key=of)
def nested(ask: Ask) -> str:
    """The last branch of an inner chain is not the last of the outer one."""
    return first_ok(first_ok(remote, patient), small)(ask)


@pipeline(version="1", key=of)
def outside(ask: Ask) -> str:
    """Fails without any fallback."""
    return failing(ask)


@pipeline(version="1", key=of)
def optional(ask: Ask) -> str:
    """Goes on without it."""
    return ended(extra(ask))


@pipeline(version="1", key=of)
def joined(ask: Ask) -> str:
    """One of two is enough."""
    return shown(gather(failing, small, quorum=1)(ask))


@pipeline(version="1", key=of)
def waits(ask: Ask) -> str:
    """Waits though a fallback is there."""
    return first_ok(waiting, small)(ask)


@pipeline(version="1", key=of)
def alone(ask: Ask) -> str:
    """Waits for its dependency, which is probed after an hour."""
    return remote(ask)


ALL = [probed, long_branch, in_backoff, last_waits, nested, outside, optional, joined, waits, alone]
