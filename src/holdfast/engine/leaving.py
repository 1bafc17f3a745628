"""How an item leaves a runner's memory before its end: it only waits, nothing of it may start, or it is somebody else's."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.engine.dispatch import Dispatch
from holdfast.engine.holding import Holding
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.serving import REFUSED_MS
from holdfast.engine.timers import Timers
from holdfast.model.states import ItemState
from holdfast.model.task import NEVER, LiveTask, Transition

PARK_MS = 5_000
"""A wait longer than this with nothing else running releases the item."""


class Leaving:
    """Lets items go.

    Args:
        desk: the committer.
        clock: all time.
        items: those in memory.
        timers: when tasks wake.
        dispatch: stops attempts.
        hand_in: writes a transition.
        expect: told when an item is claimable again.
    """

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        items: Holding,
        timers: Timers,
        dispatch: Dispatch,
        hand_in: Callable[[Passage, Transition, Callable[[bool], None]], None],
        expect: Callable[[int], None],
    ) -> None:
        self._desk, self._clock, self._items, self._timers, self._dispatch = desk, clock, items, timers, dispatch
        self._hand_in, self._expect = hand_in, expect
        self._rested: set[Passage] = set()

    def visit(self) -> None:
        """Let those go whose tasks have come to wait."""
        rested, self._rested = self._rested, set()
        for passage in rested:
            self.rest(passage)

    def rest(self, passage: Passage) -> None:
        """Nothing more is to be written: release the item if it only waits."""
        if not passage.closed:
            self.park(passage, Transition(passage.item, passage.fence, self._clock.now_ms()))

    def park(self, passage: Passage, transition: Transition) -> bool:
        """Release an item that only waits, and for long, or that is to rest; the transition that is being written carries it."""
        if passage.held:
            if passage.running or passage.starting or passage.pending:
                return False
            self._release(passage, "paused" if passage.held == "paused" else "queued", 0, transition)
            return True
        wake = passage.rests_until()
        if wake is None or wake - transition.at <= PARK_MS:
            return False
        if wake != NEVER:
            self._expect(wake)
        self._release(passage, "waiting", wake, transition)
        return True

    def wait(self, passage: Passage, key: TaskKey, until: int) -> None:
        """A task must wait for what it depends on; if its item does nothing else, and for long, it is let go."""
        live = passage.live.setdefault(key, LiveTask(*key, "retrying"))
        live.state, live.wake_at = "retrying", until
        passage.ready.discard(key)
        self._timers.set(passage, key)
        self._rested.add(passage)

    def drop(self, passage: Passage) -> None:
        """The item was cancelled, restarted, moved, or is another runner's: its attempts are stopped, nothing of them is written."""
        self._close(passage)
        self._items.forget(passage)

    def lose(self, passage: Passage, again_ms: int = REFUSED_MS) -> None:
        """The fence no longer holds: somebody else owns the item now. Its attempts are stopped, nothing of them is written."""
        if passage.closed:
            return
        self._close(passage)
        # Where the ledger refused a row rather than the fence, the item is still ours: it is let go, and tried again later.
        later = Transition(passage.item, passage.fence, self._clock.now_ms(), state="waiting", wake_at=self._clock.now_ms() + again_ms)
        self._desk.commit(later, lambda held: self._items.forget(passage))

    def _release(self, passage: Passage, state: ItemState, wake: int, transition: Transition) -> None:
        transition.state, transition.wake_at = state, wake
        for live in passage.live.values():  # nothing runs, though rows may say so: what waits for its repeat is only known here
            if live.attempt and live.state in ("retrying", "running"):
                live.state = "retrying"
                transition.live += (replace(live),)
        passage.closed = True
        passage.ready.clear()
        self._hand_in(passage, transition, lambda held: self._items.forget(passage))

    def _close(self, passage: Passage) -> None:
        self._dispatch.stop(passage, list(passage.running))
        passage.closed = True
        passage.ready.clear()
