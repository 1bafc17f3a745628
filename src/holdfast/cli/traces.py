"""Where a command that runs items exports their traces to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from holdfast.app import App
from holdfast.errors import InputError
from holdfast.release import install
from holdfast.session import Session


def tracing(app: App) -> AbstractContextManager[Callable[[Session], None]]:
    """What each tick of a run must call to export traces, when ``HOLDFAST_OTLP`` says so.

    Raises:
        InputError: the extra that exports is not installed.
    """
    if not app.settings.otlp:
        return nullcontext(lambda session: None)
    try:
        from holdfast.telemetry.otlp import exporting
    except ModuleNotFoundError:
        raise InputError(f"HOLDFAST_OTLP needs OpenTelemetry: {install('otel')}") from None
    return exporting(app)
