"""What people ask of items, as values: pause, resume, cancel, restart, revise, move, redrive,
discard; and the operation that it is part of."""

from __future__ import annotations

import msgspec

from holdfast.model.domain import check_name, check_text
from holdfast.model.values import Value


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Nothing of the item starts until it is resumed; what runs may end."""


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """A paused item goes on."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """The item ends as cancelled, with its children; what runs is stopped."""


class Restart(msgspec.Struct, frozen=True, tag="restart"):
    """The item's next generation begins: from the start, or from a step and all that depends on it.
    What went before is kept.

    Attributes:
        nodes: of each version, the numbers of the nodes whose results no longer count; empty: none
            counts.
        payload: another payload, or None for the item's own. Only from the start: it is a revision
            then.
        digest: of that payload, see :mod:`holdfast.model.content`.
        repeat_effects: replace the payload though effects have happened for the old one.
        fields: with a payload, (name, value) by which the item is found from now on; None: as it
            was.
    """

    nodes: dict[int, tuple[int, ...]] = {}
    payload: Value | None = None
    digest: str = ""
    repeat_effects: bool = False
    fields: tuple[tuple[str, str], ...] | None = None


class Revise(msgspec.Struct, frozen=True, tag="revise"):
    """The item's next generation begins with another payload; nothing that was made of the old one
    is used again.

    Attributes:
        payload: the value.
        digest: of it, see :mod:`holdfast.model.content`; empty: not known.
        version: label of the version under which the item goes on; empty: as it does.
        fields: (name, value) by which it is found from now on; None: as it was.
        repeat_effects: though effects have happened for the old payload: they may happen again.
    """

    payload: Value
    digest: str = ""
    version: str = ""
    fields: tuple[tuple[str, str], ...] | None = None
    repeat_effects: bool = False


class Move(msgspec.Struct, frozen=True, tag="move"):
    """The item goes on under another version of its pipeline, and keeps the results of what is the
    same there.

    Attributes:
        to: the ledger's number of that version.
        same: of each version that items come from, the nodes that are the same, and which they are
            there.
        bodies: by node there, the ledger's number of the body as it is now; a result of another
            body is not kept.
        named: of each version that items come from, the nodes that have the name of one there, and
            which they are there: recorded effects go along, also those of a step that is given
            something else.
        seen: by item, its generation and the number of its results when its values were checked;
            one that has others by now is left where it is. Items that are not here were not
            checked.
    """

    to: int
    same: dict[int, dict[int, int]]
    bodies: dict[int, int] = {}
    seen: dict[int, tuple[int, int]] = {}
    named: dict[int, dict[int, int]] = {}


class Redrive(msgspec.Struct, frozen=True, tag="redrive"):
    """Open dead letters go back: their tasks run again in the item's next generation.
    ``arguments``: of the one task, edited."""

    arguments: bytes | None = None


class Discard(msgspec.Struct, frozen=True, tag="discard"):
    """Open dead letters are closed; an item that has none left is discarded."""


OfItems = Pause | Resume | Cancel | Restart | Revise | Move
OfLetters = Redrive | Discard
Change = OfItems | OfLetters


class Obstacle(msgspec.Struct, frozen=True, array_like=True):
    """Why an item was not changed: its id and key, and what stands in the way."""

    item: int
    key: str
    why: str


class Operation(msgspec.Struct, frozen=True):
    """Who asks what of which, and why: kept for ever.

    Attributes:
        verb: ``pause``, ``resume``, ``cancel``, ``restart``, ``revise``, ``move``, ``redrive``,
            ``discard``, ``edit``, ``pause-pipeline``, …
        target: the items or letters, or the filter, as text.
        who: the person or program.
        reason: why.
    """

    verb: str
    target: str
    who: str
    reason: str = ""

    def check(self) -> None:
        """Refuse what not every ledger can store.

        Raises:
            InputError: the name of a person, the reason, or the target.
        """
        check_name("name of a person", self.who)
        check_text("reason", self.reason)
        check_text("target", self.target)
