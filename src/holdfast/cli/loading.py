"""Finding what a command names: pipelines in modules, items and dead letters in the ledger."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from holdfast.app import App
from holdfast.errors import DefinitionError, HoldfastError, InputError, NotFoundError
from holdfast.model.ids import parse
from holdfast.model.pipeline import Pipeline


def load_module(name: str) -> Any:
    """Import ``package.module`` or ``path/to/file.py``, with the working directory on the path.

    Raises:
        InputError: it cannot be imported; the message says what failed.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if name.endswith(".py"):
        file = Path(name).absolute()
        if not file.is_file():
            raise InputError(f"there is no file {name}")
        sys.path.insert(0, str(file.parent))
        name = file.stem
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise InputError(f"there is no module {name!r}: run from the directory that contains it, or name its file (path/to/file.py)") from None
        raise InputError(f"module {name!r} needs {error.name!r}, which is not installed: pip install it") from None
    except HoldfastError:
        raise
    except Exception as error:
        raise InputError(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def load_pipeline(target: str) -> Pipeline[Any, Any]:
    """The pipeline that ``MODULE:PIPELINE`` names; ``MODULE`` alone when it has one.

    Raises:
        InputError: no such module or pipeline; the message lists those that there are.
    """
    module_name, _, attribute = target.rpartition(":") if ":" in target else (target, "", "")
    module = load_module(module_name)
    found = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    if not found:
        raise InputError(f"module {module_name!r} has no pipeline: declare one with @pipeline(version=…, key=…)")
    if not attribute and len(found) == 1:
        return next(iter(found.values()))
    if attribute not in found:
        raise InputError(f"name a pipeline of {module_name!r}: {', '.join(f'{module_name}:{name}' for name in found)}")
    return found[attribute]


def load_pipelines(targets: list[str]) -> list[Pipeline[Any, Any]]:
    """All pipelines of the named modules (or single ones by ``MODULE:PIPELINE``)."""
    found: dict[int, Pipeline[Any, Any]] = {}
    for target in targets:
        if ":" in target:
            one = load_pipeline(target)
            found[id(one)] = one
            continue
        module = load_module(target)
        new = [value for value in vars(module).values() if isinstance(value, Pipeline)]
        if not new:
            raise InputError(f"module {target!r} has no pipeline: declare one with @pipeline(version=…, key=…)")
        found |= {id(one): one for one in new}
    names = [(one.name, one.version) for one in found.values()]
    if len(set(names)) < len(names):
        name, version = max(names, key=names.count)
        raise DefinitionError(f"two pipelines are called {name!r} and have version {version!r}: give one of them name=… or another version")
    return list(found.values())


def find_item(app: App, text: str) -> int:
    """The item that an id or a key names.

    Raises:
        NotFoundError: neither.
    """
    reads = app.reads()
    try:
        number = parse(text)
        reads.item(number)
        return number
    except NotFoundError:
        by_key = reads.item_by_key(text)
        if by_key is None:
            raise NotFoundError(f"no item has the id or key {text!r}: `holdfast items` lists them") from None
        return by_key
    finally:
        reads.close()
