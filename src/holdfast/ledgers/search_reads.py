"""Reads about many items: what a filter finds, dead letters in groups, operations, alerts,
timeouts, what is paused or away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from holdfast.errors import NotFoundError
from holdfast.ledgers.naming import Naming
from holdfast.ledgers.search import Ask, Page, Searching
from holdfast.ledgers.stuck import Names, overdue, stuck_items
from holdfast.model.durations import Durations
from holdfast.model.ids import show
from holdfast.model.rows import COUNTED, Rows
from holdfast.model.search import Filter

T = TypeVar("T")

_OPERATION = ("operation", "at", "who", "verb", "target", "reason", "state", "changed", "ended_at")
_ALERT = ("alert", "kind", "subject", "message", "opened_at", "seen_at", "closed_at")


class SearchReads:
    """Questions about many; :class:`holdfast.ledgers.reads.LedgerReads` has them beside its own."""

    dialect: str
    where: str

    def _rows(self, query: str, *values: Any) -> list[Any]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def _versions(self) -> dict[int, tuple[str, str, list[dict[str, Any]]]]:
        raise AssertionError("the reads of a ledger know its versions")

    def _item_row(self, row: Any) -> dict[str, Any]:
        raise AssertionError("the reads of a ledger know items")

    def _dead_letter_row(self, row: Any) -> dict[str, Any]:
        raise AssertionError("the reads of a ledger know dead letters")

    def _listed(self, query: str, shown: Callable[[Any], T], *values: Any, limit: int) -> Rows[T]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def _asking(self) -> Ask:
        raise AssertionError("the reads of a ledger run queries")

    @property
    def naming(self) -> Naming:
        """What texts name, as of now."""
        return Naming(self._rows, self.where, self._named())

    def search(
        self, wanted: Filter, limit: int, now_ms: int, after: str = ""
    ) -> Rows[dict[str, Any]]:
        """Items that a filter finds, the newest first, beyond ``after`` (the last id of the page
        before): rows as of :meth:`items`.

        Raises:
            NotFoundError: the filter names something that is not there; see
                :class:`holdfast.ledgers.naming.Naming`.
            InputError: it names something that may be several.
        """
        naming = self.naming
        resolved = naming.filter(wanted)
        found = self.find_ids(resolved, Page(limit + 1, naming.item(after) if after else 0), now_ms)
        rows = (
            self._item_row(row) for item in found[:limit] for row in self._rows("item_row", item)
        )
        return Rows(
            rows, len(found) > limit, lambda: self._searching(now_ms).count(resolved, COUNTED + 1)
        )

    def find_ids(self, resolved: Filter, page: Page, now_ms: int) -> list[int]:
        """The ids of a page of what a filter finds that :attr:`naming` has resolved."""
        return self._searching(now_ms).ids(resolved, page)

    def count_found(self, wanted: Filter, limit: int, now_ms: int) -> int:
        """How many items a filter finds, counted no further than a limit.

        Raises:
            InputError: as :meth:`search`.
        """
        return self._searching(now_ms).count(self.naming.filter(wanted), limit)

    def open_dead_letters(self, items: list[int], wanted: Filter) -> list[int]:
        """The open dead letters of items, those that the filter's ``group``, ``error`` and ``step``
        mean."""
        if not items:
            return []
        marks = ", ".join(f"${number}" for number in range(1, len(items) + 1))
        text = (
            "select d.id, i.version, d.node, d.error_class, d.error, d.fingerprint from "
            "dead_letters d join items i on i.id = d.item "
            f"where d.item in ({marks}) and d.state = 'open' order by d.id"
        )
        names = self._named()
        return [
            dead_letter
            for dead_letter, version, node, kind, error, fingerprint in self._asking()(
                text, tuple(items)
            )
            if wanted.group in (None, fingerprint)
            and wanted.error in (None, kind, error)
            and wanted.step in (None, names[version][2][node])
        ]

    def find_dead_letters(self, wanted: Filter, limit: int, now_ms: int) -> Rows[dict[str, Any]]:
        """Open dead letters of the items that a filter finds, those that its ``group``, ``error``
        and ``step`` mean; of the newest items first: rows as of :meth:`letters`."""
        resolved = self.naming.filter(wanted)
        dead_letters = self._found_dead_letters(resolved, limit + 1, now_ms)
        rows = (
            self._dead_letter_row(row)
            for dead_letter in dead_letters[:limit]
            for row in self._rows("dead_letters", None, None, dead_letter, None, 1)
        )
        return Rows(
            rows,
            len(dead_letters) > limit,
            lambda: len(self._found_dead_letters(resolved, COUNTED + 1, now_ms)),
        )

    def _found_dead_letters(self, resolved: Filter, limit: int, now_ms: int) -> list[int]:
        found: list[int] = []
        asked = (
            resolved
            if resolved.states
            else msgspec.structs.replace(resolved, states=("completed", "dead"))
        )
        after = 0
        while len(found) < limit and (
            items := self._searching(now_ms).ids(asked, Page(min(limit, 500), after))
        ):
            after = items[-1]
            found += sorted(self.open_dead_letters(items, resolved), reverse=True)[
                : limit - len(found)
            ]
        return found

    def groups(self, pipeline: str | None, limit: int) -> Rows[dict[str, Any]]:
        """Open dead letters grouped by fingerprint, the largest first: ``group``, ``letters``,
        ``first_at``, ``last_at``, and of the newest letter ``letter``, ``pipeline``, ``step``,
        ``error_class``, ``error``, ``message``."""
        versions = self._versions()

        def shown(row: Any) -> dict[str, Any]:
            fingerprint, number, first, last, newest = row
            ((version, node, kind, error, message),) = self._rows("dead_letter_cause", newest)
            of, _, shape = versions[version]
            return {
                "group": fingerprint,
                "dead_letters": number,
                "first_at": first,
                "last_at": last,
                "dead_letter": newest,
                "pipeline": of,
                "step": shape[node]["name"],
                "error_class": kind,
                "error": error,
                "message": message,
            }

        return self._listed("dead_letter_groups", shown, pipeline, limit=limit)

    def operations(self, limit: int, item: int | None = None) -> Rows[dict[str, Any]]:
        """Operations, the newest first: ``operation``, ``at``, ``who``, ``verb``, ``target``,
        ``reason``, ``state``, ``changed``, ``ended_at``; of one item, those that changed it."""
        query = ("operations",) if item is None else ("operations_on", item)
        return self._listed(
            query[0], lambda row: dict(zip(_OPERATION, row, strict=True)), *query[1:], limit=limit
        )

    def operation(self, number: int) -> dict[str, Any]:
        """One operation.

        Raises:
            NotFoundError: no such operation.
        """
        row = next(iter(self._rows("operation", number)), None)
        if row is None:
            raise NotFoundError(f"there is no operation {number}: `holdfast operations` lists them")
        return dict(zip(_OPERATION, row, strict=True))

    def server(self) -> dict[str, Any] | None:
        """The database server: ``version``, ``max_connections``, ``connections``, ``autovacuum``
        (``on`` or ``off``), ``now`` (Unix milliseconds), ``standbys``, ``idle_transaction_s`` (the
        longest); None where the ledger is a file."""
        if self.dialect != "postgres":
            return None
        names = (
            "version",
            "max_connections",
            "connections",
            "autovacuum",
            "now",
            "standbys",
            "idle_transaction_s",
        )
        return dict(zip(names, self._rows("server")[0], strict=True))

    def alerts(self, all: bool, limit: int) -> Rows[dict[str, Any]]:
        """Open alerts (or all), the newest first: ``alert``, ``kind``, ``subject``, ``message``,
        ``opened_at``, ``seen_at``, ``closed_at``."""
        return self._listed(
            "alerts_all" if all else "alerts_open",
            lambda row: dict(zip(_ALERT, row, strict=True)),
            limit=limit,
        )

    def alert_deliveries(self, state: str | None, limit: int) -> Rows[dict[str, Any]]:
        """To which address each alert was or is to be delivered, the newest alerts first:
        ``alert``, ``kind``, ``subject``, ``address`` (without secrets), ``state`` (``due``,
        ``delivered``, ``failed``), ``tries``, ``again_at``, ``delivered_at``, ``error``."""
        keys = (
            "alert",
            "kind",
            "subject",
            "address",
            "state",
            "tries",
            "again_at",
            "delivered_at",
            "error",
        )
        return self._listed(
            "alert_deliveries", lambda row: dict(zip(keys, row, strict=True)), state, limit=limit
        )

    def durations(self) -> dict[tuple[str, str], Durations]:
        """How long attempts took, by pipeline and step."""
        return {
            (pipeline, step): msgspec.json.decode(sketch, type=Durations)
            for pipeline, step, sketch in self._rows("durations")
        }

    def breakers(self) -> list[dict[str, Any]]:
        """Dependencies that are unavailable: ``dependency``, ``opened_at``, ``probes``,
        ``probe_at``, ``why``."""
        return [
            dict(zip(("dependency", "opened_at", "probes", "probe_at", "why"), row, strict=True))
            for row in self._rows("breakers")
        ]

    def known_dependencies(self) -> list[str]:
        """Names of dependencies that are or were unavailable."""
        return [name for (name,) in self._rows("known_dependencies")]

    def audit_log(self, limit: int) -> Rows[dict[str, Any]]:
        """What people did, the newest first: ``entry``, ``at``, ``who``, ``action``, ``target``,
        ``reason``, ``digest``."""
        names = ("entry", "at", "who", "action", "target", "reason", "digest")
        return self._listed(
            "newest_of_audit_log", lambda row: dict(zip(names, row, strict=True)), limit=limit
        )

    def pauses(self) -> list[dict[str, Any]]:
        """What is paused: ``pipeline``, ``step`` (empty: all), ``at``, ``who``, ``reason``."""
        return [
            dict(zip(("pipeline", "step", "at", "who", "reason"), row, strict=True))
            for row in self._rows("pauses_with_reason")
        ]

    def versions(self, pipeline: str) -> list[dict[str, Any]]:
        """A pipeline's versions, the oldest first: ``version``, ``number``, ``shape``, and the
        items that have not ended: ``queued``, ``running``, ``waiting``, ``paused``, ``dead``."""
        found, live = (
            [],
            {(version, state): count for version, state, count, _ in self._rows("live_items")},
        )
        for number, (of, label, shape) in self._versions().items():
            if of == pipeline:
                states = {
                    state: live.get((number, state), 0)
                    for state in ("queued", "running", "waiting", "paused", "dead")
                }
                found.append({"version": label, "number": number, "shape": shape, **states})
        return found

    def bodies(self) -> dict[str, int]:
        """The ledger's numbers of step bodies, by hash."""
        return dict(self._rows("all_bodies"))

    def changed_by(self, operation: int, limit: int) -> Rows[str]:
        """The items that an operation has changed."""
        return self._listed("changed_by", lambda row: show(row[0]), operation, limit=limit)

    def stuck(self, now_ms: int, older_ms: int, limit: int) -> Rows[dict[str, Any]]:
        """Items past their bound: see :func:`holdfast.ledgers.stuck.stuck_items`."""
        found = stuck_items(self._rows, self._named(), now_ms, older_ms, limit + 1)
        return Rows(
            found[:limit],
            len(found) > limit,
            lambda: len(overdue(self._rows, now_ms, older_ms, COUNTED + 1)),
        )

    def _named(self) -> Names:
        return {
            number: (of, label, [node["name"] for node in shape])
            for number, (of, label, shape) in self._versions().items()
        }

    def _searching(self, now_ms: int) -> Searching:
        return Searching(self._asking(), self.dialect == "sqlite", self._named(), now_ms)
