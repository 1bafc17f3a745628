"""A bad network between runners and PostgreSQL: a proxy on a unix socket that resets, swallows,
delays, and answers half."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

MODES = ("reset", "black-hole", "delay", "half-open")


class Proxy:
    """Forwards connections to a server's socket, in a thread of its own.

    Args:
        folder: where its socket lies: the ``host`` of a libpq address.
        target: the real server's socket.
    """

    def __init__(self, folder: Path, target: Path) -> None:
        folder.mkdir()
        self.mode = "pass"
        self._path, self._target = folder / ".s.PGSQL.5432", target
        self._rng = random.Random(1)
        self._lines: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def fault(self, mode: str) -> None:
        """Begin a fault; ``pass`` ends it. A reset happens once; what was swallowed or half
        answered is cut when it ends."""
        before, self.mode = self.mode, mode
        if mode == "reset" or (mode == "pass" and before in ("black-hole", "half-open")):
            self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for line in list(self._lines):
            line.transport.abort()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._client, str(self._path))
        self._ready.set()
        await server.serve_forever()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            while self.mode == "black-hole":
                await asyncio.sleep(0.05)
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._target))
            self._lines.add(there_writer)
            try:
                await asyncio.gather(
                    self._pump(reader, there_writer, False), self._pump(there_reader, writer, True)
                )
            finally:
                self._lines.discard(there_writer)
                there_writer.transport.abort()
        except OSError:
            pass
        finally:
            self._lines.discard(writer)
            writer.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool
    ) -> None:
        while data := await source.read(65536):
            while self.mode == "black-hole":
                await asyncio.sleep(0.05)
            if self.mode == "delay":
                await asyncio.sleep(self._rng.random() * 0.3)
            if answers and self.mode == "half-open":
                continue  # heard and acted on, never answered
            sink.write(data)
            await sink.drain()
        sink.transport.abort()
