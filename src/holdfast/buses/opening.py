"""Which broker a setting names. The library that speaks to brokers is an extra, so it is imported
only when one is named."""

from __future__ import annotations

import hashlib

from holdfast.bus import Bus
from holdfast.errors import InputError
from holdfast.model.hiding import hidden
from holdfast.release import install
from holdfast.settings import Settings


def open_bus(settings: Settings) -> Bus | None:
    """The broker, not connected yet; None when events stay in the ledger.

    Raises:
        InputError: a scheme that this version does not serve, or the library is not installed.
    """
    if not settings.bus:
        return None
    if not settings.bus.startswith("nats://"):
        raise InputError(f"HOLDFAST_BUS={hidden(settings.bus)!r}: write nats://HOST:PORT")
    try:
        from holdfast.buses.nats import NatsBus
    except ImportError:
        raise InputError(f"a broker needs its library: {install('nats')}") from None
    return NatsBus(
        settings.bus, f"holdfast-{hashlib.sha256(settings.ledger_name.encode()).hexdigest()[:16]}"
    )
