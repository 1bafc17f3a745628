"""Alerts to people, through Apprise (https://github.com/caronc/apprise): mail, chat, pagers,
webhooks; and what a machine says of itself."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from holdfast.errors import InputError
from holdfast.executors.pool import DaemonPool
from holdfast.model.alerts import Address, Alert, Telling
from holdfast.model.domain import cleaned
from holdfast.model.failure import said
from holdfast.model.hiding import scrubbed
from holdfast.model.item import REASON_LIMIT
from holdfast.release import install
from holdfast.settings import Settings

if TYPE_CHECKING:
    import apprise

log = logging.getLogger("holdfast")

FULL = 0.05
"""Share of a disk, free, below which there is an alert."""

DELIVER_S = 30.0
"""Seconds that an address has to take a message."""

TOGETHER = 20
"""Most alerts in one message."""

_BARE = ("json", "jsons", "xml", "xmls", "form", "forms")
"""Schemes of plain webhooks: everything after their host may be a secret."""


class Notices:
    """Delivers alerts, several in one message, to each address by itself.

    Args:
        settings: where the addresses are, and where the page is.

    Raises:
        InputError: addresses are named, and Apprise is not installed or does not take them.
    """

    def __init__(self, settings: Settings) -> None:
        self._page = settings.page_url.rstrip("/")
        assert settings.notify is not None
        try:
            import apprise
        except ModuleNotFoundError:
            raise InputError(f"HOLDFAST_NOTIFY needs Apprise: {install('alerts')}") from None
        try:
            lines = [
                line.strip()
                for line in settings.notify.read_text("utf-8").splitlines()
                if line.strip() and not line.startswith("#")
            ]
        except OSError as error:
            raise InputError(f"HOLDFAST_NOTIFY={settings.notify}: {error.strerror}") from None
        self._ways: dict[str, tuple[str, apprise.Apprise]] = {}
        self.addresses: list[Address] = []
        for number, line in enumerate(dict.fromkeys(lines), 1):
            way = apprise.Apprise()
            if not way.add(line):  # an address may hold a password: it is not repeated
                raise InputError(
                    f"{settings.notify}, address {number}: Apprise does not take it (see its "
                    "documentation for the forms it has)"
                )
            address = Address(_digest(line), f"{number}: {_label(line, way)}")
            self.addresses.append(address)
            self._ways[address.digest] = line, way

    def deliver(self, address: str, tellings: Sequence[Telling]) -> str:
        """Send messages with all of them to the address of a digest; why it did not take one, or
        nothing."""
        for first in range(0, len(tellings), TOGETHER):
            some = tellings[first : first + TOGETHER]
            one = some[0].alert
            title = (
                f"Holdfast: {one.kind} of {one.subject}"
                if len(some) == 1
                else f"Holdfast: {len(some)} alerts"
            )
            trouble = self.send(
                address, title, "\n\n".join(self._text(telling) for telling in some)
            )
            if trouble:
                return trouble
        return ""

    def send(self, address: str, title: str, body: str) -> str:
        """Send a message to the address of a digest; why it did not take it, or nothing."""
        line, way = self._ways[address]
        heard, theirs = _Heard(), logging.getLogger("apprise")
        theirs.addHandler(heard)
        try:
            # not in the threads that Apprise shares among all addresses
            if way[0].notify(title=title, body=body):
                return ""
            why = " ".join(" ".join(heard.said).split())
        except (
            Exception
        ) as error:  # of a plugin of theirs: an alert is told again later, and no item minds
            why = f"{type(error).__name__}: {said(error)}"
        finally:
            theirs.removeHandler(heard)
        return cleaned(_without_secrets(why, line) or "it did not take the message", REASON_LIMIT)

    def _text(self, telling: Telling) -> str:
        alert = telling.alert
        runbook = f"{self._page}/runbooks/{quote(alert.kind)}?subject={quote(alert.subject)}"
        over = f"since {_moment(telling.opened_at)}" + (
            "" if telling.closed_at is None else f", over since {_moment(telling.closed_at)}"
        )
        return (
            f"{alert.kind} · {alert.subject}\n{alert.message}\n{over}\nact: "
            f"{self._page}/alerts\nrunbook: {runbook}\nid: {telling.id}"
        )


class _Heard(logging.Handler):
    """What Apprise warns of in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and len(self.said) < 20:
            self.said.append(record.getMessage())


class Messenger:
    """Delivers beside the event loop. Each address has a thread, so that one that hangs delays no
    other.

    Args:
        notices: who is told, and how.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._pool = DaemonPool(max(1, len(notices.addresses)), "holdfast-alerts")
        self._calls: dict[str, Future[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, address: str, tellings: list[Telling], told: Callable[[str], None]) -> None:
        """Send alerts to an address; ``told`` hears, in the loop, why it did not take them, or
        nothing."""
        task = asyncio.get_running_loop().create_task(self._tell(address, tellings, told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Wait for nobody: what was not confirmed is sent again, under the same id."""
        self._pool.shutdown()

    async def _tell(
        self, address: str, tellings: list[Telling], told: Callable[[str], None]
    ) -> None:
        before = self._calls.get(address)
        if before is not None and not before.done():
            told("it is still busy with an earlier message")
            return
        call = self._calls[address] = self._pool.submit(self._notices.deliver, address, tellings)
        try:
            trouble = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(call)), DELIVER_S)
        except TimeoutError:
            trouble = f"no answer within {DELIVER_S:.0f} s"
        told(trouble)


def _digest(address: str) -> str:
    """Names an address in the ledger: slow to guess from."""
    return hashlib.scrypt(
        address.encode(), salt=b"holdfast alert address", n=2**12, r=8, p=1, dklen=16
    ).hex()


def _label(line: str, way: apprise.Apprise) -> str:
    """How an address is shown: without passwords, tokens, or what a webhook's path may hold."""
    url = way[0].url(privacy=True)
    scheme, _, rest = url.partition("://")
    if scheme in _BARE:
        parts = urlsplit(line)
        return f"{scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}/…"
    return f"{scheme}://{rest.partition('?')[0]}"


def _without_secrets(text: str, address: str) -> str:
    """What a plugin says, without its address or pieces of it."""
    scheme, _, rest = address.partition("://")
    pieces = {
        address,
        rest,
        *rest.replace("?", "/").replace("&", "/").replace("@", "/").replace(":", "/").split("/"),
    }
    host = urlsplit(address).hostname or ""
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) > 3 and (piece.lower() != host or scheme not in _BARE):
            text = text.replace(piece, "***")
    return scrubbed(text, address)


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def watcher(settings: Settings, trouble: Callable[[], str | None]) -> Callable[[], list[Alert]]:
    """What a runner sees of its own machine: a disk that fills up, a ledger that does not take what
    is written.

    Args:
        settings: where ledger and artifacts lie.
        trouble: why the ledger is not written at the moment, or None.
    """
    places = {str(settings.ledger_path.parent)} if settings.ledger_path is not None else set()
    places |= {settings.artifacts_place} if "://" not in settings.artifacts_place else set()

    def look() -> list[Alert]:
        found = []
        for place in sorted(places):
            there = next(
                (folder for folder in (Path(place), *Path(place).parents) if folder.exists()), None
            )
            if there is None:
                continue
            disk = shutil.disk_usage(there)
            if disk.free < disk.total * FULL:
                message = (
                    f"{disk.free / disk.total:.1%} of the disk under {place} is free: "
                    "when it is full nothing more is accepted, and nothing lost"
                )
                found.append(Alert("disk-full", f"{socket.gethostname()} {place}", message))
        why = trouble()
        if why:
            found.append(
                Alert(
                    "ledger-trouble",
                    socket.gethostname(),
                    f"the ledger does not take what is written: {why}",
                )
            )
        return found

    return look
