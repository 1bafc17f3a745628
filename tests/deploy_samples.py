"""Versions of one pipeline whose types differ, as a deploy meets them."""

from __future__ import annotations

import enum
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

from holdfast import BadInputError, Context, Pipeline, TransientError, pipeline, step

Kind = enum.Enum("Kind", {"INVOICE": "invoice", "FAX": "fax"})
NoFax = enum.Enum("NoFax", {"INVOICE": "invoice"})


def claim(**more: Any) -> type[Any]:
    """A type of payloads: an id, a folder, and further fields by type, or by type and default."""
    fields = [
        (name, kind[0], field(default=kind[1])) if isinstance(kind, tuple) else (name, kind)
        for name, kind in more.items()
    ]
    return make_dataclass("Claim", [("id", str), ("folder", str), *fields], kw_only=True)


def text(**fields: Any) -> type[Any]:
    """A type of results."""
    return make_dataclass("Text", list(fields.items()))


OLD = claim(kind=(Kind, Kind.INVOICE), amount=(int | None, None))
TEXT = text(words=list[int])


def claims(label: str, payload: type[Any], result: type[Any] = TEXT) -> Pipeline[Any, Any]:
    """A version of ``claims``: ``read`` succeeds at once, ``send`` while a file is there."""

    def read(claim: Any) -> Any:
        return result([1] * (50_000 if claim.id.startswith("long") else 3))

    def send(claim: Any, text: Any) -> str:
        if not Path(claim.folder, "up").exists():
            raise TransientError("503")
        return f"{claim.id} by {label}"

    read.__annotations__ = {"claim": payload, "return": result}
    send.__annotations__ = {"claim": payload, "text": result, "return": str}
    reading: Any = step(runs="threads")(read)
    sending: Any = step(runs="threads", retry=1, name=f"send_{label}")(send)

    def claims(claim: Any) -> Any:
        return sending(claim, reading(claim))

    claims.__annotations__ = {"claim": payload, "return": str}
    return pipeline(version=label, key=lambda claim: claim.id)(claims)


old = claims("1", OLD)
"""What the items were admitted under."""

same = claims("2", OLD)
"""Nothing changes but the last step."""

required = claims("2", claim(kind=(Kind, Kind.INVOICE), amount=int))
"""A field is needed that was optional."""

renamed = claims("2", claim(kind=(Kind, Kind.INVOICE), sum=int))
"""A field has another name."""

fewer = claims("2", claim(kind=(NoFax, NoFax.INVOICE), amount=(int | None, None)))
"""A member of an enum is gone."""

retyped = claims("2", claim(kind=(Kind, Kind.INVOICE), amount=(str | None, None)))
"""A number is text now."""

other_result = claims("2", OLD, text(words=list[str]))
"""The results of ``read`` have another type under the same name."""


def _pay(ctx: Context, claim: Any) -> str:
    """Charges once, and fails until a file is there."""
    known = ctx.once("charge", lambda: _charge(claim))
    if not Path(claim.folder, "up").exists():
        raise BadInputError("later")
    return known


def _charge(claim: Any) -> str:
    with Path(claim.folder, "charged").open("a") as out:
        out.write(f"{claim.id}\n")
    return str(claim.id)


def _looked_at(claim: Any) -> Any:
    return claim


def _noted(ctx: Context, claim: Any) -> str:
    """Has an effect under the same label."""
    return str(ctx.once("charge", lambda: "noted"))


def _both(note: str, paid: str) -> str:
    return f"{note} and {paid}"


for _one in (_pay, _looked_at, _noted):
    _one.__annotations__ |= {"claim": OLD}
_looked_at.__annotations__["return"] = OLD
pay: Any = step(runs="threads", retry=1, name="pay")(_pay)
look: Any = step(runs="threads", name="look")(_looked_at)
note: Any = step(runs="threads", name="note")(_noted)
both: Any = step(runs="threads", name="both")(_both)


def _pays(claim: Any) -> Any:
    return pay(claim)


def _pays_later(claim: Any) -> Any:
    return both(note(claim), pay(look(claim)))


for _one in (_pays, _pays_later):
    _one.__annotations__ = {"claim": OLD, "return": str}
pays: Pipeline[Any, Any] = pipeline(version="1", key=lambda claim: claim.id, name="paying")(_pays)
"""Charges a card."""

pays_later: Pipeline[Any, Any] = pipeline(version="2", key=lambda claim: claim.id, name="paying")(
    _pays_later
)
"""The step that charges has another number, and another step has its number; it has an effect of
the same name."""


def paying(payload: type[Any]) -> Pipeline[Any, Any]:
    """Another step comes before the one that charges, which is given the same as before."""

    def pay(ctx: Context, claim: Any) -> str:
        return _pay(ctx, claim)

    def pays(claim: Any) -> Any:
        return both(made(claim), charging(claim))

    def noted(claim: Any) -> str:
        return "noted"

    pay.__annotations__ |= {"ctx": Context, "claim": payload, "return": str}
    pays.__annotations__ = noted.__annotations__ = {"claim": payload, "return": str}
    charging: Any = step(runs="threads", retry=1)(pay)
    made: Any = step(runs="threads")(noted)
    return pipeline(version="2", key=lambda claim: claim.id, name="paying")(pays)


pays_second = paying(OLD)
pays_strictly = paying(claim(kind=(Kind, Kind.INVOICE), amount=int))
"""A field is needed that was optional."""
