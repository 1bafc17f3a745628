"""What a module must not do while it is imported: hand items in, or be a runner. A worker is no runner either."""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TypeVar

from holdfast.errors import ModuleError
from holdfast.modules.place import MAIN, file_of

T = TypeVar("T")

REMEDY = 'put what the program does below `if __name__ == "__main__":`'


def importing(what: str, work: Callable[[], T]) -> T:
    """Run ``work``, which imports ``what``. Its frame on the stack says so to :func:`refuse_while_importing`, also to
    threads that the module starts meanwhile."""
    return work()


def as_worker(work: Callable[[], T]) -> T:
    """Run ``work``, which is all that a worker process does. Its frame on the stack says so to :func:`refuse_in_worker`."""
    return work()


def refuse_while_importing(what: str) -> None:
    """Refuse what opens a ledger for writing while a module is being imported.

    Args:
        what: what was asked for, as the message says it.

    Raises:
        ModuleError: a module is being imported, by the command line or by a worker.
    """
    for frame in _frames():
        if frame.f_code is importing.__code__:
            where = frame.f_locals.get("what", "a module")
            who = "a worker imports" if _is_worker() else "Holdfast imports"
            raise ModuleError(f"{where} calls {what} while {who} it, which would run it once more: {REMEDY}")


def refuse_in_worker(what: str) -> None:
    """Refuse what only a runner's own process can do.

    Raises:
        ModuleError: this is a worker process.
    """
    if _is_worker():
        raise ModuleError(f"{what} was called inside a worker process, which cannot be a runner: {REMEDY}")


def unguarded_line() -> int | None:
    """The line of the main program that is being run now and would be run again by whoever imports its file; None if there
    is none: everything that runs is below ``if __name__ == "__main__":``, or the main program has no readable file."""
    main = sys.modules.get(MAIN)
    file = None if main is None else file_of(main)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if main is not None and frame.f_globals is main.__dict__ and frame.f_code.co_name == "<module>":
            return frame.f_lineno if file and not _is_guarded(file, frame.f_lineno) else None
        frame = frame.f_back
    return None


def _is_guarded(file: str, line: int) -> bool:
    try:
        with tokenize.open(file) as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return True
    guards = (node for node in ast.walk(tree) if isinstance(node, ast.If) and _asks_for_name(node.test))
    return any(node.body[0].lineno <= line <= (node.body[-1].end_lineno or line) for node in guards)


def _asks_for_name(test: ast.expr) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "__name__" for one in ast.walk(test))


def _is_worker() -> bool:
    return any(frame.f_code is _WORKER for frame in _frames())


_WORKER: CodeType = as_worker.__code__


def _frames() -> Iterator[FrameType]:
    """The frames of all threads."""
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            yield frame
            frame = frame.f_back
