"""Which files lie beside a module and are imported by it under one name: seen in their source,
without running it."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from holdfast.model.source import parse

LIMIT = 500
"""Files that are looked into for one module."""


class Neighbour(msgspec.Struct, frozen=True):
    """A top-level name that a user's file imports, where a file or package of that name lies beside
    it.

    Attributes:
        name: the name.
        file: what lies there: a module's file, or a package's ``__init__.py``.
        folder: the folder that it was found in.
        by: the file that imports it.
    """

    name: str
    file: Path
    folder: Path
    by: Path


def neighbours(file: Path, folders: Iterable[Path]) -> list[Neighbour]:
    """What a file imports from these folders, and what those files import from there.

    Args:
        file: where to begin.
        folders: in the order in which they are looked into.
    """
    places = list(folders)
    found: dict[str, Neighbour] = {}
    todo, seen = [file], {file}
    while todo and len(seen) < LIMIT:
        by = todo.pop(0)
        for name in dict.fromkeys(_imported(by)):
            # nobody imports himself: a library of that name is meant
            if name in found or (by == file and name == file.stem):
                continue
            one = next(
                (
                    Neighbour(name, there, folder, by)
                    for folder in places
                    if (there := _lies(folder, name))
                ),
                None,
            )
            if one is None:
                continue
            found[name] = one
            if one.file not in seen:
                seen.add(one.file)
                todo.append(one.file)
    return list(found.values())


def _lies(folder: Path, name: str) -> Path | None:
    for file in (folder / name / "__init__.py", folder / f"{name}.py"):
        if file.is_file():
            return file.resolve()
    return None


def _imported(file: Path) -> Iterator[str]:
    """The top-level names that a file imports absolutely, anywhere in it; none if it cannot be
    read."""
    try:
        with tokenize.open(file) as source:
            tree = parse(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
