"""What comes in, and the proof that it was accepted."""

from __future__ import annotations

import hashlib
from typing import Any, Generic, Literal

import msgspec
from typing_extensions import TypeVar

from holdfast.model.domain import check_name, cleaned
from holdfast.model.values import Value

T = TypeVar("T", default=Any)


class Submission(msgspec.Struct, frozen=True):
    """One payload to admit, already checked, encoded and (when large) stored.

    Attributes:
        pipeline: the pipeline's name.
        version: its label.
        key: the client's name for it; one key, one item.
        payload: the value.
        deadline_s: seconds from admission within which the item must end, or None.
        manifest: the client's name for the list that it sent this item with, or empty.
        priority: items of a higher one are claimed first; 0 unless said otherwise, from -1000 to
            1000.
        deadline: Unix milliseconds by which it must have ended in any case (a parent's deadline),
            or None.
        parent: the item that it is a child of, or 0.
        correlation: of the item or event that set it off; empty: it sets something off itself.
        trace: W3C trace id of what set it off, or empty.
        fields: (name, value) by which it can be found.
        digest: :func:`holdfast.model.content.content_digest` of the payload; empty: not known.
        source: where it was read; an earlier refusal of the same source is closed. Empty: nowhere
            that has a name.
    """

    pipeline: str
    version: str
    key: str
    payload: Value
    deadline_s: float | None = None
    manifest: str = ""
    priority: int = 0
    deadline: int | None = None
    parent: int = 0
    correlation: str = ""
    trace: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    source: str = ""

    def check(self) -> None:
        """Refuse what not every ledger can store.

        Raises:
            InputError: a key, a name or a searchable value.
        """
        check_name("key", self.key, least=1)
        check_name("name of a manifest", self.manifest)
        for name, value in self.fields:
            check_name("searchable field", name)
            check_name(f"value of the searchable field {name!r}", value)
        check_name("correlation", self.correlation)
        check_name("trace", self.trace)

    def due(self, now_ms: int) -> int | None:
        """Unix milliseconds by which an item admitted now must have ended, or None."""
        own = None if self.deadline_s is None else now_ms + int(self.deadline_s * 1000)
        return (
            min(own, self.deadline)
            if own is not None and self.deadline is not None
            else own or self.deadline
        )


def room_in_s(waiting: int, oldest_ms: int, now_ms: int, wanted: int) -> float:
    """Seconds until ``wanted`` more items find room: the foremost of ``waiting`` items was admitted
    at ``oldest_ms``, so about that many left in that time (J. Little, "A Proof for the Queuing
    Formula L = λW", 1961). Between 1 and 300."""
    return round(min(max((now_ms - oldest_ms) / 1000 * wanted / max(waiting, 1), 1.0), 300.0), 1)


Status = Literal["new", "same", "revised", "conflict", "refused"]
"""What became of something that was handed in."""

OnConflict = Literal["fail", "revise"]
"""What becomes of an item whose key is handed in with other content: nothing, or its next
generation begins with the new payload."""


class Receipt(msgspec.Struct, Generic[T], frozen=True):
    """What became of a payload, for a pipeline whose result is a ``T``. ``new``, ``same`` and
    ``revised`` prove that it was accepted.

    Attributes:
        item: the id of its item; 0 when it was refused.
        key: its key; empty when it was refused before it had one.
        status: ``new``; ``same``: the key was known, with this content; ``revised``: it was known
            with other content, and its item begins anew with this one; ``conflict``: the key was
            known, with other content, and nothing was accepted; ``refused``: it is no input of the
            pipeline, and nothing was accepted.
        state: the item's state; empty when it was refused.
        source: of what was not accepted, where it was read.
        reason: of what was not accepted, why.
    """

    item: int
    key: str
    status: Status
    state: str
    source: str = ""
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the payload is in the ledger: its status is ``new``, ``same`` or ``revised``."""
        return self.status in ("new", "same", "revised")

    @property
    def created(self) -> bool:
        """Whether this submission made the item: its status is ``new``."""
        return self.status == "new"


SOURCE_LIMIT = 4_096
"""Characters of a source that are kept: a path may have as many."""

REASON_LIMIT = 1_000
"""Characters of a reason that are kept."""


class Refusal(msgspec.Struct, frozen=True):
    """An input that was not accepted, as the ledger keeps it: text that every ledger can store, of
    bounded size.

    Attributes:
        pipeline: the pipeline's name.
        identity: SHA-256 of the source: the same source refused again is the same refusal.
        source: where it was read.
        reason: why it was not accepted.
        kind: of reasons, one of :data:`KINDS`.
        key: its key or its path below the folder that was given, where it has one.
        manifest: the client's name for the list that it was sent with, or empty.
        item: of a conflict, the item that has the key; else 0.
    """

    pipeline: str
    identity: str
    source: str
    reason: str
    kind: str
    key: str = ""
    manifest: str = ""
    item: int = 0


KINDS = ("conflict", "unreadable", "name", "too-large", "format", "type", "key", "inputs")
"""Kinds of reasons: another content has the key; a file or folder cannot be read; its name is not
UTF-8; it is larger than the settings allow; a line or document is no JSON; it is not of the
pipeline's type; the key function failed; the ``inputs=`` function failed."""


def refusal(
    pipeline: str,
    source: str,
    reason: str,
    kind: str,
    key: str = "",
    manifest: str = "",
    item: int = 0,
) -> Refusal:
    """A refusal whose texts any ledger can store: bounded, without NUL; what is not UTF-8 in a path
    is written as ``\\xff``."""
    return Refusal(
        pipeline,
        identity_of(source),
        cleaned(source, SOURCE_LIMIT),
        cleaned(reason, REASON_LIMIT),
        kind,
        cleaned(key, SOURCE_LIMIT),
        manifest,
        item,
    )


def identity_of(source: str) -> str:
    """What a source is known by, however long it is and whatever it is made of."""
    return hashlib.sha256(portable(source).encode()).hexdigest()


def portable(source: str) -> str:
    """A source as it may be sent and kept: bounded, and UTF-8. Its :func:`identity_of` is that of
    the source."""
    try:
        data = source.encode()
    except UnicodeEncodeError:
        data = source.replace("\\", "\\\\").encode("utf-8", "backslashreplace")
    digest = f"… ({hashlib.sha256(data).hexdigest()})"
    text = data.decode()
    return text if len(text) <= SOURCE_LIMIT else text[: SOURCE_LIMIT - len(digest)] + digest


def unnamed(key: str, digest: str) -> str:
    """The source of a payload that was read nowhere that has a name: its key and the beginning of
    its content's digest."""
    return f"payload with key {key!r} and content {digest[:12]}"
