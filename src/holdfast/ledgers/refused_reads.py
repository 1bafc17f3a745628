"""Reads about inputs that were not accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.ledgers.rows import value_of
from holdfast.model.ids import show
from holdfast.model.rows import Rows
from holdfast.model.values import Value

T = TypeVar("T")

_REFUSED = (
    "refused",
    "pipeline",
    "source",
    "key",
    "kind",
    "reason",
    "manifest",
    "first_at",
    "last_at",
    "count",
    "state",
    "item",
    "accepted_at",
)

FIRST = 1 << 62
"""Above every number of a row."""


class RefusedReads:
    """Questions about refused inputs; :class:`holdfast.ledgers.reads.LedgerReads` has them beside
    its own."""

    def _rows(self, query: str, *values: Any) -> list[Any]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def _listed(self, query: str, shown: Callable[[Any], T], *values: Any, limit: int) -> Rows[T]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def refused_inputs(
        self, pipeline: str | None, state: str | None, limit: int, after: int = 0
    ) -> Rows[dict[str, Any]]:
        """Inputs that were not accepted, the newest first.

        Args:
            pipeline: of which pipeline; None: of all.
            state: ``open``, or ``accepted`` for those whose source was accepted later; None: both.
            limit: at most so many.
            after: the ``refused`` number of the last one of the page before; 0: the first page.

        Returns:
            ``refused`` (its number), ``pipeline``, ``source``, ``key``, ``kind``, ``reason``,
            ``manifest``, ``first_at``, ``last_at`` (Unix
            milliseconds), ``count`` (how often it was refused), ``state``, ``item``,
            ``accepted_at``.
        """

        def shown(row: Any) -> dict[str, Any]:
            found = dict(zip(_REFUSED, row, strict=True))
            return {**found, "item": None if found["item"] is None else show(found["item"])}

        return self._listed("refused_inputs", shown, pipeline, state, after or FIRST, limit=limit)

    def refused_counts(self) -> dict[str, dict[str, int]]:
        """Per pipeline that has any: how many refused inputs are ``open``, and how many were
        ``accepted`` later."""
        found: dict[str, dict[str, int]] = {}
        for name, state, number in self._rows("refused_count"):
            found.setdefault(name, {"open": 0, "accepted": 0})[state] = number
        return found

    def refused_open(self, pipeline: str) -> list[tuple[str, str, str, str]]:
        """Source, key, kind and reason of each open refusal of a pipeline."""
        return [
            (source, key, kind, reason)
            for source, key, kind, reason in self._rows("refused_open", pipeline)
        ]

    def payload_of(self, item: int) -> Value | None:
        """An item's payload, or None: there is no such item."""
        row = next(iter(self._rows("payload_now", item)), None)
        return None if row is None else value_of(*row)
