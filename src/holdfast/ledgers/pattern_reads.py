"""Reads about patterns: reviews, events, routes' shares, refinements' passes; in SQL that every
driver understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from holdfast.errors import InputError, NotFoundError
from holdfast.ledgers.rows import value_of
from holdfast.model.ids import is_id, parse, show
from holdfast.model.nearest import nearest
from holdfast.model.rows import Rows
from holdfast.model.visible import as_meant

T = TypeVar("T")

_REVIEW = (
    "review",
    "item",
    "pipeline",
    "key",
    "step",
    "element_path",
    "title",
    "state",
    "by",
    "four_eyes",
    "why",
    "form",
    "digest",
    "shown",
    "opened_at",
    "due",
    "proposed_by",
    "decided_by",
    "decided_at",
    "answer",
)
"""The keys of a review's row."""


class PatternReads:
    """Questions about patterns; :class:`holdfast.ledgers.reads.LedgerReads` has them beside its
    own."""

    def _rows(self, query: str, *values: Any) -> list[Any]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def _versions(self) -> dict[int, tuple[str, str, list[dict[str, Any]]]]:
        raise AssertionError("the reads of a ledger know its versions")

    def _listed(self, query: str, shown: Callable[[Any], T], *values: Any, limit: int) -> Rows[T]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def reviews(self, pipeline: str | None, state: str | None, limit: int) -> Rows[dict[str, Any]]:
        """Reviews, the oldest first: ``review``, ``item``, ``pipeline``, ``key``, ``step``,
        ``place``, ``title``, ``state``, ``by``, ``form`` (a JSON schema), ``digest``, ``shown``,
        ``opened_at``, ``due``, ``decided_by``, ``decided_at``, ``answer``, …"""
        return self._listed("reviews", self._review_row, pipeline, state, None, limit=limit)

    def review(self, review: int) -> dict[str, Any]:
        """One review.

        Raises:
            NotFoundError: no such review.
        """
        row = next(iter(self._rows("reviews", None, None, review, 1)), None)
        if row is None:
            raise NotFoundError(f"there is no review {review}: `holdfast reviews` lists them")
        return self._review_row(row)

    def waits(self, item: int) -> list[dict[str, Any]]:
        """What an item waits for or has waited for: ``step``, ``place``, ``kind``, ``state``,
        ``name``, ``key``, ``opened_at``, ``due``, …"""
        version = self._rows("item", item)[0][9]
        names = [one["name"] for one in self._versions()[version][2]]
        keys = (
            "step",
            "element_path",
            "kind",
            "state",
            "name",
            "key",
            "opened_at",
            "due",
            "answered_at",
            "answered_by",
            "wait",
        )
        return [
            dict(zip(keys, (names[row[0]], *row[1:]), strict=True))
            for row in self._rows("waits_of", item)
        ]

    def revisions(self, item: int) -> list[dict[str, Any]]:
        """The payloads that an item had before, the oldest first, and what became of it under each:
        ``generation`` (the one that began with the replacement), ``at``, ``operation``, ``who``,
        ``reason``, ``version``, ``state``, ``flags``, ``digest_before``, ``digest_after``,
        ``payload``, ``output``, ``cleared_at`` (when retention cleared the output) and ``effects``
        (``step``, ``place``, ``label``, ``at``: what ``ctx.once`` had recorded)."""
        keys = (
            "revision",
            "generation",
            "at",
            "operation",
            "who",
            "reason",
            "version",
            "state",
            "flags",
            "digest_before",
            "digest_after",
        )
        effects = self._rows("past_effects_of", item)
        shapes = {(pipeline, label): shape for pipeline, label, shape in self._versions().values()}
        found = []
        for row in self._rows("revisions_of", item):
            one = dict(zip(keys, row, strict=False))
            shape = shapes[row[16], one["version"]]
            one["flags"] = one["flags"].split("\n") if one["flags"] else []
            one |= {
                "payload": value_of(row[11], row[12]),
                "output": value_of(row[13], row[14]),
                "cleared_at": row[15],
            }
            one["effects"] = [
                {
                    "step": shape[node]["name"],
                    "element_path": element_path,
                    "label": label,
                    "at": at,
                }
                for revision, node, element_path, label, at in effects
                if revision == one["revision"]
            ]
            found.append(one)
        return found

    def children(self, item: int) -> list[dict[str, Any]]:
        """The items that are children of an item: ``item``, ``pipeline``, ``key``, ``state``."""
        return [
            {"item": show(row[0]), "pipeline": row[1], "key": row[2], "state": row[3]}
            for row in self._rows("children_of", item)
        ]

    def lineage(self, item: int) -> dict[str, list[dict[str, Any]]]:
        """All that was set off together with an item (itself too), the first 1,000 of each.

        Keys: ``items`` (``item``, ``pipeline``, ``key``, ``state``, ``parent``: the item that it is
        a child of, ``event``: the id of the one that started it), the first of them set off the
        others; ``events`` (``event``, ``type``, ``key``, ``source``, ``at``, ``starts``: items).
        """
        (row,) = self._rows("item", item)
        first = parse(row[20]) if row[20] and is_id(row[20]) else item
        correlation = row[20] or show(item)
        events, started = [], dict[int, str]()
        for number, name, kind, key, source, at in self._rows("events_set_off", correlation):
            starts = [one for (one,) in self._rows("started_by", number)]
            started.update(dict.fromkeys(starts, name))
            events.append(
                {
                    "event": name,
                    "type": kind,
                    "key": key,
                    "source": source,
                    "at": at,
                    "starts": [show(one) for one in starts],
                }
            )
        roots = [
            (root[0], root[1], root[3], root[4], root[19]) for root in self._rows("item", first)
        ]
        keys = ("item", "pipeline", "key", "state", "parent")
        others = [other for other in self._rows("set_off", correlation) if other[0] != first]
        items: list[dict[str, Any]] = [
            {**dict(zip(keys, row, strict=True)), "event": started.get(row[0])}
            for row in (*roots, *others)
        ]
        for one in items:
            one["item"], one["parent"] = (
                show(one["item"]),
                None if one["parent"] is None else show(one["parent"]),
            )
        return {"items": items, "events": events}

    def events(self, type: str | None, name: str | None, limit: int) -> Rows[dict[str, Any]]:
        """Events, the newest first: ``number``, ``event`` (its id), ``type``, ``source``, ``key``,
        ``at`` (by its producer's clock), ``correlation``, ``trace``, ``data``, ``outgoing``,
        ``deliveries``, ``received_at``, ``parked``."""
        return self._listed("events", _event_row, type, name, limit=limit)

    def event(self, text: str, source: str = "") -> dict[str, Any]:
        """One event by its id, as it stands or as we show it, with its ``deliveries``.

        Args:
            text: its id.
            source: its producer; needed when several have used the id.

        Raises:
            NotFoundError: there is none.
            InputError: several producers have one.
        """
        for name in dict.fromkeys(
            (
                text,
                text.strip(),
                text.strip().removeprefix("event:"),
                as_meant(text),
                as_meant(text.strip()),
            )
        ):
            named = self.events(None, name, 100) if "\x00" not in name else []
            found = [one for one in named if source in ("", one["source"])]
            if len(found) > 1:
                sources = ", ".join(sorted(one["source"] for one in found)[:10])
                raise InputError(
                    f"{len(found)} producers have an event {name!r}: say which one, by its "
                    f"source: {sources}"
                )
            for one in found:
                return {**one, "deliveries": self.deliveries(one["number"], None, 1_000)}
        raise NotFoundError(
            f"there is no event {text!r}{f' of {source}' if source else ''}: `holdfast "
            "events` lists them"
        )

    def outgoing(self, parked: bool, limit: int) -> Rows[dict[str, Any]]:
        """Events that the broker has not got, parked ones first: ``number``, ``event``, ``source``,
        ``type``, ``parked``, ``tries``, ``again_at``, ``reason``, ``received_at``."""
        keys = (
            "number",
            "event",
            "source",
            "type",
            "parked",
            "tries",
            "again_at",
            "reason",
            "received_at",
        )

        def shown(row: Any) -> dict[str, Any]:
            return dict(zip(keys, (*row[:4], row[4] == 2, *row[5:]), strict=True))

        return self._listed("outgoing_listed", shown, 2 if parked else 1, limit=limit)

    def event_type(self, text: str) -> str:
        """The name of an event that has been emitted or received, or that some pipeline emits,
        awaits or listens to.

        Raises:
            NotFoundError: there is none.
        """
        for name in (text, text.strip()):
            if self._rows("has_event_type", name):
                return name
        known = {one["event"] for one in self.topology()}
        if text.strip() in known:
            return text.strip()
        raise NotFoundError(
            f"there is no event {text!r} here: "
            f"{nearest(text, [*known, *(row[0] for row in self._rows('event_types'))])}"
        )

    def deliveries(self, event: int | None, state: str | None, limit: int) -> Rows[dict[str, Any]]:
        """Deliveries of events to pipelines: ``delivery``, ``pipeline``, ``state``, ``item``,
        ``reason``, ``event``, ``type``, ``at``, ``source``, ``tries``, ``again_at`` (of one that
        failed: when it is tried again), ``received_at``."""
        keys = (
            "delivery",
            "pipeline",
            "state",
            "item",
            "reason",
            "event",
            "type",
            "at",
            "source",
            "tries",
            "again_at",
            "received_at",
        )

        def shown(row: Any) -> dict[str, Any]:
            return dict(
                zip(
                    keys,
                    (*row[:3], None if row[3] is None else show(row[3]), *row[4:]),
                    strict=True,
                )
            )

        return self._listed("event_deliveries", shown, event, state, limit=limit)

    def stuck_events(self, now_ms: int, older_ms: int, limit: int) -> Rows[dict[str, Any]]:
        """Events that a pipeline has not taken for so long: ``delivery``, ``pipeline``, ``version``
        (the newest that listens), ``event``, ``source``, ``type``, ``received_at``, ``tries``,
        ``past_bound_s``, ``why``, ``remedy``."""
        keys = (
            "delivery",
            "pipeline",
            "version",
            "event",
            "source",
            "type",
            "received_at",
            "tries",
        )

        def shown(row: Any) -> dict[str, Any]:
            found: dict[str, Any] = dict(zip(keys, row[:8], strict=True))
            served, reason, of, version = row[8], row[9], found["pipeline"], found["version"]
            if not served:
                why = (
                    f"no runner serves version {version} of {of}, which listens to {found['type']}"
                )
                remedy = (
                    "start one: holdfast runner MODULE; or: holdfast events unsubscribe "
                    f"{of} --version {version}"
                )
            elif reason:
                why, remedy = (
                    f"it failed {found['tries']} times: {reason}",
                    f"it is tried again; at once: holdfast events redeliver {found['delivery']}",
                )
            else:
                why, remedy = "it waits for its runner, behind others", "more runners"
            past = round((now_ms - older_ms - found["received_at"]) / 1000, 1)
            return {**found, "past_bound_s": past, "why": why, "remedy": remedy}

        return self._listed("undelivered", shown, now_ms, now_ms - older_ms, limit=limit)

    def check_delivery(self, number: int) -> None:
        """Refuse the number of a delivery that is not there.

        Raises:
            NotFoundError: it is not.
        """
        if not self._rows("has_delivery", number):
            raise NotFoundError(
                f"there is no delivery {number}: `holdfast events --refused` lists those that "
                "were refused"
            )

    def topology(self) -> list[dict[str, Any]]:
        """Who emits, awaits and listens to what: ``event``, ``emits``, ``awaits``, ``starts``
        (names of pipelines)."""
        found: dict[str, dict[str, Any]] = {}

        def note(event: str, role: str, pipeline: str) -> None:
            row = found.setdefault(event, {"event": event, "emits": [], "awaits": [], "starts": []})
            if pipeline not in row[role]:
                row[role].append(pipeline)

        for pipeline, _, shape in self._versions().values():
            for node in shape:
                if node["kind"] in ("emit", "wait"):
                    note(node["event"], "emits" if node["kind"] == "emit" else "awaits", pipeline)
        for pipeline, event in self._rows("listeners"):
            note(event, "starts", pipeline)
        return [found[event] for event in sorted(found)]

    def patterns(self, pipeline: str, since_minute: int, worst: int) -> list[dict[str, Any]]:
        """What the combinators of a pipeline did, by node and version: of a route ``shares`` and
        ``minutes``, of a refine ``passes`` (items by number of passes) and ``worst`` (items that
        took most), of a first_ok and a gather ``decided``."""
        found = []
        for version, (of, label, shape) in self._versions().items():
            if of != pipeline:
                continue
            minutes: dict[int, list[dict[str, Any]]] = {}
            for node, minute, choice, number in self._rows("choices", version, since_minute):
                minutes.setdefault(node, []).append(
                    {"at": minute * 60_000, "case": choice, "items": number}
                )
            for index, node in enumerate(shape):
                row = {"node": node["name"], "version": label, "kind": node["kind"]}
                if node["kind"] == "route":
                    found.append(
                        {
                            **row,
                            "shares": self._shares(version, index),
                            "minutes": minutes.get(index, []),
                        }
                    )
                elif node["kind"] == "refine":
                    found.append({**row, **self._passes(version, _until(shape, index), worst)})
                elif node["kind"] in ("first_ok", "gather"):
                    decided = [
                        {"what": msgspec.json.decode(output), "items": number}
                        for output, number in self._rows("decisions", version, index)
                    ]
                    found.append({**row, "decided": decided})
        return found

    def _shares(self, version: int, node: int) -> list[dict[str, Any]]:
        rows = self._rows("decisions", version, node)
        total = sum(number for _, number in rows)
        return [
            {
                "case": msgspec.json.decode(output),
                "items": number,
                "share": round(number / total, 4),
            }
            for output, number in rows
        ]

    def _passes(self, version: int, node: int, worst: int) -> dict[str, Any]:
        rows = self._rows("passes", version, node)
        most = self._rows("most_passes", version, node, worst)
        total, items = sum(n * number for n, number in rows), sum(number for _, number in rows)
        return {
            "items": items,
            "mean_passes": round(total / items, 3) if items else None,
            "passes": [{"passes": n, "items": number} for n, number in rows],
            "worst": [
                {"item": show(row[0]), "key": row[1], "state": row[2], "passes": row[3]}
                for row in most
            ],
        }

    def _review_row(self, row: Any) -> dict[str, Any]:
        asked = msgspec.json.decode(row[9])
        step = self._versions()[row[3]][2][row[5]]["name"]
        return dict(
            zip(
                _REVIEW,
                (
                    row[0],
                    show(row[1]),
                    row[2],
                    row[4],
                    step,
                    row[6],
                    row[7],
                    row[8],
                    asked["by"],
                    asked["four_eyes"],
                    asked["why"],
                    asked["schema"],
                    row[10],
                    value_of(row[11], row[12]),
                    row[13],
                    row[14] or None,
                    row[15],
                    row[16],
                    row[17],
                    value_of(row[18], row[19]),
                ),
                strict=True,
            )
        )


def _event_row(row: Any) -> dict[str, Any]:
    keys = (
        "number",
        "event",
        "type",
        "source",
        "key",
        "at",
        "correlation",
        "trace",
        "data",
        "outgoing",
        "deliveries",
        "received_at",
        "parked",
    )
    return dict(
        zip(
            keys,
            (*row[:8], value_of(row[8], row[9]), row[10] > 0, row[11], row[12], row[10] == 2),
            strict=True,
        )
    )


def _until(shape: list[dict[str, Any]], refine: int) -> int:
    """The node that ends each pass of a refine: the last of its body."""
    body = shape[refine]["regions"][0]
    return max(index for index, node in enumerate(shape) if node.get("region") == body)
