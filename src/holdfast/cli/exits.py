"""How a command ends: its exit code, and what it says when something goes wrong."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGTERM

import typer

from holdfast.cli.output import complain
from holdfast.errors import (
    ConflictError,
    HoldfastError,
    LedgerError,
    LedgerUnavailableError,
    WorkersError,
)
from holdfast.model.hiding import hidden
from holdfast.model.secrets import redacted

DONE, FAILED, REFUSED, LEDGER, NOT_ACCEPTED, WORKERS, BUG, INTERRUPTED, TERMINATED = (
    0,
    1,
    2,
    3,
    4,
    5,
    70,
    130,
    143,
)
"""The exit codes; :data:`EXIT_CODES` says what each means."""

EXIT_CODES = {
    DONE: "Done.",
    FAILED: "A check failed. `audit`, `demo`: not balanced. `verify`: not signed by a given "
    "key, or "
    "changed. `replay`: the step failed again. `stuck`: something stands still. `doctor`: "
    "something "
    "is bad. `deploy`: stored values do not fit the new version.",
    REFUSED: "Refused: a wrong module, type, path, key, condition or option, or the answer "
    "cannot be "
    "written. One line says what to do.",
    LEDGER: "The ledger cannot serve: locked by another runner, unsafe, of a newer schema, not a "
    "ledger, not writable, disk or backlog full, or the server is away.",
    NOT_ACCEPTED: "Something that was handed in was not accepted: a conflict, unreadable, a wrong "
    "type. All of it is named; everything else is safe.",
    WORKERS: "Worker processes cannot start, or cannot import a pipeline. Nothing was "
    "accepted. The "
    "line names the error and a command that shows it.",
    BUG: "A bug in Holdfast. The line says where the traceback is.",
    INTERRUPTED: "Stopped by Ctrl-C. Nothing is lost: the same command goes on.",
    TERMINATED: "Stopped by SIGTERM before everything had ended. `runner` and `serve` that drained "
    "cleanly end with 0.",
}
"""What each exit code means; ``docs/reference.md`` shows this table."""


def exit_code_of(error: BaseException) -> int:
    """The exit code of a command that an error has ended.

    :data:`BUG` for one that is none of ours and none of the system's.
    """
    if _is_usage(error):
        return REFUSED
    codes: list[tuple[type[BaseException] | tuple[type[BaseException], ...], int]] = [
        (WorkersError, WORKERS),
        (LedgerError, LEDGER),
        (ConflictError, NOT_ACCEPTED),
        (HoldfastError, REFUSED),
        ((KeyboardInterrupt, typer.Abort), INTERRUPTED),
        (BrokenPipeError, DONE),
        (OSError, REFUSED),
    ]
    return next((code for kind, code in codes if isinstance(error, kind)), BUG)


def stopped_by(signal: int, clean: bool, serves: bool) -> int:
    """The exit code of a command that a signal stopped before everything had ended.

    Args:
        signal: which one.
        clean: what ran was allowed to end.
        serves: it is a command that goes on until it is stopped (``runner``, ``serve``): ending it
            so is what was asked for.
    """
    if signal == SIGTERM:
        return DONE if serves and clean else TERMINATED
    return INTERRUPTED


def carried_out(command: Callable[[], object]) -> int:
    """Carry out the command line and return its exit code.

    Whatever goes wrong is said in one line. Only a bug of ours has a traceback, which is kept in a
    file.

    Args:
        command: parses the arguments and does what they say; what :class:`typer.Exit` says is its
            exit code.
    """
    _open_streams()
    try:
        code = command()
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE
    except BaseException as error:
        return _told(error)
    finally:
        _close_streams()


def _told(error: BaseException) -> int:
    """Say what went wrong, and return the exit code."""
    code = exit_code_of(error)
    try:
        if _is_usage(error):
            error.show()  # type: ignore[attr-defined]
            if type(error).__name__ == "NoSuchOption":
                complain("a key that begins with a dash is written key:-KEY, or after --")
        elif isinstance(error, HoldfastError):
            complain(hidden(f"{error}{_when(error)}"))
        elif isinstance(error, typer.Abort):
            complain("stopped")
        elif code == REFUSED:
            complain(_system(error))
        elif code == BUG:
            complain(_bug(error))
    except (OSError, ValueError):  # nobody listens any more
        pass
    return code


def _when(error: HoldfastError) -> str:
    """When it is worth giving the command again."""
    return (
        f" (retry after {max(round(error.retry_after), 1)} s)"
        if isinstance(error, LedgerUnavailableError)
        else ""
    )


def _is_usage(error: BaseException) -> bool:
    """Whether the command line was not understood.

    That is an error of Click's, which typer moves from one release to the next.
    """
    return hasattr(error, "show") and hasattr(error, "exit_code")


def _system(error: BaseException) -> str:
    """What the operating system refused."""
    assert isinstance(error, OSError)
    if isinstance(error, FileNotFoundError) and error.filename is None and not _has_directory():
        return "the working directory does not exist any more: change to another one"
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes)
    ]
    what = (
        f"{' and '.join(names)}: "
        if names
        else "the answer cannot be written: "
        if error.errno in (5, 9, 28, 32)
        else ""
    )
    return f"{what}{error.strerror or error}"


def _has_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _bug(error: BaseException) -> str:
    """One line about an error of ours, with where its traceback lies."""
    text = redacted(hidden("".join(traceback.format_exception(error))))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    if os.environ.get("HOLDFAST_LOG_LEVEL", "").lower() == "debug":
        sys.stderr.write(text)
        kept = "the traceback is above"
    else:
        kept = "--log-level debug shows the traceback"
        with suppress(OSError):
            number, path = tempfile.mkstemp(".txt", "holdfast-error-")
            with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            kept = f"the traceback is in {path}"
    return (
        f"a bug in Holdfast: {type(error).__name__}: {hidden(str(error))}{where}; {kept}. "
        "What was accepted is safe: please report it"
    )


def _open_streams() -> None:
    """Open descriptors 0, 1 and 2, so that no file of ours becomes one of them.

    Each stream can write any text.

    A stream that was closed leads nowhere. What an encoding lacks is written as its code.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _close_streams() -> None:
    """What could not be written is let go: the interpreter would complain of it at its end."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, number)
                os.close(null)


def end(signal: int, clean: bool = True, serves: bool = False) -> typer.Exit:
    """What a command raises that a signal stopped."""
    return typer.Exit(stopped_by(signal or SIGINT, clean, serves))
