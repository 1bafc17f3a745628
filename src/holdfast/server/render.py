"""Pages from templates. Text of items and models is only ever text.

Everything is escaped, and nothing of it becomes an address or markup.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from holdfast.model.media import KEY
from holdfast.model.moments import shown
from holdfast.model.search import equal, exactly
from holdfast.model.visible import visible
from holdfast.release import VERSION
from holdfast.server.access import Person
from holdfast.server.guard import COOKIE
from holdfast.server.state import State, state_of

IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""What a page shows as a picture."""

TABLE_ROWS = 200
TEXT_LIMIT = 100_000
"""Characters of a value that a page shows."""

_TICKED = re.compile(r"`([^`]+)`")

_REFRESHED = "x-refresh"
"""The header by which the page's script asks for the changing part alone."""


def page(request: Request, template: str, status: int = 200, **given: Any) -> Response:
    """Render a page.

    For a browser on this machine that has no session yet, begin one, so that its forms can prove
    where they come from.
    """
    state = state_of(request)
    person: Person | None = request.scope.get("holdfast.person")
    key = ""
    if person is not None and not person.csrf and state.local is not None:
        key, person = state.sessions.begin(person, state.app.clock.now_ms() / 1000)
    snapshot = state.watcher.now() if person is not None else None
    text = _environment.get_template(template).render(
        request=request,
        person=person,
        snapshot=snapshot,
        now=state.app.clock.now_ms(),
        bare=_REFRESHED in request.headers,
        here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        release=VERSION,
        **given,
    )
    answer = HTMLResponse(text, status)
    if key:
        remember(answer, key, state)
    return answer


def remember(answer: Response, key: str, state: State) -> None:
    """Give a browser its session."""
    answer.set_cookie(COOKIE, key, path="/", secure=state.secure, httponly=True, samesite="strict")


def when(ms: int | None) -> str:
    """Unix milliseconds as a UTC time."""
    return shown(ms)


def lasting(seconds: float | None) -> str:
    """Seconds for people: ``1.2 s``, ``4 min``, ``3 h 5 min``, ``2 d 4 h``."""
    if seconds is None:
        return "–"
    if seconds < 0.0995:
        return "0 s" if not seconds else "< 1 ms" if seconds < 0.001 else f"{seconds * 1000:.2g} ms"
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def number(value: float | None) -> str:
    """A number with its thousands apart; a dash for none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def percent(share: float | None) -> str:
    """A share in percent, never rounded up to all."""
    if share is None:
        return "–"
    return "100 %" if share == 1 else f"{math.floor(share * 1000) / 10:.1f} %"


def dollars(usd: float | None) -> str:
    """Money: two digits from a dollar on, else those that count."""
    if usd is None:
        return "–"
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.3g}" if usd >= 1e-4 else "< $0.0001"


def shape_of(value: Any) -> str:
    """How a value is shown: ``image``, ``file``, ``table``, ``text``, ``nothing`` or ``json``."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict) and KEY in value:
        return "image" if value.get("media_type") in IMAGES else "file"
    if (
        isinstance(value, list)
        and value
        and all(isinstance(one, dict) and one and KEY not in one for one in value)
    ):
        return "table"
    return "json"


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """The columns of rows, in the order in which they first come."""
    return list(dict.fromkeys(name for row in rows[:TABLE_ROWS] for name in row))


def pretty(value: Any) -> str:
    """A value as indented JSON, at most so long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return (
        text
        if len(text) <= TEXT_LIMIT
        else f"{text[:TEXT_LIMIT]}\n… {len(text) - TEXT_LIMIT:,} more characters"
    )


def brief(value: Any, limit: int = 80) -> str:
    """A value in one line."""
    text = " ".join(
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split()
    )
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def ticked(text: str) -> Markup:
    """Text of ours with commands between backticks, these as code; everything in it is escaped."""
    return Markup(_TICKED.sub(r"<code>\1</code>", str(escape(text))))


def items_at(field: str = "", value: str = "", **conditions: str) -> str:
    """The address of the items that conditions find, whatever their values hold.

    Of a searchable field, those with a value.
    """
    words = [exactly(name, wanted) for name, wanted in conditions.items()] + (
        [equal(field, value)] if field else []
    )
    return f"/items?find={quote(' '.join(words), safe='')}"


def unchanged(text: str) -> Markup:
    """Text that a form sends back: escaped, and otherwise as it is."""
    return escape(text)


def _shown(value: Any) -> Any:
    """What a page shows of an expression.

    It is text without characters that would change how the text around it reads.
    """
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_environment = Environment(
    loader=PackageLoader("holdfast.server"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_shown,
)
_environment.filters |= {
    "when": when,
    "lasting": lasting,
    "number": number,
    "percent": percent,
    "dollars": dollars,
    "shape_of": shape_of,
    "columns": columns,
    "pretty": pretty,
    "brief": brief,
    "ticked": ticked,
    "unchanged": unchanged,
}
_environment.globals |= {"TABLE_ROWS": TABLE_ROWS, "KEY": KEY, "items_at": items_at}
