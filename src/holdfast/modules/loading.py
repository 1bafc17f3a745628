"""Importing a user's module: by the command line and by every worker with the same function, and
what is said when it fails."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
import traceback
from functools import partial
from importlib.abc import InspectLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from holdfast.errors import HoldfastError, ModuleError
from holdfast.modules.guard import REMEDY, importing
from holdfast.modules.place import HOLDFAST, MAIN, Module, find

LIMIT = 500
"""Characters of an exception's text that a message repeats."""


def load(module: Module, shown: str = "") -> ModuleType:
    """Import a module.

    Args:
        module: where it is.
        shown: what the user calls it.

    Raises:
        ModuleError: it cannot be imported; the message says why, with file and line.
        HoldfastError: a step or pipeline in it is declared wrongly.
    """
    shown = shown or (module.file or module.name)
    try:
        return importing(shown, partial(_import, module))
    except (HoldfastError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ModuleError(_explain(error, module, shown)) from error


def _import(module: Module) -> ModuleType:
    if module.file:
        _import_file(module.name.partition(".")[0], Path(module.file))
    return importlib.import_module(module.name)


def _import_file(name: str, file: Path) -> None:
    """Run a file as the module of that name, as the import system would."""
    if name in sys.modules:
        return
    folder = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)
    if not file.is_file():  # the main program of an archive
        spec = importlib.util.spec_from_loader(name, _Archived(file.parent), origin=str(file))
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    loaded = importlib.util.module_from_spec(spec)
    loaded.__file__ = str(file)
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        sys.modules.pop(name, None)
        raise


class _Archived(InspectLoader):
    """Loads the main program of an archive (a zipapp) under another name.

    Args:
        archive: the archive's file.
    """

    def __init__(self, archive: Path) -> None:
        spec = importlib.machinery.PathFinder.find_spec(MAIN, [str(archive)])
        if spec is None or not hasattr(spec.loader, "get_code"):
            raise ImportError(f"{archive} has no {MAIN}.py")
        self._inner: Any = spec.loader

    def get_code(self, fullname: str) -> CodeType | None:
        """The main program's code."""
        code: CodeType | None = self._inner.get_code(MAIN)
        return code

    def get_source(self, fullname: str) -> str | None:
        """The main program's source."""
        source: str | None = self._inner.get_source(MAIN)
        return source


# -- what is said --------------------------------------------------------------------------------


def _explain(error: BaseException, module: Module, shown: str) -> str:
    where = _where(error)
    at = f" ({where})" if where else ""
    if isinstance(error, SystemExit):
        said = f" with {error.code!r}" if error.code is not None else ""
        return f"{shown} ended the program{said} while it was imported{at}: {REMEDY}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name, module, shown, where)
    if isinstance(error, SyntaxError):
        line = f"{error.filename}:{error.lineno}" if error.lineno else error.filename or shown
        hint = ": save it as UTF-8" if "codec can't decode" in str(error.msg) else ""
        return f"{shown} cannot be imported: {type(error).__name__}: {error.msg} ({line}){hint}"
    text = _text(error)
    hint = ""
    if isinstance(error, ImportError) and "no known parent package" in text:
        hint = (
            ": a file with relative imports belongs into a package: add an __init__.py "
            "beside it, or name it package.module"
        )
    return (
        f"{shown} cannot be imported: {type(error).__name__}{': ' if text else ''}{text}{at}{hint}"
    )


def _missing(name: str, module: Module, shown: str, where: str) -> str:
    """A module was not found: the one that was asked for, or one that it needs."""
    if not where and (module.name == name or module.name.startswith(f"{name}.")):
        return (
            f"there is no module {name!r}: run from the directory that contains it, or "
            "name its file (path/to/file.py)"
        )
    parent, _, _ = name.rpartition(".")
    lacks = (
        f", which {parent!r} does not have"
        if parent and find(name.partition(".")[0])
        else ", which is not installed"
    )
    return f"{shown} needs {name!r}{lacks}{f' ({where})' if where else ''}"


def _text(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    return text if len(text) <= LIMIT else f"{text[:LIMIT]} …"


def _where(error: BaseException) -> str:
    """File and line of the innermost frame in the user's own code; empty if there is none."""
    frames = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [
        (file, line)
        for file, line in frames
        if not file.startswith("<") and not _is_installed(file)
    ]
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""


def _is_installed(file: str) -> bool:
    paths = sysconfig.get_paths()
    roots = {paths["stdlib"], paths["platstdlib"], str(HOLDFAST)}
    return (
        "site-packages" in file
        or "dist-packages" in file
        or any(file.startswith(root + os.sep) for root in roots)
    )
