"""What a cached step's result is known by."""

from __future__ import annotations

import hashlib

from holdfast.core.item_run import ItemRun
from holdfast.core.values import arguments, content
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument
from holdfast.model.values import encode_reference


def digest_of(run: ItemRun, node: Node, path: str) -> str:
    """SHA-256 of a step's name, body and inputs.

    Raises:
        Absent: an input must be loaded first.
    """
    parts = [node.step.name.encode(), node.step.body_hash().encode()]
    parts += [_bytes(run, argument) for argument in arguments(run, node, path)]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _bytes(run: ItemRun, argument: Argument) -> bytes:
    if argument.path or isinstance(argument.value, bytes):
        return content(run, argument)
    return encode_reference(argument.value).encode()
