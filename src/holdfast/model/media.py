"""Values that are not JSON: files, images, arrays, tables. They are artifacts, and JSON holds where
they lie.

A step's annotation says what it is given: a ``numpy.ndarray``, a ``PIL.Image.Image`` or a
``pyarrow.Table`` is loaded; an :class:`Artifact` is the reference, which passes from step to step
without being loaded. Nothing is pickled: arrays are ``.npy`` without objects, tables Arrow's IPC
stream, images PNG (see :mod:`holdfast.model.images`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, get_args

from holdfast.errors import InputError
from holdfast.model import images

KEY = "$artifact"
"""The key under which the JSON of an artifact has its digest."""


class Bytes(Protocol):
    """What keeps bytes by their digest: an artifact store."""

    def put(self, data: bytes) -> str:
        """Keep bytes durably."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes of a digest."""
        ...


class _Memory:
    """For plain-Python runs."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._data[digest] = data
        return digest

    def get(self, digest: str) -> bytes:
        if digest not in self._data:
            raise InputError(f"artifact {digest} is not in this process")
        return self._data[digest]


_here: ContextVar[Bytes | None] = ContextVar("holdfast_artifacts", default=None)
_otherwise: Bytes = _Memory()


def artifacts() -> Bytes:
    """Where artifacts are put and read, here and now."""
    return _here.get() or _otherwise


def otherwise(store: Bytes) -> None:
    """Where nothing else is said, artifacts are put into and read from this store."""
    global _otherwise
    _otherwise = store


def here(store: Bytes) -> None:
    """From here on, in this thread or task, artifacts are put into and read from this store."""
    _here.set(store)


@contextmanager
def using(store: Bytes) -> Iterator[None]:
    """Artifacts are put into and read from this store meanwhile."""
    token = _here.set(store)
    try:
        yield
    finally:
        _here.reset(token)


class Artifact:
    """A large value by reference: a file, or the bytes of an image, an array, a table.

    Attributes:
        digest: SHA-256 of its bytes, in hexadecimal.
        size: bytes.
        media_type: what they are, such as ``application/pdf``.
        name: what somebody called it; never a path.
    """

    __slots__ = ("digest", "media_type", "name", "size")

    def __init__(
        self, digest: str, size: int, media_type: str = "application/octet-stream", name: str = ""
    ) -> None:
        self.digest, self.size, self.media_type, self.name = digest, size, media_type, name

    @staticmethod
    def of(
        data: bytes | Path, media_type: str = "application/octet-stream", name: str = ""
    ) -> Artifact:
        """Keep bytes, or the bytes of a file; durable when this returns.

        Raises:
            OSError: the file cannot be read.
            LedgerUnavailableError: the store cannot take them.
        """
        if isinstance(data, Path):
            name, data = name or data.name, data.read_bytes()
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                "Artifact.of() keeps bytes, or the file of a Path, not a "
                f"{type(data).__name__}: give Path(x), or x.encode()"
            )
        return Artifact(artifacts().put(data), len(data), media_type, name)

    def read(self) -> bytes:
        """All its bytes, verified.

        Raises:
            StoreError: they are missing, or not what the digest says.
        """
        return artifacts().get(self.digest)

    def open(self) -> BinaryIO:
        """Its bytes as a file."""
        return io.BytesIO(self.read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<artifact {self.digest[:12]}… of {self.size} bytes, {self.media_type}>"


def written(value: Any) -> dict[str, Any] | None:
    """A value's reference as plain data, after its bytes have been kept; None when it is no such
    value.

    Raises:
        TypeError: it could not be read back as it is: an array of Python objects, an image that is
            still a file, a subclass.
    """
    kind = next((kind for kind in type(value).__mro__ if is_media(kind)), None)
    if kind is None:
        return None
    if type(value) is not kind:
        raise TypeError(
            f"a {type(value).__qualname__} would be read back as a plain {kind.__qualname__}: "
            f"{_PLAINLY[_name(kind)]}"
        )
    if isinstance(value, Artifact):
        one = value
    elif _name(kind) == "numpy.ndarray":
        one = _kept(lambda file: _save_array(file, value), "application/x-npy")
    elif _name(kind) == "PIL.Image.Image":
        one = _kept(lambda file: images.write(file, value), "image/png")
    else:
        one = _kept(lambda file: _save_table(file, value), "application/vnd.apache.arrow.stream")
    return {KEY: one.digest, "size": one.size, "media_type": one.media_type, "name": one.name}


def read(kind: type[Any], data: Any) -> Any:
    """A value of a type from its reference; ``data`` itself when the type is none of these.

    Raises:
        TypeError: the reference is none.
        StoreError: its bytes are missing.
    """
    if not is_media(kind):
        return data
    if not isinstance(data, dict) or not isinstance(data.get(KEY), str):
        raise TypeError(
            f"this is no reference to an artifact, which a {kind.__qualname__} is read from"
        )
    one = Artifact(
        data[KEY],
        int(data.get("size", 0)),
        str(data.get("media_type", "")),
        str(data.get("name", "")),
    )
    if kind is Artifact:
        return one
    name = _name(kind)
    if name == "numpy.ndarray":
        import numpy

        return numpy.load(one.open(), allow_pickle=False)
    if name == "pyarrow.lib.Table":
        import pyarrow.ipc

        return pyarrow.ipc.open_stream(one.read()).read_all()
    return images.read(one.open())


_PLAINLY = {
    "numpy.ndarray": "return numpy.array(x)",
    "PIL.Image.Image": "return image.copy()",
    "pyarrow.lib.Table": "return a pyarrow.Table",
    f"{__name__}.Artifact": "return an Artifact",
}
"""The types whose values are artifacts, and what makes a plain one of a value of a subclass."""


def is_media(kind: Any) -> bool:
    """Whether values of a type are artifacts."""
    return _name(kind) in _PLAINLY


def same(given: Any, kept: Any) -> bool:
    """Whether a value of one of these types and what was read back of it are the same."""
    name = _name(type(given))
    if name == "numpy.ndarray":
        return bool(
            given.dtype == kept.dtype
            and given.shape == kept.shape
            and given.tobytes() == kept.tobytes()
        )
    if name == "pyarrow.lib.Table":
        # Arrow keeps the cells
        return bool(
            given.schema.equals(kept.schema, check_metadata=True)
            and given.num_rows == kept.num_rows
        )
    if name == "PIL.Image.Image":
        return bool(given == kept)
    return all(getattr(given, field) == getattr(kept, field) for field in Artifact.__slots__)


def _name(kind: Any) -> str:
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}"


@lru_cache(maxsize=4096)
def by_reference(kind: Any) -> bool:
    """Whether a parameter of a type is read as its own type says, whatever the step before made of
    it: a reference, or what it refers to."""
    return is_media(kind) or any(
        by_reference(part) for part in get_args(kind) if part is not Ellipsis
    )


def _kept(save: Any, media_type: str) -> Artifact:
    file = io.BytesIO()
    save(file)
    return Artifact.of(file.getvalue(), media_type)


def _save_array(file: BinaryIO, value: Any) -> None:
    import numpy

    if value.dtype.hasobject:
        raise TypeError("an array of Python objects cannot be kept: give it a number type")
    named = [value.dtype, *(field[0] for field in (value.dtype.fields or {}).values())]
    if (
        any(one.metadata for one in named)
        or numpy.lib.format.descr_to_dtype(numpy.lib.format.dtype_to_descr(value.dtype))
        != value.dtype
    ):
        raise TypeError(f"an array of {value.dtype} cannot be kept: .npy has no such type")
    numpy.save(file, value, allow_pickle=False)


def _save_table(file: BinaryIO, value: Any) -> None:
    import pyarrow.ipc

    with pyarrow.ipc.new_stream(file, value.schema) as out:
        out.write_table(value)
