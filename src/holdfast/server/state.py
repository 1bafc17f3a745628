"""What the routes share, made once per server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from holdfast.app import App
from holdfast.errors import InputError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.audit_log import Entry
from holdfast.model.pipeline import Pipeline
from holdfast.server.access import Person, Sessions, Tokens
from holdfast.server.memo import Memo
from holdfast.server.snapshot import Watcher


@dataclass
class State:
    """The ledger, who may use it, and what it serves.

    Attributes:
        app: the ledger's verbs.
        tokens: of the installation.
        sessions: of browsers.
        watcher: what everybody looks at.
        pipelines: by name, those whose code is here, so that items can be handed in.
        secure: it is reached by HTTPS.
        totals: see :class:`holdfast.telemetry.prometheus.Totals`.
        memo: what was answered a moment ago.
        local: who somebody without a token is, or None.
        auditing: one proof at a time: it reads the whole ledger.
        closing: set when the server ends, so that streams do.
    """

    app: App
    tokens: Tokens
    sessions: Sessions
    watcher: Watcher
    pipelines: dict[str, Pipeline[Any, Any]] = field(default_factory=dict)
    secure: bool = False
    totals: Any = None
    local: Person | None = None
    memo: Memo = field(default_factory=Memo)
    auditing: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def webhook_secrets(self) -> list[str]:
        """The secrets by which webhooks are signed.

        They are read anew each time, so they can be changed while the server runs.
        """
        path = self.app.settings.webhook_secrets
        return path.read_text("utf-8").split() if path is not None and path.is_file() else []

    def changed(self) -> None:
        """Somebody has changed something: what is shown is looked at anew."""
        self.memo.forget()
        self.watcher.again()

    @contextmanager
    def reads(self) -> Iterator[LedgerReads]:
        """The reading side of the ledger, closed afterwards."""
        reads = self.app.reads()
        try:
            yield reads
        finally:
            reads.close()

    def note(self, person: Person, action: str, target: str) -> None:
        """Write into the audit log what somebody did that is no operation."""
        writer = self.app.writer()
        try:
            writer.lifecycle.note(
                Entry(self.app.clock.now_ms(), person.name, action, target, f"role {person.role}")
            )
        finally:
            writer.close()

    def pipeline(self, name: str) -> Pipeline[Any, Any]:
        """A pipeline whose code is here.

        Raises:
            InputError: it is not.
        """
        if name not in self.pipelines:
            served = ", ".join(sorted(self.pipelines)) or "none"
            raise InputError(
                f"this server has no code of pipeline {name!r} (it serves {served}): start it "
                "with `holdfast serve MODULE`"
            )
        return self.pipelines[name]


def state_of(request: Request) -> State:
    """The state of the server that a request came to."""
    state: State = request.app.state.holdfast
    return state
