"""Reading what the command line is given: payloads in arguments, files and on stdin; manifests.

Whatever is wrong with one argument, line or file is yielded as refused, and what follows is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from holdfast.errors import InputError, LedgerError
from holdfast.inputs import Found, Handed, Input, Refused, Skipped, said
from holdfast.model.codec import decode, describe
from holdfast.model.content import content_digest
from holdfast.model.pipeline import Pipeline
from holdfast.settings import Settings

_REST = 1024 * 1024
"""Bytes of a line that is too long, read at a time only to find its end."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"

UTF_16 = "is UTF-16, and payloads are read as UTF-8: `iconv -f UTF-16 -t UTF-8` converts it"
HOW = "give JSON, a .json or .jsonl file, or - for lines on stdin"


def read_payloads(
    pipeline: Pipeline[Any, Any], arguments: list[str], settings: Settings
) -> Iterator[Handed]:
    """Read payloads from arguments.

    An argument is what the pipeline's ``inputs`` makes of it, JSON, a ``.json`` document, the lines
    of a ``.jsonl`` file, or ``-`` for lines on stdin.

    Args:
        pipeline: whose payloads they are.
        arguments: as given.
        settings: how large an input may be.

    Yields:
        Payloads with their source, what is skipped, and what is refused; each line and each file on
        its own.
    """
    limit = settings.input_mb * 1024 * 1024
    for argument in arguments:
        suffix = os.path.splitext(argument)[1].casefold()
        if argument == "-":
            # Not sys.stdin: a thread that blocks in it would keep the interpreter from ending.
            with open(0, "rb", closefd=False) as lines:
                yield from _lines(pipeline, lines, "stdin", limit)
        elif pipeline.inputs is not None and (
            not argument.startswith("{") or os.path.lexists(argument)
        ):
            yield from _made(pipeline, argument)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _file(pipeline, argument, limit)
        elif suffix == ".json":
            yield _document(pipeline, argument, limit)
        else:
            yield _argument(pipeline, argument)


def one_payload(pipeline: Pipeline[Any, Any], argument: str, settings: Settings) -> Input:
    """The one payload that an argument gives.

    Raises:
        InputError: it gives none, more than one, or something that is refused.
    """
    found = list(read_payloads(pipeline, [argument], settings))
    for one in found:
        if isinstance(one, Refused):
            raise InputError(f"{one.source}: {one.reason}")
    payloads = [one for one in found if isinstance(one, Input)]
    if len(payloads) != 1:
        skipped = next(
            (f" ({one.reason}: {one.path})" for one in found if isinstance(one, Skipped)), ""
        )
        raise InputError(
            f"{argument} gives {len(payloads) or 'no'} payloads{skipped}: name exactly one input"
        )
    return payloads[0]


def manifest_keys(file: Path) -> list[str]:
    """The keys of a manifest file: a line each, NUL between them, or a JSON array of texts.

    ``find -print0`` writes NUL.

    Raises:
        InputError: it cannot be read as any of these.
    """
    try:
        text = file.read_bytes().removeprefix(_BOM).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"manifest {file} cannot be read: {error}") from None
    if text.lstrip().startswith("["):
        try:
            keys = json.loads(text)
        except ValueError as error:
            raise InputError(f"manifest {file} is no JSON array: {error}") from None
        if not all(isinstance(key, str) for key in keys):
            raise InputError(f"manifest {file} must be an array of texts, or one key a line")
        return list(keys)
    if "\x00" in text:
        return [key for key in text.split("\x00") if key]
    return [line for line in (line.removesuffix("\r") for line in text.split("\n")) if line.strip()]


def _made(pipeline: Pipeline[Any, Any], argument: str) -> Iterator[Handed]:
    """What the ``inputs=`` function makes of an argument.

    What it raises ends this argument, and no other.
    """
    where = os.path.abspath(argument) if os.path.lexists(argument) else argument
    number = 0
    made = _yielded(pipeline, argument)
    while True:
        try:
            one = next(made)
        except StopIteration:
            break
        except (
            LedgerError,
            KeyboardInterrupt,
        ):  # no room for an artifact: nothing is wrong with the input
            raise
        except InputError as error:
            yield Refused(where, f"{error}{_before(number)}", "inputs")
            return
        except BaseException as error:  # a library written in another language may panic
            yield Refused(
                where,
                f"the inputs= function of pipeline {pipeline.name!r} failed: "
                f"{said(error)}{_before(number)}",
                "inputs",
            )
            return
        number += 1
        if isinstance(one, Skipped | Refused):
            yield one
        elif isinstance(one, Input):
            yield one if one.source else Input(one.payload, f"payload {number} of {where}", one.key)
        else:
            yield Input(one, f"payload {number} of {where}")
    if number == 0:
        yield Skipped(where, "argument without payloads")


def _yielded(pipeline: Pipeline[Any, Any], argument: str) -> Iterator[Any]:
    """What the ``inputs=`` function gives.

    What it raises while it is called is raised when the first is asked for.
    """
    assert pipeline.inputs is not None
    yield from pipeline.inputs(argument)


def _before(number: int) -> str:
    return f" (after {number} of its payloads, which were read)" if number else ""


def _file(pipeline: Pipeline[Any, Any], argument: str, limit: int) -> Iterator[Handed]:
    where = os.path.abspath(argument)
    try:
        with open(argument, "rb") as file:
            yield from _lines(pipeline, file, where, limit)
    except (OSError, ValueError) as error:
        yield Refused(where, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _lines(
    pipeline: Pipeline[Any, Any], file: BinaryIO, where: str, limit: int
) -> Iterator[Handed]:
    """A payload a line; blank lines are none."""
    number = 0
    try:
        while line := file.readline(limit + 1):
            number += 1
            if number == 1 and line.startswith(_UTF_16):
                yield Refused(where, UTF_16, "format")
                return
            line = line.removeprefix(_BOM) if number == 1 else line
            source = f"line {number} of {where}"
            if len(line) > limit and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(_REST)
                yield Refused(
                    source,
                    f"is longer than HOLDFAST_INPUT_MB={limit // 1024 // 1024} allows: raise "
                    "that, or split it",
                    "too-large",
                )
            elif line.strip():
                content = line.decode("utf-8", "backslashreplace").strip()
                yield _decoded(
                    pipeline, line, f"{source}: {_short(content)}" if where == "stdin" else source
                )
    except OSError as error:
        yield Refused(where, f"cannot be read after line {number}: {error.strerror}")


def _document(pipeline: Pipeline[Any, Any], argument: str, limit: int) -> Handed:
    where = os.path.abspath(argument)
    if not os.path.lexists(argument):
        return Refused(where, "there is no such file")
    try:
        data = Found(where, argument, 0, limit, True).read()
    except (InputError, ValueError) as error:
        return Refused(
            where, str(error), "too-large" if "HOLDFAST_INPUT_MB" in str(error) else "unreadable"
        )
    if data.startswith(_UTF_16):
        return Refused(where, UTF_16, "format")
    return _decoded(pipeline, data.removeprefix(_BOM), where)


def _argument(pipeline: Pipeline[Any, Any], argument: str) -> Handed:
    data = os.fsencode(argument)
    if os.path.lexists(argument) and not argument.lstrip().startswith(("{", "[", '"')):
        reason = (
            f"is a file or folder, and pipeline {pipeline.name!r} takes none: it has no "
            f"inputs= function; {HOW}"
        )
        return Refused(os.path.abspath(argument), reason, "type")
    one = _decoded(pipeline, data, f"argument {_short(argument)}")
    if not isinstance(one, Refused):
        return one
    path = one.kind == "format" and ("/" in argument or os.path.splitext(argument)[1])
    return Refused(
        one.source,
        f"{one.reason}: {'there is no file of this name; ' if path else ''}{HOW}",
        one.kind,
    )


def _decoded(pipeline: Pipeline[Any, Any], data: bytes, source: str) -> Handed:
    try:
        return Input(decode(data, pipeline.input_type), source)
    except KeyboardInterrupt:
        raise
    except (
        BaseException
    ) as error:  # the type's own code may run: whatever it raises, these data are no payload
        try:
            text = data.decode()
        except UnicodeDecodeError as undecodable:
            return Refused(
                source,
                f"is not UTF-8 ({undecodable.reason} at byte {undecodable.start + 1})",
                "format",
            )
        if pipeline.input_type is str:
            return Input(text.rstrip("\r\n"), source)
        format = isinstance(error, msgspec.DecodeError) and not isinstance(
            error, msgspec.ValidationError
        )
        reason = (
            f"is not a {describe(pipeline.input_type)} as JSON "
            f"({said(error).partition(': ')[2] or said(error)})"
        )
        return Refused(source, reason, "format" if format else "type")


def _short(text: str) -> str:
    """A text as part of a source: whole or, when it is long, with what tells it from others."""
    data = text.encode("utf-8", "surrogatepass")
    return text if len(text) <= 80 else f"{text[:80]}… ({content_digest(data)[:12]})"
