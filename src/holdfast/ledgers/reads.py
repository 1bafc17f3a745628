"""Reads: short questions to a ledger, from any process, in SQL that every driver understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from holdfast.errors import NotFoundError
from holdfast.ledgers.artifact_reads import ArtifactReads
from holdfast.ledgers.audit_reads import AuditReads
from holdfast.ledgers.auditing import RowAudit
from holdfast.ledgers.measure_reads import MeasureReads
from holdfast.ledgers.pattern_reads import PatternReads
from holdfast.ledgers.queries import queries
from holdfast.ledgers.refused_reads import RefusedReads
from holdfast.ledgers.rows import add_tasks, claimed_of, value_of
from holdfast.ledgers.search import Ask
from holdfast.ledgers.search_reads import SearchReads
from holdfast.ledgers.timekeeping import Kept
from holdfast.model.claimed import Claimed
from holdfast.model.domain import check_parameters
from holdfast.model.endings import Ending, Failing
from holdfast.model.events import trace_of
from holdfast.model.graph import TASKS
from holdfast.model.ids import parse, show
from holdfast.model.moments import LedgerTime, Moment
from holdfast.model.prices import MICRO
from holdfast.model.rows import COUNTED, Rows
from holdfast.model.states import ITEM_STATES
from holdfast.model.stored import StoredItem
from holdfast.model.values import Value

T = TypeVar("T")

_OF_ONE = {
    "settled_tasks": "item_settled",
    "live_tasks": "item_live_rows",
    "effects_of": "item_effects",
    "edits_of": "edits_of_item",
}
"""For looking at an item, what a claim asks of many."""

_ATTEMPT = ("node", "element_path", "generation", "attempt", "started_at", "ended_at")
_USED = ("host", "worker", "body", "cpu_ms", "peak_kib", "cost", "gpu_ms")
"""Columns of an attempt: where it ran, and what it used."""
_ITEM = (
    "item",
    "pipeline",
    "version",
    "key",
    "state",
    "generation",
    "admitted_at",
    "ended_at",
    "flags",
)
_LETTER = (
    "dead_letter",
    "item",
    "pipeline",
    "step",
    "key",
    "node",
    "element_path",
    "generation",
    "error_class",
    "error",
    "message",
    "traceback",
    "attempts",
    "at",
    "state",
    "closed_at",
    "reason",
    "item_state",
    "group",
)


class LedgerReads(PatternReads, SearchReads, MeasureReads, RefusedReads, ArtifactReads, AuditReads):
    """Questions to a ledger: the same SQL for each, run by the driver.

    Args:
        where: the ledger as messages name it.
        dialect: whose queries to run.
        rows: runs a query text with values in order, returns all rows.
        close: closes what ``rows`` uses.
    """

    def __init__(
        self,
        where: str,
        dialect: str,
        rows: Callable[[str, tuple[Any, ...]], list[Any]],
        close: Callable[[], None],
    ) -> None:
        self.where, self.dialect = where, dialect
        self.close = close
        self._ask = rows
        self._sql = queries(dialect)

    def time(self, moment: Moment) -> LedgerTime:
        """The ledger's time, as its server says it, or as its writer last wrote it down."""
        if self.dialect == "postgres":
            return LedgerTime(self._rows("ledger_time")[0][0], server=True)
        rows = self._rows("clock_kept")
        return LedgerTime(
            Kept(*rows[0]).now_ms(moment)
            if rows and Kept(*rows[0]).moved_ms(moment)
            else moment.wall_ms
        )

    def restores(self, limit: int) -> list[dict[str, Any]]:
        """Restores that were accepted, the newest first.

        Columns: ``number``, ``at``, ``who``, ``reason``, ``report``.
        """
        return [
            dict(zip(("number", "at", "who", "reason", "report"), row, strict=True))
            for row in self._rows("restores", limit)
        ]

    def status(self) -> list[dict[str, Any]]:
        """Per pipeline, what was received and the items in each state."""
        found: dict[str, dict[str, Any]] = {}
        for name, received, state, number in self._rows("pipeline_counts"):
            row = found.setdefault(
                name, {"pipeline": name, "received": received, **dict.fromkeys(ITEM_STATES, 0)}
            )
            if state is not None:
                row[state] = number
        return list(found.values())

    def steps(self, pipeline: str) -> list[dict[str, Any]]:
        """Per step, in trace order: tasks by state, and the mean duration of successful ones."""
        found: dict[str, dict[str, Any]] = {}
        names = self.names()
        for (of, _), name in names.items():
            if of == pipeline:
                found.setdefault(
                    name,
                    {
                        "step": name,
                        "succeeded": 0,
                        "skipped": 0,
                        "dead": 0,
                        "running": 0,
                        "retrying": 0,
                        "mean_s": None,
                    },
                )
        total: dict[str, float] = {}
        versions = self._versions()
        for query in ("task_counts", "live_counts"):
            for version, node, state, number, spent in self._rows(query):
                of, _, shape = versions[version]
                if of != pipeline or shape[node]["kind"] not in TASKS:
                    continue
                row = found[shape[node]["name"]]
                row[state] = row.get(state, 0) + number
                if state == "succeeded":
                    total[row["step"]] = total.get(row["step"], 0) + spent
                    row["mean_s"] = round(total[row["step"]] / 1000 / row["succeeded"], 4)
        return list(found.values())

    def names(self) -> dict[tuple[str, int], str]:
        """Names of the nodes that have tasks, by pipeline and node, newest version last."""
        return {
            (pipeline, node): one["name"]
            for pipeline, _, shape in self._versions().values()
            for node, one in enumerate(shape)
            if one["kind"] in TASKS
        }

    def items(self, pipeline: str | None, state: str | None, limit: int) -> Rows[dict[str, Any]]:
        """The newest items."""
        return self._listed("items", self._item_row, pipeline, state, limit=limit)

    def item(self, item: int) -> dict[str, Any]:
        """One item with its timeline."""
        row = next(iter(self._rows("item", item)), None)
        if row is None:
            raise NotFoundError(
                f"there is no item {show(item)} in {self.where}: `holdfast items` lists them"
            )
        found = self._item_row(row[:9])
        version, fence, due, deadline = row[9:13]
        names = [one["name"] for one in self._versions()[version][2]]
        found |= {
            "fence": fence,
            "deadline": deadline,
            "wake_at": due if found["state"] == "waiting" else None,
        }
        found["payload"] = value_of(row[13], row[14])
        found["output"] = self._output(item, row)
        found["timeline"] = self._timeline(item, names)
        found["operations"] = self.operations(100, item)
        found["revision"], found["revisions"] = row[22], self.revisions(item) if row[22] else []
        found["waits"] = self.waits(item)
        found["children"] = self.children(item)
        found["parent"] = show(row[19]) if row[19] is not None else None
        found["correlation"], found["trace"] = (
            row[20] or found["item"],
            row[21] or trace_of(found["item"]),
        )
        found["dead_letters"] = [
            self._dead_letter_row(dead_letter)
            for dead_letter in self._rows("dead_letters", None, None, None, item, 1000)
        ]
        return found

    def ending(self, item: int) -> Ending:
        """How an item ended, or how far it is.

        Raises:
            NotFoundError: no such item.
        """
        row = next(iter(self._rows("item_ending", item)), None)
        if row is None:
            raise NotFoundError(f"there is no item {show(item)} in {self.where}")
        pipeline, version, key, state, node, element_path, inline, artifact = row
        if state != "completed":
            return Ending(item, key, pipeline, version, state)
        if node is not None:
            found = self._rows("task_output", item, node, element_path)
            inline, artifact = next(iter(found), (None, None))
        return Ending(item, key, pipeline, version, state, value_of(inline, artifact))

    def failing(self, item: int) -> Failing | None:
        """The newest open dead letter of an item, or None."""
        for row in self._rows("dead_letters", None, "open", None, item, 1):
            found = self._dead_letter_row(row)
            names = Failing.__struct_fields__
            return Failing(**{name: found[name] for name in names})
        return None

    def item_output(self, item: str) -> Value | None:
        """A completed item's result."""
        number = parse(item)
        return self._output(number, next(iter(self._rows("item", number))))

    def _output(self, item: int, row: Any) -> Value | None:
        node, element_path, inline, artifact = row[15:19]
        if node is not None:
            inline, artifact = next(
                iter(self._rows("task_output", item, node, element_path)), (None, None)
            )
        return value_of(inline, artifact)

    def item_by_key(self, key: str) -> int | None:
        """The newest item with a key, or None."""
        row = next(iter(self._rows("item_by_key", key)), None)
        return None if row is None else row[0]

    def dead_letters(
        self, pipeline: str | None, state: str | None, limit: int
    ) -> Rows[dict[str, Any]]:
        """Dead letters, newest first."""
        return self._listed(
            "dead_letters", self._dead_letter_row, pipeline, state, None, None, limit=limit
        )

    def dead_letter(self, dead_letter: int) -> dict[str, Any]:
        """One dead letter with its attempts."""
        row = next(iter(self._rows("dead_letters", None, None, dead_letter, None, 1)), None)
        if row is None:
            raise NotFoundError(
                f"there is no dead letter {dead_letter} in {self.where}: `holdfast dead` lists them"
            )
        found = self._dead_letter_row(row)
        names = [one["name"] for one in self._versions()[row[3]][2]]
        found["tries"] = [
            one
            for one in self._timeline(row[1], names)
            if one["step"] == found["step"]
            and one["element_path"] == found["element_path"]
            and one["generation"] == found["generation"]
        ]
        found["cost"] = {
            "cpu_s": round(sum(one["cpu_s"] or 0 for one in found["tries"]), 3),
            "gpu_s": round(sum(one["gpu_s"] for one in found["tries"]), 3),
            "wall_s": round(sum(one["s"] for one in found["tries"]), 3),
            "usd": round(sum(one["cost_usd"] for one in found["tries"]), 6),
        }
        return found

    def causes(self, pipeline: str | None) -> list[dict[str, Any]]:
        """Open dead letters counted by step and cause."""
        versions = self._versions()
        return [
            {
                "step": versions[version][2][node]["name"],
                "error_class": kind,
                "error": error,
                "count": number,
            }
            for version, node, kind, error, number in self._rows("dead_causes", pipeline)
        ]

    def claimed(self, item: int) -> Claimed:
        """An item as a runner would claim it."""
        row = next(iter(self._rows("claimed_item", item)), None)
        if row is None:
            raise NotFoundError(
                f"there is no item {show(item)} in {self.where}: `holdfast items` lists them"
            )
        claimed = claimed_of(row)
        add_tasks(
            {item: claimed}, lambda name: self._rows(_OF_ONE[name], item) if name in _OF_ONE else ()
        )
        return claimed

    def stored(self, item: int) -> StoredItem | None:
        """The values of an item; None when there is no such item."""
        for number, key, version, state, generation, payload, artifact in self._rows(
            "stored_item", item
        ):
            rows = self._rows("results_of", item)
            newest = {
                (row[0], row[1]): (row[0], row[1], row[8], value_of(row[10], row[11]))
                for row in rows
            }
            edits = tuple(
                (node, element_path, bytes(arguments))
                for _, node, element_path, arguments in self._rows("edits_of_item", item)
            )
            return StoredItem(
                item=number,
                key=key,
                version=version,
                state=state,
                generation=generation,
                payload=value_of(payload, artifact),
                rows=len(rows),
                results=tuple(newest.values()),
                edits=edits,
            )
        return None

    def shape(self, pipeline: str, label: str) -> list[dict[str, Any]]:
        """The nodes of a version."""
        return next(
            shape
            for name, version, shape in self._versions().values()
            if (name, version) == (pipeline, label)
        )

    def version(self, number: int) -> tuple[str, str]:
        """Pipeline name and label of a version."""
        name, label, _ = self._versions()[number]
        return name, label

    def keys(self, pipeline: str, manifest: str | None) -> list[str]:
        """Keys of receipts."""
        return [row[0] for row in self._rows("receipt_keys", pipeline, manifest)]

    def audit(self, now_ms: int) -> dict[str, Any]:
        """Conservation per pipeline and every broken rule, as of one moment, beside runners."""
        self._rows("begin_snapshot")
        try:
            return self._audited(now_ms)
        finally:
            self._rows("end_snapshot")

    def _audited(self, now_ms: int) -> dict[str, Any]:
        audit = RowAudit(self._rows, self._versions())
        broken = [one.row() for one in audit.run()]
        balanced = not broken and all(terms["balanced"] for terms in audit.pipelines.values())
        log = {"ledger": self.ledger_id(), **self.log_end()}
        return {
            "pipelines": audit.pipelines,
            "refused": self.refused_counts(),
            "broken": broken,
            "balanced": balanced,
            "at": now_ms,
            "audit_log": log,
        }

    def _timeline(self, item: int, names: list[str]) -> list[dict[str, Any]]:
        """Every attempt and every task of an item in order, named by the steps of its versions."""
        entries = [
            *self._failed_attempts(item),
            *self._ended_tasks(item),
            *self._live_tasks(item),
        ]
        moves = [
            (generation, [node["name"] for node in self._versions()[left][2]])
            for generation, left in self._rows("moves_of", item)
        ]
        for one in entries:
            then = next(
                (left for generation, left in moves if (one["generation"] or 1 << 60) < generation),
                names,
            )
            one["step"] = then[one.pop("node")]
            ended = one["ended_at"]
            one["s"] = 0 if ended is None else (ended - one["started_at"]) / 1000
            cpu = one.pop("cpu_ms")
            one["cpu_s"] = None if cpu is None else cpu / 1000
            one["gpu_s"] = (one.pop("gpu_ms") or 0) / 1000
            one["cost_usd"] = (one.pop("cost") or 0) / MICRO
        return sorted(entries, key=lambda one: (one["started_at"], one["ended_at"] or 1 << 60))

    def _failed_attempts(self, item: int) -> list[dict[str, Any]]:
        """Attempts that failed, with their error."""
        error = ("error_class", "error", "message", "traceback", "charged")
        names = (*_ATTEMPT, *error, *_USED)
        return [
            {**dict(zip(names, row, strict=True)), "state": "failed", "flag": None}
            for row in self._rows("item_attempts", item)
        ]

    def _ended_tasks(self, item: int) -> list[dict[str, Any]]:
        """Tasks that have ended; one that did not succeed has no duration of its own."""
        names = (*_ATTEMPT[:3], "state", *_ATTEMPT[3:], *_USED, "output", "artifact", "flag")
        entries = []
        for row in self._rows("item_tasks", item):
            one = dict(zip(names, row, strict=True))
            one["output"] = value_of(one.pop("output"), one.pop("artifact"))
            if one["state"] != "succeeded":
                # its last attempt is an entry of its own
                one["cpu_ms"] = one["cost"] = one["gpu_ms"] = None
                one["started_at"] = one["ended_at"]
            entries.append(one)
        return entries

    def _live_tasks(self, item: int) -> list[dict[str, Any]]:
        """Tasks that have begun and not ended."""
        entries = []
        for row in self._rows("item_live", item):
            node, element_path, state, attempt, failures, crashes, _, started, wake = row
            entries.append(
                {
                    "node": node,
                    "element_path": element_path,
                    "state": state,
                    "attempt": attempt,
                    "failures": failures,
                    "crashes": crashes,
                    "started_at": started,
                    "ended_at": None,
                    "generation": None,
                    "wake_at": wake or None,
                    "cpu_ms": None,
                    "cost": None,
                    "gpu_ms": None,
                }
            )
        return entries

    def _item_row(self, row: Any) -> dict[str, Any]:
        found = dict(zip(_ITEM, row, strict=True))
        return {
            **found,
            "item": show(found["item"]),
            "flags": found["flags"].split("\n") if found["flags"] else [],
        }

    def _dead_letter_row(self, row: Any) -> dict[str, Any]:
        found = dict(zip(_LETTER, row, strict=True))
        found["step"] = self._versions()[found["step"]][2][found.pop("node")]["name"]
        return {**found, "item": show(found["item"])}

    def _versions(self) -> dict[int, tuple[str, str, list[dict[str, Any]]]]:
        return {
            number: (name, label, msgspec.json.decode(shape))
            for name, number, label, shape in self._rows("shapes")
        }

    def _listed(self, query: str, shown: Callable[[Any], T], *values: Any, limit: int) -> Rows[T]:
        found = self._rows(query, *values, limit + 1)
        counting = f"select count(*) from ({self._sql[query]}) counted"
        return Rows(
            map(shown, found[:limit]),
            len(found) > limit,
            lambda: int(self._query(counting, (*values, COUNTED + 1))[0][0]),
        )

    def _rows(self, query: str, *values: Any) -> list[Any]:
        return self._query(self._sql[query], values)

    def _query(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        check_parameters(values)
        return self._ask(text, values)

    def _asking(self) -> Ask:
        return self._query
