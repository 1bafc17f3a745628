"""What combinators led to, as rows of a transition: choices, joins, events, waits, timers, flags."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from holdfast.engine.flow import Further
from holdfast.engine.outside import Keep, ask, emit
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.timers import Timers
from holdfast.model.codec import decode
from holdfast.model.task import LiveTask, SettledTask, Transition


def note(passage: Passage, further: Further, transition: Transition, keep: Keep, relays: bool) -> None:
    """Write down joins, choices, events and flags; a join's timer goes with it."""
    for key, output in further.noted:
        passage.live.pop(key, None)
        transition.settled += (SettledTask(*key, passage.generation, "succeeded", 0, transition.at, transition.at, output),)
        if passage.graph.nodes[key[0]].kind == "route":
            transition.beyond().choices += ((key[0], str(decode(output, Any))),)
    for key, inputs in further.emits:
        emit(passage, key, inputs, transition, keep, relays)
        transition.settled += (SettledTask(*key, passage.generation, "succeeded", 0, transition.at, transition.at, b"null"),)
    for key in further.dropped:
        if passage.live.pop(key, None) is not None:
            transition.dropped += (key,)
    for flag in further.flags:
        if flag not in passage.flags:
            passage.flags.add(flag)
            transition.flags += (flag,)


def begin_waits(passage: Passage, further: Further, transition: Transition, keep: Keep, timers: Timers) -> None:
    """Reviews, waits, children and the deadlines of joins begin."""
    for key in further.asks:
        ask(passage, key, transition, keep)
        timers.set(passage, key)
    for key, seconds in further.timers:
        _set_timer(passage, key, seconds, transition)
        timers.set(passage, key)


def _set_timer(passage: Passage, key: TaskKey, seconds: float, transition: Transition) -> None:
    """The deadline of a join: the one that an earlier claim has set, or so many seconds from now."""
    if key not in passage.live:
        live = passage.live[key] = LiveTask(*key, "waiting", started_at=transition.at, wake_at=transition.at + round(seconds * 1000))
        transition.live += (replace(live),)
