"""The core touches nothing of the world: no file, socket, clock, randomness, thread or artifact."""

from __future__ import annotations

import builtins
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Pipeline
from holdfast.core import apply as applying
from holdfast.testing.clock import FakeClock
from holdfast.testing.memory_store import MemoryStore
from tests import pattern_samples
from tests.core import driver
from tests.core.driver import Driver, World
from tests.core.test_prefixes import ANY, fresh, small
from tests.patterns.random_graphs import PIPELINES, plainly

TOUCHING: dict[Any, tuple[str, ...]] = {
    builtins: ("open", "input", "print"),
    os: (
        "open",
        "stat",
        "lstat",
        "listdir",
        "scandir",
        "read",
        "write",
        "urandom",
        "getpid",
        "system",
        "fork",
        "replace",
        "mkdir",
    ),
    socket: ("socket", "create_connection", "getaddrinfo"),
    time: (
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "sleep",
        "localtime",
        "gmtime",
    ),
    random: ("random", "randint", "choice", "getrandbits", "uniform"),
    random.Random: ("random", "getrandbits", "randrange", "choice"),
    secrets: ("token_bytes", "token_hex", "randbelow"),
    threading.Thread: ("start",),
    MemoryStore: ("put", "get", "size", "part", "keep", "fetch", "chunk", "holds"),
}


class TouchedError(BaseException):
    """The core touched something; no handler of its own hides it."""


@contextmanager
def untouchable() -> Iterator[None]:
    """Whatever touches the world raises."""
    kept: list[tuple[Any, str, Any]] = []
    for owner, names in TOUCHING.items():
        for name in names:
            kept.append((owner, name, vars(owner).get(name, None)))
            setattr(owner, name, _refusal(f"{getattr(owner, '__name__', owner)}.{name}"))
    clock = FakeClock.now_ms
    FakeClock.now_ms = _refusal("the clock")  # type: ignore[method-assign]
    try:
        yield
    finally:
        FakeClock.now_ms = clock  # type: ignore[method-assign]
        for owner, name, one in kept:
            if one is None:
                delattr(owner, name)
            else:
                setattr(owner, name, one)


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*given: Any, **named: Any) -> Any:
        raise TouchedError(name)

    return refuse


@contextmanager
def pure() -> Iterator[list[str]]:
    """Every call that the driver makes into the core is made while nothing can be touched; says
    which were made."""
    made: list[str] = []

    def guarded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            made.append(f"{name} {type(given[1]).__name__}" if name == "apply" else name)
            with untouchable():
                return work(*given)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("apply", "start", "begin", "restore", "rest", "look_up", "goes_on"):
            patch.setattr(driver, name, guarded(name, getattr(driver, name)))
        yield made


@given(PIPELINES, st.integers(0, 12), st.integers(0, 10**6), st.sampled_from([3, 64_000]))
@ANY
def test_random_graphs_touch_nothing(
    one: Pipeline[int, int], payload: int, seed: int, limit: int
) -> None:
    plainly(one, payload)
    with pytest.MonkeyPatch.context() as patch:
        small(patch, limit)
        world = fresh(one, 0.3)
        world.admit(one, payload)
        with pure() as made:
            Driver(world, random.Random(seed)).run()
    assert {"begin", "restore", "start"} <= set(made)


SAMPLES = [one for one in vars(pattern_samples).values() if isinstance(one, Pipeline)]


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: one.name)
@pytest.mark.parametrize("limit", [8, 64_000])
def test_the_samples_touch_nothing(
    one: Pipeline[Any, Any], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, limit)
    world = World(
        [one],
        lambda shown: (
            {"verdict": "bury"}
            if one.name in ("wired", "asking")
            else {"verdict": "pay", "amount": 1}
        ),
        lambda key: {"claim": key, "amount": 5},
    )
    payload: Any = {"id": "a", "amount": 6, "words": "quick fails", "folder": "/nowhere"}
    if one is pattern_samples.tens:
        payload = 4
    elif one is pattern_samples.hearing:
        payload = {"claim": "a", "amount": 20}
    world.admit(one, payload)
    with pure() as made:
        Driver(world, random.Random(one.name)).run()
    assert made
    assert world.balanced()


def test_the_guard_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def touches(run: Any, plan: Any) -> None:
        time.time()

    monkeypatch.setattr(applying, "conclude", touches)
    one = pattern_samples.all_of
    world = World([one])
    world.admit(one, {"id": "a"})
    with pytest.raises(TouchedError, match="time"), pure():
        Driver(world, random.Random(1)).run()
