"""Where the caller of a public function is: the frame, file and line of code that is not Holdfast's
own."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from types import FrameType
from typing import Any

from holdfast.model.source import parse


def caller() -> FrameType | None:
    """The innermost frame of code that is not Holdfast's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not _ours(frame):
            return frame
        frame = frame.f_back
    return None


def _ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] == "holdfast" and not name.startswith("holdfast.examples.")


def raised_at(error: BaseException) -> str:
    """File and line of the innermost code that is not Holdfast's own and that an error came
    through; else of the caller. Or nothing."""
    found, at = "", error.__traceback__
    while at is not None:
        if not _ours(at.tb_frame):
            found = _place(at.tb_frame.f_code.co_filename, at.tb_lineno)
        at = at.tb_next
    frame = caller()
    return found or (place(frame) if frame is not None else "")


def caller_names() -> dict[str, Any]:
    """Local names where something is declared, so that annotations inside a function resolve."""
    frame = caller()
    return dict(frame.f_locals) if frame is not None else {}


def place(frame: FrameType) -> str:
    """File and line, relative to the working directory for a file below it."""
    return _place(frame.f_code.co_filename, frame.f_lineno)


def _place(path: str, line: int) -> str:
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        relative = path
    return f"{path if relative.startswith('..') else relative}:{line}"


def surrounding(frame: FrameType) -> str:
    """`` for 'ocr'`` when a decorator of ``ocr`` is being evaluated; `` in 'claims'`` inside a
    function of that name."""
    name = decorated(frame)
    if name:
        return f" for {name!r}"
    inside = [part for part in frame.f_code.co_qualname.split(".") if part.isidentifier()]
    return f" in {inside[-1]!r}" if inside else ""


def decorated(frame: FrameType | None) -> str:
    """The name of the function or class whose decorator a frame evaluates, or nothing."""
    if frame is None:
        return ""
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    for node in ast.walk(tree):
        marks = getattr(node, "decorator_list", [])
        if any(one.lineno <= frame.f_lineno <= (one.end_lineno or 0) for one in marks):
            return str(getattr(node, "name", ""))
    return ""
