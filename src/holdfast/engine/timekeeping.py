"""Keeps a runner to the ledger's time, and says when this machine's clock cannot be right: items go
by the ledger's, and are not harmed."""

from __future__ import annotations

import logging
import socket

from msgspec.structs import replace

from holdfast.clock import Clock, skew_ms
from holdfast.errors import LedgerUnavailableError
from holdfast.ledger import Ledger
from holdfast.model.alerts import Alert
from holdfast.model.load import Load
from holdfast.model.moments import JUMP_MS, skew_in_words

log = logging.getLogger("holdfast")


class Timekeeping:
    """Follows the ledger's time.

    Args:
        clock: the runner's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said = False
        self.trouble: str | None = None
        """Why the ledger must not be written to at the moment, or None."""

    def ask(self, ledger: Ledger, incarnation: int) -> None:
        """In the ledger's thread, with every renewal of the lease.

        Raises:
            LedgerUnavailableError: the ledger must not be written to as it is.
        """
        asked = self._clock.elapsed()
        told = ledger.keep_time(incarnation, self._clock.now_ms(), self._clock.moment())
        if told is not None:
            self._clock.follow(told, asked, self._clock.elapsed())

    def answered(self, answer: object) -> None:
        """In the loop, afterwards."""
        trouble = str(answer) if isinstance(answer, LedgerUnavailableError) else None
        if trouble and not self.trouble:
            log.error("%s", trouble)
        self.trouble = trouble

    def visit(self) -> None:
        """Say on stderr, once, that this machine's clock is wrong or was set."""
        off = self.skew_ms()
        if off and not self._said:
            log.warning("%s", _words(off))
        self._said = bool(off)

    def skew_ms(self) -> int:
        """By how much this machine's clock is ahead of the ledger's time; 0 when that is little."""
        off = skew_ms(self._clock)
        return off if abs(off) > JUMP_MS else 0

    def on(self, load: Load) -> Load:
        """The load of a runner, with how far its clock is off."""
        return replace(load, clock_ahead_s=round(self.skew_ms() / 1000))

    def alerts(self) -> list[Alert]:
        """The same as an alert."""
        off = self.skew_ms()
        return [Alert("clock", socket.gethostname(), _words(off))] if off else []


def _words(off_ms: int) -> str:
    return (
        f"the clock of {socket.gethostname()} is {skew_in_words(off_ms)} the ledger's time: "
        "set it, if it is not right (NTP). Waits, deadlines and "
        f"leases go by the ledger's time and are as long as they should be"
    )
