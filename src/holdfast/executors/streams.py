"""Standard streams of a worker that no step can break: what is printed goes where it can, or
nowhere, and never fails an attempt."""

from __future__ import annotations

import fcntl
import io
import os
import sys
from typing import Any, TextIO

Streams = tuple[Any, Any, Any]
"""Standard input, output and error, as objects."""

_ESCAPED = "backslashreplace"


class Sink(io.RawIOBase):
    """Bytes to a descriptor. A reader that has gone, a full disk or a closed descriptor lose the
    output, and nothing else.

    Args:
        file: the descriptor; it stays open when this is closed.
    """

    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._file

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return os.isatty(self._file)
        except OSError:
            return False

    def write(self, data: Any) -> int:
        """Take everything, and write what the descriptor takes."""
        view = memoryview(data).cast("B")
        rest = view
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            pass
        return len(view)


class _Output(io.TextIOWrapper):
    """A stream that :func:`text_to` has made."""


def text_to(file: int) -> TextIO:
    """A text stream to a descriptor, line by line; a character that UTF-8 has no bytes for is
    written as ``\\udc80``."""
    return _Output(io.BufferedWriter(Sink(file)), "utf-8", errors=_ESCAPED, line_buffering=True)


def hold_standard() -> None:
    """Open ``/dev/null`` on each of the descriptors 0, 1 and 2 that is closed, so that no file of
    ours gets its number."""
    for number in (0, 1, 2):
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


class Standard:
    """The standard streams of this process: kept, compared, and put back."""

    def __init__(self) -> None:
        hold_standard()
        os.dup2(2, 1)  # what a step prints goes to the log
        sys.stdout, sys.stderr = text_to(1), text_to(2)
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - it stays open
        self._copies = tuple(os.dup(number) for number in (0, 1, 2))
        self._files = tuple(_identity(number) for number in (0, 1, 2))
        self._objects: Streams = self.objects()
        self._forms = _form(sys.stdout), _form(sys.stderr)

    def belong(self, before: Streams) -> None:
        """What is there now, and was not before, is the process's own: a module that was imported
        has put it there."""
        kept = zip(self._objects, before, self.objects(), strict=True)
        stdin, stdout, stderr = (own if now is then else now for own, then, now in kept)
        self._objects = stdin, stdout, stderr
        self._forms = _form(stdout), _form(stderr)

    @staticmethod
    def objects() -> Streams:
        """Those that are there now; None for one that was taken away."""
        return (
            getattr(sys, "stdin", None),
            getattr(sys, "stdout", None),
            getattr(sys, "stderr", None),
        )

    def restore(self, everything: bool = True) -> list[str]:
        """Flush; put streams and descriptors back.

        Args:
            everything: look for descriptors that lead elsewhere, and streams that write otherwise,
                too, and not only for closed ones.

        Returns:
            What was changed.
        """
        changed: list[str] = []
        stdin, stdout, stderr = self._objects
        try:
            mine = sys.stdout is stdout and sys.stderr is stderr and sys.stdin is stdin
            sound = mine and not (stdout.closed or stderr.closed or stdin.closed)
        except (
            Exception
        ):  # one was detached or taken away, or is an object that a module has put there
            sound = False
        if not sound or (everything and (_form(stdout), _form(stderr)) != self._forms):
            changed.append("the standard streams")
            self._put_back()
        try:
            sys.stdout.flush()
        except Exception:  # of an object that a module has put there
            pass
        if not everything and _open():
            return changed
        for number, file in () if self.sound() else enumerate(self._files):
            if _identity(number) != file:
                changed.append(f"file descriptor {number}")
                if _identity(self._copies[number]) == file:
                    os.dup2(self._copies[number], number)
                else:  # the step has closed our copy as well
                    hold_standard()
        return changed

    def sound(self) -> bool:
        """Whether every descriptor is what it was."""
        try:
            first, second, third = os.fstat(0), os.fstat(1), os.fstat(2)
        except OSError:
            return False
        found = (
            (first.st_dev, first.st_ino),
            (second.st_dev, second.st_ino),
            (third.st_dev, third.st_ino),
        )
        return found == self._files

    def _put_back(self) -> None:
        stdin, stdout, stderr = self._objects
        if _closed(stdin):
            stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - it stays open
        stdout, stderr = self._usable(stdout, 1), self._usable(stderr, 2)
        self._objects = sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
        self._forms = _form(stdout), _form(stderr)

    def _usable(self, stream: Any, number: int) -> Any:
        """The stream, or a new one to the descriptor in its stead."""
        form = self._forms[number - 1]
        if _form(stream) == form != _CLOSED:
            return stream
        fresh: Any = text_to(number)
        if len(form) == len(_form(fresh)):
            fresh.reconfigure(encoding=form[0], errors=form[1], line_buffering=form[2])
        return fresh


def _open() -> bool:
    """Whether the descriptors 0, 1 and 2 are open, whatever they lead to: 0.3 µs."""
    try:
        fcntl.fcntl(0, fcntl.F_GETFD)
        fcntl.fcntl(1, fcntl.F_GETFD)
        fcntl.fcntl(2, fcntl.F_GETFD)
    except OSError:
        return False
    return True


_CLOSED: tuple[Any, ...] = ("closed",)
_OTHER: tuple[Any, ...] = ()


def _closed(stream: Any) -> bool:
    try:
        return stream is None or bool(stream.closed)
    except Exception:  # it was detached, or is an object that a module has put there
        return True


def _form(stream: Any) -> tuple[Any, ...]:
    """How an output stream of ours writes, and how many of its methods were replaced; of others,
    whether it is open."""
    if _closed(stream):
        return _CLOSED
    return (
        (stream.encoding, stream.errors, stream.line_buffering, len(stream.__dict__))
        if type(stream) is _Output
        else _OTHER
    )


def _identity(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
