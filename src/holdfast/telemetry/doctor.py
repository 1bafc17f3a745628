"""Is this installation sound? Each check says what it found, and what to do when it is not well."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from holdfast.app import App
from holdfast.clock import skew_ms
from holdfast.errors import HoldfastError
from holdfast.ledgers.reads import LedgerReads
from holdfast.ledgers.sqlite_file import check_sqlite, sqlite_version
from holdfast.model.moments import JUMP_MS, skew_in_words
from holdfast.notices import FULL, Notices

NEWER_MS = 300_000
"""Milliseconds by which the newest row may be ahead of this machine's clock."""


CROWDED = 0.8
"""Share of the server's connections above which somebody may soon get none."""

IDLE_S = 600
"""Seconds for which a transaction may be open and idle."""


class Finding(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        check: its name.
        state: ``ok``, ``warning`` (works, and should not stay so) or ``bad``.
        found: what is.
        remedy: what to do; empty when all is well.
    """

    check: str
    state: str
    found: str
    remedy: str = ""


def examine(app: App) -> list[Finding]:
    """Run every check; none of them changes anything."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(app)
        except HoldfastError as error:
            found.append(Finding(check.__name__.strip("_"), "bad", str(error), "see the message"))
        except OSError as error:
            found.append(
                Finding(check.__name__.strip("_"), "bad", str(error), "see to the file system")
            )
    return found


def _software(app: App) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    version = sqlite_version()
    try:
        check_sqlite(version)
        yield Finding("sqlite", "ok", version)
    except HoldfastError as error:
        yield Finding("sqlite", "bad", str(error), "pip install --upgrade apsw")


def _places(app: App) -> Iterator[Finding]:
    path = app.settings.ledger_path
    places = [("ledger folder", path.parent)] if path is not None else []
    if "://" not in app.settings.artifacts_place:
        places.append(("artifacts", Path(app.settings.artifacts_place)))
    for name, place in places:
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        if not os.access(there, os.W_OK):
            yield Finding(
                name,
                "bad",
                f"{there} cannot be written by this user",
                "give it to the user who runs Holdfast, or set HOLDFAST_HOME",
            )
            continue
        disk = shutil.disk_usage(there)
        free = f"{disk.free / 1e9:.1f} GB ({disk.free / disk.total:.0%}) free under {place}"
        if disk.free < disk.total * FULL:
            yield Finding(
                name,
                "warning",
                free,
                "make room: `holdfast artifacts collect`; when it is full nothing more is "
                "accepted, and nothing is lost",
            )
        else:
            yield Finding(name, "ok", free)


def _secrets(app: App) -> Iterator[Finding]:
    files = [
        ("tokens", app.settings.tokens_path),
        ("webhook secrets", app.settings.webhook_secrets),
        ("alert addresses", app.settings.notify),
    ]
    if app.settings.signing_key and not app.settings.signing_key.startswith("env:"):
        files.append(("signing key", Path(app.settings.signing_key)))
    for name, path in files:
        if path is None or not path.exists():
            continue
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(name, "warning", f"{path} can be read by others", f"chmod 600 {path}")
        else:
            yield Finding(name, "ok", f"{path}, its owner's alone")


def _ledger(app: App) -> Iterator[Finding]:
    path = app.settings.ledger_path
    if path is not None and not path.exists():
        yield Finding(
            "ledger", "ok", f"none yet at {path}: `holdfast run`, `submit` or `serve` makes it"
        )
        return
    reads, now = app.reads(), app.clock.now_ms()
    try:
        yield Finding("ledger", "ok", app.settings.ledger_name)
        yield from _server(reads.server(), now)
        runners = reads.runners(now)
        yield from _clocks(app, reads, runners, now)
        waiting = sum(
            states.get(name, (0, 0))[0]
            for states in reads.live_items().values()
            for name in ("queued", "waiting", "running")
        )
        if waiting and not runners:
            yield Finding(
                "runners",
                "bad",
                f"none is alive, and {waiting:,} items have not ended",
                "start one: `holdfast runner MODULE` or `holdfast serve MODULE`",
            )
        else:
            yield Finding(
                "runners", "ok", f"{len(runners)} alive, {waiting:,} items have not ended"
            )
        for alert in reads.alerts(False, 20):
            yield Finding(
                "alert",
                "warning",
                f"{alert['kind']} {alert['subject']}: {alert['message']}",
                "`holdfast alerts`, `holdfast runbook MODULE`",
            )
        for pause in reads.pauses():
            what = f"{pause['pipeline']}{' / ' + pause['step'] if pause['step'] else ''}"
            yield Finding(
                "pause",
                "warning",
                f"{what} is paused by {pause['who']}",
                f"holdfast resume --pipeline {what.replace(' / ', ' --step ')}",
            )
    finally:
        reads.close()


def _server(server: dict[str, Any] | None, now_ms: int) -> Iterator[Finding]:
    """PostgreSQL, where the ledger is there.

    A server whose fsync, full_page_writes or synchronous_commit is off is refused at once.
    """
    if server is None:
        return
    yield Finding("postgresql", "ok", f"{server['version']}, {server['standbys']} standbys")
    used = f"{server['connections']} of {server['max_connections']} connections"
    if server["connections"] > server["max_connections"] * CROWDED:
        yield Finding(
            "connections",
            "warning",
            used,
            "raise max_connections: a runner needs 4, each command one",
        )
    else:
        yield Finding("connections", "ok", used)
    if server["autovacuum"] != "on":
        yield Finding(
            "autovacuum",
            "bad",
            "off: tables of what is under way grow without end",
            "set autovacuum = on",
        )
    if server["idle_transaction_s"] > IDLE_S:
        found = (
            "somebody has held a transaction open, idle, for "
            f"{server['idle_transaction_s']} s: nothing is vacuumed meanwhile"
        )
        yield Finding(
            "idle transaction",
            "warning",
            found,
            "see pg_stat_activity; set idle_in_transaction_session_timeout",
        )
    ahead = server["now"] - now_ms
    if abs(ahead) > JUMP_MS:
        found = (
            f"it is {skew_in_words(ahead)} the ledger's time: it was set while runners "
            "worked, and no wait is longer or shorter for it"
        )
        yield Finding(
            "server's clock",
            "warning",
            found,
            "set it, if it is not right (NTP); the ledger's time approaches it by itself",
        )


def _clocks(
    app: App, reads: LedgerReads, runners: list[dict[str, Any]], now_ms: int
) -> Iterator[Finding]:
    """This machine's clock, and those of the runners."""
    newest, off = (
        max([row["admitted_at"] for row in reads.items(None, None, 1)] or [now_ms]),
        skew_ms(app.clock),
    )
    if abs(off) > JUMP_MS:
        found = f"this machine's clock is {skew_in_words(off)} the ledger's time; no item minds"
        yield Finding("clock", "bad", found, "set the clock (NTP)")
    elif newest > now_ms + NEWER_MS:
        yield Finding(
            "clock",
            "bad",
            f"the newest item is {(newest - now_ms) / 1000:.0f} s ahead of this machine's clock",
            "set the clock (NTP)",
        )
    else:
        yield Finding("clock", "ok", "as the ledger's")
    for one in runners:
        if one["clock_ahead_s"]:
            found = (
                f"it is {skew_in_words(one['clock_ahead_s'] * 1000)} the ledger's time; "
                "no item minds"
            )
            yield Finding(f"clock of {one['host']}", "bad", found, "set that host's clock (NTP)")


def _alerts(app: App) -> Iterator[Finding]:
    if app.settings.notify is None:
        yield Finding(
            "alert delivery",
            "warning",
            "nobody is told of alerts",
            "name a file of Apprise addresses in HOLDFAST_NOTIFY",
        )
    else:
        yield Finding(
            "alert delivery", "ok", f"to {len(Notices(app.settings).addresses)} addresses"
        )


CHECKS: list[Callable[[App], Iterator[Finding]]] = [_software, _places, _secrets, _ledger, _alerts]
"""Every check, in order."""
