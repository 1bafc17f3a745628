"""What an audit asks of a ledger beyond its own rules: who it is, where its audit log ends, who
owns what, and what lies in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from holdfast.ledgers.audit_rows import FIRST, ranges
from holdfast.ledgers.audit_rules import ROW_RULES
from holdfast.ledgers.auditing import end_of_audit_log
from holdfast.model.audits import Rule
from holdfast.model.ids import show
from holdfast.model.states import ITEM_STATES
from holdfast.model.values import Chunk, Element, Listing, decode_reference, refers_to

PAGE = 5_000
"""Rows that are read at a time for what they refer to."""

OWNED = 100_000
"""Items of one runner that are compared."""


class Reference(msgspec.Struct, frozen=True):
    """An artifact that a row refers to.

    Attributes:
        of: the row, as it is shown.
        table: the table that it is in, for :meth:`AuditReads.references_of`.
        row: its number there (of a task, its item's).
        digest: of the artifact.
        size: its bytes, or None where the row does not say.
    """

    of: str
    table: str
    row: int
    digest: str
    size: int | None


class _Asks(Protocol):
    def _rows(self, query: str, *values: Any) -> list[Any]: ...


class AuditReads:
    """Questions of an audit."""

    def ledger_id(self: _Asks) -> str:
        """What names this ledger for ever."""
        return str(next(iter(self._rows("meta", "ledger-id")), ("",))[0])

    def log_end(self: _Asks) -> dict[str, Any]:
        """The end of the audit log: ``entries``, and ``last``, the hash of the newest."""
        number, _, digest = end_of_audit_log(self._rows).partition(" ")
        return {"entries": int(number), "last": digest}

    def log_digest(self: _Asks, entry: int) -> str | None:
        """The hash of an entry of the audit log; None when there is none of this number."""
        return next(iter(self._rows("audit_log_entry", entry)), (None,))[0]

    def owners(self: _Asks, now_ms: int) -> list[tuple[int, str, int]]:
        """Runners that are not over and own something: incarnation, host, process."""
        return [(number, host, pid) for number, host, pid in self._rows("owners", now_ms)]

    def owned(self: _Asks, incarnation: int) -> set[tuple[int, int]]:
        """The items that an incarnation owns, each with its fence."""
        return {(item, fence) for item, fence in self._rows("owned", incarnation, OWNED)}

    def holdings(self: _Asks) -> dict[int, tuple[int, bytes | None]]:
        """What runners say that they hold: by incarnation, how often it has said so, and what
        (None: too much)."""
        return {
            number: (beat, None if items is None else bytes(items))
            for number, beat, items in self._rows("holdings")
        }

    def standing(self: _Asks, limit: int) -> list[tuple[Rule, int]]:
        """What stands still and will not go on by itself, by the rules of the audit: the rule, and
        the number of the item (or of what the rule is about)."""
        found: list[tuple[Rule, int]] = []
        rules = [rule for rule in ROW_RULES if rule.stands]
        for table in dict.fromkeys(rule.walks for rule in rules):
            for after, until in ranges(self._rows, table):
                for rule in rules:
                    if rule.walks == table and len(found) < limit:
                        query = "audit_" + rule.name.replace("-", "_")
                        found += [
                            (rule, number)
                            for (number,) in self._rows(query, after, until, limit - len(found))
                        ]
        return found

    def standing_row(self: _Asks, rule: Rule, number: int) -> dict[str, Any]:
        """What stands still, as a row of :meth:`stuck`; ``past_bound_s`` is None: the rule is
        broken, however short the time."""
        row = next(iter(self._rows("item_row", number)), None) if rule.shown == "item" else None
        _, pipeline, version, key, state, generation, admitted, _, _ = row or (
            None,
            "",
            "",
            "",
            "",
            None,
            None,
            None,
            None,
        )
        return {
            "item": show(number) if rule.shown == "item" else f"{rule.shown} {number}",
            "pipeline": pipeline,
            "version": version,
            "key": key,
            "state": state,
            "generation": generation,
            "admitted_at": admitted,
            "past_bound_s": None,
            "bound": rule.name,
            "why": rule.why,
            "remedy": rule.remedy.replace("ITEM", show(number)),
        }

    def grouped(self: _Asks, by: str) -> list[dict[str, Any]]:
        """The terms of conservation by ``manifest`` or ``hour``: ``pipeline``, ``manifest`` or
        ``hour`` (Unix milliseconds of its begin), ``received``, a number for each state, and
        ``balanced``."""
        groups: dict[tuple[str, Any], dict[str | None, int]] = {}
        for after, until in ranges(self._rows, "receipts"):
            for pipeline, manifest, hour, state, number in self._rows(
                f"groups_by_{by}", after, until
            ):
                key = (pipeline, manifest if by == "manifest" else hour * 3_600_000)
                counts = groups.setdefault(key, defaultdict(int))
                counts[state] += number
        return [
            {
                "pipeline": pipeline,
                by: value,
                "received": sum(counts.values()),
                **{state: counts.get(state, 0) for state in ITEM_STATES},
                "balanced": None not in counts,
            }
            for (pipeline, value), counts in sorted(groups.items())
        ]

    def references(self: _Asks) -> Iterator[Reference]:
        """Every artifact that a row refers to, in short reads."""
        for table, walk in (
            ("items", "items"),
            ("kept", "items"),
            ("effects", "items"),
            ("waits", "waits"),
            ("events", "events"),
        ):
            for after, until in ranges(self._rows, walk, PAGE):
                yield from _references(self._rows, table, after, until)
        key: tuple[int, int, str, int] = (FIRST, 0, "", 0)
        while rows := self._rows("task_references", *key, PAGE):
            for item, _, _, _, artifact in rows:
                yield from _named(show(item), "tasks", item, artifact)
            item, node, element_path, generation, _ = rows[-1]
            key = (item, node, element_path, generation)

    def still_refers(self: _Asks, one: Reference) -> bool:
        """Whether the row refers to the artifact now, too: it may have been cleared meanwhile."""
        if one.table != "tasks":
            return any(
                other.digest == one.digest
                for other in _references(self._rows, one.table, one.row - 1, one.row)
            )
        key: tuple[int, int, str, int] = (one.row, -(1 << 31), "", 0)
        while rows := self._rows("task_references", *key, PAGE):
            for item, node, element_path, generation, artifact in rows:
                if item != one.row:
                    return False
                if any(other.digest == one.digest for other in _named("", "tasks", item, artifact)):
                    return True
                key = (item, node, element_path, generation)
        return False


def _references(rows: Any, table: str, after: int, until: int) -> Iterator[Reference]:
    if table == "items":
        for item, payload, output in rows("item_references", after, until):
            for artifact in (payload, output):
                yield from _named(show(item), table, item, artifact)
    elif table == "kept":
        for item, chunk, _ in rows("kept_references", after, until):
            one = msgspec.json.decode(chunk, type=Chunk)
            yield Reference(show(item), table, item, one.digest, one.size)
            yield from (Reference(show(item), table, item, digest, None) for digest in one.refs)
    elif table == "effects":
        for item, value in rows("effect_references", after, until):
            yield from (
                Reference(show(item), table, item, digest, None)
                for digest in refers_to(bytes(value))
            )
    elif table == "waits":
        for wait, item, shown, answer in rows("wait_references", after, until):
            for artifact in (shown, answer):
                yield from _named(show(item), table, wait, artifact)
    else:
        for event, artifact in rows("event_references", after, until):
            yield from _named(f"event {event}", table, event, artifact)


def _named(of: str, table: str, row: int, artifact: str | None) -> Iterator[Reference]:
    """The artifacts that a column names."""
    if artifact is None:
        return
    value = decode_reference(artifact)
    if isinstance(value, Element):
        yield Reference(of, table, row, value.digest, None)
        return
    parts = value.chunks if isinstance(value, Listing) else (value,)
    for part in parts:
        yield Reference(of, table, row, part.digest, part.size)
        yield from (Reference(of, table, row, digest, None) for digest in part.refs)
