"""Why an item has not ended, and what would move it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.model.ids import show
from holdfast.model.moments import shown
from holdfast.model.task import NEVER

Rows = Callable[..., list[Any]]
Names = dict[int, tuple[str, str, list[str]]]

ALERTS = 1_000
"""Most open alerts that are looked at."""

STATES = ("running", "waiting", "queued", "paused")


def stuck_items(
    rows: Rows, names: Names, now_ms: int, older_ms: int, limit: int
) -> list[dict[str, Any]]:
    """Items past their bound (their deadline, or without one ``older_ms`` since admission and since
    anything of them was settled), the oldest first.

    Args:
        rows: runs a named query.
        names: by version: pipeline, label, names of nodes.
        now_ms: Unix milliseconds.
        older_ms: the bound of items without a deadline.
        limit: most items.
    """
    found = []
    context = _Context(rows, names, now_ms)
    for row, past_ms in overdue(rows, now_ms, older_ms, limit):
        item, pipeline, version, key, state, generation, admitted, deadline, due, _ = row
        why, remedy = context.of(item, state, pipeline, version, due)
        found.append(
            {
                "item": show(item),
                "pipeline": pipeline,
                "version": names[version][1],
                "key": key,
                "state": state,
                "generation": generation,
                "admitted_at": admitted,
                "past_bound_s": round(past_ms / 1000, 1),
                "bound": "deadline" if deadline is not None else "age",
                "why": why,
                "remedy": remedy,
            }
        )
    return found


def overdue(rows: Rows, now_ms: int, older_ms: int, limit: int) -> list[tuple[Any, int]]:
    """Rows of items past their bound, and by how many milliseconds, the oldest first."""
    found = []
    for state in STATES:
        for row in rows("not_ended", state, now_ms, now_ms - older_ms, limit * 10):
            admitted, deadline, moved = row[6], row[7], row[9]
            past_ms = (
                now_ms - deadline
                if deadline is not None
                else now_ms - max(admitted, moved or 0) - older_ms
            )
            if past_ms > 0:
                found.append((row, past_ms))
    return sorted(found, key=lambda one: one[0][6])[:limit]


class _Context:
    """What is the same for all of them, read once."""

    def __init__(self, rows: Rows, names: Names, now_ms: int) -> None:
        self._rows, self._names, self._now_ms = rows, names, now_ms
        self._served = {version for (version,) in rows("served_now", now_ms)}
        self._paused = {
            (pipeline, step): (who, reason)
            for pipeline, step, _, who, reason in rows("pauses_with_reason")
        }
        self._workers = {
            subject: message
            for _, kind, subject, message, *_ in rows("alerts_open", ALERTS)
            if kind == "workers"
        }
        self._away = [(name, why) for name, _, _, _, why in rows("breakers")]

    def of(self, item: int, state: str, pipeline: str, version: int, due: int) -> tuple[str, str]:
        """The reason, and what would move it."""
        if state == "paused":
            by = self._rows("operations_on", item, 1)
            who = f" by {by[0][2]} ({by[0][5] or 'no reason given'})" if by else ""
            return f"it was paused{who}", f"holdfast resume {show(item)}"
        if (pipeline, "") in self._paused:
            who, reason = self._paused[pipeline, ""]
            return (
                f"pipeline {pipeline} was paused by {who} ({reason or 'no reason given'})",
                f"holdfast resume --pipeline {pipeline}",
            )
        waits = self._rows("waits_open", item)
        if state != "running" and version not in self._served:
            label = self._names[version][1]
            remedy = (
                f"start one: holdfast runner MODULE; or move it: holdfast move {show(item)} --to …"
            )
            return f"no runner serves version {label} of {pipeline}", remedy
        if state == "queued":
            return "it waits to be claimed, behind others", "more runners, or a higher priority"
        if waits:
            return self._wait(version, waits[0])
        if state == "running":
            return self._running(item, pipeline, version, due)
        return self._retry(item, pipeline, version, due)

    def _wait(self, version: int, wait: Any) -> tuple[str, str]:
        node, _, kind, name, key, opened, due, number, state = wait
        step = self._names[version][2][node]
        until = f", until {_moment(due)}" if due else ""
        if state == "answered":
            return (
                f"{step} was answered, and its runner has not come to it",
                "a runner takes it up by itself",
            )
        if kind == "review":
            return (
                f"{step} waits for a person since {_moment(opened)}{until}",
                f"holdfast reviews decide {number}",
            )
        if kind == "event":
            return (
                f"{step} waits for event {name} about {key!r} since {_moment(opened)}{until}",
                f"holdfast events publish {name} --key {key}",
            )
        return f"{step} waits for its child of {name}, key {key}", f"holdfast find key:{key}"

    def _running(self, item: int, pipeline: str, version: int, due: int) -> tuple[str, str]:
        ((number, host, pid, expires, ended),) = self._rows("runner_of", due) or [
            (due, "?", 0, 0, 0)
        ]
        if ended is not None or expires < self._now_ms:
            return (
                f"its runner (incarnation {number}, {host} process {pid}) is over",
                "start a runner: it takes the item over at once",
            )
        doing = [
            f"attempt {attempt} of {self._names[version][2][node]} runs since {_moment(started)}"
            for node, _, state, attempt, _, _, _, started, _ in self._rows("item_live", item)
            if state == "running"
        ]
        on = f"on {host} process {pid}"
        if doing:
            return f"{doing[0]} {on}", "it ends, or is killed at its timeout: holdfast timeouts"
        if pipeline in self._workers:
            return (
                f"{self._workers[pipeline]}, {on}",
                "workers that can run it: a new one is tried by itself",
            )
        return f"its steps wait for capacity {on}", "more workers"

    def _retry(self, item: int, pipeline: str, version: int, due: int) -> tuple[str, str]:
        for node, _, state, attempt, failures, *_ in self._rows("item_live", item):
            step = self._names[version][2][node]
            if (pipeline, step) in self._paused:
                who, reason = self._paused[pipeline, step]
                return (
                    f"step {step} was paused by {who} ({reason or 'no reason given'})",
                    f"holdfast resume --pipeline {pipeline} --step {step}",
                )
            if state == "retrying" and (failures or pipeline not in self._workers):
                return (
                    (
                        f"{step} waits until {_moment(due)} for its attempt {attempt + 1}, after "
                        f"{failures} failures"
                    ),
                    "the time",
                )
        if pipeline in self._workers:
            return self._workers[pipeline], "workers that can run it: a new one is tried by itself"
        paused = [step for of, step in self._paused if of == pipeline]
        if paused:
            return (
                f"step {paused[0]} is paused",
                f"holdfast resume --pipeline {pipeline} --step {paused[0]}",
            )
        if self._away:
            name, why = self._away[0]
            return (
                f"it looks again at {_moment(due)}; dependency {name} is away ({why})",
                f"{name}: a probe goes out by itself",
            )
        return (
            f"it waits until {_moment(due)}",
            "the time" if due < NEVER else "somebody or something outside",
        )


def _moment(ms: int) -> str:
    if ms >= NEVER:
        return "it is woken"
    return shown(ms)
