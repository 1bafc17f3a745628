"""What steps inside the runner's own process do to it: they share its directory, umask and signal
handlers with everything else.

Nothing of ours depends on directory and umask. They are put back when the attempts that were under
way have ended, which may still count on what they have set; the handlers by which the runner is
stopped at once.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from holdfast.model.outcome import Invocation

log = logging.getLogger("holdfast")

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Surroundings:
    """The state of the runner's process, looked at many times a second.

    Args:
        under_way: the attempts that run inside this process now.
        name_of: the name of an attempt's step.
    """

    def __init__(
        self, under_way: Callable[[], list[Invocation]], name_of: Callable[[Invocation], str]
    ) -> None:
        self._under_way, self._name_of = under_way, name_of
        self._directory, self._umask = _directory(), _umask()
        self._handlers = _handlers()
        self._suspects: dict[tuple[int, int, str], int] | None = None
        self._said: set[str] = set()

    def look(self) -> bool:
        """Put back what was changed, and say once whose doing it may be; whether the handlers of
        signals must be set again, by whoever has set them."""
        handlers = _handlers()
        stolen = handlers != self._handlers
        if stolen:
            self._say("a signal handler", "restored", self._under_way())
        self._look_at_shared()
        return stolen

    def handlers_are_set(self) -> None:
        """The handlers are as they must be from now on."""
        self._handlers = _handlers()

    def _look_at_shared(self) -> None:
        changed = [name for name, now, was in self._shared() if now != was]
        if not changed:
            self._suspects = None
            return
        running = {one.task: one.attempt for one in self._under_way()}
        if self._suspects is None:
            self._suspects = running
            for name in changed:
                self._say(name, "restored when they have ended", self._under_way())
        if not self._suspects.items() & running.items():
            self._restore()

    def _shared(self) -> tuple[tuple[str, Any, Any], ...]:
        return ("the working directory", _directory(), self._directory), (
            "the umask",
            _umask(),
            self._umask,
        )

    def _restore(self) -> None:
        self._suspects = None
        if self._directory is not None and _directory() != self._directory:
            try:
                os.chdir(self._directory)
            except OSError:  # it is gone, so this is how it is now
                self._directory = _directory()
        if self._umask is not None:
            os.umask(self._umask)

    def _say(self, what: str, then: str, suspects: list[Invocation]) -> None:
        names = sorted({self._name_of(one) for one in suspects})
        said = f"{what} of the runner was changed by a step inside of it"
        if said not in self._said:
            self._said.add(said)
            who = f" (under way: {', '.join(names[:10])})" if names else ""
            log.warning(
                "%s%s, and is %s: run such a step in a worker process, with runs='process'",
                said,
                who,
                then,
            )


def _handlers() -> list[Any]:
    if threading.current_thread() is not threading.main_thread():
        return []  # a runner in another thread has set none
    return [signal.getsignal(number) for number in STOPPING]


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _umask() -> int | None:
    """Read without setting it, since other threads make files meanwhile; None where Linux does not
    say."""
    with suppress(OSError, ValueError):
        with open("/proc/self/status", "rb", buffering=0) as file:
            text = file.read(300)
        at = text.index(b"Umask:")
        return int(text[at + 6 : text.index(b"\n", at)], 8)
    return None
