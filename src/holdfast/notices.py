"""Alerts to people, through Apprise (https://github.com/caronc/apprise): mail, chat, pagers, webhooks; and what a machine says of itself."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from holdfast.errors import InputError
from holdfast.model.alerts import Alert
from holdfast.release import install
from holdfast.settings import Settings

log = logging.getLogger("holdfast")

FULL = 0.05
"""Share of a disk, free, below which there is an alert."""


class Notices:
    """Delivers alerts, several in one message.

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
        self._apprise = apprise.Apprise()
        try:
            addresses = [line.strip() for line in settings.notify.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
        except OSError as error:
            raise InputError(f"HOLDFAST_NOTIFY={settings.notify}: {error.strerror}") from None
        for number, address in enumerate(addresses, 1):
            if not self._apprise.add(address):  # an address may hold a password: it is not repeated
                raise InputError(f"{settings.notify}, address {number}: Apprise does not take it (see its documentation for the forms it has)")
        self.number = len(addresses)

    def deliver(self, alerts: list[Alert]) -> bool:
        """Send one message with all of them; whether every address took it."""
        title = f"Holdfast: {alerts[0].kind} of {alerts[0].subject}" if len(alerts) == 1 else f"Holdfast: {len(alerts)} alerts"
        try:
            done = bool(self._apprise.notify(title=title, body="\n\n".join(self._text(alert) for alert in alerts)))
        except Exception as error:  # of a plugin of theirs: an alert is told again later, and no item minds
            log.warning("alerts could not be delivered: %s", type(error).__name__)
            return False
        if not done:
            log.warning("alerts could not be delivered to every address in HOLDFAST_NOTIFY; they are tried again")
        return done

    def _text(self, alert: Alert) -> str:
        runbook = f"{self._page}/runbooks/{quote(alert.kind)}?subject={quote(alert.subject)}"
        return f"{alert.kind} · {alert.subject}\n{alert.message}\nact: {self._page}/alerts\nrunbook: {runbook}"


def watcher(settings: Settings, trouble: Callable[[], str | None]) -> Callable[[], list[Alert]]:
    """What a runner sees of its own machine: a disk that fills up, a ledger that does not take what is written.

    Args:
        settings: where ledger and artifacts lie.
        trouble: why the ledger is not written at the moment, or None.
    """
    places = {str(settings.ledger_path.parent)} if settings.ledger_path is not None else set()
    places |= {settings.artifacts_place} if "://" not in settings.artifacts_place else set()

    def look() -> list[Alert]:
        found = []
        for place in sorted(places):
            there = next((folder for folder in (Path(place), *Path(place).parents) if folder.exists()), None)
            if there is None:
                continue
            disk = shutil.disk_usage(there)
            if disk.free < disk.total * FULL:
                message = (
                    f"{disk.free / disk.total:.1%} of the disk under {place} is free: when it is full nothing more is accepted, and nothing lost"
                )
                found.append(Alert("disk-full", f"{socket.gethostname()} {place}", message))
        why = trouble()
        if why:
            found.append(Alert("ledger-trouble", socket.gethostname(), f"the ledger does not take what is written: {why}"))
        return found

    return look
