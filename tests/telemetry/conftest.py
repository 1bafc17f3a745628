"""Telemetry is tested on both ledgers."""

from __future__ import annotations

from tests.patterns.conftest import Patterns, app, run

__all__ = ["Patterns", "app", "run"]
