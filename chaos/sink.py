"""The judge: a process of its own that logs what steps and submitters tell it, and never hears of
the ledger.

It is an idempotent service: an effect is accepted once per key. It counts an effect that is
accepted twice for one task (two keys), and a start of a task whose settlement it had seen: a step
that starts says which steps before it are settled.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

HEARD_S = 5.0
"""Seconds after a cancellation or a move in which a runner may not have heard of it yet."""


class Judge:
    """What the sink knows."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self.accepted: dict[tuple[str, str], str] = {}
        self.settled: set[tuple[str, str]] = set()
        self.duplicated: list[str] = []
        self.acknowledged: set[str] = set()
        self.restarted: set[str] = set()
        self.cancelled: dict[str, float] = {}
        self.moved: dict[str, float] = {}
        self.submitted: set[str] = set()
        self.starts = 0
        self.last_start = 0.0

    def hear(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take one message, log it, and answer."""
        with self._lock:
            self._log.write(json.dumps({**message, "at": time.time()}) + "\n")
            self._log.flush()
            return getattr(self, f"_{message['what']}")(message) or {}

    def _start(self, message: dict[str, Any]) -> None:
        self.starts += 1
        self.last_start = time.monotonic()
        if time.monotonic() > self.cancelled.get(message["item"], 1e18) + HEARD_S:
            self.duplicated.append(
                f"{message['item']} started {message['step']} after it was cancelled"
            )
        heard = time.monotonic() > self.moved.get(message["item"], -1e18) + HEARD_S
        if (
            (message["item"], message["step"]) in self.settled
            and message["item"] not in self.restarted
            and heard
        ):
            self.duplicated.append(
                f"{message['item']} started {message['step']} after it was settled"
            )
        self.settled.update((message["item"], step) for step in message["settled"])

    def _known(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"known": (message["item"], message["step"]) in self.accepted}

    def _effect(self, message: dict[str, Any]) -> dict[str, Any]:
        task = (message["item"], message["step"])
        first = self.accepted.setdefault(task, message["key"])
        if first != message["key"]:
            self.duplicated.append(f"{task} had effects under two keys")
        return {"accepted": first == message["key"]}

    def _restarted(self, message: dict[str, Any]) -> None:
        """From now on its settled steps may start again."""
        self.restarted.add(message["item"])

    def _moved(self, message: dict[str, Any]) -> None:
        """It is another runner's before the one that has it hears of that: nothing that this one
        does is written any more."""
        self.moved[message["item"]] = time.monotonic()

    def _cancelled(self, message: dict[str, Any]) -> None:
        """The ledger has said that it is cancelled."""
        self.cancelled.setdefault(message["item"], time.monotonic())

    def _submitted(self, message: dict[str, Any]) -> None:
        self.submitted.update(message["items"])

    def _acknowledged(self, message: dict[str, Any]) -> None:
        self.acknowledged.update(message["items"])

    def _report(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "submitted": len(self.submitted),
            "acknowledged": sorted(self.acknowledged)
            if message.get("keys")
            else len(self.acknowledged),
            "duplicated": self.duplicated,
            "restarted": sorted(self.restarted),
            "starts": self.starts,
            "idle_s": time.monotonic() - self.last_start,
        }


def tell(path: str, message: dict[str, Any]) -> dict[str, Any]:
    """Send one message to the sink and return its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)
        line.sendall(json.dumps(message).encode() + b"\n")
        with line.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
    return answer


def main(path: str, log: str) -> None:
    """Serve until killed."""
    judge = Judge(Path(log))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                for line in self.rfile:
                    self.wfile.write(json.dumps(judge.hear(json.loads(line))).encode() + b"\n")
            except ConnectionError:
                return  # the caller was killed in mid-sentence: what was heard counts

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 512

    if os.path.exists(path):
        os.unlink(path)
    Server(path, Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
