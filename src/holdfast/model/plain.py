"""Running steps as plain Python: no ledger, no retries, no deadlines. In tests, notebooks, a
debugger."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from holdfast.errors import InputError

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run an async step on a private loop thread and return what it returns, so that it also works
    inside a notebook's loop."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="holdfast-plain", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result()


@dataclass
class Outside:
    """The world outside a plain-Python run: what people decide, which events come, what was
    emitted.

    Attributes:
        decisions: by form, the answer of its reviews, or a function from what is shown to the
            answer.
        events: by name, the data of the event, or a function from the key to the data; ``None`` is
            an event that does not come.
        emitted: event name, data and key of everything that was emitted, in order.
    """

    decisions: dict[Any, Any] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)
    emitted: list[tuple[str, Any, str]] = field(default_factory=list)

    def decide(self, form: Any, shown: tuple[Any, ...]) -> Any:
        """What a person would answer."""
        if form not in self.decisions:
            raise InputError(
                "in plain Python, say what a person decides: `with "
                f"holdfast.testing.outside(decisions={{{form.__name__}: …}}):`"
            )
        answer: Any = self.decisions[form]
        return answer(*shown) if callable(answer) and not isinstance(answer, form) else answer

    def event(self, name: str, key: str, optional: bool) -> Any:
        """The data of an event about a key."""
        if name not in self.events and not optional:
            raise InputError(
                "in plain Python, say which events come: `with "
                f"holdfast.testing.outside(events={{{name!r}: …}}):`"
            )
        data = self.events.get(name)
        found = data(key) if callable(data) else data
        if found is None and not optional:
            raise TimeoutError(f"event {name!r} about {key!r} does not come")
        return found


_outside: ContextVar[Outside | None] = ContextVar("holdfast_outside", default=None)


def outside() -> Outside:
    """The world outside, here and now; without :func:`plain_outside` one that answers nothing."""
    return _outside.get() or Outside()


@contextmanager
def plain_outside(
    decisions: dict[Any, Any] | None = None, events: dict[str, Any] | None = None
) -> Iterator[Outside]:
    """For plain-Python runs, in tests: what reviews and waits are answered with. Gives the
    :class:`Outside`, which keeps what was emitted."""
    world = Outside(decisions or {}, events or {})
    token = _outside.set(world)
    try:
        yield world
    finally:
        _outside.reset(token)
