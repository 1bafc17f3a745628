"""A connection that is lost at COMMIT, before or after the server had it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest


def cut_at_commit(
    monkeypatch: pytest.MonkeyPatch, after: bool, name: str = "holdfast"
) -> list[str]:
    """Lose one connection of this application name, at its next COMMIT; the answer says whether
    that has happened."""
    cut: list[str] = []
    original = psycopg.Connection.execute

    def execute(self: Any, query: Any, *rest: Any, **options: Any) -> Any:
        if query == "commit" and not cut and self.info.parameter_status("application_name") == name:
            cut.append(name)
            if after:
                original(self, query, *rest, **options)
            self.pgconn.finish()
            raise psycopg.OperationalError("the connection was lost")
        return original(self, query, *rest, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    return cut
