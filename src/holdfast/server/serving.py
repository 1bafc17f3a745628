"""The server beside a runner: a thread and an event loop of its own, so that neither waits."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from holdfast.app import App
from holdfast.errors import InputError
from holdfast.model.pipeline import Pipeline
from holdfast.server.access import Person
from holdfast.server.application import LOCAL, application

START_S = 20.0


def bound(address: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address or the port cannot be had; the message says what to do.
    """
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        raise InputError(
            f"cannot listen on {address} port {port}: {error.strerror or error}; "
            "choose another with --port"
        ) from None
    return listener


def loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    address = listener.getsockname()[0]
    return bool(address == "::1" or address.startswith("127."))


@contextmanager
def serving(
    app: App,
    pipelines: list[Pipeline[Any, Any]],
    listener: socket.socket,
    *,
    hosts: set[str] = LOCAL,
    local: Person | None,
    secure: bool = False,
) -> Iterator[str]:
    """Serve while the block runs; gives the address to open.

    Args:
        app: whose ledger.
        pipelines: those whose code is here.
        listener: see :func:`bound`.
        hosts: names under which it may be addressed.
        local: who somebody without a token is; None: everybody needs one.
        secure: browsers reach it by HTTPS.
    """
    guard = application(app, pipelines, hosts=hosts, local=local, secure=secure)
    settings = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=20,
        limit_concurrency=400,
        h11_max_incomplete_event_size=32_768,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=3,
        proxy_headers=False,
        ws="none",
        log_config=None,
    )
    server = uvicorn.Server(settings)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    thread = threading.Thread(
        target=server.run, args=([listener],), name="holdfast-server", daemon=True
    )
    thread.start()
    waited = threading.Event()
    while not server.started and thread.is_alive() and not waited.wait(0.02):
        pass
    if not thread.is_alive():
        raise InputError("the server did not start: see the log above")
    address, port = listener.getsockname()[:2]
    try:
        yield f"http://{f'[{address}]' if ':' in address else address}:{port}/"
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()
