"""Results of cached steps: looked up by body and inputs before a task starts, kept when it has succeeded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.engine.committer import Desk
from holdfast.engine.passage import Passage, TaskKey
from holdfast.ledger import Ledger
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument
from holdfast.model.task import SettledTask, Transition
from holdfast.model.values import Value, encode_reference
from holdfast.store import Store


class Caching:
    """Looks results up.

    Args:
        desk: the committer.
        artifacts: where large results lie.
        found: told of a task whose result is known.
        missed: told of a task that must run.
    """

    def __init__(
        self, desk: Desk, artifacts: Store, found: Callable[[Passage, TaskKey, Value], None], missed: Callable[[Passage, TaskKey], None]
    ) -> None:
        self._desk, self._artifacts, self._found, self._missed = desk, artifacts, found, missed

    def look(self, passage: Passage, key: TaskKey) -> None:
        """A task is ready: is its result known?"""
        passage.ready.add(key)
        digest = digest_of(passage, passage.graph.nodes[key[0]], key[1])
        self._desk.call(partial(self._known, digest), partial(self._answered, passage, key, digest))

    def _known(self, digest: str, ledger: Ledger) -> dict[str, Value]:
        """What is known; a result whose artifact has been lost is forgotten, so that the step runs and makes it anew."""
        known = ledger.health.cached([digest])
        if digest in known and not self._artifacts.holds(known[digest]):
            ledger.health.forget_cached(digest)
            return {}
        return known

    def _answered(self, passage: Passage, key: TaskKey, digest: str, answer: Any) -> None:
        if passage.closed or key not in passage.ready:
            return
        if isinstance(answer, Exception) or digest not in answer:
            self._missed(passage, key)
        else:
            passage.ready.discard(key)
            self._found(passage, key, answer[digest])


def digest_of(passage: Passage, node: Node, place: str) -> str:
    """SHA-256 of a step's name, body and inputs."""
    parts = [node.step.name.encode(), node.step.body_hash().encode()]
    parts += [_bytes(passage, argument) for argument in passage.arguments(node, place)]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def remember(passage: Passage, key: TaskKey, output: Value, transition: Transition) -> None:
    """A task of a cached step has succeeded."""
    transition.beyond().cached += ((digest_of(passage, passage.graph.nodes[key[0]], key[1]), output),)


def taken(passage: Passage, key: TaskKey, output: Value, transition: Transition) -> None:
    """A task is settled with a result that was known: its attempt is number 0, since none was made."""
    passage.live.pop(key, None)
    transition.settled += (SettledTask(*key, passage.generation, "succeeded", 0, transition.at, transition.at, output),)


def _bytes(passage: Passage, argument: Argument) -> bytes:
    if argument.path or isinstance(argument.value, bytes):
        return passage.json(argument)
    return encode_reference(argument.value).encode()
