"""What users name on the command line: a module by its dotted name or its file, and a pipeline in
it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import msgspec

from holdfast.errors import ModuleError
from holdfast.modules.path import add_folders, claim, settle
from holdfast.modules.place import MAIN, Module, find, is_found, package_of, plain_name, private


class Target(msgspec.Struct, frozen=True):
    """``MODULE`` or ``MODULE:PIPELINE``.

    Attributes:
        module: a dotted name, or the path of a file.
        pipeline: the variable, or the name, of a pipeline; empty for all of the module's.
    """

    module: str
    pipeline: str = ""


def read_target(text: str) -> Target:
    """Split ``MODULE:PIPELINE``. A colon in a path is part of the path."""
    if ":" not in text or Path(text).exists():
        return Target(text)
    module, _, pipeline = text.rpartition(":")
    if re.search(r"[\\/]", pipeline) or pipeline.endswith((".py", ".ipynb")) or not module:
        return Target(text)
    return Target(module, pipeline)


def locate(name: str) -> Module:
    """The module that a dotted name or a path means; its folders are on the path afterwards.

    A name means a file below the working directory first, then whatever Python finds by it.

    Raises:
        ModuleError: there is no such module, or it cannot have its neighbours' names in this
            process.
    """
    _leave_cwd_last()
    if _is_path(name):
        return module_at(_python_file(name))
    here = Path.cwd().resolve()
    below = here.joinpath(*name.split("."))
    file = next(
        (
            one
            for one in (below / "__init__.py", below.with_name(f"{below.name}.py"))
            if one.is_file()
        ),
        None,
    )
    if file is None:
        if not (below.is_dir() or find(name.partition(".")[0])):
            raise ModuleError(
                f"there is no module {name!r}: run from the directory that contains it, or "
                "name its file (path/to/file.py)"
            )
        add_folders([here])
        found = find(name)
        if below.is_dir() and (found is None or found.origin is None):
            _python_file(str(Path(*name.split("."))))  # says that it is a folder
        return Module(name)
    # below folders without __init__.py: found by its full name where nothing else is called so
    if package_of(file)[0] != here:
        settle(file, [here])
        if is_found(name, str(file)):
            return Module(name)
    return module_at(file)


def module_at(file: Path) -> Module:
    """The module that a file is: part of its package, under its own name, or, if something else has
    that, under one of ours.

    Raises:
        ModuleError: it imports a file beside it under a name that another module's file has
            already.
    """
    file = file.resolve()
    root, parts = package_of(file)
    top = parts[0]
    packaged = len(parts) > 1 or file.name == "__init__.py"
    first = root / top / "__init__.py" if packaged else file
    name = plain_name(top)
    taken = claim(name, first)
    settle(file, list(dict.fromkeys((file.parent, root, Path.cwd().resolve()))), first, taken)
    if taken:
        return private(file, parts)
    return Module(".".join((name, *parts[1:])), "" if name == top else str(first))


def _is_path(name: str) -> bool:
    return (
        os.sep in name
        or "/" in name
        or name.endswith((".py", ".pyw", ".ipynb", ".pyz"))
        or Path(name).is_file()
        or name in (".", "..", "")
    )


def _python_file(name: str) -> Path:
    """The file that a path names.

    Raises:
        ModuleError: it is no Python file; the message says what it is.
    """
    path = Path(name)
    if name.endswith(".ipynb"):
        raise ModuleError(
            f"{name} is a notebook, which workers cannot import: put its pipelines and steps "
            "into a .py file and name that"
        )
    if path.is_dir():
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
        inside = sorted(one.name for one in path.iterdir() if one.suffix == ".py")
        shown = (
            f": name a file in it, such as {path / inside[0]}"
            if inside
            else ", with no Python file in it"
        )
        raise ModuleError(f"{name or '.'} is a folder{shown}")
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        raise ModuleError(f"there is no file {name}")
    if path.suffix not in (".py", ".pyw"):
        raise ModuleError(
            f"{name} is no Python file: name one that ends in .py, or a module by its dotted name"
        )
    return path


def _leave_cwd_last() -> None:
    """``python -m holdfast`` puts the working directory before the standard library; it is found
    after installed libraries, as with ``holdfast``."""
    main = sys.modules.get(MAIN)
    spec = getattr(main, "__spec__", None)
    started = spec is not None and spec.name == "holdfast.__main__" and not sys.flags.safe_path
    if (
        started
        and sys.path
        and sys.path[0] in ("", os.getcwd())
        and os.getcwd() not in sys.path[1:]
    ):
        sys.path.append(sys.path.pop(0) or os.getcwd())
