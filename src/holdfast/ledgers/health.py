"""What runners know together: the contract in ``holdfast.health``, one way for every driver."""

from __future__ import annotations

import msgspec

from holdfast.health import OpenBreaker
from holdfast.ledgers.beyond import Run, Transact
from holdfast.ledgers.measuring import compact
from holdfast.ledgers.rows import value_of
from holdfast.model.alerts import QUIET_MS, Alert, Rule
from holdfast.model.duration import seconds
from holdfast.model.durations import Durations
from holdfast.model.ids import EPOCH_MS, admitted_ms
from holdfast.model.load import Load
from holdfast.model.values import Value

HOUR_MS = 3_600_000

MINUTELY = 2 * 24 * 60
"""Minutes for which measures are kept by the minute; before that, by the hour."""

HERE = ("disk-full", "ledger-trouble")
"""Kinds that a runner sees of its own machine."""

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

    def learn_durations(self, fresh: dict[tuple[str, str], Durations], now_ms: int) -> dict[tuple[str, str], Durations]:
        """Add what was seen, and return what all know."""
        return self._transact(lambda run: self._learn(run, fresh, now_ms))

    def cached(self, digests: list[str]) -> dict[str, Value]:
        """Successes of cached steps."""

        def work(run: Run) -> dict[str, Value]:
            found = {digest: value_of(*row) for digest in digests for row in run("cached", digest)}
            return {digest: value for digest, value in found.items() if value is not None}

        return self._transact(work)

    def serve(self, incarnation: int, versions: list[int]) -> None:
        """An incarnation serves these versions."""
        self._transact(lambda run: [run("serve", incarnation, version) for version in sorted(versions)])

    def compact_measures(self, now_ms: int) -> bool:
        """Make one row of an old hour."""
        return self._transact(lambda run: compact(run, now_ms // 60_000 - MINUTELY))

    def report(self, incarnation: int, load: Load) -> None:
        """Say what an incarnation has in hand."""
        self._transact(lambda run: run("report_load", msgspec.json.encode(load).decode(), incarnation))

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
        found = seen + [alert for pipeline, rule in sorted(rules.items()) for alert in _of_pipeline(run, pipeline, rule, now_ms)]
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
        still = {(alert.kind, alert.subject) for alert in found}
        for kind, subject in known - still:
            if subject in rules or kind in ours or kind in HERE:  # of a pipeline that another runner watches, that one decides
                run("close_alert", now_ms, kind, subject, now_ms - QUIET_MS)
        return [alert for alert in found if (alert.kind, alert.subject) not in known]


def _of_pipeline(run: Run, pipeline: str, watched: Rule, now_ms: int) -> list[Alert]:
    rule = watched.alerts
    ((number, oldest),) = run("letters_open", pipeline, rule.dead)
    ((recent,),) = run("letters_since", now_ms - HOUR_MS, pipeline, rule.dead_per_hour)
    found = []
    if number >= rule.dead:
        found.append(Alert("dead-letters", pipeline, f"{rule.dead} or more dead letters of {pipeline} are open: `holdfast dead groups`"))
    if recent >= rule.dead_per_hour:
        message = f"{rule.dead_per_hour} or more dead letters of {pipeline} were opened within an hour: `holdfast dead groups`"
        found.append(Alert("dead-letter-rate", pipeline, message))
    if oldest is not None and now_ms - oldest > seconds(rule.dead_age) * 1000:
        days = (now_ms - oldest) / 86_400_000
        found.append(Alert("dead-letter-age", pipeline, f"a dead letter of {pipeline} has waited for somebody for {days:.1f} days: `holdfast dead`"))
    ((stuck,),) = run("old_items", pipeline, _id_at(now_ms - round(seconds(rule.stuck) * 1000)))
    if stuck:
        message = f"items of {pipeline} have not ended {rule.stuck} after they were admitted: `holdfast stuck --older {rule.stuck}`"
        found.append(Alert("stuck-items", pipeline, message))
    return found + _late(run, pipeline, watched, now_ms)


def _late(run: Run, pipeline: str, watched: Rule, now_ms: int) -> list[Alert]:
    """What waits too long, or will be over its deadline soon."""
    rule, found = watched.alerts, []
    ((foremost,),) = run("foremost_of", pipeline)
    if foremost is not None and now_ms - admitted_ms(foremost) > seconds(rule.queue_age) * 1000:
        minutes = (now_ms - admitted_ms(foremost)) // 60_000
        message = f"items of {pipeline} have been queued for {minutes} minutes: more comes in than is done; `holdfast queues`"
        found.append(Alert("queue-growth", pipeline, message))
    if watched.deadline_s is not None:
        begun = now_ms + round((seconds(rule.deadline_risk) - watched.deadline_s) * 1000)
        ((at_risk,),) = run("old_items", pipeline, _id_at(begun))
        if at_risk:
            message = f"items of {pipeline} will pass their deadline within {rule.deadline_risk}: `holdfast stuck`, `holdfast queues --steps`"
            found.append(Alert("deadline-risk", pipeline, message))
    return found


def _id_at(ms: int) -> int:
    """The lowest id of what is admitted from then on."""
    return max(ms - EPOCH_MS, 0) << 22
