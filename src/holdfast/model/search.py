"""Finding items: what a filter may ask, and the payload's fields by which items are found."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import InputError
from holdfast.model.codec import decode
from holdfast.model.duration import seconds
from holdfast.model.prices import DEAR_USD
from holdfast.model.states import ITEM_STATES
from holdfast.model.storable import stored_path

VALUE_LIMIT = 200
"""Characters of a field's value that are searchable."""


class Filter(msgspec.Struct, frozen=True):
    """Which items; all that is given must hold.

    Attributes:
        pipeline: the pipeline's name.
        states: one of these.
        version: the version's label.
        key: the item's key, or its beginning followed by ``*``.
        fields: (name, value) of the payload's searchable fields; a value may end in ``*``.
        step: a step that holds an open dead letter, or is under way.
        error: an error class, or an error type, of an open dead letter.
        group: the fingerprint of an open dead letter.
        flag: a quality mark.
        older_s: admitted at least so many seconds ago.
        younger_s: admitted at most so many seconds ago.
        slower_s: from admission to end at least so many seconds.
        faster_s: at most so many.
        operation: changed by this operation.
        dearer_usd: ended, and cost at least so many dollars (one cent or more), without storage.
    """

    pipeline: str | None = None
    states: tuple[str, ...] = ()
    version: str | None = None
    key: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    step: str | None = None
    error: str | None = None
    group: str | None = None
    flag: str | None = None
    older_s: float | None = None
    younger_s: float | None = None
    slower_s: float | None = None
    faster_s: float | None = None
    operation: int | None = None
    dearer_usd: float | None = None

    def text(self) -> str:
        """The filter as it is written on the command line; ``everything`` when nothing is asked."""
        parts = []
        for name, value in msgspec.structs.asdict(self).items():
            if value in (None, ()):
                continue
            if name == "fields":
                parts += [f"{field}={wanted}" for field, wanted in value]
            else:
                parts.append(f"{_WORDS.get(name, name)}:{_shown(name, value)}")
        return " ".join(parts) or "everything"


_WORDS = {"states": "state", "older_s": "older", "younger_s": "younger", "slower_s": "slower", "faster_s": "faster", "dearer_usd": "dearer"}
_TIMES = {"older", "younger", "slower", "faster"}
_PLAIN = {"pipeline", "version", "key", "step", "error", "group", "flag"}


def parse_filter(words: list[str]) -> Filter:
    """Read a filter: ``state:dead,waiting step:ocr flag:no-entities older:2h customer=ACME*``.

    Raises:
        InputError: a word that is none; the message names what there is.
    """
    given: dict[str, Any] = {}
    fields: list[tuple[str, str]] = []
    for word in words:
        name, sign, value = word.partition(":")
        if "=" in name or not sign:
            field, equals, wanted = word.partition("=")
            if not equals or not field:
                raise InputError(f"{word!r} is no condition: write FIELD=VALUE, or one of {_known()} followed by ':' and a value")
            fields.append((field, wanted))
        elif name == "state":
            given["states"] = tuple(value.split(","))
            unknown = [state for state in given["states"] if state not in ITEM_STATES]
            if unknown:
                raise InputError(f"there is no state {unknown[0]!r}: it is one of {', '.join(ITEM_STATES)}")
        elif name in _TIMES:
            try:
                given[f"{name}_s"] = seconds(value)
            except Exception as error:
                raise InputError(f"{word!r}: {error}") from None
        elif name == "operation":
            if not value.isdigit():
                raise InputError(f"{word!r}: an operation has a number; `holdfast operations` lists them")
            given["operation"] = int(value)
        elif name == "dearer":
            given["dearer_usd"] = _dollars(word, value)
        elif name in _PLAIN:
            given[name] = value
        else:
            raise InputError(f"items cannot be found by {name!r}: give FIELD=VALUE, or one of {_known()}")
    return Filter(**given, fields=tuple(fields))


def _shown(name: str, value: Any) -> str:
    if name == "states":
        return ",".join(value)
    if name.endswith("_s"):
        return f"{value:g}s"
    return f"{value:g}" if name == "dearer_usd" else str(value)


def _known() -> str:
    return ", ".join(sorted({*_PLAIN, *_TIMES, "state", "operation", "dearer"}))


def _dollars(word: str, value: str) -> float:
    try:
        amount = float(value.removeprefix("$"))
    except ValueError:
        amount = 0.0
    if not DEAR_USD <= amount < 1e9:
        raise InputError(f"{word!r}: say dollars, {DEAR_USD:g} or more")
    return amount


def fields_of(payload: bytes, paths: tuple[str, ...], kind: Any = Any) -> tuple[tuple[str, str], ...]:
    """The searchable fields of a payload (JSON of a ``kind``): text as it is, numbers and bools as JSON has them, each entry of a list; the first 200
    characters. What is missing, null or an object is left out."""
    if not paths:
        return ()
    root = decode(payload, Any)
    found: dict[tuple[str, str], None] = {}
    for path in paths:
        values = [root]
        for part in stored_path(kind, tuple(path.split("."))):
            values = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
            values = [value.get(str(part)) for value in values if isinstance(value, dict)]
        for leaf in [inner for value in values for inner in (value if isinstance(value, list) else [value])]:
            if leaf is None or isinstance(leaf, dict | list):
                continue
            text = leaf if isinstance(leaf, str) else msgspec.json.encode(leaf).decode()
            found[path, text.replace("\x00", "")[:VALUE_LIMIT]] = None
    return tuple(found)
