"""How ``ctx.once`` reaches the ledger from where a step runs: it goes on when the record is
durable."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from holdfast.errors import InputError, LeaseLostError
from holdfast.executor import Note
from holdfast.model.outcome import Invocation

_LOST = "the item has another owner: what this attempt does is not recorded any more"
_OVER = "this attempt is over: what is left of it may have no effect any more"
_FORKED = (
    "this is a fork of the worker process: only the process that the attempt runs in "
    "may have an effect that is recorded"
)


class RunnerRecorder:
    """For steps in the runner's own process: on its event loop, or in a thread beside it.

    Args:
        invocation: the attempt.
        note: hands a sub-effect to the engine, in the loop.
        loop: the runner's.
    """

    def __init__(self, invocation: Invocation, note: Note, loop: asyncio.AbstractEventLoop) -> None:
        self.known = dict(invocation.effects or {})
        self.spent = 0
        self.turns: dict[str, Any] = {}
        self._invocation, self._note, self._loop = invocation, note, loop
        self._over = False

    def begin(self, label: str) -> None:
        """Refuse what is left of an attempt that is over."""
        if self._over:
            raise LeaseLostError(_OVER)

    def close(self) -> None:
        """The attempt is over."""
        self._over = True

    def check(self, label: str) -> None:
        """The attempt is not over; it cannot wait on the loop."""
        self.begin(label)
        if _inside(self._loop):
            raise TypeError(
                f"ctx.once({label!r}): in an async step, give it an `async def` and await it"
            )

    def record(self, label: str, value: bytes) -> None:
        """From a thread: wait until it is durable."""
        self.check(label)
        done, held = threading.Event(), [False]

        def then(answer: bool) -> None:
            held[0] = answer
            done.set()

        self._loop.call_soon_threadsafe(self._note, self._invocation, label, value, then)
        done.wait()
        if not held[0]:
            raise LeaseLostError(_LOST)

    async def record_soon(self, label: str, value: bytes) -> None:
        """On the loop: wait until it is durable."""
        done: asyncio.Future[bool] = self._loop.create_future()
        self._note(
            self._invocation,
            label,
            value,
            lambda answer: None if done.done() else done.set_result(answer),
        )
        if not await done:
            raise LeaseLostError(_LOST)


class PipeRecorder:
    """For steps in a worker process: the runner is asked over the pipes.

    Args:
        known: sub-effects of earlier attempts.
        ask: sends one to the runner and waits for its answer.
    """

    def __init__(self, known: dict[str, bytes] | None, ask: Callable[[str, bytes], bool]) -> None:
        self.known = dict(known or {})
        self.spent = 0
        self.turns: dict[str, Any] = {}
        self._ask = ask
        self._pid, self._over = os.getpid(), False
        self._pipes = threading.Lock()

    def begin(self, label: str) -> None:
        """Refuse forks, and what is left of an attempt that is over."""
        if os.getpid() != self._pid:
            raise LeaseLostError(_FORKED)
        if self._over:
            raise LeaseLostError(_OVER)

    def check(self, label: str) -> None:
        """The attempt is not over, and this is no fork."""
        self.begin(label)

    def record(self, label: str, value: bytes) -> None:
        """Wait until it is durable; threads of the step do so one after the other."""
        self.begin(label)  # first: in a fork the lock may be held for ever
        with self._pipes:
            self.begin(label)
            if not self._ask(label, value):
                raise LeaseLostError(_LOST)

    def close(self) -> None:
        """The attempt is over: the pipes are the worker's again, as soon as no thread of the step
        waits for an answer."""
        with self._pipes:
            self._over = True

    async def record_soon(self, label: str, value: bytes) -> None:
        """An async step that runs here alone may as well wait."""
        self.record(label, value)


class NoRecorder:
    """For transactional steps: what they write is written once with their settlement."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.spent = 0
        self.turns: dict[str, Any] = {}

    def begin(self, label: str) -> None:
        """Refuse."""
        raise InputError(
            f"ctx.once({label!r}): a transactional step settles with what it writes, so give "
            "effects elsewhere a step of their own"
        )

    def check(self, label: str) -> None:
        """Refuse."""
        self.begin(label)

    def record(self, label: str, value: bytes) -> None:
        """Refuse."""
        self.check(label)

    async def record_soon(self, label: str, value: bytes) -> None:
        """Refuse."""
        self.check(label)


def _inside(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
