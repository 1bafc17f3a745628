"""Users' folders on the path: behind the standard library and installed libraries, except for the
names that their own files import."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from holdfast.errors import ModuleError
from holdfast.modules.neighbours import Neighbour, neighbours
from holdfast.modules.place import file_of, find, is_standard, same

log = logging.getLogger("holdfast")


class OwnFiles:
    """A finder (``sys.meta_path``) of top-level names that users' files import and that lie beside
    them.

    Everything else in those folders is found last, so that a file called like a library hides it
    from nobody.

    Args:
        folders: by name, the folder that it is found in.
    """

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of that name in the folder that has it, if it is one of these names."""
        folder = self.folders.get(name)
        return (
            None
            if folder is None or path is not None
            else PathFinder.find_spec(name, [folder], target)
        )


def own_files() -> OwnFiles | None:
    """This process's finder of users' own files, if it has one."""
    return next((one for one in sys.meta_path if isinstance(one, OwnFiles)), None)


def take_own_files(folders: dict[str, str]) -> OwnFiles:
    """Find these names in these folders, beside those that are found so already."""
    finder = own_files()
    if finder is None:
        finder = OwnFiles({})
        sys.meta_path.insert(0, finder)
    finder.folders.update(folders)
    return finder


def add_folders(folders: Iterable[Path]) -> None:
    """Append folders to ``sys.path`` that are not on it."""
    known = {os.path.realpath(one) for one in sys.path if isinstance(one, str)}
    for folder in folders:
        if str(folder) not in known:
            sys.path.append(str(folder))
            known.add(str(folder))


def absolute_path() -> list[str]:
    """``sys.path`` for another process: relative entries (``''`` is the working directory) made
    absolute."""
    return list(
        dict.fromkeys(
            os.path.abspath(os.fspath(one))
            for one in sys.path
            if isinstance(one, str | os.PathLike)
        )
    )


def claim(name: str, top: Path) -> str:
    """Give a module of the user's its own name, unless something else has it.

    Args:
        name: the top-level name.
        top: the module's file, or the ``__init__.py`` of its outermost package.

    Returns:
        What has the name instead: a file, or words for it. Empty if the module has it.
    """
    taken = _taken(name, top, own_files())
    if not taken:
        take_own_files({name: str(top.parent.parent if top.name == "__init__.py" else top.parent)})
    return taken


def settle(file: Path, folders: list[Path], top: Path | None = None, taken: str = "") -> None:
    """Put a module's folders on the path, and give the files beside it the names by which it
    imports them.

    Args:
        file: the module.
        folders: its own, its package's, the working directory.
        top: the file that :func:`claim` was asked about.
        taken: what it said.

    Raises:
        ModuleError: it imports a file beside it under a name that a file of another folder has
            already.
    """
    add_folders(folders)
    finder = take_own_files({})
    for one in neighbours(file, folders):
        if taken and same(str(one.file), str(top)):
            _differs(one, taken, one.name in finder.folders)
        else:
            _settle(one, finder)


def _taken(name: str, top: Path, own: OwnFiles | None) -> str:
    """What else has a name: its file, or words for it. Empty if nothing has."""
    if is_standard(name):
        return "the standard library's"
    if name in sys.modules:
        there = file_of(sys.modules[name])
        return "" if same(there, str(top)) else there or "another package"
    if own is not None and name in own.folders:
        spec = own.find_spec(name)
        return (
            "" if spec is None or same(spec.origin, str(top)) else spec.origin or own.folders[name]
        )
    found = find(name)
    if found is None or found.origin is None or same(found.origin, str(top)):
        return ""  # a folder without __init__.py gives way to a file
    return "" if top.name == "__init__.py" else found.origin


def _settle(one: Neighbour, finder: OwnFiles) -> None:
    """Give a neighbour its name, unless that belongs to the standard library, or to another file
    already."""
    if is_standard(one.name):
        _differs(one, "the standard library's", False)
    elif one.name in sys.modules:
        there = file_of(sys.modules[one.name])
        if not same(there, str(one.file)):
            _differs(one, there or "another package", one.name in finder.folders)
    elif finder.folders.setdefault(one.name, str(one.folder)) != str(one.folder):
        _differs(one, str(finder.folders[one.name]), True)


def _differs(one: Neighbour, there: str, own: bool) -> None:
    """A file imports a name and means, or may mean, what lies beside it; it gets something else."""
    if own:
        raise ModuleError(
            f"{one.by} imports {one.name!r} and means {one.file}, but {there} has that name "
            "in this process: give one of them another "
            "name, put each folder's files into a package of its own (with an __init__.py), "
            "or run them by two runners"
        )
    if one.folder == one.by.parent or one.file.parent in one.by.parents:
        log.warning(
            "%s imports %r and gets %s, not %s beside it: rename that file if you mean it",
            one.by,
            one.name,
            there,
            one.file,
        )
