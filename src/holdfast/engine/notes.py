"""What combinators decided, as rows of a transition: choices, joins, kept stretches, timers, flags."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from holdfast.engine.flow import Advance
from holdfast.engine.passage import Passage, TaskKey
from holdfast.model.codec import decode
from holdfast.model.task import LiveTask, SettledTask, Transition


def note(passage: Passage, advance: Advance, transition: Transition) -> None:
    """Write down joins, choices and flags; a join's timer goes with it."""
    for key, output in advance.noted:
        passage.live.pop(key, None)
        transition.settled += (SettledTask(*key, passage.generation, "succeeded", 0, transition.at, transition.at, output),)
        if passage.graph.nodes[key[0]].kind == "route":
            transition.beyond().choices += ((key[0], str(decode(output, Any))),)
    for key, _ in advance.emits:
        transition.settled += (SettledTask(*key, passage.generation, "succeeded", 0, transition.at, transition.at, b"null"),)
    for key in advance.dropped:
        if passage.live.pop(key, None) is not None:
            transition.dropped += (key,)
    for flag in advance.flags:
        if flag not in passage.flags:
            passage.flags.add(flag)
            transition.flags += (flag,)


def set_timer(passage: Passage, key: TaskKey, seconds: float, transition: Transition) -> None:
    """The deadline of a join: the one that an earlier claim has set, or so many seconds from now."""
    if key not in passage.live:
        live = passage.live[key] = LiveTask(*key, "waiting", started_at=transition.at, wake_at=transition.at + round(seconds * 1000))
        transition.live += (replace(live),)
