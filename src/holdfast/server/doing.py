"""Operations that somebody asked for: what takes long goes on behind its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as StillGoing
from typing import Any

from holdfast.app import App
from holdfast.errors import HoldfastError
from holdfast.handling import Changed
from holdfast.server.state import State

log = logging.getLogger("holdfast")

PATIENCE_S = 3.0
"""Seconds for which somebody waits for an operation.

Longer ones go on, and their rows say how far they are.
"""

_background = ThreadPoolExecutor(16, "holdfast-operation")


def do(here: State, work: Callable[[App], Changed]) -> Changed | int:
    """Do it; what was done, or, when it is still going on, the number of the operation.

    Args:
        here: the server.
        work: one operation, of the app that it is given.
    """
    begun: Future[int] = Future()

    def watched() -> Changed:
        try:
            return work(here.app.saying(begun.set_result))
        except HoldfastError:
            raise
        except Exception:
            log.exception("an operation failed")
            raise
        finally:
            here.changed()

    going = _background.submit(watched)
    try:
        return going.result(PATIENCE_S)
    except StillGoing:
        ends: list[Future[Any]] = [begun, going]
        wait(ends, return_when=FIRST_COMPLETED)
        return begun.result() if begun.done() else going.result()
