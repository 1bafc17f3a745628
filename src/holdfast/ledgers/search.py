"""Finding items: a filter becomes a few statements, each driven by the index that leaves the fewest
rows to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from holdfast.model.ids import first_id, parse
from holdfast.model.prices import MICRO
from holdfast.model.search import Exact, Filter, Wanted
from holdfast.model.states import ITEM_STATES

FEW = 10_000
"""So many rows may be sorted."""

_COUNTING = {
    **dict.fromkeys(
        ("completed", "dead", "discarded", "cancelled", "archived", "paused"),
        "order by i.pipeline, i.state",
    ),
    "queued": "order by i.version, i.priority desc, i.id",
    "waiting": "order by i.version, i.due, i.id",
    "running": "order by i.due, i.id",
}
"""On PostgreSQL, the order of the index that counts the items of a state."""

INDEXED_MS = 10_000
"""Items that took at least so long are in the index of durations."""

ENDED = ("completed", "dead", "discarded", "cancelled", "archived")

Ask = Callable[[str, tuple[Any, ...]], list[Any]]


Condition = tuple[str, tuple[Any, ...]]
"""Text, each ``?`` of which stands for a value, and the values."""

_OPAQUE_STATE = "(i.state || '')"
"""As no index has it: what drives a statement is decided here, not by a planner that has seen no
rows yet."""


_ONE_BY_ONE = (
    "lateral (select id, pipeline, version, key, state, admitted_at, ended_at from "
    "items where id = f.item limit 1)"
)
"""For PostgreSQL: the items of a small table's rows, one by one; a plan that cannot flip."""


class Driver(msgspec.Struct, frozen=True):
    """What a statement begins with.

    Attributes:
        small: a table of its own that is joined to the items, or empty.
        index: the index of the items that SQLite is told to take.
        natural: its rows come in the order of items.
        conditions: what it asks.
    """

    small: str = ""
    index: str = ""
    natural: bool = True
    conditions: tuple[Condition, ...] = ()


class Page(msgspec.Struct, frozen=True):
    """Which part of what is found: ``limit`` items beyond the id ``after`` (0: from the end), the
    newest or the oldest first."""

    limit: int
    after: int = 0
    oldest_first: bool = False


class Conditions:
    """The text of a where clause, with its values.

    Args:
        values: values that stand before it.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.values: list[Any] = []

    def add(self, text: str, *values: Any) -> None:
        """A condition; each ``?`` in it stands for a value."""
        for value in values:
            self.values.append(value)
            text = text.replace("?", f"${len(self.values)}", 1)
        self.texts.append(text)

    def one_of(self, column: str, values: Iterable[Any]) -> None:
        """The column has one of the values."""
        wanted = list(values)
        self.add(f"{column} in ({', '.join('?' * len(wanted))})" if wanted else "1 = 0", *wanted)


class Searching:
    """Finds ids of items.

    Args:
        ask: runs a query text with values in order.
        indexed: whether the dialect wants to be told which index to take (SQLite has no statistics
            of a young file).
        versions: by the ledger's number: pipeline, label, and names of nodes.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self, ask: Ask, indexed: bool, versions: dict[int, tuple[str, str, list[str]]], now_ms: int
    ) -> None:
        self._ask, self._indexed, self._versions, self._now_ms = ask, indexed, versions, now_ms

    def ids(self, wanted: Filter, page: Page) -> list[int]:
        """The ids of a page of items."""
        found: set[int] = set()
        for driver in self._drivers(wanted):
            conditions = Conditions()
            for text, values in driver.conditions:
                conditions.add(text, *values)
            self._conditions(conditions, wanted, page)
            by = f" indexed by {driver.index}" if driver.index and self._indexed else ""
            # Natural: rows come in the order of items, and the statement ends at the limit.
            # Otherwise few are expected, and sorted: the sum keeps PostgreSQL from walking through
            # all items in their order instead.
            key = "f.item" if driver.small else "i.id"
            order = (
                f"{key if driver.natural else f'({key} + 0)'} "
                f"{'asc' if page.oldest_first else 'desc'}"
            )
            source = (
                f"{driver.small} f cross join {'items' if self._indexed else _ONE_BY_ONE} i"
                if driver.small
                else f"items i{by}"
            )
            where = " and ".join(conditions.texts) or "1 = 1"
            text = (
                f"select {key} from {source} where "
                f"{where}{f' group by {key}' if driver.small else ''} order by {order} "
                f"limit {page.limit}"
            )
            found.update(row[0] for row in self._ask(text, tuple(conditions.values)))
        return sorted(found, reverse=not page.oldest_first)[: page.limit]

    def count(self, wanted: Filter, limit: int) -> int:
        """How many items there are, counted no further than a limit."""
        return len(self.ids(wanted, Page(limit)))

    def _drivers(self, wanted: Filter) -> list[Driver]:
        """Sources of rows; what is found is what any of them finds."""
        if wanted.item is not None:
            return [Driver(conditions=(("i.id = ?", (parse(wanted.item),)),))]
        if wanted.fields:
            name, value = wanted.fields[0]
            natural = not _prefix(value)
            own = [("f.name = ?", (name,)), _matching("f.value", value), ("i.id = f.item", ())]
            return [
                Driver(
                    "item_fields", natural=natural, conditions=(("f.pipeline = ?", (one,)), *own)
                )
                for one, _ in self._pipelines(wanted)
            ]
        if wanted.flag is not None:
            return [
                Driver(
                    "item_flags", conditions=(("f.flag = ?", (wanted.flag,)), ("i.id = f.item", ()))
                )
            ]
        if wanted.operation is not None:
            return [
                Driver(
                    "operated",
                    conditions=(("f.operation = ?", (wanted.operation,)), ("i.id = f.item", ())),
                )
            ]
        if wanted.group is not None or wanted.error is not None or wanted.step is not None:
            return self._by_dead_letters(wanted)
        if wanted.key is not None:
            natural = not _prefix(wanted.key)
            return [
                Driver(
                    index="items_key",
                    natural=natural,
                    conditions=(("i.pipeline = ?", (number,)), _matching("i.key", wanted.key)),
                )
                for number, _ in self._pipelines(wanted)
            ]
        if wanted.dearer_usd is not None:
            dear = [_dear(wanted.dearer_usd)]
            if self._few("items i", dear, "order by i.cost desc"):
                return [Driver(index="items_cost", natural=False, conditions=tuple(dear))]
        if wanted.slower_s is not None and wanted.slower_s * 1000 >= INDEXED_MS:
            timed = [*_took(wanted), (f"i.ended_at - i.admitted_at >= {INDEXED_MS}", ())]
            if self._few("items i", timed, "order by i.ended_at - i.admitted_at desc"):
                return [Driver(index="items_duration", natural=False, conditions=tuple(timed))]
        known = [state for state in ITEM_STATES if state in wanted.states]
        few = {
            state
            for state in known
            if self._few("items i", [_state(state)], _COUNTING[state] if not self._indexed else "")
        }
        if wanted.states and (wanted.version is None or few == set(known)):
            return [self._by_state(state, state in few) for state in known]
        if wanted.version is not None or wanted.pipeline is not None:
            return [
                Driver(index="items_version", conditions=(("i.version = ?", (version,)),))
                for version in self._served(wanted)
            ]
        return [Driver()]

    def _by_dead_letters(self, wanted: Filter) -> list[Driver]:
        """Items with an open dead letter like this; of a step alone, also those in which it is
        under way."""
        text, values = self._dead_letter("f", wanted)
        found = [Driver("dead_letters", conditions=((text, values), ("i.id = f.item", ())))]
        if wanted.step is not None and wanted.error is None and wanted.group is None:
            nodes = self._nodes(wanted.step)
            found.append(
                Driver(
                    "live_tasks",
                    conditions=((_one_of("f.node", nodes), nodes), ("i.id = f.item", ())),
                )
            )
        return found

    def _dead_letter(self, name: str, wanted: Filter) -> Condition:
        """An open dead letter like this."""
        texts = [f"{name}.state = 'open'"]
        values: list[Any] = []
        if wanted.group is not None:
            texts.append(f"{name}.fingerprint = ?")
            values.append(wanted.group)
        if wanted.error is not None:
            texts.append(f"({name}.error_class = ? or {name}.error = ?)")
            values += [wanted.error, wanted.error]
        if wanted.step is not None:
            nodes = self._nodes(wanted.step)
            texts.append(_one_of(f"{name}.node", nodes))
            values += nodes
        return " and ".join(texts), tuple(values)

    def _nodes(self, step: str) -> tuple[int, ...]:
        """Numbers that a step has in any version."""
        return tuple(
            sorted(
                {
                    node
                    for _, _, names in self._versions.values()
                    for node, name in enumerate(names)
                    if name == step
                }
            )
        )

    def _by_state(self, state: str, few: bool) -> Driver:
        if self._indexed and (state in ENDED or state == "paused"):
            return Driver(index="items_state", conditions=(_state(state), ("i.due = 0", ())))
        if few:
            return Driver(index="items_state", natural=False, conditions=(_state(state),))
        return Driver(conditions=((f"{_OPAQUE_STATE} = ?", (state,)),))

    def _few(self, source: str, own: Iterable[Condition], order: str = "") -> bool:
        """Whether so few rows fulfil conditions that they may be sorted; ``order``: that of the
        index that counts them."""
        conditions = Conditions()
        for text, values in own:
            conditions.add(text, *values)
        where = " and ".join(conditions.texts)
        text = (
            f"select count(*) from (select 1 from {source} where {where} {order} limit "
            f"{FEW + 1}) few"
        )
        ((number,),) = self._ask(text, tuple(conditions.values))
        return int(number) <= FEW

    def _conditions(self, conditions: Conditions, wanted: Filter, page: Page) -> None:
        if wanted.states:
            conditions.one_of(_OPAQUE_STATE, wanted.states)
        if wanted.pipeline is not None or wanted.version is not None:
            conditions.one_of("(i.version + 0)", self._served(wanted))
        if wanted.key is not None:
            text, values = _matching("(i.key || '')", wanted.key)
            conditions.add(text, *values)
        for name, value in wanted.fields[1:]:
            text, values = _matching("g.value", value)
            conditions.add(
                "exists (select 1 from item_fields g where g.pipeline = i.pipeline and "
                f"g.name = ? and g.item = i.id and {text})",
                name,
                *values,
            )
        if wanted.flag is not None:
            conditions.add(
                "exists (select 1 from item_flags g where g.flag = ? and g.item = i.id)",
                wanted.flag,
            )
        if wanted.operation is not None:
            conditions.add(
                "exists (select 1 from operated g where g.operation = ? and g.item = i.id)",
                wanted.operation,
            )
        self._dead_letters(conditions, wanted)
        if wanted.dearer_usd is not None:
            conditions.add("(i.cost + 0) >= ?", round(wanted.dearer_usd * MICRO))
        for text, values in _took(wanted):
            conditions.add(text.replace("i.admitted_at", "(i.admitted_at + 0)"), *values)
        if wanted.older_s is not None:
            conditions.add("i.id < ?", first_id(self._now_ms - int(wanted.older_s * 1000)))
        if wanted.younger_s is not None:
            conditions.add("i.id >= ?", first_id(self._now_ms - int(wanted.younger_s * 1000)))
        if page.after:
            conditions.add("i.id > ?" if page.oldest_first else "i.id < ?", page.after)

    def _dead_letters(self, conditions: Conditions, wanted: Filter) -> None:
        """Where something else drives the statement, letters are looked up for each item; and a
        number is a step's in some versions only."""
        if wanted.step is not None:
            having = [
                version for version, (_, _, names) in self._versions.items() if wanted.step in names
            ]
            conditions.one_of("(i.version + 0)", having)
        if wanted.group is None and wanted.error is None and wanted.step is None:
            return
        if wanted.fields or wanted.flag is not None or wanted.operation is not None:
            text, values = self._dead_letter("d", wanted)
            found = f"exists (select 1 from dead_letters d where d.item = i.id and {text})"
            if wanted.step is not None and wanted.error is None and wanted.group is None:
                nodes = self._nodes(wanted.step)
                found = (
                    f"({found} or exists (select 1 from live_tasks l where l.item = i.id "
                    f"and {_one_of('l.node', nodes)}))"
                )
                values += nodes
            conditions.add(found, *values)

    def _served(self, wanted: Filter) -> list[int]:
        return [
            number
            for number, (pipeline, label, _) in self._versions.items()
            if wanted.pipeline in (None, pipeline) and wanted.version in (None, label)
        ]

    def _pipelines(self, wanted: Filter) -> list[tuple[int, str]]:
        rows = self._ask("select id, name from pipelines order by id", ())
        return [(number, name) for number, name in rows if wanted.pipeline in (None, name)]


def _state(state: str) -> Condition:
    """Spelt out, since an index of some states is of use only to a statement that names one of
    them; it is one of ours."""
    assert state in ITEM_STATES
    return f"i.state = '{state}'", ()


def _one_of(column: str, values: tuple[Any, ...]) -> str:
    return f"{column} in ({', '.join('?' * len(values))})" if values else "1 = 0"


def _took(wanted: Filter) -> list[Condition]:
    """How long it took from admission to end."""
    found: list[Condition] = []
    if wanted.slower_s is not None:
        found.append(("i.ended_at - i.admitted_at >= ?", (int(wanted.slower_s * 1000),)))
    if wanted.faster_s is not None:
        found.append(("i.ended_at - i.admitted_at <= ?", (int(wanted.faster_s * 1000),)))
    return found


def _dear(usd: float) -> Condition:
    return "i.cost >= ?", (round(usd * MICRO),)


def _prefix(wanted: Wanted) -> bool:
    """Whether a beginning is asked for."""
    return isinstance(wanted, str) and wanted.endswith("*")


def _matching(column: str, wanted: Wanted) -> Condition:
    """Equal, or with a ``*`` at the end: beginning so."""
    if isinstance(wanted, Exact):
        return f"{column} = ?", (wanted.text,)
    if not _prefix(wanted):
        return f"{column} = ?", (wanted,)
    start = wanted[:-1]
    end = beyond(start)
    return (
        (f"{column} >= ?", (start,))
        if end is None
        else (f"{column} >= ? and {column} < ?", (start, end))
    )


def beyond(start: str) -> str | None:
    """The first text behind all that begin so, in the order of code points; None: there is none."""
    while start:
        following = ord(start[-1]) + 1
        if following < 0x110000:
            # surrogates are no characters
            return start[:-1] + chr(0xE000 if following == 0xD800 else following)
        start = start[:-1]
    return None
