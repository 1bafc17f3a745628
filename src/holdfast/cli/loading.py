"""Finding what a command names: pipelines in modules, items and dead letters in the ledger."""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from typing import Any

from holdfast.app import App
from holdfast.errors import DefinitionError, ModuleError
from holdfast.model.pipeline import Pipeline
from holdfast.modules.loading import load
from holdfast.modules.pipelines import held
from holdfast.modules.targets import Target, locate, read_target


def load_module(name: str) -> ModuleType:
    """Import ``package.module`` or ``path/to/file.py``; what it prints goes to stderr.

    Raises:
        ModuleError: it cannot be imported; the message says what failed.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return load(locate(name), name)


def load_pipeline(target: str) -> Pipeline[Any, Any]:
    """The pipeline that ``MODULE:PIPELINE`` names, by its variable or its name.

    ``MODULE`` alone will do when it has one.

    Raises:
        ModuleError: no such module or pipeline; the message lists those that there are.
    """
    asked = read_target(target)
    found = _named(asked)
    if len(found) > 1:
        raise ModuleError(
            f"name a pipeline of {asked.module!r}: "
            f"{', '.join(f'{asked.module}:{name}' for name in found)}"
        )
    return next(iter(found.values()))


def load_pipelines(targets: list[str]) -> list[Pipeline[Any, Any]]:
    """All pipelines of the named modules (or single ones by ``MODULE:PIPELINE``).

    Raises:
        ModuleError: no such module or pipeline; the message lists those that there are.
        DefinitionError: two of them have one name and version.
    """
    found = {id(one): one for target in targets for one in _named(read_target(target)).values()}
    names = [(one.name, one.version) for one in found.values()]
    if len(set(names)) < len(names):
        name, version = max(names, key=names.count)
        raise DefinitionError(
            f"two pipelines are called {name!r} and have version {version!r}: give one of "
            "them name=… or another version"
        )
    return list(found.values())


def _named(asked: Target) -> dict[str, Pipeline[Any, Any]]:
    """By the variable that holds each, the pipelines of a module, or those that were asked for."""
    all_held = {".".join(map(str, at)): one for at, one in held(load_module(asked.module))}
    distinct: dict[int, str] = {}
    for name, one in all_held.items():
        distinct.setdefault(id(one), name)
    found = {name: all_held[name] for name in distinct.values()}
    if not found:
        raise ModuleError(
            f"module {asked.module!r} has no pipeline: declare one with @pipeline(version=…, key=…)"
        )
    if not asked.pipeline:
        return found
    if asked.pipeline in all_held:
        return {asked.pipeline: all_held[asked.pipeline]}
    by_name = {name: one for name, one in found.items() if one.name == asked.pipeline}
    if not by_name:
        known = ", ".join(f"{asked.module}:{name}" for name in found)
        raise ModuleError(
            f"module {asked.module!r} has no pipeline {asked.pipeline!r}: it has {known}"
        )
    return by_name


def find_item(app: App, text: str, pipeline: str | None = None, prefer: str = "") -> int:
    """The item that an id or a key names; see :meth:`holdfast.ledgers.naming.Naming.item`.

    Raises:
        NotFoundError: neither.
        InputError: it names several.
    """
    reads = app.reads()
    try:
        return reads.naming.item(text, pipeline or "", prefer)
    finally:
        reads.close()
