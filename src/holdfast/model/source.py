"""Reading Python source."""

from __future__ import annotations

import ast

_TRIES = 5


def parse(text: str) -> ast.Module:
    """Parse source text.

    CPython 3.11 may raise ``SystemError`` when two threads parse at the same time
    (python/cpython#106905), so that is tried again.

    Raises:
        SyntaxError, ValueError, RecursionError: it is no Python.
    """
    for _ in range(_TRIES - 1):
        try:
            return ast.parse(text)
        except SystemError:
            continue
    return ast.parse(text)
