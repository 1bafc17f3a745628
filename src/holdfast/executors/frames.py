"""What runner and worker share: frames in pipes, and a page of memory that says which call has
begun and which must not begin.

A frame has a length and a check word, so that bytes that a step writes into the pipe are noticed at
once.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

HEADER = struct.Struct("<II")
"""Length of a frame's body, and the same combined with a constant: what is no header is
recognised."""

LIMIT = 1 << 28
"""Most bytes of one frame."""

_CHECK = 0x48F0_1DFA
_MARK = struct.Struct("<Qd")
_FLAGS, _SPAN = 64, 1024


class BrokenFrameError(Exception):
    """What came through a pipe is no frame of ours."""


def framed(body: bytes) -> bytes:
    """A frame with its header.

    Raises:
        BrokenFrameError: the body is longer than :data:`LIMIT`.
    """
    if len(body) > LIMIT:
        raise BrokenFrameError(
            f"a message of {len(body)} bytes is longer than the {LIMIT} bytes that one may have"
        )
    return HEADER.pack(len(body), len(body) ^ _CHECK) + body


def body_size(header: bytes | bytearray | memoryview, at: int = 0) -> int:
    """Length of the body that follows a header.

    Raises:
        BrokenFrameError: it is no header.
    """
    size, check = HEADER.unpack_from(header, at)
    if size ^ _CHECK != check or size > LIMIT:
        raise BrokenFrameError("bytes that are no message of a worker came through its pipe")
    return int(size)


class Incoming:
    """Bytes of a pipe, taken apart into frames as they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        """More bytes have come."""
        self._data += data

    def bodies(self) -> Iterator[bytearray]:
        """The frames that are complete; each is taken out as it is yielded.

        Raises:
            BrokenFrameError: the next bytes are no frame.
        """
        at = 0
        try:
            while len(self._data) - at >= HEADER.size:
                size = body_size(self._data, at)
                if len(self._data) - at - HEADER.size < size:
                    return
                start, at = at + HEADER.size, at + HEADER.size + size
                yield self._data[start:at]
        finally:
            del self._data[:at]


class Page:
    """The page of memory that a worker shares with its runner.

    The worker marks a call as begun before it looks whether the call may begin; the runner forbids
    a call before it looks whether it has begun. So one of the two sees the other. While the worker
    is not ready, the mark says which module it imports.

    Args:
        file: descriptor of the page.
    """

    def __init__(self, file: int) -> None:
        self._memory = mmap.mmap(file, mmap.PAGESIZE)

    def begin(self, number: int, at: float) -> None:
        """Worker: a call begins (``at``: monotonic seconds)."""
        _MARK.pack_into(self._memory, 0, number, at)

    def end(self, number: int, at: float) -> None:
        """Worker: the call has ended, and its answer is being sent."""
        _MARK.pack_into(self._memory, 0, number, -at)

    def begun(self) -> tuple[int, float]:
        """Runner: the call that began last (0: none), and when; a negative time says when it
        ended."""
        number, at = _MARK.unpack_from(self._memory, 0)
        return int(number), float(at)

    def forbid(self, number: int) -> None:
        """Runner: a call that this worker holds must not begin."""
        self._memory[_FLAGS + number % _SPAN] = 1

    def allow(self, number: int) -> None:
        """Runner: a new call of this number is on its way."""
        self._memory[_FLAGS + number % _SPAN] = 0

    def forbidden(self, number: int) -> bool:
        """Worker: whether a call must not begin."""
        return self._memory[_FLAGS + number % _SPAN] != 0

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
