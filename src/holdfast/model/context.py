"""What a step may ask the engine for: declare ``ctx: Context`` as the first parameter and it is supplied."""

from __future__ import annotations

import hashlib

import msgspec


class Context(msgspec.Struct, frozen=True):
    """The attempt that a step body is running in.

    Attributes:
        item: the item's id, as the command line shows it.
        key: the key under which the client handed the item in.
        step: the node's name in the pipeline.
        attempt: number of this attempt of the task, from 1.
        generation: the item's passage, from 1; a redrive begins the next.
        idempotency_key: equal for all attempts of this task and for no other task: hand it to services that
            deduplicate. It is the SHA-256 of item, node and place, in hexadecimal.
        deadline: Unix time in seconds after which the item is given up, or None.
    """

    item: str = "plain-python"
    key: str = ""
    step: str = ""
    attempt: int = 1
    generation: int = 1
    idempotency_key: str = "plain-python"
    deadline: float | None = None


def idempotency_key(item: str, node: str, place: str) -> str:
    """Return the key of a task's effects; attempts and generations share it."""
    return hashlib.sha256(f"{item}\0{node}\0{place}".encode()).hexdigest()
