"""What a text names in a ledger: an item by id or key, a step by its last part, a condition's
value; or why it names nothing, or too much.

Every command, page and route asks here, so that what one of them prints, all of them accept.
Nothing is guessed: a text that names two things is refused with both, and with the text that names
each alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args

from msgspec.structs import replace

from holdfast.errors import InputError, NotFoundError
from holdfast.ledgers.search import beyond
from holdfast.ledgers.stuck import Names
from holdfast.model.classes import ErrorClass
from holdfast.model.domain import MOST, check_name, storable
from holdfast.model.duration import LONGEST_S
from holdfast.model.ids import is_id, parse, show
from holdfast.model.nearest import last_part, nearest, one_step
from holdfast.model.search import Exact, Filter, condition, number, parse_filter
from holdfast.model.visible import as_meant

CLASSES = (*get_args(ErrorClass), "bug", "internal")
"""Classes that a failure may have."""

SHOWN = 20
"""Candidates that a message lists."""

CUT = "…"
"""What stands at the end of a key that a list shows cut."""


class Naming:
    """Says what texts name, as of one look at the ledger.

    Args:
        rows: runs a named query.
        where: the ledger as messages name it.
        versions: by version: pipeline, label, names of nodes.
    """

    def __init__(self, rows: Callable[..., list[Any]], where: str, versions: Names) -> None:
        self._rows, self._where, self._versions = rows, where, versions

    # -- items ------------------------------------------------------------------------------------

    def item(self, text: str, pipeline: str = "", prefer: str = "") -> int:
        """The item that a text names: an id, a key, ``item:ID``, ``key:KEY``, ``PIPELINE:KEY``,
        ``dead-letter:17`` or ``review:3``.

        Args:
            text: what was given; case does not matter in ids, nor white space around them.
            pipeline: where its key is looked for; empty: in every pipeline.
            prefer: where it names several items, the one of this pipeline is meant.

        Raises:
            NotFoundError: it names no item, or there is no such pipeline.
            InputError: it names several; the message lists them, and how to name each.
        """
        if pipeline:
            pipeline = self.pipeline(pipeline)
        found = self._explicit(text, pipeline)
        if not found or not _certain(text):
            found = found | self._implied(text, pipeline)
        if not found:
            of = f" of {pipeline}" if pipeline else ""
            raise NotFoundError(
                f"no item{of} has the id or key {text!r} in {self._where}: `holdfast items` "
                "lists them"
            )
        preferred = [item for item, (of, _) in found.items() if of == prefer]
        if len(found) > 1 and len(preferred) == 1:
            return preferred[0]
        if len(found) > 1:
            named = [
                f"item:{show(item)} ({condition('key', Exact(key))} of pipeline {of})"
                for item, (of, key) in sorted(found.items())
            ]
            more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
            raise InputError(
                f"{text!r} names {len(named)} items: {', '.join(named[:SHOWN])}{more}: write "
                "item:ID, or PIPELINE:KEY "
                '(or key:"KEY" with --pipeline, where the command has it)'
            )
        return next(iter(found))

    def items(self, texts: Iterable[str]) -> list[int]:
        """The items that texts name, each once."""
        return list(dict.fromkeys(self.item(text) for text in texts))

    def _explicit(self, text: str, pipeline: str) -> dict[int, tuple[str, str]]:
        """Where the text says what it is."""
        kind, sign, rest = text.strip().partition(":")
        kind = kind.strip().lower() if sign else ""
        if kind == "item":
            return self._by_id(rest, pipeline)
        if kind == "key":
            wanted = self._key(text.strip())
            return self._by_key(wanted, pipeline) or self._by_key(rest.strip(), pipeline)
        if kind in ("dead-letter", "review") and rest.strip().isdecimal():
            query = (
                ("dead_letters", None, None, int(rest), None, 1)
                if kind == "dead-letter"
                else ("reviews", None, None, int(rest), 1)
            )
            rows = self._rows(*query) if len(rest.strip()) < 19 else []
            return self._by_id(show(rows[0][1]), pipeline) if rows else {}
        return {}

    def _implied(self, text: str, pipeline: str) -> dict[int, tuple[str, str]]:
        """All that it may mean: an id; a key as it stands, without the white space around it, or as
        we show it in one line; a key behind a pipeline's name; and of a key that was shown cut, its
        beginning."""
        found = self._by_id(text, pipeline)
        pipelines = sorted({of for of, _, _ in self._versions.values()}) if not pipeline else []
        for form in dict.fromkeys((text, text.strip(), as_meant(text), as_meant(text).strip())):
            found |= self._by_key(form, pipeline)
            for of in pipelines:
                if form.startswith(f"{of}:"):
                    found |= self._by_key(form[len(of) + 1 :], of)
        if not found and text.strip().endswith(CUT):
            found = self._by_beginning(as_meant(text.strip()[: -len(CUT)]), pipeline)
        if not found and len(text) > 2 and text[0] == text[-1] and text[0] in "\"'":
            found = self._by_key(self._key(f"key:{text}"), pipeline)
        return found

    def _key(self, text: str) -> str:
        """The key of a condition ``key:…``, which may be quoted."""
        try:
            wanted = parse_filter([text]).key
        except InputError:
            return text.partition(":")[2]
        return wanted.text if isinstance(wanted, Exact) else wanted or ""

    def _by_id(self, text: str, pipeline: str) -> dict[int, tuple[str, str]]:
        if not is_id(text.strip().lower()):
            return {}
        item = parse(text)
        rows = self._rows("pipeline_of_item", item) if item < 1 << 63 else []
        return {item: (rows[0][0], rows[0][1])} if rows and pipeline in ("", rows[0][0]) else {}

    def _by_key(self, key: str, pipeline: str) -> dict[int, tuple[str, str]]:
        if not storable(key):
            return {}
        if pipeline:
            return {
                item: (pipeline, key) for (item,) in self._rows("item_in_pipeline", pipeline, key)
            }
        return {item: (of, key) for item, of in self._rows("items_with_key", key)}

    def _by_beginning(self, start: str, pipeline: str) -> dict[int, tuple[str, str]]:
        if not start or not storable(start):
            return {}
        rows = self._rows("items_with_keys_from", start, beyond(start), pipeline or None)
        return {item: (of, key) for item, of, key in rows}

    # -- what has numbers -------------------------------------------------------------------------

    def dead_letter(self, text: str) -> int:
        """The number of a dead letter: ``17``, ``#17``, ``dead-letter:17``.

        Raises:
            InputError: it is no number.
        """
        return number(text, "dead letter", "`holdfast dead` lists them")

    def review(self, text: str) -> int:
        """The number of a review: ``3``, ``#3``, ``review:3``.

        Raises:
            InputError: it is no number.
        """
        return number(text, "review", "`holdfast reviews` lists them")

    # -- names ------------------------------------------------------------------------------------

    def pipeline(self, text: str) -> str:
        """The pipeline that a text names.

        Raises:
            NotFoundError: there is none; the message lists those there are.
        """
        known = {of for of, _, _ in self._versions.values()}
        for name in (text, text.strip(), text.strip().removeprefix("pipeline:")):
            if name in known:
                return name
        raise NotFoundError(
            f"there is no pipeline {text!r} in {self._where}: {nearest(text, known)}"
        )

    def version(self, text: str, pipeline: str | None) -> str:
        """The label of a version that a text names.

        Raises:
            NotFoundError: there is none.
        """
        known = {label for of, label, _ in self._versions.values() if pipeline in (None, of)}
        if text in known:
            return text
        raise NotFoundError(
            f"there is no version {text!r}{f' of pipeline {pipeline}' if pipeline else ''}: "
            f"{nearest(text, known)}"
        )

    def step(self, text: str, pipeline: str | None = None, version: str | None = None) -> str:
        """The name of the step that a text names: its whole name, or its last part or parts where
        only one step ends so.

        Raises:
            NotFoundError: no step ends so; the message lists the nearest.
            InputError: several do; the message lists them.
        """
        # the last node of a shape is the result
        known = {
            name
            for of, label, names in self._versions.values()
            for name in names[:-1]
            if pipeline in (None, of) and version in (None, label)
        }
        return one_step(text, known, f"pipeline {pipeline!r}" if pipeline else "this ledger")

    def field(self, text: str, pipeline: str | None) -> str:
        """A searchable field of some item's payload.

        Raises:
            NotFoundError: no item has such a field.
        """
        if self._rows("has_field", pipeline, text):
            return text
        known = [name for (name,) in self._rows("field_names", pipeline)]
        where = f"of pipeline {pipeline} " if pipeline else "here "
        raise NotFoundError(
            f"no item {where}has a searchable field {text!r}: {nearest(text, known)} "
            "(pipeline(search=…) declares them)"
        )

    def filter(self, wanted: Filter) -> Filter:
        """A filter whose names are those of the ledger: steps whole, groups whole, ids as they are
        printed.

        Raises:
            NotFoundError: a pipeline, version, step, flag, error, group, field, operation or item
                that is not there.
            InputError: a name that means several.
        """
        _check_filter(wanted)
        given: dict[str, Any] = {}
        pipeline = None if wanted.pipeline is None else self.pipeline(wanted.pipeline)
        version = None if wanted.version is None else self.version(wanted.version, pipeline)
        if wanted.step is not None:
            given["step"] = self.step(wanted.step, pipeline, version)
        if wanted.error is not None:
            given["error"] = self._error(wanted.error)
        if wanted.group is not None:
            given["group"] = self._group(wanted.group)
        if wanted.item is not None:
            given["item"] = show(
                self.item(
                    f"item:{wanted.item}" if is_id(wanted.item.strip().lower()) else wanted.item,
                    pipeline or "",
                )
            )
        if wanted.flag is not None and not self._rows("has_flag", wanted.flag):
            known = [flag for (flag,) in self._rows("all_flags")]
            raise NotFoundError(
                f"no item here has the flag {wanted.flag!r}: {nearest(wanted.flag, known)}"
            )
        if wanted.operation is not None and not self._rows("operation", wanted.operation):
            raise NotFoundError(
                f"there is no operation {wanted.operation}: `holdfast operations` lists them"
            )
        for name, _ in wanted.fields:
            self.field(name, pipeline)
        return replace(wanted, pipeline=pipeline, version=version, **given)

    def _error(self, text: str) -> str:
        """An error class, or the type of an error, whole or by its last part."""
        if text.lower() in CLASSES:
            return text.lower()
        if self._rows("has_error", text):
            return text
        known: list[str] = [error for (error,) in self._rows("dead_letter_errors")]
        found = sorted(error for error in known if last_part(error) == text)
        if len(found) > 1:
            raise InputError(
                f"{len(found)} error types are called {text!r}: write one of "
                f"{', '.join(f'error:{one}' for one in found)}"
            )
        if not found:
            raise NotFoundError(
                f"no dead letter here has the error class or type {text!r}: "
                f"{nearest(text, [*CLASSES, *known])}"
            )
        return found[0]

    def _group(self, text: str) -> str:
        """A fingerprint, or the beginning of one that is unique."""
        start = text.strip().lower().removeprefix("group:")
        if not start.isalnum() or not start.isascii():
            raise NotFoundError(f"there is no group {text!r}: `holdfast dead groups` lists them")
        if self._rows("has_group", start):
            return start
        groups: list[str] = sorted(one for (one,) in self._rows("groups_like", f"{start}%"))
        if len(groups) > 1:
            raise InputError(
                f"{len(groups)} groups begin with {text!r}: {', '.join(groups[:SHOWN])}: "
                "write more of it"
            )
        if not groups:
            raise NotFoundError(f"there is no group {text!r}: `holdfast dead groups` lists them")
        return groups[0]


def _certain(text: str) -> bool:
    """Whether a text says what it is beyond doubt, so that every item can be named: ``item:ID``,
    ``key:"KEY"``. Any other form may be a key."""
    kind, _, rest = text.strip().lower().partition(":")
    return kind.strip() == "item" or (kind.strip() == "key" and rest[:1] in ("'", '"'))


def _check_filter(wanted: Filter) -> None:
    """Refuse what no ledger can be asked for.

    Raises:
        InputError: a text with NUL or a lone surrogate, or a time of more than a hundred years.
    """
    for name, value in wanted.fields:
        check_name("name of a field", name)
        check_name(f"value of {name!r}", value.text if isinstance(value, Exact) else value)
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        text = value.text if isinstance(value, Exact) else value
        if isinstance(text, str):
            check_name(name, text)
        elif isinstance(value, int | float) and not 0 <= value <= (
            MOST if name == "operation" else LONGEST_S
        ):
            raise InputError(
                f"{name}={value!r:.40} is not allowed: give a number from 0 to {LONGEST_S:,.0f}"
            )
