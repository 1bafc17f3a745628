"""Contract: what runners know together of the world: breakers, durations, cached results, alerts,
who serves what. Part of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from holdfast.model.alerts import SOMEBODY, Address, Alert, Rule, Telling
from holdfast.model.durations import Durations
from holdfast.model.load import Load
from holdfast.model.values import Value

TELLING_TRIES = 30
"""How often an alert is tried to be delivered to an address: over about a day."""


class OpenBreaker(msgspec.Struct, frozen=True, array_like=True):
    """A dependency whose breaker is open: since when, how many probes have failed, and when the
    next may go out (Unix milliseconds)."""

    name: str
    opened_at: int
    probes: int
    probe_at: int
    why: str = ""


class Health(Protocol):
    """Each verb is one transaction, and safe to repeat."""

    def breakers(self) -> list[OpenBreaker]:
        """All breakers that are open."""
        ...

    def trip(self, name: str, why: str, probe_at: int, now_ms: int) -> None:
        """Open a breaker; one that is open stays as it is."""
        ...

    def probe(self, name: str, next_at: int, now_ms: int) -> bool:
        """Ask to send a probe now: True for one asker; the next may ask at ``next_at``."""
        ...

    def heal(self, name: str) -> None:
        """Close a breaker."""
        ...

    def wake_retrying(self, tasks: list[tuple[int, int]], now_ms: int) -> None:
        """Wake the items that are parked until a retry of one of these tasks (version and node):
        their dependency has become unavailable, and they are to fail over."""
        ...

    def learn_durations(
        self, fresh: dict[tuple[str, str], Durations], now_ms: int
    ) -> dict[tuple[str, str], Durations]:
        """Add what this runner has seen since it last asked, by pipeline and step; returns what all
        know of these steps (of all, when nothing is given)."""
        ...

    def cached(self, digests: list[str]) -> dict[str, Value]:
        """Successes of cached steps, by digest."""
        ...

    def forget_cached(self, digest: str) -> None:
        """A success is known no longer."""
        ...

    def serve(self, incarnation: int, versions: dict[int, tuple[str, ...]]) -> None:
        """An incarnation serves these versions, by what each listens to; what those served that are
        over is forgotten. A version that no other runner serves listens to nothing else from now
        on. What could not be handed out is tried again."""
        ...

    def compact_measures(self, now_ms: int) -> bool:
        """Make one row an hour of the measures of an hour that is over for two days; False when
        there is none left."""
        ...

    def report(self, incarnation: int, load: Load) -> None:
        """Keep the load of an incarnation."""
        ...

    def hold(self, incarnation: int, held: bytes | None) -> None:
        """Write down which items an incarnation holds: see :mod:`holdfast.model.holdings`. Where
        the ledger is shared, others compare."""
        ...

    def watch(self, rules: dict[str, Rule], seen: list[Alert], now_ms: int) -> list[Alert]:
        """Look whether thresholds are passed, by pipeline: open alerts, with those that the asker
        has seen itself, and close those that have not been so for a while; returns those that are
        new."""
        ...

    def know_addresses(self, addresses: Sequence[Address], now_ms: int) -> None:
        """These are told of alerts from now on: of what is open, and of what closes from now on.
        What could not be delivered to them of alerts that are still open is tried again."""
        ...

    def alerts_to_tell(
        self, until_ms: int, now_ms: int, addresses: Sequence[Address] = (SOMEBODY,)
    ) -> list[Telling]:
        """Alerts that are due for these addresses, each once for an address, also when it is over
        by now. They are the asker's to tell until a time; what is neither delivered nor given up
        comes again after it, later with each try, at most :data:`TELLING_TRIES` times."""
        ...

    def alerts_told(self, alerts: Sequence[int], address: str, now_ms: int) -> None:
        """These have been delivered to an address."""
        ...

    def alerts_not_told(self, alerts: Sequence[int], address: str, reason: str) -> None:
        """These could not be delivered to an address: they are tried again, or given up after the
        last try."""
        ...
