"""Finding items: what a filter may ask, and the payload's fields by which items are found."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from holdfast.errors import InputError
from holdfast.model.codec import decode
from holdfast.model.duration import seconds
from holdfast.model.nearest import nearest
from holdfast.model.prices import DEAR_USD
from holdfast.model.states import ITEM_STATES
from holdfast.model.storable import stored_path
from holdfast.model.visible import as_meant, one_line

VALUE_LIMIT = 200
"""Characters of a field's value that are searchable."""


class Exact(msgspec.Struct, frozen=True):
    """A text that is meant as it is, also where it ends in ``*``, which otherwise asks for a prefix
    match.

    Attributes:
        text: the key or value.
    """

    text: str


Wanted = str | Exact
"""A key or a value that is searched for: a ``str`` that ends in ``*`` is a prefix match."""


class Filter(msgspec.Struct, frozen=True):
    """Which items; all that is given must hold.

    Attributes:
        pipeline: the pipeline's name.
        states: one of these.
        version: the version's label.
        key: the item's key, or its beginning followed by ``*``.
        fields: (name, value) of the payload's searchable fields; a value may end in ``*``.
        step: a step that holds an open dead letter, or is running; its last part will do where that
            is unique.
        error: an error class, or an error type, of an open dead letter.
        group: the fingerprint of an open dead letter.
        flag: a quality mark.
        older_s: admitted at least so many seconds ago.
        younger_s: admitted at most so many seconds ago.
        slower_s: from admission to end at least so many seconds.
        faster_s: at most so many.
        operation: changed by this operation.
        dearer_usd: ended, and cost at least so many dollars (one cent or more), without storage.
        item: the item with this id.
    """

    pipeline: str | None = None
    states: tuple[str, ...] = ()
    version: str | None = None
    key: Wanted | None = None
    fields: tuple[tuple[str, Wanted], ...] = ()
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
    item: str | None = None

    def text(self) -> str:
        """The filter as it is written in conditions, quoted where needed; ``everything`` when
        nothing is asked."""
        parts = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value in (None, ()):
                continue
            if name == "fields":
                parts += [condition(field, wanted, "=") for field, wanted in value]
            elif name in _PLAIN:
                parts.append(condition(name, value))
            else:
                parts.append(f"{_WORDS.get(name, name)}:{_shown(name, value)}")
        return " ".join(parts) or "everything"


_WORDS = {
    "states": "state",
    "older_s": "older",
    "younger_s": "younger",
    "slower_s": "slower",
    "faster_s": "faster",
    "dearer_usd": "dearer",
}
_TIMES = {"older", "younger", "slower", "faster"}
_PLAIN = {"pipeline", "version", "key", "step", "error", "group", "flag", "item"}
_PATTERNS = {"key"}
"""Conditions whose value may be a prefix; those of fields may, too."""

NAMES = tuple(sorted({*_PLAIN, *_TIMES, "state", "operation", "dearer"}))
"""What stands before the ``:`` of a condition."""

_QUOTED = r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'"
_BARE = r"[^\s:=\"']+"
_START = rf"(?P<name>{_QUOTED}|{_BARE})(?P<sign>[:=])"
_VALUE = rf"(?P<quoted>{_QUOTED})(?P<star>\*?)"
_ONE = re.compile(rf"{_START}(?:{_VALUE}\Z|(?P<bare>.*)\Z)", re.DOTALL)
_NEXT = re.compile(rf"\s*((?:{_QUOTED}|{_BARE})[:=](?:(?:{_QUOTED})\*?(?!\S)|\S*)|\S+)", re.DOTALL)
_OPERATOR = re.compile(r"([\w.-]*\w)\s*(!=|==|<>|<=|>=|=~|!~|~=|[<>~])")


def parse_filter(words: list[str]) -> Filter:
    r"""Read a filter: ``state:dead,waiting step:ocr older:2h customer=ACME* name="ACME GmbH"``.

    Args:
        words: one condition each. A value may be quoted (``"…"`` or ``'…'``, with ``\`` before a
            quote or a backslash in it, and ``\n``, ``\t``, ``\u202e`` for what has no shape) and is
            then taken as it is; a ``*`` behind the closing quote asks for a prefix match.

    Raises:
        InputError: a word that is no condition, or a condition twice; the message says what there
            is.
    """
    given: dict[str, Any] = {}
    fields: list[tuple[str, Wanted]] = []
    for word in words:
        name, sign, wanted = _condition(word)
        if sign == "=":
            fields.append((name, wanted))
            continue
        attribute, value = _value(word, name, wanted)
        if attribute in given:
            raise InputError(
                f"{word!r}: {name} is asked for twice, and all conditions must hold: give it "
                "once (state:dead,waiting means either)"
            )
        given[attribute] = value
    return Filter(**given, fields=tuple(fields))


def read_filter(text: str) -> Filter:
    """Read a filter from one text, its conditions between blanks; see :func:`parse_filter`."""
    return parse_filter(split_conditions(text))


def split_conditions(text: str) -> list[str]:
    """Split a text into conditions. Blanks inside a quoted name or value do not separate them."""
    return [match[1] for match in _NEXT.finditer(text.strip())]


def is_condition(word: str) -> bool:
    """Whether a word reads as a condition, rather than as an id or a key: ``state:…``,
    ``FIELD=…``."""
    match = _ONE.match(word)
    return match is not None and (match["sign"] == "=" or match["name"] in NAMES)


def condition(name: str, wanted: Wanted, sign: str = ":") -> str:
    """A condition as text that :func:`read_filter` reads back: quoted where that is needed.

    Args:
        name: of the condition, or of a field.
        wanted: the value; as a ``str`` that ends in ``*``, a prefix.
        sign: ``:``, or ``=`` for a field.
    """
    text, star = (wanted.text, "") if isinstance(wanted, Exact) else (wanted, "")
    if isinstance(wanted, str) and wanted.endswith("*") and (sign == "=" or name in _PATTERNS):
        text, star = wanted[:-1], "*"
    bare = (
        text
        and text.isprintable()
        and not re.search(r"\s", text)
        and text[0] not in "\"'="
        and not (text[-1] == "*" and not star)
    )
    shown = text if bare or (star and not text) else _quoted(text)
    plain = re.fullmatch(_BARE, name) and name.isprintable()
    return f"{name if plain else _quoted(name)}{sign}{shown}{star}"


def equal(name: str, value: str) -> str:
    """The condition that a searchable field has exactly this value, whatever is in it."""
    return condition(name, Exact(value), "=")


def exactly(name: str, value: str) -> str:
    """The condition that a name, key or version is exactly this text."""
    return condition(name, Exact(value))


def _quoted(text: str) -> str:
    return '"' + one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _unquoted(text: str) -> str:
    return re.sub(
        r"\\(?:[tnr]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)",
        _unescaped,
        text[1:-1],
        flags=re.DOTALL,
    )


def _unescaped(match: re.Match[str]) -> str:
    dead_letter = as_meant(match[0])
    return dead_letter if dead_letter != match[0] else match[0][1:]


def _condition(word: str) -> tuple[str, str, Wanted]:
    """Name, sign and value of a condition."""
    if "\x00" in word or any("\ud800" <= dead_letter <= "\udfff" for dead_letter in word):
        raise InputError(f"{word!r} is no text: conditions are UTF-8, without NUL")
    operator = _OPERATOR.match(word)
    if operator is not None:
        raise InputError(
            f"{word!r}: there is no operator {operator[2]!r}: write {operator[1]}=VALUE, or "
            f"{operator[1]}=BEGINNING* for a prefix match"
        )
    match = _ONE.match(word)
    if match is None:
        raise InputError(
            f"{word!r} is no condition: write FIELD=VALUE, or one of {', '.join(NAMES)} "
            "followed by ':' and a value"
        )
    name = _unquoted(match["name"]) if match["name"][0] in "\"'" else match["name"]
    if match["sign"] == ":" and name not in NAMES:
        raise InputError(
            f"items cannot be found by {name!r}: give FIELD=VALUE (such as "
            f"{name}={match['bare'] or '…'}), or a condition: {nearest(name, NAMES)}"
        )
    if match["quoted"] is not None:
        text = _unquoted(match["quoted"])
        return (
            name,
            match["sign"],
            text + "*" if match["star"] else Exact(text) if text.endswith("*") else text,
        )
    if match["bare"].startswith(('"', "'")):
        raise InputError(
            f"{word!r}: the quote is not closed, or something follows it; write "
            f'{name}{match["sign"]}"VALUE", with \\ before a quote in it'
        )
    return name, match["sign"], match["bare"]


def _value(word: str, name: str, wanted: Wanted) -> tuple[str, Any]:
    """The attribute of the filter that a condition sets, and its value."""
    if name in _PATTERNS:
        return name, wanted
    text = wanted.text if isinstance(wanted, Exact) else wanted
    if not text:
        raise InputError(f"{word!r}: the value is missing")
    if name == "state":
        states = tuple(state.strip() for state in text.split(","))
        unknown = [state for state in states if state not in ITEM_STATES]
        if unknown:
            raise InputError(
                f"there is no state {unknown[0]!r}: {nearest(unknown[0], ITEM_STATES)}"
            )
        return "states", states
    if name in _TIMES:
        try:
            return f"{name}_s", seconds(text)
        except Exception as error:
            raise InputError(f"{word!r}: {error}") from None
    if name == "operation":
        return "operation", number(text, "operation", "`holdfast operations` lists them")
    return ("dearer_usd", _dollars(word, text)) if name == "dearer" else (name, text)


def number(text: str, kind: str, remedy: str) -> int:
    """Read the number of a dead letter, review, operation or delivery: ``17``, ``#17``,
    ``dead-letter:17``.

    Args:
        text: what was given.
        kind: what has the number, such as ``dead letter``; it may stand before a ``:``, with a dash
            for a blank.
        remedy: where the numbers are listed.

    Raises:
        InputError: it is no such number.
    """
    bare = text.strip()
    for prefix in (f"{kind}:", f"{kind.replace(' ', '-')}:", f"{kind.split()[0]}:", "#"):
        bare = bare[len(prefix) :].strip() if bare.lower().startswith(prefix) else bare
    if not re.fullmatch(r"[0-9]{1,18}", bare) or int(bare) == 0:
        raise InputError(
            f"{text!r}: {'an' if kind[0] in 'aeiou' else 'a'} {kind} has a number; {remedy}"
        )
    return int(bare)


def _shown(name: str, value: Any) -> str:
    if name == "states":
        return ",".join(value)
    if name.endswith("_s"):
        return f"{value:g}s"
    return f"{value:g}" if name == "dearer_usd" else str(value)


def _dollars(word: str, value: str) -> float:
    try:
        amount = float(value.removeprefix("$"))
    except ValueError:
        amount = 0.0
    if not DEAR_USD <= amount < 1e9:
        raise InputError(f"{word!r}: say dollars, {DEAR_USD:g} or more")
    return amount


def fields_of(
    payload: bytes, paths: tuple[str, ...], kind: Any = Any
) -> tuple[tuple[str, str], ...]:
    """The searchable fields of a payload (JSON of a ``kind``): text as it is, numbers and bools as
    JSON has them, each entry of a list; the first 200 characters. What is missing, null or an
    object is left out."""
    if not paths:
        return ()
    root = decode(payload, Any)
    found: dict[tuple[str, str], None] = {}
    for path in paths:
        values = [root]
        for part in stored_path(kind, tuple(path.split("."))):
            values = [
                inner
                for value in values
                for inner in (value if isinstance(value, list) else [value])
            ]
            values = [value.get(str(part)) for value in values if isinstance(value, dict)]
        for leaf in [
            inner for value in values for inner in (value if isinstance(value, list) else [value])
        ]:
            if leaf is None or isinstance(leaf, dict | list):
                continue
            text = leaf if isinstance(leaf, str) else msgspec.json.encode(leaf).decode()
            found[path, text.replace("\x00", "")[:VALUE_LIMIT]] = None
    return tuple(found)
