"""What runners know together: the contract in ``holdfast.health``, one way for every driver."""

from __future__ import annotations

import msgspec

from holdfast.health import OpenBreaker
from holdfast.ledgers.beyond import Run, Transact
from holdfast.ledgers.budgets import go_on_spending, stop_spending
from holdfast.ledgers.measuring import compact
from holdfast.ledgers.rows import value_of
from holdfast.ledgers.thresholds import passed
from holdfast.model.alerts import QUIET_MS, Alert, Rule
from holdfast.model.durations import Durations
from holdfast.model.load import Load
from holdfast.model.values import Value

MINUTELY = 2 * 24 * 60
"""Minutes for which measures are kept by the minute; before that, by the hour."""

HERE = ("disk-full", "ledger-trouble", "memory-short")
"""Kinds that a runner sees of its own machine."""

HEARD_MS = 1_500
"""Runners hear within a second that a breaker has opened or closed; what is woken sooner would be parked again."""

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
        self._transact(lambda run: run("trip", name, now_ms, probe_at, why))

    def probe(self, name: str, next_at: int, now_ms: int) -> bool:
        """Ask to send a probe."""
        return bool(self._transact(lambda run: run("probe", next_at, name, now_ms)))

    def heal(self, name: str) -> None:
        """Close a breaker."""
        self._transact(lambda run: run("heal", name), tell=True)

    def wake_retrying(self, tasks: list[tuple[int, int]], now_ms: int) -> None:
        """Wake items that are parked until a retry."""
        self._transact(lambda run: [run("wake_retrying", now_ms + HEARD_MS, *task) for task in sorted(tasks)], tell=True)

    def learn_durations(self, fresh: dict[tuple[str, str], Durations], now_ms: int) -> dict[tuple[str, str], Durations]:
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

    def serve(self, incarnation: int, versions: list[int]) -> None:
        """An incarnation serves these versions."""

        def work(run: Run) -> None:
            run("forget_serving", incarnation)
            for version in sorted(versions):
                run("serve", incarnation, version)

        self._transact(work)

    def compact_measures(self, now_ms: int) -> bool:
        """Make one row of an old hour."""
        return self._transact(lambda run: compact(run, now_ms // 60_000 - MINUTELY))

    def report(self, incarnation: int, load: Load) -> None:
        """Say what an incarnation has in hand."""
        self._transact(lambda run: run("report_load", msgspec.json.encode(load).decode(), incarnation))

    def hold(self, incarnation: int, held: bytes | None) -> None:
        """Write down which items an incarnation holds."""

        def work(run: Run) -> None:
            run("drop_holdings")
            run("hold", incarnation, held)

        self._transact(work)

    def watch(self, rules: dict[str, Rule], seen: list[Alert], now_ms: int) -> list[Alert]:
        """Open and close alerts."""
        return self._transact(lambda run: self._watch(run, rules, seen, now_ms))

    def alerts_to_tell(self, until_ms: int, now_ms: int) -> list[tuple[int, Alert]]:
        """Open alerts that nobody has been told of."""
        rows = self._transact(lambda run: run("alerts_to_tell", until_ms, now_ms))
        return [(number, Alert(kind, subject, message)) for number, kind, subject, message, _ in sorted(rows)]

    def alerts_told(self, alerts: list[int], now_ms: int) -> None:
        """These have been delivered."""
        self._transact(lambda run: [run("alert_told", now_ms, number) for number in sorted(alerts)])

    def _learn(self, run: Run, fresh: dict[tuple[str, str], Durations], now_ms: int) -> dict[tuple[str, str], Durations]:
        if not fresh:
            return {(pipeline, step): _sketch.decode(sketch) for pipeline, step, sketch in run("durations")}
        known = {}
        for (pipeline, step), seen in sorted(fresh.items()):
            rows = run("durations_of", pipeline, step)
            total = _sketch.decode(rows[0][0]) if rows else Durations()
            total.merge(seen)
            run("keep_durations", pipeline, step, msgspec.json.encode(total).decode(), now_ms)
            known[pipeline, step] = total
        return known

    def _watch(self, run: Run, rules: dict[str, Rule], seen: list[Alert], now_ms: int) -> list[Alert]:
        found = seen + [alert for pipeline, rule in sorted(rules.items()) for alert in passed(run, pipeline, rule, now_ms)]
        for pipeline, label in run("unserved", now_ms):
            message = f"no runner serves version {label} of {pipeline}, and items wait for it: start one, or `holdfast deploy` to move them"
            found.append(Alert("unserved-version", f"{pipeline} {label}", message))
        for name, opened_at, probes, _, why in run("breakers"):
            message = f"dependency {name} has been away for {(now_ms - opened_at) // 1000} s, {probes} probes failed: {why}"
            found.append(Alert("open-breaker", name, message))
        known = set(run("open_alerts"))
        ours = {"open-breaker", "unserved-version"}
        for alert in found:
            if (alert.kind, alert.subject) in known:
                run("alert_seen", now_ms, alert.message, alert.kind, alert.subject)
            else:
                run("open_alert", alert.kind, alert.subject, alert.message, now_ms)
                if alert.kind == "budget":
                    stop_spending(run, alert, now_ms)
        still = {(alert.kind, alert.subject) for alert in found}
        for kind, subject in known - still:
            if subject.split(" ")[0] in rules or kind in ours or kind in HERE:  # of a pipeline that another runner watches, that one decides
                closed = run("close_alert", now_ms, kind, subject, now_ms - QUIET_MS)
                if closed and kind == "budget":
                    go_on_spending(run, subject, now_ms)
        return [alert for alert in found if (alert.kind, alert.subject) not in known]
