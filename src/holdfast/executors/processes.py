"""``def`` steps in warm worker processes that can really be killed.

Several calls go to a worker at once, at most about 20 ms of learned work; a long step goes alone. The worker marks the
call that has begun in shared memory: its timeout runs from there, and only the marked call is charged for a crash or a
kill. A slot is free again when the process has been reaped.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from dataclasses import dataclass, field

import msgspec

from holdfast.clock import Clock
from holdfast.executor import Note, Report
from holdfast.executors.channel import Channel
from holdfast.executors.worker import Answer, Call, Effect, Setup
from holdfast.model.failure import Failure
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import Usage

log = logging.getLogger("holdfast")

AHEAD_S = 0.020
"""Seconds of learned work that one worker may hold."""
UNKNOWN_S = 1.0
"""What a step is taken to last before it has run."""
READY = 2
"""Calls per worker that may be durably started: one runs, one waits here for whichever worker is free first, so that
no worker waits for a commit between two calls."""
DEPTH = 200
"""Most calls that one worker holds."""
LOOK_S = 0.1
_MAIN = "import sys; from holdfast.executors.worker import main; main(sys.argv[1:])"
START_LIMIT_S = 120.0
"""Seconds that a worker may take to import its pipelines."""


@dataclass(eq=False)
class Slot:
    """One worker process and the calls it holds, in order."""

    channel: Channel
    calls: dict[int, tuple[Call, Step, float]] = field(default_factory=dict)
    outbox: list[Call] = field(default_factory=list)
    expected: float = 0.0
    ready: bool = False
    began: float = 0.0
    doomed: tuple[int, Failure] | None = None
    retiring: str = ""


class ProcessExecutor:
    """Worker processes.

    Args:
        workers: how many.
        modules: where each pipeline is: name, version, module (or main program's file) and attribute.
        artifacts: where artifacts lie; workers read and write them themselves.
        clock: monotonic time.
        report: told of outcomes.
        note: told of sub-effects.
    """

    def __init__(self, workers: int, modules: list[tuple[str, str, str, str]], artifacts: str, clock: Clock, report: Report, note: Note) -> None:
        self._modules, self._artifacts, self._clock, self._report, self._note = modules, artifacts, clock, report, note
        self._workers = workers
        self._slots: list[Slot] = []
        self._known: dict[Step, float] = {}
        self._reserved: Counter[tuple[Step, bool]] = Counter()
        self._backlog: deque[tuple[Call, Step, float]] = deque()
        self._number = 0
        self._look = 0.0
        self._closed = False
        self._flush_due = False
        self._broken_starts = 0
        self._last_start = 0.0
        self._where: dict[tuple[int, int, str], int] = {}

    # -- contract -------------------------------------------------------------------------------------------------

    def reserve(self, step: Step, alone: bool = False) -> bool:
        """Take room: a free worker, a place next in line, or some of the 20 ms that each worker may hold ahead."""
        calls = self._reserved.total()
        if calls >= READY * self._workers:
            ahead = self._cost(step, alone) + sum(number * self._cost(*key) for key, number in self._reserved.items())
            if ahead > self._workers * AHEAD_S or calls >= self._workers * DEPTH:
                return False
        self._reserved[step, alone] += 1
        return True

    def release(self, step: Step, alone: bool = False) -> None:
        """Give room back."""
        self._reserved[step, alone] -= 1
        if self._reserved[step, alone] <= 0:
            del self._reserved[step, alone]

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Hand a call to the worker with the least to do; calls of one turn of the loop go in one shipment."""
        self._number += 1
        call = Call(self._number, invocations)
        for one in invocations:
            self._where[one.task] = call.number
        self._backlog.append((call, step, self._cost(step, invocations[0].alone)))
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._ship)

    def cancel(self, item: int, node: int, place: str, fence: int, attempt: int) -> None:
        """Kill the worker if the attempt has begun there; take it out of the queue if it has not been shipped."""
        number = self._where.get((item, node, place))
        why = Failure("cancelled", "Cancelled", "the item was cancelled or has another owner")
        for slot in self._slots:
            if number not in slot.calls or all(one.attempted != (item, node, place, fence, attempt) for one in slot.calls[number][0].invocations):
                continue
            if slot.channel.marked()[0] == number:
                self._kill(slot, number, why)

    def tick(self) -> None:
        """Keep the workers up, and kill what has run too long."""
        now = self._clock.monotonic()
        if now < self._look or self._closed:
            return
        self._look = now + LOOK_S
        while len(self._slots) < self._workers and (self._backlog or self._slots) and self._may_spawn(now):
            self._spawn()
        for slot in list(self._slots):
            number, began = slot.channel.marked()
            if not slot.ready and now - slot.began > START_LIMIT_S:
                self._kill(slot, 0, Failure("infrastructure", "WorkerStart", f"a worker did not start within {START_LIMIT_S:g} s"))
            if number in slot.calls and slot.doomed is None:
                limit = slot.calls[number][0].invocations[0].timeout_s
                if now - began > limit:
                    self._kill(
                        slot, number, Failure("timeout", "TimeoutExceeded", f"the attempt took longer than {limit:g} s; its process was killed")
                    )

    def close(self) -> None:
        """Kill all workers and report nothing more."""
        self._closed = True
        for slot in self._slots:
            slot.channel.kill()
            slot.channel.close()
        self._slots = []

    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [slot.channel.process.pid for slot in self._slots]

    def retire(self, slot: Slot, reason: str) -> None:
        """Give a worker no more calls, and replace it when it has answered those that it holds."""
        if not slot.retiring:
            log.info("worker process %d is replaced: %s", slot.channel.process.pid, reason)
        slot.retiring = slot.retiring or reason
        if not slot.calls:
            slot.channel.kill()

    # -- shipping -------------------------------------------------------------------------------------------------

    def _ship(self) -> None:
        self._flush_due = False
        if self._closed:
            return
        while len(self._slots) < self._workers and self._backlog and self._may_spawn(self._clock.monotonic()):
            self._spawn()
        waiting: deque[tuple[Call, Step, float]] = deque()
        for call, step, cost in self._backlog:
            slot = self._slot_for(call, cost)
            if slot is None:
                waiting.append((call, step, cost))
                continue
            slot.calls[call.number] = (call, step, cost)
            slot.expected += cost
            slot.outbox.append(call)
        self._backlog = waiting
        for slot in self._slots:
            if slot.outbox and slot.ready:
                slot.channel.send(msgspec.msgpack.encode(slot.outbox))
                slot.outbox = []

    def _slot_for(self, call: Call, cost: float) -> Slot | None:
        """An idle worker first; a busy one only for short work behind short work, and never beside a suspect."""
        open_slots = (slot for slot in self._slots if slot.doomed is None and not slot.retiring)
        best = min(open_slots, key=lambda slot: (slot.expected, len(slot.calls)), default=None)
        if best is None:
            return None
        if best.calls and (best.expected + cost > AHEAD_S or len(best.calls) >= DEPTH):
            return None
        return best

    def _cost(self, step: Step, alone: bool) -> float:
        return UNKNOWN_S if alone else self._known.get(step, UNKNOWN_S)

    # -- workers --------------------------------------------------------------------------------------------------

    def _may_spawn(self, now: float) -> bool:
        """After three workers that ended before they were ready, one try a second."""
        return self._broken_starts < 3 or now - self._last_start > 1.0

    def _spawn(self) -> None:
        self._last_start = self._clock.monotonic()
        mark = os.memfd_create("holdfast-mark")
        os.ftruncate(mark, mmap.PAGESIZE)
        requests_out, requests_in = os.pipe()
        answers_out, answers_in = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(requests_out), str(answers_in), str(mark)],
            pass_fds=(requests_out, answers_in, mark),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(requests_out)
        os.close(answers_in)
        slot = Slot(Channel(process, requests_in, answers_out, mark), began=self._clock.monotonic())
        self._slots.append(slot)
        slot.channel.open(lambda answers: self._answered(slot, answers), lambda: self._gone(slot))
        slot.channel.send(msgspec.msgpack.encode(Setup(sys.path, self._modules, self._artifacts, os.getpid())))

    def _answered(self, slot: Slot, answers: list[Answer | Effect]) -> None:
        if self._closed:
            return
        outcomes: list[Outcome] = []
        wholes: list[list[Outcome]] = []
        for answer in answers:
            if isinstance(answer, Effect):
                self._noted(slot, answer)
                continue
            if answer.number == 0:
                slot.ready, self._broken_starts = True, 0
                continue
            found = slot.calls.pop(answer.number, None)
            if found is None:
                continue
            call, step, cost = found
            slot.expected = max(slot.expected - cost, 0.0) if slot.calls else 0.0
            self.release(step, call.invocations[0].alone)
            self._learn(step, answer.ran_s)
            group = [self._outcome(one, result, answer) for one, result in zip(call.invocations, answer.results, strict=True)]
            for one in call.invocations:
                self._where.pop(one.task, None)
            if answer.retire or slot.retiring:
                self.retire(slot, answer.retire)
            if answer.whole:
                wholes.append(group)
            else:
                outcomes += group
        self._ship()  # before anybody looks at the outcomes: the worker has the next call meanwhile
        for group in [*wholes, *([outcomes] if outcomes else [])]:
            self._report(group)

    def _noted(self, slot: Slot, effect: Effect) -> None:
        """A call has had a sub-effect: the worker goes on when it is recorded."""

        def then(held: bool) -> None:
            if slot in self._slots:
                slot.channel.send(msgspec.msgpack.encode(held))

        found = slot.calls.get(effect.number)
        if found is None:
            then(False)
        else:
            self._note(found[0].invocations[0], effect.label, effect.value, then)

    def _outcome(self, invocation: Invocation, result: object, answer: Answer) -> Outcome:
        used, elements = answer.usage, len(answer.results)
        if elements > 1:  # each element of a batch has its share
            used = Usage(used.cpu_s / elements, used.peak_kib, used.worker, used.cost)
        outcome = Outcome(invocation, whole=answer.whole, charged=not answer.whole, ran_s=answer.ran_s, together=elements, usage=used)
        if isinstance(result, Failure):
            outcome.failure = result
        else:
            outcome.output = result  # type: ignore[assignment]
        return outcome

    def _learn(self, step: Step, ran_s: float) -> None:
        known = self._known.get(step)
        self._known[step] = ran_s + 0.00005 if known is None else max(0.9 * known + 0.1 * ran_s, 0.00005)

    def _kill(self, slot: Slot, number: int, why: Failure) -> None:
        """Kill a worker's whole process group; what it held is reported once it has been reaped."""
        slot.doomed = (number, why)
        slot.channel.kill()

    def _gone(self, slot: Slot) -> None:
        """A worker is no more: charge the call that had begun, hand the others back uncharged."""
        if self._closed or slot not in self._slots:
            return
        self._slots.remove(slot)
        number, began = slot.channel.marked()
        code = slot.channel.reap()
        slot.channel.close()
        if slot.doomed is not None:
            number, why = slot.doomed
        else:
            why = Failure("crash", _death(code), f"the worker process {slot.channel.process.pid} died while the step ran")
        if not slot.ready:
            self._broken_starts += 1
            if self._broken_starts == 3:
                log.error("worker processes end before they are ready (%s); see what they print above", _death(code))
        for found in slot.calls.values():
            self._hand_back(found, found[0].number == number, why, self._clock.monotonic() - began)
        self._ship()

    def _hand_back(self, found: tuple[Call, Step, float], guilty: bool, why: Failure, ran_s: float) -> None:
        call, step, _ = found
        self.release(step, call.invocations[0].alone)
        if guilty and why.error_class == "timeout":
            self._known[step] = max(self._known.get(step, 0.0), call.invocations[0].timeout_s)
        whole = guilty and len(call.invocations) > 1
        failure = why if guilty else Failure("infrastructure", "WorkerLost", "its worker was lost before it began")
        for one in call.invocations:
            self._where.pop(one.task, None)
        self._report([Outcome(one, failure=failure, charged=guilty and not whole, whole=whole, ran_s=ran_s * guilty) for one in call.invocations])


def _death(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
