"""Finding what a command names: pipelines in modules, payloads in arguments, items and dead letters in the ledger."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from holdfast.app import App
from holdfast.errors import DefinitionError, HoldfastError, InputError
from holdfast.model.codec import decode, describe
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


def read_payloads(pipeline: Pipeline[Any, Any], arguments: list[str]) -> Iterator[Any]:
    """Payloads from command-line arguments: what the pipeline's ``inputs`` makes of each, JSON, ``file.jsonl``, or ``-`` for lines on stdin.

    Raises:
        InputError: an argument is none of these, or a line does not fit; the message says which.
    """
    for argument in arguments:
        if argument == "-":
            # Not sys.stdin: a thread that blocks in it would keep the interpreter from ending.
            with open(0, encoding="utf-8-sig", closefd=False) as lines:
                yield from _lines(pipeline, lines, "stdin")
        elif pipeline.inputs is not None and not argument.startswith("{"):
            yield from pipeline.inputs(argument)
        elif argument.endswith((".jsonl", ".ndjson")):
            try:
                with open(argument, encoding="utf-8-sig") as file:
                    yield from _lines(pipeline, file, argument)
            except OSError as error:
                raise InputError(f"{argument} cannot be read: {error.strerror}") from None
        else:
            yield _decode(pipeline, argument, "the argument")


def _lines(pipeline: Pipeline[Any, Any], lines: Any, where: str) -> Iterator[Any]:
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _decode(pipeline, line, f"line {number} of {where}")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 after line {number} ({error.reason}): payloads are read as UTF-8") from None


def _decode(pipeline: Pipeline[Any, Any], text: str, where: str) -> Any:
    try:
        return decode(text.encode(), pipeline.input_type)
    except (msgspec.MsgspecError, UnicodeEncodeError, ValueError, TypeError) as first:
        if pipeline.input_type is str:
            return text.rstrip("\n")
        raise InputError(
            f"{where} is not a {describe(pipeline.input_type)} as JSON ({first}): give JSON, a .jsonl file, or - for lines on stdin"
        ) from None


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


def manifest_keys(file: Path) -> list[str]:
    """The keys of a manifest file: one a line, or a JSON array of texts.

    Raises:
        InputError: it cannot be read as either.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"manifest {file} cannot be read: {error}") from None
    if text.lstrip().startswith("["):
        try:
            keys = json.loads(text)
        except ValueError as error:
            raise InputError(f"manifest {file} is no JSON array: {error}") from None
        if not all(isinstance(key, str) for key in keys):
            raise InputError(f"manifest {file} must be an array of texts, or one key a line")
        return list(keys)
    return [line.strip() for line in text.splitlines() if line.strip()]
