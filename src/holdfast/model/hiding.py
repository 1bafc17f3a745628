"""Connection strings in messages: whatever form they have, their passwords are not shown."""

from __future__ import annotations

import re
from urllib.parse import unquote

_STARS = "***"

_URL = re.compile(r"([A-Za-z][\w+.-]*)://([^\s]*@|[^\s:@/]+:(?!\d+(?:[/?,\s]|$))[^\n]*@)?")
"""An address, with what stands before its last ``@``: a password may hold ``@``, ``:``, ``/``, even
blanks."""

_BARE = re.compile(r"(?<![\w/:@*])([^\s:@/'\"]+):([^\s@/]+)@(?=[\w.\[-])")
"""``user:password@host`` without a scheme."""

_PAIR = re.compile(
    r"(?i)([\w.-]*(?:password|passwd|passphrase|passfile|pwd|secret|token|api[_-]?key"
    r"|access[_-]?key|credential|signature)[\w.-]*\s*=\s*)"
    r"(\*{3}|'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|[^\s&]+)"
)
"""``password=…`` of a query, or of keywords and values, where a value may be quoted."""

_SHORTEST = 3
"""Characters of a piece of a password that is looked for in what a driver says: shorter ones are in
every text."""


def hidden(text: str) -> str:
    """Return a text without the passwords of the addresses and connection strings in it. It hides
    rather too much than too little.

    Args:
        text: an address such as ``postgresql://user:password@host/db``, ``host=… password='…'``,
            ``nats://TOKEN@host``; or a message that quotes one.
    """
    return _PAIR.sub(
        lambda match: match[1] + _STARS, _BARE.sub(rf"\1:{_STARS}@", _URL.sub(_hide, text))
    )


def scrubbed(text: str, address: str) -> str:
    """Return what a driver says of an address without the address's passwords, or pieces of them: a
    driver that reads a password with an ``@`` or ``/`` in it takes a piece of it for a host or a
    port, and says so.

    Args:
        text: the driver's message.
        address: what it was given.
    """
    for secret in sorted(_secrets(address), key=len, reverse=True):
        text = text.replace(secret, _STARS)
    return hidden(text)


def _hide(match: re.Match[str]) -> str:
    scheme, info = match[1], match[2]
    if not info:
        return match[0]
    user, colon, _ = info[:-1].partition(":")
    if colon:
        return f"{scheme}://{user}:{_STARS}@"
    # a broker's token
    return (
        match[0]
        if scheme.lower().startswith("postgres") or "/" in user
        else f"{scheme}://{_STARS}@"
    )


def _secrets(address: str) -> set[str]:
    """An address's passwords, as written and decoded, and the pieces of each."""
    whole = [match[2] for match in _PAIR.finditer(address)]
    for pattern in (_URL, _BARE):
        for match in pattern.finditer(address):
            info = match[2] if pattern is _BARE else (match[2] or "")[:-1]
            user, colon, password = info.partition(":")
            whole.append(
                info
                if pattern is _BARE
                else password
                if colon
                else ""
                if match[1].lower().startswith("postgres")
                else user
            )
    texts = {form for one in whole for form in (one, one.strip("'\""), unquote(one))}
    pieces = {piece for one in texts for piece in re.split(r"[@:/?#&\s\[\]]", one)}
    return {one for one in texts | pieces if len(one) >= _SHORTEST}
