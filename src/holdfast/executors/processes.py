"""``def`` steps in warm worker processes that can really be killed.

Several calls go to a worker at once, at most about 20 ms of learned work; a long step goes alone.
The worker marks the call that has begun in shared memory: its timeout runs from there, and only the
marked call counts for a crash or a kill. A slot is free again when the process has been reaped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from holdfast.clock import Clock
from holdfast.executor import Note, Report
from holdfast.executors.availability import Availability
from holdfast.executors.blame import blamed
from holdfast.executors.crew import Crew
from holdfast.executors.doubts import Doubts
from holdfast.executors.figures import Figures
from holdfast.executors.memory import Upkeep
from holdfast.executors.room import AHEAD_S, Room
from holdfast.executors.slots import Attempted, Job, Slot, best_of
from holdfast.executors.starting import START_LIMIT_S, Launched
from holdfast.executors.worker import Answer, Effect, Message, Skipped
from holdfast.model.alerts import Alert
from holdfast.model.failure import Failure
from holdfast.model.outcome import CANNOT_ISOLATE, UNISOLATED, Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, Usage
from holdfast.modules.pipelines import Source
from holdfast.store import StoreAddress

log = logging.getLogger("holdfast")

LOOK_S = 0.1


class ProcessExecutor:
    """Worker processes.

    Args:
        workers: how many.
        modules: where each pipeline is: those that are not listed cannot be imported by workers.
        artifacts: where artifacts lie; workers read and write them themselves.
        clock: monotonic time.
        report: told of outcomes.
        note: told of sub-effects.
        first: a worker that is ready, or None.
        start_limit_s: seconds that a worker may take to import one module.
        upkeep: when workers are replaced, and how much memory is left to others.
        figures: where figures of memory come from; None: from Linux.
    """

    def __init__(
        self,
        workers: int,
        modules: list[Source],
        artifacts: StoreAddress,
        clock: Clock,
        report: Report,
        note: Note,
        first: Launched | None = None,
        start_limit_s: float = START_LIMIT_S,
        upkeep: Upkeep = Upkeep(),
        figures: Figures | None = None,
    ) -> None:
        self._clock, self._report, self._note = clock, report, note
        self._served = {(one.pipeline, one.version) for one in modules}
        self._availability = Availability(modules)
        self._crew = Crew(
            workers,
            self._availability,
            artifacts,
            clock,
            self._heard,
            self._gone,
            start_limit_s,
            upkeep,
            figures,
        )
        self._room, self._doubts = Room(workers), Doubts()
        self._backlog: deque[Job] = deque()
        self._look = 0.0
        self._used = self._flush_due = False
        self._later: list[list[Outcome]] = []
        if first is not None:
            self._crew.adopt(first)

    # -- contract ---------------------------------------------------------------------------------

    @property
    def unavailable(self) -> Mapping[tuple[str, str], str]:
        """Pipelines, by name and version, whose steps no worker can run now, with the reason."""
        return self._availability.unavailable

    def next_try_s(self) -> float:
        """Seconds until it may be known whether what is unavailable has come back."""
        return self._availability.next_s(self._clock.monotonic()) + 1.0

    def reserve(self, step: Step, alone: bool = False) -> bool:
        """Take room: a free worker, a place next in line, or some of the 20 ms that each worker may
        hold ahead."""
        return self._room.take(step, alone)

    def release(self, step: Step, alone: bool = False) -> None:
        """Give room back."""
        self._room.give_back(step, alone)

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Hand a call to the worker with the least to do; calls of one turn of the loop go in one
        shipment."""
        if (invocations[0].pipeline, invocations[0].version) not in self._served:
            self._refuse(step, invocations)
            return
        job = Job(step, invocations, self._room.cost(step, invocations[0].alone))
        self._backlog.append(job)
        self._used = True
        self._ship_soon()

    def _refuse(self, step: Step, invocations: list[Invocation]) -> None:
        """An async step whose runner died twice around it, of a pipeline that workers cannot
        import: counted, not isolated."""
        self.release(step, invocations[0].alone)
        message = (
            f"{CANNOT_ISOLATE}: put pipeline {invocations[0].pipeline!r} into a module "
            "that workers can import"
        )
        why = Failure("crash", UNISOLATED, message)
        self._later.append([Outcome(one, failure=why) for one in invocations])
        self._ship_soon()

    def cancel(self, item: int, node: int, element_path: str, fence: int, attempt: int) -> None:
        """Stop an attempt, and no other of its task. One that has not begun never begins: it is
        taken out of the queue, or forbidden to the worker that holds it. One that runs is killed,
        unless others of its batch are still wanted."""
        attempted = item, node, element_path, fence, attempt
        job = self._job_of(attempted)
        if job is None or attempted in job.cancelled:
            return
        job.cancelled.add(attempted)
        slot = job.slot
        if slot is None:
            self._take_out(job)
        else:
            slot.channel.page.forbid(job.number)
            if slot.under_way() is job and len(job.cancelled) == len(job.invocations):
                self._crew.interrupt(slot, job, _CANCELLED)

    def _job_of(self, attempted: Attempted) -> Job | None:
        """The job that has an attempt. Cancellations are rare, so jobs are not kept by attempt."""
        held = (job for slot in self._crew.slots for job in slot.calls.values())
        return next(
            (
                job
                for job in (*self._backlog, *held)
                if any(one.attempted == attempted for one in job.invocations)
            ),
            None,
        )

    def holds(self, item: int) -> bool:
        """Whether an attempt of an item waits here, or is with a worker."""
        return any(attempted[0] == item for attempted in self.attempts())

    def attempts(self) -> Iterable[Attempted]:
        """The attempts that were started and not reported yet."""
        held = (job for slot in self._crew.slots for job in slot.calls.values())
        return [one.attempted for job in (*self._backlog, *held) for one in job.invocations]

    def tick(self) -> None:
        """Keep the workers up, and kill what has run too long."""
        now = self._clock.monotonic()
        if now < self._look or self._crew.closed:
            return
        self._look = now + LOOK_S
        self._crew.look()
        for slot in list(self._crew.slots):
            job = slot.under_way()
            if job is None:
                continue
            limit = job.invocations[0].timeout_s
            if len(job.cancelled) == len(job.invocations):
                self._crew.interrupt(slot, job, _CANCELLED)
            elif now - slot.channel.page.begun()[1] > limit:
                message = f"the attempt took longer than {limit:g} s; its process was killed"
                self._crew.interrupt(slot, job, Failure("timeout", "TimeoutExceeded", message))
        self._ship()

    def close(self) -> None:
        """Kill the workers that are at something, let the others end, and report nothing more."""
        self._crew.close()

    # -- more than the contract -------------------------------------------------------------------

    async def ended(self) -> None:
        """After :meth:`close`: wait until the workers are gone; some seconds at most."""
        await self._crew.ended()

    def kill_all(self) -> None:
        """Kill every worker, from any thread."""
        self._crew.kill_all()

    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [slot.pid for slot in self._crew.slots]

    def interrupt(self, pid: int, why: Failure) -> bool:
        """Kill the call that a worker runs: its attempt fails with ``why``. False when that worker
        runs none."""
        for slot in self._crew.slots:
            job = slot.under_way()
            if slot.pid == pid and job is not None:
                self._crew.interrupt(slot, job, why)
                return True
        return False

    def retire(self, pid: int, reason: str) -> None:
        """Give a worker no more calls, and replace it when it has answered the one that runs."""
        for slot in list(self._crew.slots):
            if slot.pid == pid:
                self._crew.retire(slot, reason)

    def memory_alerts(self) -> list[Alert]:
        """What somebody should look at: memory is short, though no worker holds much."""
        return self._crew.memory.alerts()

    def alerts(self) -> list[Alert]:
        """What somebody should look at: pipelines whose steps for workers are unavailable."""
        return self._availability.alerts()

    # -- shipping ---------------------------------------------------------------------------------

    def _ship_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._ship()
        later, self._later = self._later, []
        if not self._crew.closed:
            for outcomes in later:
                self._report(outcomes)

    def _ship(self) -> None:
        if self._crew.closed:
            return
        self._crew.keep_up(bool(self._backlog) or self._used)
        unavailable = self._availability.unavailable
        if self._backlog:
            waiting: deque[Job] = deque()
            for job in self._backlog:
                if unavailable and job.of in unavailable:
                    self._hand_back(
                        job, Failure("infrastructure", "WorkersUnavailable", unavailable[job.of])
                    )
                elif (slot := best_of(self._crew.slots, job, AHEAD_S)) is None:
                    waiting.append(job)
                else:
                    slot.take(job)
            self._backlog = waiting
        for slot in self._crew.slots:
            if slot.outbox:
                slot.channel.send(msgspec.msgpack.encode(slot.shipment()))

    # -- what came back ---------------------------------------------------------------------------

    def _heard(self, slot: Slot, messages: list[Message]) -> None:
        if self._crew.closed:
            return
        outcomes: list[Outcome] = []
        wholes: list[list[Outcome]] = []
        for message in messages:
            if isinstance(message, Effect):
                self._noted(slot, message)
                continue
            job = slot.head()
            if isinstance(message, Skipped) and job is not None and job.number == message.number:
                slot.drop(job)
                self._again(job)
            elif (
                isinstance(message, Answer)
                and job is not None
                and job.number == message.number
                and len(message.results) == len(job.invocations)
            ):
                doubt = self._doubts.about(
                    job.step.name, message.results, job.number == 1, self._clock.monotonic()
                )
                slot.drop(job)
                group = self._answered(job, message)
                if message.whole:
                    wholes.append(group)
                else:
                    outcomes += group
                if message.retire or doubt:
                    self._crew.retire(
                        slot, message.retire or doubt, job.step.name if message.faulty else ""
                    )
            else:
                self._crew.spoil(slot, "it answered what it was not asked")
                break
        if slot.retiring:
            self._crew.retire(slot, slot.retiring)
        self._ship()  # before anybody looks at the outcomes: the worker has the next call meanwhile
        for group in [*wholes, *([outcomes] if outcomes else [])]:
            self._report(group)

    def _answered(self, job: Job, answer: Answer) -> list[Outcome]:
        self._forget(job)
        self._room.learn(job.step, answer.ran_s)
        used, elements = answer.usage, len(answer.results)
        if elements > 1:  # each element of a batch has its share
            used = Usage(used.cpu_s / elements, used.peak_kib, used.worker, used.cost)
        group = []
        for invocation, result in zip(job.invocations, answer.results, strict=True):
            outcome = Outcome(
                invocation,
                whole=answer.whole,
                charged=not answer.whole,
                ran_s=answer.ran_s,
                together=elements,
                usage=used,
            )
            if isinstance(result, Failure):
                outcome.failure = result
            else:
                outcome.output = result
            group.append(outcome)
        return group

    def _noted(self, slot: Slot, effect: Effect) -> None:
        """A call has had a sub-effect: the worker goes on when it is recorded."""

        def then(held: bool) -> None:
            if slot in self._crew.slots:
                slot.channel.send(msgspec.msgpack.encode(held))

        job = slot.calls.get(effect.number)
        if job is None:
            then(False)
        else:
            self._note(job.invocations[0], effect.label, effect.value, then)

    def _gone(self, slot: Slot, how: str) -> None:
        """A worker is no more: the call that had begun counts as failed, the others go to another
        worker."""
        number, at = slot.last or (0, 0.0)
        begun = slot.calls.get(number) if slot.ready else None
        peak = self._crew.memory.peak(slot.pid)
        guilty, why = blamed(slot, begun, how, peak)
        rest = []
        for job in list(slot.calls.values()):
            job.slot, job.number = None, 0
            if job is guilty:
                ran_s = self._clock.monotonic() - abs(at) if job is begun else 0.0
                self._fail(job, why, ran_s, Usage(peak_kib=peak // 1024, worker=slot.pid))
            elif job is begun and job.step.policy.effects == "unsafe":  # it may have taken effect
                self._fail(
                    job,
                    Failure(
                        "crash",
                        "WorkerUnusable",
                        f"its worker process {slot.pid} was killed for another call",
                    ),
                    0.0,
                )
            else:
                rest.append(job)
        slot.calls = {}
        for job in reversed(rest):
            self._again(job)
        self._ship()
        self._flush()

    # -- the ends of a job ------------------------------------------------------------------------

    def _forget(self, job: Job) -> None:
        """A job is over: its room is free."""
        self.release(job.step, job.alone)

    def _again(self, job: Job) -> None:
        """A job that has not begun goes to another worker, first of all; without what is not wanted
        any more."""
        self._backlog.appendleft(job)
        if job.cancelled:
            self._take_out(job)
        self._ship_soon()

    def _take_out(self, job: Job) -> None:
        """What is cancelled never begins."""
        gone = [one for one in job.invocations if one.attempted in job.cancelled]
        if len(gone) == len(job.invocations):
            self._backlog.remove(job)
            self._hand_back(job, _CANCELLED)
            return
        job.invocations = [one for one in job.invocations if one not in gone]
        job.cancelled = set()
        self._later.append([Outcome(one, failure=_CANCELLED, charged=False) for one in gone])
        self._ship_soon()

    def _hand_back(self, job: Job, why: Failure) -> None:
        """A job ends without counting as an attempt."""
        self._forget(job)
        self._later.append([Outcome(one, failure=why, charged=False) for one in job.invocations])
        self._ship_soon()

    def _fail(self, job: Job, why: Failure, ran_s: float, usage: Usage = NOTHING) -> None:
        """A job failed with its process."""
        self._forget(job)
        if why.error_class == "timeout":
            self._room.learn_at_least(job.step, job.invocations[0].timeout_s)
        whole = len(job.invocations) > 1
        self._later.append(
            [
                Outcome(one, failure=why, charged=not whole, whole=whole, ran_s=ran_s, usage=usage)
                for one in job.invocations
            ]
        )


_CANCELLED = Failure("cancelled", "Cancelled", "the item was cancelled or has another owner")
