"""What runners know together: the contract in ``holdfast.health``, one way for every driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.health import TELLING_TRIES, OpenBreaker
from holdfast.ledgers.beyond import Run, Transact
from holdfast.ledgers.budgets import go_on_spending, stop_spending
from holdfast.ledgers.measuring import compact
from holdfast.ledgers.rows import value_of
from holdfast.ledgers.thresholds import events_waiting, passed
from holdfast.model.alerts import QUIET_MS, SOMEBODY, Address, Alert, Rule, Telling
from holdfast.model.domain import cleaned
from holdfast.model.durations import Durations
from holdfast.model.load import Load
from holdfast.model.values import Value

MINUTELY = 2 * 24 * 60
"""Minutes for which measures are kept by the minute; before that, by the hour."""

HERE = ("disk-full", "ledger-trouble", "memory-short", "clock", "broker-trouble", "internal")
"""Kinds that a runner sees of its own machine."""

OURS = ("open-breaker", "unserved-version", "undelivered-events", "parked-events")
"""Kinds that every runner sees alike."""

WHY_LIMIT = 2_000
"""Characters that are kept of why something is as it is."""

RECENT_MS = 7 * 86_400_000
"""An alert that was over for longer is told to nobody."""

HEARD_MS = 1_500
"""Runners hear within a second that a breaker has opened or closed; what is woken sooner would be
parked again."""

_sketch = msgspec.json.Decoder(Durations)


class LedgerHealth:
    """Implements :class:`holdfast.health.Health`.

    Args:
        transact: runs work in a transaction.
    """

    def __init__(self, transact: Transact) -> None:
        self._transact = transact

    def breakers(self) -> list[OpenBreaker]:
        """All breakers that are open."""
        return [OpenBreaker(*row) for row in self._transact(lambda run: run("breakers"))]

    def trip(self, name: str, why: str, probe_at: int, now_ms: int) -> None:
        """Open a breaker."""
        self._transact(lambda run: run("trip", name, now_ms, probe_at, cleaned(why, WHY_LIMIT)))

    def probe(self, name: str, next_at: int, now_ms: int) -> bool:
        """Ask to send a probe."""
        return bool(self._transact(lambda run: run("probe", next_at, name, now_ms)))

    def heal(self, name: str) -> None:
        """Close a breaker."""
        self._transact(lambda run: run("heal", name), tell=True)

    def wake_retrying(self, tasks: list[tuple[int, int]], now_ms: int) -> None:
        """Wake items that are parked until a retry."""
        self._transact(
            lambda run: [run("wake_retrying", now_ms + HEARD_MS, *task) for task in sorted(tasks)],
            tell=True,
        )

    def learn_durations(
        self, fresh: dict[tuple[str, str], Durations], now_ms: int
    ) -> dict[tuple[str, str], Durations]:
        """Add what was seen, and return what all know."""
        return self._transact(lambda run: self._learn(run, fresh, now_ms))

    def cached(self, digests: list[str]) -> dict[str, Value]:
        """Successes of cached steps."""

        def work(run: Run) -> dict[str, Value]:
            found = {digest: value_of(*row) for digest in digests for row in run("cached", digest)}
            return {digest: value for digest, value in found.items() if value is not None}

        return self._transact(work)

    def forget_cached(self, digest: str) -> None:
        """A success is known no longer."""
        self._transact(lambda run: run("forget_cached", digest))

    def serve(self, incarnation: int, versions: dict[int, tuple[str, ...]]) -> None:
        """An incarnation serves these versions."""

        def work(run: Run) -> None:
            run("forget_serving", incarnation)
            run("events_again")
            run("waits_again")
            for version, types in sorted(versions.items()):
                run("serve", incarnation, version)
                for (kind,) in (
                    []
                    if run("served_by_others", version, incarnation)
                    else run("subscriptions_of", version)
                ):
                    if kind not in types:
                        run("unsubscribe", version, kind)

        self._transact(work)

    def compact_measures(self, now_ms: int) -> bool:
        """Make one row of an old hour."""
        return self._transact(lambda run: compact(run, now_ms // 60_000 - MINUTELY))

    def report(self, incarnation: int, load: Load) -> None:
        """Keep the load of an incarnation."""
        self._transact(
            lambda run: run("report_load", msgspec.json.encode(load).decode(), incarnation)
        )

    def hold(self, incarnation: int, held: bytes | None) -> None:
        """Write down which items an incarnation holds."""

        def work(run: Run) -> None:
            run("drop_holdings")
            run("hold", incarnation, held)

        self._transact(work)

    def watch(self, rules: dict[str, Rule], seen: list[Alert], now_ms: int) -> list[Alert]:
        """Open and close alerts."""
        return self._transact(lambda run: self._watch(run, rules, seen, now_ms))

    def know_addresses(self, addresses: Sequence[Address], now_ms: int) -> None:
        """These are told of alerts."""

        def work(run: Run) -> None:
            for one in sorted(addresses, key=lambda one: one.digest):
                run("know_address", one.digest, one.label, now_ms)
                run("revive_tellings", now_ms, one.digest)

        self._transact(work)

    def alerts_to_tell(
        self, until_ms: int, now_ms: int, addresses: Sequence[Address] = (SOMEBODY,)
    ) -> list[Telling]:
        """Alerts that are due for these addresses."""

        def work(run: Run) -> list[Any]:
            found = []
            for one in sorted(addresses, key=lambda one: one.digest):
                run("plan_tellings", one.digest, now_ms, now_ms - RECENT_MS)
                run("give_up_tellings", one.digest, TELLING_TRIES, now_ms)
                for alert, tries in sorted(run("claim_tellings", until_ms, one.digest, now_ms)):
                    found += [(*row, one.digest, tries) for row in run("alert_of", alert)]
            return found

        rows = self._transact(work)
        return [Telling(row[0], Alert(*row[1:4]), row[4], row[5], row[6], row[7]) for row in rows]

    def alerts_told(self, alerts: Sequence[int], address: str, now_ms: int) -> None:
        """These have been delivered."""
        self._transact(
            lambda run: [run("alert_told", now_ms, number, address) for number in sorted(alerts)]
        )

    def alerts_not_told(self, alerts: Sequence[int], address: str, reason: str) -> None:
        """These could not be delivered."""
        self._transact(
            lambda run: [
                run("alert_not_told", reason, TELLING_TRIES, number, address)
                for number in sorted(alerts)
            ]
        )

    def _learn(
        self, run: Run, fresh: dict[tuple[str, str], Durations], now_ms: int
    ) -> dict[tuple[str, str], Durations]:
        if not fresh:
            return {
                (pipeline, step): _sketch.decode(sketch)
                for pipeline, step, sketch in run("durations")
            }
        known = {}
        for (pipeline, step), seen in sorted(fresh.items()):
            rows = run("durations_of", pipeline, step)
            total = _sketch.decode(rows[0][0]) if rows else Durations()
            total.merge(seen)
            run("keep_durations", pipeline, step, msgspec.json.encode(total).decode(), now_ms)
            known[pipeline, step] = total
        return known

    def _watch(
        self, run: Run, rules: dict[str, Rule], seen: list[Alert], now_ms: int
    ) -> list[Alert]:
        found = {(one.kind, one.subject): one for one in _found(run, rules, seen, now_ms)}
        known = set(run("open_alerts"))
        fresh = []
        for alert in found.values():
            if (alert.kind, alert.subject) in known:
                run(
                    "alert_seen",
                    now_ms,
                    cleaned(alert.message, WHY_LIMIT),
                    alert.kind,
                    alert.subject,
                )
            elif run(
                "open_alert", alert.kind, alert.subject, cleaned(alert.message, WHY_LIMIT), now_ms
            ):
                fresh.append(alert)
                if alert.kind == "budget":
                    stop_spending(run, alert, now_ms)
        for kind, subject in known - set(found):
            # of a pipeline that another runner watches, that one decides
            if subject.split(" ")[0] in rules or kind in OURS or kind in HERE:
                closed = run("close_alert", now_ms, kind, subject, now_ms - QUIET_MS)
                if closed and kind == "budget":
                    go_on_spending(run, subject, now_ms)
        return fresh


def _found(run: Run, rules: dict[str, Rule], seen: list[Alert], now_ms: int) -> list[Alert]:
    """What calls for an alert now."""
    found = seen + [
        alert
        for pipeline, rule in sorted(rules.items())
        for alert in passed(run, pipeline, rule, now_ms)
    ]
    found += events_waiting(run, now_ms)
    for pipeline, label in run("unserved", now_ms):
        message = (
            f"no runner serves version {label} of {pipeline}, and items wait for it: "
            "start one, or `holdfast deploy` to move them"
        )
        found.append(Alert("unserved-version", f"{pipeline} {label}", message))
    for name, opened_at, probes, _, why in run("breakers"):
        message = (
            f"dependency {name} has been away for {(now_ms - opened_at) // 1000} s, "
            f"{probes} probes failed: {why}"
        )
        found.append(Alert("open-breaker", name, message))
    return found
