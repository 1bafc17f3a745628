"""What is handed in: files below a folder, what is skipped and why, and what cannot be taken.

A pipeline's ``inputs=`` function turns one argument of ``holdfast run`` into payloads. With
:func:`files` it takes a file or a folder, one bad file stops no other, and everything that is not
taken is named::

    def uploads(argument: str) -> Iterator[Handed]:
        return files(argument, lambda found: Upload(found.name, found.read()), suffixes=(".pdf",))

    @pipeline(version="1", key=lambda upload: upload.name, inputs=uploads)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec.structs import force_setattr, replace

from holdfast.errors import InputError, LedgerError
from holdfast.model import failure
from holdfast.model.exceptions import name_of
from holdfast.model.item import KINDS
from holdfast.settings import Settings, read_settings


class _Named(msgspec.Struct, frozen=True):
    """Its texts are texts: a path or an exception that is given is written as one.

    Raises:
        TypeError: it is something else.
    """

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if field != "payload" and type(given := getattr(self, field)) is not str:
                force_setattr(self, field, _text(f"{type(self).__name__}({field}=…)", given))
        if (kind := getattr(self, "kind", None)) is not None and kind not in KINDS:
            raise TypeError(f"Refused(kind={kind!r}): give one of {', '.join(KINDS)}")


class Input(_Named, frozen=True):
    """A payload, and where it comes from: messages and the ledger name it by that when it is
    refused.

    Attributes:
        payload: the payload.
        source: a path, a line of a file; empty: it has no name.
        key: what a manifest would call it, such as its path below the folder; only used when it is
            refused.
    """

    payload: Any
    source: str = ""
    key: str = ""


class Skipped(_Named, frozen=True):
    """Something that rules leave out: it is announced by kind and number, and is no failure.

    Attributes:
        path: where it is; of a folder, it stands for all that is in it.
        reason: what it is, the same text for all of its kind: ``dot file``, ``link``.
    """

    path: str
    reason: str


class Refused(_Named, frozen=True):
    """Something that was handed in and cannot be accepted. It is named, and kept in the ledger as a
    refused input.

    Attributes:
        source: where it is: a path, a line of a file. The same source refused again is the same
            refusal.
        reason: why, and what to do.
        kind: one of :data:`holdfast.model.item.KINDS`.
        key: what a manifest would call it, such as its path below the folder.
    """

    source: str
    reason: str
    kind: str = "unreadable"
    key: str = ""


Handed = Input | Skipped | Refused
"""What an ``inputs=`` function may yield besides plain payloads."""


class Found(msgspec.Struct, frozen=True):
    """A file that was handed in.

    Attributes:
        path: where it is, absolute.
        name: its path below the folder that was given; of a file that was given itself, its name.
            Unique within the folder.
        size: bytes, when it was found.
        limit: bytes that may be read.
        linked: it was given itself, so a link is followed.
    """

    path: str
    name: str
    size: int
    limit: int
    linked: bool = False

    def read(self) -> bytes:
        """All its bytes, as of one moment.

        Raises:
            InputError: it cannot be read, is no file any more, is larger than allowed, or changed
                meanwhile.
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if self.linked else os.O_NOFOLLOW)
        try:
            with open(os.open(self.path, flags), "rb") as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise InputError(f"is a {_kind(before.st_mode)}, not a file")
                data = file.read(self.limit + 1) if before.st_size <= self.limit else b""
                after = os.fstat(file.fileno())
        except FileNotFoundError:
            raise InputError(
                "there is no such file" if self.linked else "was removed while the folder was read"
            ) from None
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from None
        if max(before.st_size, len(data)) > self.limit:
            raise InputError(_too_large(max(before.st_size, len(data)), self.limit))
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(
            data
        ) != before.st_size:
            raise InputError("changed while it was read: hand it in again when it is complete")
        return data


def files(
    argument: str,
    make: Callable[[Found], Any],
    suffixes: Iterable[str] = (),
    settings: Settings | None = None,
) -> Iterator[Handed]:
    """Make a payload of each file that an argument names: a file, or all files of a folder and
    below.

    Args:
        argument: the path of a file or folder.
        make: makes the payload of a file. What it raises refuses that file, and no other.
        suffixes: file names must end in one of these (or in this one), whatever their case; other
            files of a folder are skipped. Empty: any.
        settings: where Holdfast's own files are, and how large a file may be; by default as the
            environment says.

    Yields:
        What was made, what is skipped, and what is refused.

    Raises:
        LedgerError: the artifact store has no room; nothing is wrong with the file.
    """
    for one in walk(argument, suffixes, settings):
        if not isinstance(one, Found):
            yield one
            continue
        try:
            payload = make(one)
        except (LedgerError, KeyboardInterrupt):
            raise
        except InputError as error:
            yield Refused(
                one.path,
                str(error),
                "too-large" if "HOLDFAST_INPUT_MB" in str(error) else "unreadable",
                one.name,
            )
        except BaseException as error:  # a library written in another language may panic
            yield Refused(
                one.path, f"the inputs= function failed: {said(error)}", "inputs", one.name
            )
        else:
            yield Input(payload, one.path, one.name)


def walk(
    argument: str, suffixes: Iterable[str] = (), settings: Settings | None = None
) -> Iterator[Found | Skipped | Refused]:
    """Find the files that an argument names, in the order of their names: a file, or all files of a
    folder and below.

    Links, dot files, pipes, sockets, devices, empty folders and Holdfast's own files are yielded as
    :class:`Skipped`; what cannot be read, is too large, or has a name that is not UTF-8 as
    :class:`Refused`. See :func:`files` for the arguments.
    """
    if not argument:
        yield Refused("argument ''", "is empty: name a file or folder (. is this folder)")
        return
    settings = settings or read_settings()
    limit = settings.input_mb * 1024 * 1024
    endings = tuple(
        one.casefold() for one in ((suffixes,) if isinstance(suffixes, str) else suffixes)
    )
    (root, name), own = rooted(argument), OwnFiles(settings)
    try:
        there = os.stat(root)  # a link that is given itself is followed
        real = os.path.realpath(root)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = (
            "there is no such file or folder"
            if missing
            else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        )
        yield Refused(root, why, key=name or os.path.basename(root))
        return
    if own.owns(real):  # it was named: to leave it out would drop what was handed in
        yield Refused(
            root,
            "is among Holdfast's own files (home, ledger, artifacts), which are no input: set "
            "another HOLDFAST_HOME",
            key=name,
        )
    elif stat.S_ISREG(there.st_mode):
        yield _file(Found(root, name or os.path.basename(root), there.st_size, limit, True))
    elif stat.S_ISDIR(there.st_mode):
        for one in _below(root, real, own, limit, endings):
            yield one if not name or isinstance(one, Skipped) else _prefixed(name, one)
    else:
        yield Refused(
            root,
            f"is a {_kind(there.st_mode)}, not a file or folder",
            key=name or os.path.basename(root),
        )


def rooted(argument: str) -> tuple[str, str]:
    """Where an argument leads, absolute, and its name below the folder that ``/./`` marks (as rsync
    does): ``in/./a/b.pdf`` is named ``a/b.pdf``, as it is when ``in`` is given. Empty: the argument
    marks none."""
    above, mark, _ = argument.rpartition("/./")
    root = os.path.abspath(argument)
    name = os.path.relpath(root, os.path.abspath(above or "/")) if mark else "."
    return root, "" if name in (".", "..") or name.startswith("../") else name


OWN = "Holdfast's own files"


class OwnFiles:
    """The home, the artifacts and the ledger: never input, wherever they lie.

    Args:
        settings: where they are.
    """

    def __init__(self, settings: Settings) -> None:
        ledger = settings.ledger_path
        self._folders = [os.path.realpath(settings.home)]
        if "://" not in settings.artifacts_place:
            self._folders.append(os.path.realpath(settings.artifacts_place))
        beside = ("", "-wal", "-shm", "-journal", ".lock", ".sock", ".moved")
        self._files = (
            set()
            if ledger is None
            else {f"{os.path.realpath(ledger)}{ending}" for ending in beside}
        )

    def owns(self, real: str) -> bool:
        """Whether a path (its links resolved) is one of them, or lies in one."""
        return real in self._files or any(
            real == one or real.startswith(os.path.join(one, "")) for one in self._folders
        )


def said(error: BaseException) -> str:
    """An exception as text, whatever its class does; bounded."""
    text = failure.said(error)
    return f"{type(error).__name__}: {text}"[:1_000] if text else type(error).__name__


def _text(what: str, given: object) -> str:
    """What stands for a text, as one.

    Raises:
        TypeError: it is neither text nor a path nor an exception.
    """
    if isinstance(given, str):
        return str.__str__(given)
    if isinstance(given, bytes | os.PathLike):
        return os.fsdecode(given)
    if isinstance(given, BaseException):
        return said(given)
    raise TypeError(f"{what} is a {name_of(type(given))}: give a text, a path or an exception")


def _below(
    root: str, real: str, own: OwnFiles, limit: int, endings: tuple[str, ...]
) -> Iterator[Found | Skipped | Refused]:
    """What lies in a folder and below. An explicit stack: folders may be deeper than Python
    calls."""
    todo: list[tuple[str, os.DirEntry[str] | None]] = [("", None)]
    while todo:
        name, entry = todo.pop()
        path = os.path.join(root, name) if name else root
        one = (
            None
            if entry is None
            else _judged(path, name, entry, os.path.join(real, name), own, limit, endings)
        )
        if one is not None:
            yield one
            continue
        try:
            with os.scandir(path) as listed:
                inside = sorted(listed, key=lambda one: one.name)
        except OSError as error:
            yield Refused(
                path,
                f"this folder cannot be read, so nothing in it was: {error.strerror}",
                key=name,
            )
            continue
        if not inside:
            yield Skipped(path, "empty folder")
        todo += [(f"{name}/{one.name}" if name else one.name, one) for one in reversed(inside)]


def _prefixed(name: str, one: Found | Refused) -> Found | Refused:
    """What was found below a folder that has a name itself."""
    if isinstance(one, Found):
        return replace(one, name=f"{name}/{one.name}")
    return replace(one, key=f"{name}/{one.key}" if one.key else name)


def _judged(
    path: str,
    name: str,
    entry: os.DirEntry[str],
    real: str,
    own: OwnFiles,
    limit: int,
    endings: tuple[str, ...],
) -> Found | Skipped | Refused | None:
    """What an entry of a folder is; None: a folder to look into."""
    try:
        there = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Refused(path, f"cannot be read: {error.strerror}", key=name)
    folder = stat.S_ISDIR(there.st_mode)
    if own.owns(real):
        return Skipped(path, OWN)
    if stat.S_ISLNK(there.st_mode):
        return Skipped(path, "link")
    if entry.name.startswith("."):
        return Skipped(path, "hidden folder" if folder else "dot file")
    if not folder and not stat.S_ISREG(there.st_mode):
        return Skipped(path, _kind(there.st_mode))
    if not _utf_8(entry.name):
        return Refused(
            path,
            f"its name is not UTF-8{', so nothing in it was read' if folder else ''}: rename it",
            "name",
            name,
        )
    if folder:
        return None
    if endings and not entry.name.casefold().endswith(endings):
        return Skipped(path, f"file that does not end in {' or '.join(endings)}")
    return _file(Found(path, name, there.st_size, limit))


def _file(found: Found) -> Found | Refused:
    if not _utf_8(found.name):
        return Refused(found.path, "its name is not UTF-8: rename it", "name", found.name)
    return (
        Refused(found.path, _too_large(found.size, found.limit), "too-large", found.name)
        if found.size > found.limit
        else found
    )


def _too_large(size: int, limit: int) -> str:
    return (
        f"is larger than allowed ({size / 1024 / 1024:,.0f} MB; HOLDFAST_INPUT_MB is "
        f"{limit // 1024 // 1024}): raise that, or split it"
    )


def _utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFBLK: "device",
        stat.S_IFCHR: "device",
        stat.S_IFDIR: "folder",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
