"""The lives of worker processes: they are started, found ready or broken, made to stand still,
killed with everything below them, replaced, and ended gracefully."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from holdfast.clock import Clock
from holdfast.errors import WorkersError
from holdfast.executors import linux
from holdfast.executors.availability import Availability
from holdfast.executors.channel import Channel
from holdfast.executors.figures import Figures
from holdfast.executors.keeper import Keeper
from holdfast.executors.memory import Holder, MemoryGuard, Upkeep
from holdfast.executors.slots import Job, Slot, waited_s
from holdfast.executors.starting import START_LIMIT_S, Launched, launch
from holdfast.executors.worker import Message, Ready, Setup
from holdfast.model.failure import Failure
from holdfast.model.size import show_size
from holdfast.modules.pipelines import Source, code_for
from holdfast.store import StoreAddress

log = logging.getLogger("holdfast")

GRACE_S = 3.0
"""Seconds in which a worker that is not needed any more may run its exit handlers; then it is
killed."""

SEND_LIMIT_S = 10.0
"""Seconds after the end of a call within which something of its answer must have come."""

BEGIN_LIMIT_S = 10.0
"""Seconds within which a worker must begin a call when it has nothing else to do. A thread that a
step has left behind may hold the interpreter for ever, or stop the process."""

STOP_STEP_S = 0.005
STOP_STEPS = 100
"""How often, and how many times, a worker is looked at that is to stand still. One that does not is
in the kernel, where it does nothing else either."""


class Crew:
    """The worker processes of one executor.

    Args:
        workers: how many.
        availability: what they can run.
        artifacts: where artifacts lie.
        clock: monotonic time.
        heard: called with what a worker sends.
        gone: called when a worker is no more, with its exit code in words; its slot still has what
            it held.
        start_limit_s: seconds that a worker may take to import one module.
        upkeep: when workers are replaced, and how much memory is left to others.
        figures: where figures of memory come from; None: from Linux.
    """

    def __init__(
        self,
        workers: int,
        availability: Availability,
        artifacts: StoreAddress,
        clock: Clock,
        heard: Callable[[Slot, list[Message]], None],
        gone: Callable[[Slot, str], None],
        start_limit_s: float = START_LIMIT_S,
        upkeep: Upkeep = Upkeep(),
        figures: Figures | None = None,
    ) -> None:
        self._upkeep, self.memory = upkeep, MemoryGuard(upkeep.reserve, figures)
        self._workers, self._artifacts, self._clock, self._limit_s = (
            workers,
            artifacts,
            clock,
            start_limit_s,
        )
        self.availability = availability
        self._heard, self._told_gone = heard, gone
        self.slots: list[Slot] = []
        self._ending: set[Slot] = set()
        self._said: set[tuple[str, str]] = set()
        self._sweeper: ThreadPoolExecutor | None = None
        self._sweeps: set[Future[None]] = set()
        self._keeper: Keeper | None = None
        self.closed = False

    def adopt(self, launched: Launched) -> None:
        """Take over a worker that is ready."""
        slot = self._add(launched, self.availability.all_modules())
        if launched.ready is not None:
            self._ready(slot, launched.ready)

    def keep_up(self, wanted: bool) -> None:
        """Start workers, as far as they are wanted and may be started now."""
        if self.closed:
            return
        availability = self.availability
        if not availability.troubled:
            while (
                wanted
                and len(self.slots) < self._workers
                and self._start(availability.all_modules())
            ):
                pass
        elif all(slot.ready for slot in self.slots):
            if availability.may_try(self._clock.monotonic()):
                self._start(availability.all_modules())
            elif wanted and len(self.slots) < self._workers and availability.worth_it():
                self._start(availability.modules())

    def look(self) -> None:
        """Kill what does not get ready, what has ended its call and does not answer, and what holds
        too much memory."""
        now = self._clock.monotonic()
        self._look_at_memory(now)
        for slot in [*self.slots, *self._ending]:
            slot.channel.look()
        for slot in list(self.slots):
            number, at = slot.channel.page.begun()
            if slot.spoiled:
                continue
            if not slot.ready:
                if now - slot.channel.launched.importing()[1] > self._limit_s:
                    self.spoil(slot, f"it did not get ready within {self._limit_s:g} s")
            elif (
                at < 0
                and number in slot.calls
                and now - max(-at, slot.channel.heard_at) > SEND_LIMIT_S
            ):
                self.spoil(slot, "its answer did not come")
            elif (
                slot.suspect is None and slot.doomed is None and waited_s(slot, now) > BEGIN_LIMIT_S
            ):
                slot.deaf = True
                log.warning(
                    "worker process %d is replaced: something that step %r has left behind "
                    "keeps it from beginning the next call",
                    slot.pid,
                    slot.did,
                )
                self.spoil(slot, "it did not begin the next call")

    def _look_at_memory(self, now: float) -> None:
        slots = {slot.pid: slot for slot in self.slots}
        for excess in self.memory.look([self._holder(slot) for slot in slots.values()], now):
            slot = slots[excess.pid]
            job = slot.under_way()
            if job is None:
                self.retire(slot, excess.message)
            else:
                self.interrupt(slot, job, Failure("memory", "MemoryExceeded", excess.message))

    def _holder(self, slot: Slot) -> Holder:
        job, limit = slot.under_way(), self._upkeep.memory
        if job is None:
            return Holder(slot.pid)
        own = job.step.memory
        if own and (not limit or own <= limit):
            return Holder(slot.pid, own, f"memory={job.step.policy.memory!r}")
        return Holder(slot.pid, limit, f"HOLDFAST_WORKER_MEMORY={show_size(limit)}")

    def retire(self, slot: Slot, reason: str, step: str = "") -> None:
        """Give a worker no more calls; it ends when it has answered the one that runs. What it has
        not begun is for others.

        Args:
            slot: the worker.
            reason: why.
            step: the step that made it necessary, if one did: said once for each reason.
        """
        if not slot.retiring:
            level = logging.WARNING if step and (step, reason) not in self._said else logging.INFO
            self._said.add((step, reason))
            log.log(
                level,
                "worker process %d is replaced%s: %s",
                slot.pid,
                f" after step {step!r}" if step else "",
                reason,
            )
        slot.retiring = slot.retiring or reason
        for number in slot.calls:
            slot.channel.page.forbid(number)
        if not slot.calls and slot in self.slots:
            self._finish(slot)

    def interrupt(self, slot: Slot, job: Job, why: Failure) -> None:
        """Kill a call, if it still runs when its worker stands still; else the worker goes on."""
        if slot.suspect is None and slot.doomed is None and not slot.spoiled:
            slot.suspect = job, why
            slot.channel.stop()
            self._when_still(slot, 0)

    def spoil(self, slot: Slot, why: str) -> None:
        """A worker cannot be used any more: kill it."""
        slot.spoiled = slot.spoiled or why
        slot.channel.kill()

    def kill_all(self) -> None:
        """Kill every worker; from any thread."""
        for slot in list(self.slots):
            linux.kill_tree(slot.pid)

    def close(self) -> None:
        """Kill the workers that are at something, and let the others end; nothing of them is told
        any more."""
        self.closed = True
        if self._keeper is not None:
            self._keeper.close()
        for slot in list(self.slots):
            if slot.calls or not slot.ready:
                self.slots.remove(slot)
                self._ending.add(slot)
                slot.channel.kill()
            else:
                self._finish(slot)

    async def ended(self) -> None:
        """Wait for the workers to be gone; bounded, since what is late is killed."""
        loop = asyncio.get_running_loop()
        for limit in (GRACE_S, 2.0):
            until = loop.time() + limit
            while self._ending and loop.time() < until:
                for slot in list(self._ending):
                    slot.channel.look()
                await asyncio.sleep(0.005)
            for slot in self._ending:
                slot.channel.kill()
        for slot in self._ending:
            log.error(
                "worker process %d does not end although it was killed: see where it hangs",
                slot.pid,
            )
            slot.channel.close()
        if sweeps := list(self._sweeps):  # a copy: the threads that sweep take theirs out
            await asyncio.wait([asyncio.wrap_future(one) for one in sweeps], timeout=2.0)
        if self._sweeper is not None:
            self._sweeper.shutdown(wait=False)

    # -- how one lives ----------------------------------------------------------------------------

    def _start(self, modules: list[Source]) -> bool:
        try:
            launched = launch(
                Setup(code_for(modules).packed(), self._artifacts, os.getpid(), self._upkeep)
            )
        except (OSError, WorkersError) as error:
            why = str(error)
            self.availability.broken(modules, 0, why, self._clock.monotonic())
            self._serve()
            return False
        self._add(launched, modules)
        return True

    def _add(self, launched: Launched, modules: list[Source]) -> Slot:
        def heard(messages: list[Message]) -> None:
            if slot not in self._ending and not slot.spoiled:
                self._hear(slot, messages)

        if self._keeper is None and not self.closed:
            self._keeper = Keeper()
        channel = Channel(
            launched, heard, lambda why: self._broken(slot, why), lambda: self._end(slot)
        )
        slot = Slot(channel, modules)
        self.slots.append(slot)
        return slot

    def _hear(self, slot: Slot, messages: list[Message]) -> None:
        if not slot.ready and messages and isinstance(messages[0], Ready):
            self._ready(slot, messages[0])
            messages = messages[1:]
        self._heard(slot, messages)

    def _ready(self, slot: Slot, ready: Ready) -> None:
        slot.ready = True
        slot.lacks = self.availability.loaded(slot.modules, ready.failed, self._clock.monotonic())
        others = [one for one in self.slots if one is not slot and one.open]
        poorer = [one for one in others if one.lacks - slot.lacks]
        for one in poorer:
            self.retire(one, "a newer worker has imported what it lacks")
        if len(self.slots) > self._workers and not poorer:
            self.retire(slot, "there are workers enough")
        self._serve()

    def _serve(self) -> None:
        """Say what the workers that are up can run."""
        known = {(one.pipeline, one.version) for one in self.availability.all_modules()}
        there = [known - slot.lacks for slot in self.slots if slot.open]
        self.availability.served(set().union(*there))

    def _broken(self, slot: Slot, why: str) -> None:
        if slot in self.slots:
            self.spoil(slot, why)

    def _when_still(self, slot: Slot, times: int) -> None:
        """What a worker does is only known while it stands still: between a look and a kill it
        might go on to the next call."""
        if slot not in self.slots or slot.suspect is None:
            return
        if times < STOP_STEPS and not slot.channel.stopped():
            asyncio.get_running_loop().call_later(STOP_STEP_S, self._when_still, slot, times + 1)
            return
        job, why = slot.suspect
        slot.suspect = None
        messages = slot.channel.rest()
        if slot.under_way() is job and job.slot is slot:
            slot.doomed = job, why
            slot.channel.kill()
        else:
            slot.channel.resume()
        self._hear(slot, messages)

    def _finish(self, slot: Slot) -> None:
        """A worker with nothing to do ends as any program does: exit handlers run, buffers are
        flushed."""
        self.slots.remove(slot)
        self._ending.add(slot)
        slot.channel.finish()
        asyncio.get_running_loop().call_later(GRACE_S, slot.channel.kill)

    def _end(self, slot: Slot) -> None:
        """A worker's process has ended, and its exit code was taken."""
        channel, code = slot.channel, slot.channel.process.returncode
        slot.starved = code == -9 and slot.doomed is None and self.memory.killed_by_linux()
        how = linux.cause_of_death(code, slot.starved)
        importing, known = channel.launched.importing()[0], slot in self.slots
        slot.last = channel.page.begun()
        if known and not self.closed and not slot.spoiled:
            # an answer that was written before the end is an outcome
            self._hear(slot, channel.rest())
        if slot in self.slots:
            self.slots.remove(slot)
        if known and not slot.ready and not self.closed:
            why = slot.spoiled or f"it ended before it was ready ({how})"
            self.availability.broken(slot.modules, importing, why, self._clock.monotonic())
        self._ending.discard(slot)
        channel.close()
        self._sweep(slot)
        if known and not self.closed:
            self._serve()
            self._told_gone(slot, how)

    def _sweep(self, slot: Slot) -> None:
        """Kill what it has left behind, beside the loop."""
        if self._sweeper is None:
            self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="holdfast-sweep")
        done = self._sweeper.submit(partial(linux.sweep, slot.pid, slot.channel.launched.token))
        self._sweeps.add(done)
        done.add_done_callback(self._sweeps.discard)
