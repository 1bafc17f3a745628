"""What was answered a moment ago is answered again.

Five browsers that follow one page cost what one costs.

Only refreshes are answered so (the page's script marks them), and only to who has the same role.
What somebody does makes all of it old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from holdfast.errors import HoldfastError

T = TypeVar("T")

FRESH_S = 1.9
"""Seconds for which an answer is fresh."""

SHARE = 0.01
"""Share of the time that may go into making one answer: what takes long is made rarely."""

KEPT = 500
"""Answers that are kept."""

CSRF = b"csrf-of-whoever-asks"
"""Stands in kept pages where the token of the session goes."""


class Answer(msgspec.Struct, frozen=True):
    """A kept answer: its body, and what it is."""

    body: bytes
    kind: bytes


class Memo:
    """Answers, and parts of them, by what was asked."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[float, Any]] = {}
        self._making: dict[Any, threading.Lock] = {}
        self._renewing: set[Any] = set()
        self.acts = 0
        """How often somebody has changed something."""
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        """What is known and fresh, or None."""
        found = self._known.get(key)
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def keep(self, key: Any, value: Any, cost_s: float = 0.0) -> None:
        """Keep something that took so long to make."""
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = (time.monotonic() + max(FRESH_S, cost_s / SHARE), value)

    def make(self, key: Any, make: Callable[[], T]) -> T:
        """What is known; once it is old, one thread makes it anew behind the answer.

        However many ask, there is one such thread.
        """
        found = self._known.get(key)
        if found is None:
            with self._lock:
                making = self._making.setdefault(key, threading.Lock())
            with making:
                found = self._known.get(key)
                return self._make(key, make) if found is None else found[1]
        if found[0] <= time.monotonic() and key not in self._renewing:
            self._renewing.add(key)
            threading.Thread(target=self._renew, args=(key, make), daemon=True).start()
        return found[1]  # type: ignore[no-any-return]

    def _make(self, key: Any, make: Callable[[], T]) -> T:
        began, acts = time.monotonic(), self.acts
        value = make()
        if acts == self.acts:  # else somebody has acted meanwhile: it is old already
            self.keep(key, value, time.monotonic() - began)
        return value

    def _renew(self, key: Any, make: Callable[[], Any]) -> None:
        try:
            self._make(key, make)
        except HoldfastError:
            self._known.pop(key, None)  # whoever asks next is told
        finally:
            self._renewing.discard(key)

    def forget(self) -> None:
        """Something was changed: everything is made anew."""
        self.acts += 1
        self._known.clear()
