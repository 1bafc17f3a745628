"""Who may do what: roles, tokens, and the sessions of browsers.

Closed by default: who is nobody may do nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path

import msgspec

from holdfast.errors import InputError, NotFoundError
from holdfast.settings import make_folder

ROLES: dict[str, frozenset[str]] = {
    "viewer": frozenset({"view"}),
    "reviewer": frozenset({"view", "review"}),
    "operator": frozenset({"view", "operate", "submit"}),
    "admin": frozenset({"view", "review", "operate", "submit", "admin"}),
}
"""The rights of each role.

They are: to look, to decide reviews, to change what is under way, to hand items and events in, to
see who may do what.
"""

SESSION_S = 12 * 3600.0
"""Seconds after which a browser signs in again."""

_NAME = re.compile(r"[\w.@-]{1,64}")


class Person(msgspec.Struct, frozen=True):
    """Who asks: a name for the audit log, a role, the digest of the token, and whether it is a
    browser.

    A browser's requests must prove, with ``csrf``, that its user meant them.
    """

    name: str
    role: str
    token: str = ""
    browser: bool = False
    csrf: str = ""

    def may(self, right: str) -> bool:
        """Whether the role has a right."""
        return right in ROLES[self.role]


class Token(msgspec.Struct, frozen=True):
    """A token as it is kept: its SHA-256, never itself.

    Times are Unix milliseconds; 0: it does not expire.
    """

    name: str
    role: str
    digest: str
    created_at: int
    expires_at: int = 0


class Tokens:
    """The tokens of an installation, in one file that only its owner reads.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, list[Token]] = (0, [])

    def all(self) -> list[Token]:
        """Every token, as it is kept."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if stamp != self._read[0]:
            try:
                self._read = (stamp, msgspec.json.decode(self._path.read_bytes(), type=list[Token]))
            except msgspec.MsgspecError as error:
                raise InputError(
                    f"{self._path} is no list of tokens ({error}): "
                    "mend it, or remove it and make new ones"
                ) from None
        return self._read[1]

    def add(self, name: str, role: str, now_ms: int, expires_at: int = 0) -> str:
        """Make a token; it is shown once, here.

        Raises:
            InputError: a name that is taken or is none, or no such role.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no name for a token: "
                "letters, digits, '.', '@', '_' and '-', at most 64"
            )
        if role not in ROLES:
            raise InputError(f"there is no role {role!r}: it is one of {', '.join(ROLES)}")
        known = self.all()
        if any(one.name == name for one in known):
            raise InputError(
                f"there is a token {name!r} already: revoke it first, or choose another name"
            )
        text = f"hf_{secrets.token_urlsafe(32)}"
        self._write([*known, Token(name, role, _digest(text), now_ms, expires_at)])
        return text

    def revoke(self, name: str) -> None:
        """Remove a token.

        Raises:
            NotFoundError: no such token.
        """
        known = self.all()
        if not any(one.name == name for one in known):
            raise NotFoundError(
                f"there is no token {name!r}: it has "
                f"{', '.join(one.name for one in known) or 'none'}"
            )
        self._write([one for one in known if one.name != name])

    def person(self, text: str, now_ms: int) -> Person | None:
        """Whose token this is, or None."""
        digest, found = _digest(text), None
        for one in self.all():  # all of them, so that the time says nothing
            if hmac.compare_digest(one.digest, digest) and not 0 < one.expires_at <= now_ms:
                found = Person(one.name, one.role, one.digest)
        return found

    def hold(self, person: Person, now_ms: int) -> bool:
        """Whether the token by which somebody signed in is still there, and has not expired."""
        return any(
            one.digest == person.token and not 0 < one.expires_at <= now_ms for one in self.all()
        )

    def _write(self, tokens: list[Token]) -> None:
        make_folder(self._path.parent, "the list of tokens lies there")
        number, name = tempfile.mkstemp(dir=self._path.parent, prefix=".tokens-")  # mode 0600
        with os.fdopen(number, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(tokens)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, self._path)


class Sessions:
    """Browsers that have signed in. In memory: a restart of the server signs them out."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Person, float]] = {}

    def begin(self, person: Person, now_s: float) -> tuple[str, Person]:
        """Begin a session; its id for the cookie, and the person with what forms must send back."""
        self._open = {key: one for key, one in self._open.items() if one[1] > now_s}
        key = secrets.token_urlsafe(32)
        signed_in = Person(person.name, person.role, person.token, True, secrets.token_urlsafe(24))
        self._open[_digest(key)] = (signed_in, now_s + SESSION_S)
        return key, signed_in

    def person(self, key: str, now_s: float) -> Person | None:
        """Whose session it is, or None."""
        found = self._open.get(_digest(key))
        return found[0] if found is not None and found[1] > now_s else None

    def end(self, key: str) -> None:
        """Sign out."""
        self._open.pop(_digest(key), None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
