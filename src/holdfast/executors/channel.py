"""The runner's end of one worker: its process, two pipes and the shared mark."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import subprocess
from collections.abc import Callable

import msgspec

from holdfast.executors.worker import LENGTH, MARK, Answer, Effect


class Channel:
    """Non-blocking frames to and from a worker.

    Args:
        process: the worker.
        requests: write end of its request pipe.
        answers: read end of its answer pipe.
        mark: the shared page's file descriptor.
    """

    def __init__(self, process: subprocess.Popen[bytes], requests: int, answers: int, mark: int) -> None:
        self.process = process
        self._requests, self._answers = requests, answers
        self._mark = mmap.mmap(mark, mmap.PAGESIZE)
        os.close(mark)
        os.set_blocking(requests, False)
        os.set_blocking(answers, False)
        self._unsent = bytearray()
        self._unread = bytearray()
        self._decode = msgspec.msgpack.Decoder(Answer | Effect).decode
        self._loop = asyncio.get_running_loop()
        self._open = True

    def open(self, answered: Callable[[list[Answer | Effect]], None], gone: Callable[[], None]) -> None:
        """Call ``answered`` with what comes in, and ``gone`` once when the worker has closed its pipe."""
        self._answered, self._gone = answered, gone
        self._loop.add_reader(self._answers, self._read)

    def send(self, frame: bytes) -> None:
        """Send a frame; what the pipe does not take at once follows when it can."""
        self._unsent += LENGTH.pack(len(frame)) + frame
        self._write()

    def marked(self) -> tuple[int, float]:
        """The call that has begun, and when; 0 for none."""
        number, began = MARK.unpack(self._mark[: MARK.size])
        return int(number), float(began)

    def kill(self) -> None:
        """SIGKILL to the worker's process group, children included."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def reap(self) -> int:
        """Kill what may be left, wait for the process to be gone, and return its exit code."""
        self.kill()
        return self.process.wait()

    def close(self) -> None:
        """Close the pipes."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._answers)
            self._loop.remove_writer(self._requests)
            os.close(self._answers)
            os.close(self._requests)
            self.process.wait()

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._requests, self._unsent)]
            self._loop.remove_writer(self._requests)
        except BlockingIOError:
            self._loop.add_writer(self._requests, self._write)
        except (BrokenPipeError, OSError):
            self._loop.remove_writer(self._requests)  # its end is noticed by the reader

    def _read(self) -> None:
        try:
            data = os.read(self._answers, 1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._answers)
            self._gone()
            return
        self._unread += data
        answers, at = [], 0
        while len(self._unread) - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._unread, at)
            if len(self._unread) - at - LENGTH.size < size:
                break
            answers.append(self._decode(self._unread[at + LENGTH.size : at + LENGTH.size + size]))
            at += LENGTH.size + size
        del self._unread[:at]
        if answers:
            self._answered(answers)
