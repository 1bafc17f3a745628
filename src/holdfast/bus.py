"""Contract: a broker that events are handed on to and received from. Without one, events stay in the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Received = Callable[[bytes], Awaitable[None]]
"""Called with each message; it is acknowledged to the broker when this has returned, and delivered again when it raised."""


class Bus(Protocol):
    """At least once, both ways: who receives deduplicates by the event's id."""

    async def start(self, received: Received) -> None:
        """Connect, and receive from now on; what came while nobody was connected first.

        Raises:
            BusError: the broker cannot be reached.
        """
        ...

    async def publish(self, type: str, id: str, data: bytes) -> None:
        """Hand an event on; returns when the broker has it durably.

        Raises:
            BusError: it has not said so.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...
