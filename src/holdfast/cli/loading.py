"""Finding what a command names: pipelines in modules, payloads in arguments, items and dead letters in the ledger."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from holdfast.app import App
from holdfast.errors import DefinitionError, InputError, ModuleError, NotFoundError
from holdfast.model.codec import decode, describe
from holdfast.model.ids import parse
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
    """The pipeline that ``MODULE:PIPELINE`` names, by its variable or its name; ``MODULE`` alone when it has one.

    Raises:
        ModuleError: no such module or pipeline; the message lists those that there are.
    """
    asked = read_target(target)
    found = _named(asked)
    if len(found) > 1:
        raise ModuleError(f"name a pipeline of {asked.module!r}: {', '.join(f'{asked.module}:{name}' for name in found)}")
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
        raise DefinitionError(f"two pipelines are called {name!r} and have version {version!r}: give one of them name=… or another version")
    return list(found.values())


def _named(asked: Target) -> dict[str, Pipeline[Any, Any]]:
    """By the variable that holds each, the pipelines of a module, or those that were asked for."""
    all_held = {".".join(map(str, at)): one for at, one in held(load_module(asked.module))}
    distinct: dict[int, str] = {}
    for name, one in all_held.items():
        distinct.setdefault(id(one), name)
    found = {name: all_held[name] for name in distinct.values()}
    if not found:
        raise ModuleError(f"module {asked.module!r} has no pipeline: declare one with @pipeline(version=…, key=…)")
    if not asked.pipeline:
        return found
    if asked.pipeline in all_held:
        return {asked.pipeline: all_held[asked.pipeline]}
    by_name = {name: one for name, one in found.items() if one.name == asked.pipeline}
    if not by_name:
        known = ", ".join(f"{asked.module}:{name}" for name in found)
        raise ModuleError(f"module {asked.module!r} has no pipeline {asked.pipeline!r}: it has {known}")
    return by_name


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
