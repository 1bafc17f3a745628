"""The audit of a ledger's rows: conservation, every rule of :mod:`holdfast.ledgers.audit_rules`,
the graphs of completed items, the measures, and the audit log's chain. What lies outside the ledger
is compared in :mod:`holdfast.auditing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from holdfast.ledgers import audit_rules
from holdfast.ledgers.audit_rows import BATCH, FIRST, LAST, Rows, ranges
from holdfast.ledgers.recount import Recount
from holdfast.ledgers.rows import value_of
from holdfast.model.audit_log import Entry, broken_at
from holdfast.model.audits import FEW, Finding, Rule, found
from holdfast.model.graph import INPUT
from holdfast.model.ids import show
from holdfast.model.required import Completeness, Kept, Key, Outline
from holdfast.model.states import ITEM_STATES
from holdfast.model.values import Value

TASKS = 20_000
"""Tasks that are compared with graphs at a time. Of an item that has more, those outside eaches and
refines are compared."""

_WRONG = (
    msgspec.MsgspecError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RecursionError,
    UnicodeError,
)
"""What rows that somebody has spoilt may raise when they are read."""


class RowAudit:
    """One audit of a ledger's rows. All of it is read as of one moment by the caller.

    Args:
        rows: runs a named query.
        shapes: by version, its pipeline, its label and its shape.
    """

    def __init__(
        self, rows: Rows, shapes: dict[int, tuple[str, str, list[dict[str, Any]]]]
    ) -> None:
        self._rows, self._shapes = rows, shapes
        self._outlines: dict[int, Outline] = {}
        self._broken: dict[str, tuple[Rule, list[str]]] = {}
        self.pipelines: dict[str, dict[str, Any]] = {}

    def run(self) -> list[Finding]:
        """Look at everything; returns the rules that are broken. The terms of conservation are in
        ``pipelines``."""
        recount = Recount(self._rows)
        self._conserve(recount)
        for table in dict.fromkeys(rule.walks for rule in audit_rules.ROW_RULES):
            self._keep_rules([rule for rule in audit_rules.ROW_RULES if rule.walks == table], table)
        self._tasks(recount)
        findings = [found(rule, items) for _, (rule, items) in sorted(self._broken.items())]
        findings += [
            Finding(f"measures-{what}", [name], False, audit_rules.MEASURES, audit_rules.RESTORE)
            for name, what in recount.differences()
        ]
        changed = changed_in_audit_log(self._rows)
        return findings + ([found(audit_rules.TRAIL, [changed])] if changed is not None else [])

    def _conserve(self, recount: Recount) -> None:
        """received = queued + running + …, for each pipeline; and for each manifest and hour, as
        many receipts as items."""
        names: dict[int, str] = {number: name for name, number in self._rows("pipeline_numbers")}
        terms = {number: {"received": 0, **dict.fromkeys(ITEM_STATES, 0)} for number in names}
        for after, until in ranges(self._rows, "receipts"):
            for pipeline, number in self._rows("count_receipts", after, until):
                recount.received(pipeline, number)
                if pipeline in terms:
                    terms[pipeline]["received"] += number
            for name, manifest, hour, received, there in self._rows(
                "unbalanced_groups", after, until, FEW + 1
            ):
                what = (
                    f"{name}, manifest {manifest or '(none)'}, {_hour(hour)}: {received} "
                    f"received, {there} there"
                )
                self._break(audit_rules.GROUP, [what])
        for after, until in ranges(self._rows, "items"):
            for pipeline, state, number in self._rows("count_items", after, until):
                if pipeline in terms:
                    terms[pipeline][state] += number
        for number, name in names.items():
            counts = terms[number]
            balanced = counts["received"] == sum(counts[state] for state in ITEM_STATES)
            self.pipelines[name] = {**counts, "balanced": balanced}

    def _keep_rules(self, rules: list[Rule], table: str) -> None:
        for after, until in ranges(self._rows, table):
            for rule in rules:
                offenders = offenders_of(self._rows, rule, after, until, FEW + 1)
                if offenders:
                    self._break(rule, offenders)

    def _tasks(self, recount: Recount) -> None:
        """Whether all that graphs require of completed items has succeeded."""
        for after, until, whole in self._task_ranges():
            recount.add(after, until)
            self._break(
                audit_rules.TASK_AHEAD,
                offenders_of(self._rows, audit_rules.TASK_AHEAD, after, until, FEW + 1),
            )
            tasks: dict[int, dict[Key, Kept]] = {}
            query = "audited_tasks" if whole else "audited_outer_tasks"
            for item, node, element_path, _, state, output in self._rows(query, after, until):
                tasks.setdefault(item, {})[node, element_path] = Kept(
                    state, None if output is None else bytes(output)
                )
            for item, version, _ in self._rows("audited_items", after, until):
                missing = self._missing(item, version, tasks.get(item, {}), whole)
                if missing is not None:
                    self._break(audit_rules.REQUIRED_TASK, [f"{show(item)} ({missing})"])

    def _task_ranges(self) -> Iterator[tuple[int, int, bool]]:
        """Ranges of items that have a bounded number of tasks in all; an item with more stands
        alone (False)."""
        for after, until in ranges(self._rows, "items"):
            while after < until:
                far = self._rows("walk_tasks", after, TASKS)
                if not far or far[0][0] > until:
                    yield after, until, True
                    break
                nearest = self._rows("walk_tasks", after, 0)[0][0]
                alone = nearest == far[0][0]
                reached = nearest if alone else far[0][0] - 1
                yield after, reached, not alone
                after = reached

    def _missing(self, item: int, version: int, tasks: dict[Key, Kept], whole: bool) -> str | None:
        """The name of what an item lacks, or None."""
        if version not in self._shapes:
            return None  # another rule's
        outline = self._outlines.get(version)
        if outline is None:
            outline = self._outlines[version] = Outline(self._shapes[version][2])
        try:
            missing = Completeness(
                outline,
                tasks,
                lambda node, element_path: self._value(item, node, element_path),
                whole,
            ).missing()
        except _WRONG as error:
            return f"its rows cannot be read: {type(error).__name__}"
        if missing is None:
            return None
        node, element_path = missing
        return (
            f"{outline.nodes[node]['name']}{f' of element {element_path}' if element_path else ''}"
        )

    def _value(self, item: int, node: int, element_path: str) -> Value | None:
        if node == INPUT:
            ((*_, inline, artifact),) = self._rows("stored_item", item)
        else:
            inline, artifact = next(
                iter(self._rows("task_output", item, node, element_path)), (None, None)
            )
        return value_of(None if inline is None else bytes(inline), artifact)

    def _break(self, rule: Rule, items: list[str]) -> None:
        if items:
            _, known = self._broken.setdefault(rule.name, (rule, []))
            known += items[: FEW + 1 - len(known)]


def offenders_of(
    rows: Rows, rule: Rule, after: int = FIRST, until: int = LAST, limit: int = FEW
) -> list[str]:
    """What breaks a rule, as it is shown."""
    return [
        show(number) if rule.shown == "item" else f"{rule.shown} {number}"
        for (number,) in rows("audit_" + rule.name.replace("-", "_"), after, until, limit)
    ]


def changed_in_audit_log(rows: Rows) -> str | None:
    """What of the audit log is not what was written: the first entry that differs, or what is
    missing at its end; None when it is whole."""

    def entries() -> Iterator[tuple[int, str, Entry]]:
        after = 0
        while page := rows("audit_log", after, BATCH):
            for number, at, who, action, target, reason, digest in page:
                yield number, digest, Entry(at, who, action, target, reason)
            after = page[-1][0]

    broken = broken_at(entries())
    if broken is not None:
        return f"entry {broken}"
    last, digest = next(iter(rows("last_of_audit_log")), (0, ""))
    end = end_of_audit_log(rows)
    if end == f"{last} {digest}":
        return None
    return (
        f"entry {last + 1}"
        if int(end.partition(" ")[0]) > last
        else f"the end of the log is not entry {last}"
    )


def end_of_audit_log(rows: Rows) -> str:
    """Number and hash of the last entry, as they are kept apart from it."""
    return str(next(iter(rows("meta", "audit-log-end")), ("0 ",))[0])


def _hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%d %H h UTC")
