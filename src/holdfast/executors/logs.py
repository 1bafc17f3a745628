"""Logs for programs: with ``HOLDFAST_LOG=json`` each line is a JSON object, with the item, step and
trace of the attempt that wrote it.

Whatever logger a step uses: the attempt is known where it runs. Secrets that were read are hidden
in either form.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

from holdfast.executors.attempt import attempt_here
from holdfast.model.events import trace_of
from holdfast.model.hiding import hidden
from holdfast.model.ids import show
from holdfast.model.secrets import redacted
from holdfast.model.visible import one_line, visible


class Plain(logging.Formatter):
    """``LEVEL message``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback, if there is one."""
        return visible(redacted(hidden(super().format(record))))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line: ends of lines in what is logged are shown as codes, so that no text of an item
        looks like a line of ours."""
        return one_line(super().formatMessage(record))


class Shown(logging.Filter):
    """Of what Holdfast itself logs, wherever it goes: one line, without passwords and secrets, and
    without what a terminal would obey."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Write the message so that any handler may print it."""
        record.msg, record.args = one_line(redacted(hidden(record.getMessage()))), ()
        return True


_SHOWN = Shown()


def log_safely() -> None:
    """From now on, what Holdfast logs is fit for any handler: programs that call ``App.run`` have
    handlers of their own, or none."""
    logging.getLogger("holdfast").addFilter(_SHOWN)


class Json(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``message``, ``error``, and of an
    attempt ``item``, ``key``, ``step``, ``attempt``, ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        attempt = attempt_here()
        if attempt is not None:
            step, invocation = attempt
            item = show(invocation.item)
            line |= {
                "item": item,
                "key": invocation.key,
                "step": step,
                "trace": invocation.trace or trace_of(item),
            }
            line["attempt"] = str(invocation.attempt)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        line = {name: hidden(text) for name, text in line.items()}
        text = redacted(json.dumps(line, ensure_ascii=False))
        return (
            text
            if text.isprintable()
            else "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
        )


def log_to_stderr(form: str, level: str = "", stream: TextIO | None = None) -> None:
    """Log to stderr, once.

    Args:
        form: ``json``, or anything else for people.
        level: what is logged at least: ``debug``, ``info``, ``warning`` or ``error``; empty: what
            ``HOLDFAST_LOG_LEVEL`` says, which workers inherit, or ``warning``. Other libraries log
            from warnings on, but with ``debug``.
        stream: a stream of its own, which no step can close; None: ``sys.stderr``.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json() if form == "json" else Plain("%(levelname)s %(message)s"))
    root.addHandler(handler)
    level = (level or os.environ.get("HOLDFAST_LOG_LEVEL", "")).lower()
    number = logging.getLevelNamesMapping().get(level.upper(), logging.WARNING)
    root.setLevel(number if level == "debug" else max(number, logging.WARNING))
    logging.getLogger("holdfast").setLevel(number)
