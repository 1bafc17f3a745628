"""Contract: a broker that events are handed on to and received from. Without one, events stay in
the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Received = Callable[[bytes], Awaitable[float | None]]
"""Called with each message. None: it is kept, and is acknowledged to the broker; a number: it could
not be kept yet, and the broker delivers it again after so many seconds."""


class Bus(Protocol):
    """At least once, both ways: who receives deduplicates by the event's source and id."""

    async def start(self, received: Received) -> None:
        """Connect, and receive from now on; what came while nobody was connected first.

        Raises:
            BusError: the broker cannot be reached.
            StreamRefusedError: the broker would discard messages that nobody has read; the message
                says which limit does and what to set.
        """
        ...

    async def publish(self, type: str, id: str, data: bytes) -> None:
        """Hand an event on; returns when the broker has it durably.

        Raises:
            BusError: it has not said so.
            EventRefusedError: it does not take this event, whatever else it takes.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...
