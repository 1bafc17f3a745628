"""Running steps as plain Python: no ledger, no retries, no deadlines. In tests, notebooks, a debugger."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run an async step on a private loop thread and return what it returns, so that it also works inside a notebook's loop."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="holdfast-plain", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result()
