"""What a module must not do while it is imported: hand items in, or be a runner. A worker is no
runner either."""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from holdfast.errors import ModuleError
from holdfast.model.source import parse
from holdfast.modules.place import MAIN, file_of

T = TypeVar("T")

REMEDY = 'put what the program does below `if __name__ == "__main__":`'


_importing: list[str] = []
"""What this process imports now, in whatever thread. (The stacks of other threads do not say so:
they change while they are walked, and a walk was seen that did not end.)"""

_working: list[str] = []
"""Not empty in a worker process."""


def importing(what: str, work: Callable[[], T]) -> T:
    """Run ``work``, which imports ``what``. :func:`refuse_while_importing` knows it meanwhile, also
    in threads that the module starts."""
    _importing.append(what)
    try:
        return work()
    finally:
        _importing.remove(what)


def as_worker(work: Callable[[], T]) -> T:
    """Run ``work``, which is all that a worker process does; :func:`refuse_in_worker` knows it."""
    _working.append("worker")
    try:
        return work()
    finally:
        _working.pop()


def refuse_while_importing(what: str) -> None:
    """Refuse what opens a ledger for writing while a module is being imported.

    Args:
        what: what was asked for, as the message says it.

    Raises:
        ModuleError: a module is being imported, by the command line or by a worker.
    """
    for where in _importing[:1]:
        who = "a worker imports" if _working else "Holdfast imports"
        raise ModuleError(
            f"{where} calls {what} while {who} it, which would run it once more: {REMEDY}"
        )


def refuse_in_worker(what: str) -> None:
    """Refuse what only a runner's own process can do.

    Raises:
        ModuleError: this is a worker process.
    """
    if _working:
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
