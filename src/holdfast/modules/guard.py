"""What a module must not do while it is imported: hand items in, or be a runner. A worker is no
runner either."""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TypeVar

from holdfast.errors import ModuleError
from holdfast.model.source import parse
from holdfast.modules.place import MAIN, file_of

T = TypeVar("T")

REMEDY = 'put what the program does below `if __name__ == "__main__":`'


def importing(what: str, work: Callable[[], T]) -> T:
    """Run ``work``, which imports ``what``. Its frame on the stack says so to
    :func:`refuse_while_importing`, also to threads that the module starts meanwhile."""
    return work()


def as_worker(work: Callable[[], T]) -> T:
    """Run ``work``, which is all that a worker process does. Its frame on the stack says so to
    :func:`refuse_in_worker`."""
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
            raise ModuleError(
                f"{where} calls {what} while {who} it, which would run it once more: {REMEDY}"
            )


def refuse_in_worker(what: str) -> None:
    """Refuse what only a runner's own process can do.

    Raises:
        ModuleError: this is a worker process.
    """
    if _is_worker():
        raise ModuleError(
            f"{what} was called inside a worker process, which cannot be a runner: {REMEDY}"
        )


def unguarded_line() -> int | None:
    """The line of the main program that is being run now and would be run again by whoever imports
    its file; None if there is none: everything that runs is below ``if __name__ == "__main__":``,
    or the main program has no readable file."""
    main = sys.modules.get(MAIN)
    file = None if main is None else file_of(main)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if (
            main is not None
            and frame.f_globals is main.__dict__
            and frame.f_code.co_name == "<module>"
        ):
            return frame.f_lineno if file and not _is_guarded(file, frame.f_lineno) else None
        frame = frame.f_back
    return None


def is_only_guarded(file: str, name: str) -> bool:
    """Whether a file binds a variable only below ``if __name__ == "__main__":``, so that who
    imports it does not have it."""
    tree = _parsed(file)
    guarded = [] if tree is None else _guarded(tree)
    lines = [] if tree is None else [line for bound, line in _bindings(tree) if bound == name]
    return bool(lines) and all(any(line in part for part in guarded) for line in lines)


def _is_guarded(file: str, line: int) -> bool:
    tree = _parsed(file)
    return tree is None or any(line in part for part in _guarded(tree))


def _parsed(file: str) -> ast.Module | None:
    try:
        with tokenize.open(file) as source:
            return parse(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _guarded(tree: ast.Module) -> list[range]:
    """The lines that run only in the main program."""
    guards = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and _asks_for_name(node.test)
    ]
    return [
        range(node.body[0].lineno, (node.body[-1].end_lineno or node.body[-1].lineno) + 1)
        for node in guards
    ]


def _bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The names that a module binds outside of functions and classes, and in which line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0], node.lineno
        yield from _bindings(node)


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
