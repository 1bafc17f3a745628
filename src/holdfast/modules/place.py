"""Which module a file is: the name under which it is loaded, and whether the import system finds it
by that name."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

MAIN = "__main__"

HOLDFAST = Path(__file__).absolute().parent.parent
"""The folder of this very Holdfast."""


class Module(msgspec.Struct, frozen=True, array_like=True):
    """Where a module is.

    Attributes:
        name: its name in ``sys.modules``.
        file: empty when the import system finds it by its name. Otherwise the file that is run
            under the first part of that name, which is then a name of our own: a script, or the
            ``__init__.py`` of a package.
    """

    name: str
    file: str = ""


def is_standard(name: str) -> bool:
    """Whether a top-level name belongs to Python's standard library."""
    return name in sys.stdlib_module_names or name in sys.builtin_module_names


def package_of(file: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that holds a file's outermost package (its own folder when it is in none), and the
    parts of its dotted name.

    A file is in a package while the folder around it has an ``__init__.py``.
    """
    folder, parts = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (folder / "__init__.py").is_file() and "." not in folder.name and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, tuple(parts) or (file.stem,)


def plain_name(stem: str) -> str:
    """A file's name as a module's: as it is if it can be imported by it, else with what cannot
    replaced."""
    return stem if "." not in stem and stem.isprintable() else re.sub(r"\W", "_", stem)


def private(file: Path, parts: tuple[str, ...]) -> Module:
    """A module under a name that nothing else has: its own with a digest of where it lies.

    Args:
        file: the module's file.
        parts: its dotted name; the first part is replaced.
    """
    packages = len(parts) - (0 if file.name == "__init__.py" else 1)
    first = file if packages == 0 else file.parents[packages - 1] / "__init__.py"
    digest = hashlib.sha256(os.fsencode(first)).hexdigest()[:8]
    return Module(".".join((f"{plain_name(parts[0])}~{digest}", *parts[1:])), str(first))


def find(name: str) -> ModuleSpec | None:
    """What the import system would load by a dotted name now, whatever is loaded already under it.
    Imports nothing.

    Only packages that are loaded already, or whose search path is known without running them, are
    looked into.
    """
    path: Any = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for number in range(1, len(parts) + 1):
        spec = _ask(".".join(parts[:number]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and number < len(parts):
            return None
    return spec


def _ask(name: str, path: Any) -> ModuleSpec | None:
    for finder in sys.meta_path:
        look = getattr(finder, "find_spec", None)
        try:
            found: ModuleSpec | None = None if look is None else look(name, path, None)
        except Exception:
            continue
        if found is not None:
            return found
    return None


def same(one: str | None, other: str | None) -> bool:
    """Whether two paths name one file; inside archives, whether they are equal."""
    if not one or not other:
        return False
    if one == other:
        return True
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def file_of(module: ModuleType) -> str | None:
    """The file that a module was loaded from, or None."""
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def is_found(name: str, file: str | None) -> bool:
    """Whether a fresh process finds this very file by a name."""
    if is_standard(name.partition(".")[0]):
        return False  # that process may have loaded the library's before it looks
    found = find(name)
    return found is not None and same(found.origin, file)
