"""The runner's end of one worker: its process, two pipes and the shared page. The end of the
process is seen by itself, not by the end of a pipe: whatever the step has started may hold that
open."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import msgspec

from holdfast.executors import linux
from holdfast.executors.frames import BrokenFrameError, Incoming, framed
from holdfast.executors.starting import Launched
from holdfast.executors.worker import Message

READ = 1 << 18
LAST = 64
"""Most reads of what a worker that has ended left in its pipe: what still holds it may write on for
ever."""

CLOSED_S = 0.2
"""Seconds between the end of a worker's pipe and its own end, after which it has lost the pipe and
lives on."""


class Channel:
    """Non-blocking frames to and from a worker.

    Args:
        launched: the worker.
        heard: called with messages that came in.
        broken: called when the worker cannot be understood any more, with the reason.
        gone: called once, when its process has ended.
    """

    def __init__(
        self,
        launched: Launched,
        heard: Callable[[list[Message]], None],
        broken: Callable[[str], None],
        gone: Callable[[], None],
    ) -> None:
        self.launched, self.process, self.page = launched, launched.process, launched.page
        self._requests, self._answers = launched.requests, launched.answers
        self._heard, self._broken, self._gone = heard, broken, gone
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)
        self._unsent = bytearray()
        self._incoming = Incoming()
        self._decode = msgspec.msgpack.Decoder(Message).decode
        self._loop = asyncio.get_running_loop()
        self._open = self._sending = True
        self._ended = False
        self.heard_at = 0.0
        """Monotonic seconds at which bytes last came in."""
        self._loop.add_reader(self._answers, self._read)
        try:
            self._life: int | None = os.pidfd_open(self.process.pid)
            self._loop.add_reader(self._life, self._end)
        except OSError:  # before Linux 5.3: :meth:`look` sees it
            self._life = None

    def send(self, frame: bytes) -> None:
        """Send a frame; what the pipe does not take at once follows when it can."""
        self._unsent += framed(frame)
        self._write()

    def look(self) -> None:
        """Where there is no descriptor of a process: see whether it has ended."""
        if self._life is None and not self._ended and self.process.poll() is not None:
            self._end()

    def stop(self) -> None:
        """Have the worker stand still."""
        linux.send(self.process.pid, signal.SIGSTOP)

    def stopped(self) -> bool:
        """Whether it stands still."""
        return linux.stopped(self.process.pid)

    def resume(self) -> None:
        """Have it go on."""
        linux.send(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the worker and everything below it."""
        if not self._ended:
            linux.kill_tree(self.process.pid)

    def finish(self) -> None:
        """Send nothing more: a worker that has nothing to do ends as any program does."""
        if self._sending:
            self._sending = False
            self._loop.remove_writer(self._requests)
            os.close(self._requests)

    def rest(self) -> list[Message]:
        """What has come in and was not heard yet, as far as it is complete."""
        try:
            for _ in range(LAST):
                data = os.read(self._answers, READ)
                if not data:
                    break
                self._incoming.add(data)
        except OSError:
            pass
        found = []
        try:
            for body in self._incoming.bodies():
                found.append(self._decode(body))
        except (BrokenFrameError, msgspec.DecodeError):
            pass  # what came before it counts
        return found

    def close(self) -> None:
        """Close what is open here."""
        if self._open:
            self._open = False
            self.finish()
            self._loop.remove_reader(self._answers)
            os.close(self._answers)
            if self._life is not None:
                self._loop.remove_reader(self._life)
                os.close(self._life)
            self.page.close()

    def _end(self) -> None:
        """The process has ended: its exit code is taken once, here."""
        if self._ended:
            return
        self._ended = True
        if self._life is not None:
            self._loop.remove_reader(self._life)
        self.process.wait()
        self._gone()

    def _write(self) -> None:
        if not self._sending:
            return
        try:
            while self._unsent:
                del self._unsent[: os.write(self._requests, self._unsent)]
            self._loop.remove_writer(self._requests)
        except BlockingIOError:
            self._loop.add_writer(self._requests, self._write)
        except OSError:
            self._loop.remove_writer(self._requests)  # its end is noticed as that of the process

    def _read(self) -> None:
        try:
            data = os.read(self._answers, READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._answers)
            self._loop.call_later(CLOSED_S, self._lost)
            return
        self.heard_at = time.monotonic()
        self._incoming.add(data)
        messages: list[Message] = []
        why = ""
        try:
            for body in self._incoming.bodies():
                messages.append(self._decode(body))
        except (BrokenFrameError, msgspec.DecodeError) as error:
            self._loop.remove_reader(self._answers)
            why = str(error)
        if messages:
            self._heard(messages)
        if why and self._open:
            self._broken(f"its answer could not be read: {why}")

    def _lost(self) -> None:
        if self._open and not self._ended:
            self._broken(
                "it lost the pipe for its answers: the step closed descriptors that are not its own"
            )
