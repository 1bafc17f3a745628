"""An HTTP service with moods, in a process of its own: well, 429, 500, stalling, garbage, cutting
connections, away.

``POST /mood`` sets it, ``GET /asked`` says how many requests ``/work`` has had, and when (Unix
seconds), ``GET /work/…`` is the service.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from typing import Any

MOODS = ("well", "429", "500", "stalling", "garbage", "cutting")
LATENCY_S = 0.01


class Moody:
    """The service."""

    def __init__(self) -> None:
        self.mood = "well"
        self.asked: list[float] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request by request."""
        try:
            while line := await reader.readline():
                method, path, _ = line.decode("latin-1").split(" ", 2)
                length = 0
                while (header := await reader.readline()).strip():
                    name, _, value = header.decode("latin-1").partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                body = await reader.readexactly(length)
                if not await self._one(method, path, body, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            return
        finally:
            writer.close()

    async def _one(self, method: str, path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        if path == "/mood":
            self.mood = body.decode()
            _write(writer, 200, {})
        elif path == "/asked":
            _write(writer, 200, {"asked": self.asked})
        elif self.mood == "cutting":
            self.asked.append(time.time())
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
            return False
        else:
            self.asked.append(time.time())
            await asyncio.sleep(600 if self.mood == "stalling" else LATENCY_S)
            if self.mood == "garbage":
                _raw(writer, 200, b"<html>it works!</html>")
            else:
                _write(
                    writer,
                    {"429": 429, "500": 500}.get(self.mood, 200),
                    {"path": path},
                    "retry-after: 1\r\n" if self.mood == "429" else "",
                )
        await writer.drain()
        return True


def _write(writer: asyncio.StreamWriter, status: int, body: Any, more: str = "") -> None:
    _raw(writer, status, json.dumps(body).encode(), more)


def _raw(writer: asyncio.StreamWriter, status: int, body: bytes, more: str = "") -> None:
    writer.write(
        (
            f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: "
            f"{len(body)}\r\n{more}\r\n"
        ).encode()
        + body
    )


class Service:
    """The service's process, and what to ask of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.moody"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def mood(self, mood: str) -> None:
        """Set its mood."""
        assert mood in MOODS
        urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/mood", mood.encode(), method="POST"), timeout=10
        ).close()

    def asked(self) -> list[float]:
        """When it was asked, Unix seconds."""
        with urllib.request.urlopen(f"{self.url}/asked", timeout=10) as answer:
            found: list[float] = json.load(answer)["asked"]
            return found

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def _serve() -> None:
    server = await asyncio.start_server(Moody().answer, "127.0.0.1", 0, backlog=1_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
