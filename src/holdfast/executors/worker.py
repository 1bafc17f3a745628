"""A worker process: reads shipments of invocations from a pipe, marks each as begun in shared
memory, answers one by one.

It holds no database connection and decides nothing. Every answer is written as soon as it is there,
so that a hang behind it takes nothing along. When its pipe closes it ends as any program does; when
its runner dies, Linux kills it.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec

from holdfast.errors import ModuleError
from holdfast.executors.attempt import run_attempt, run_batch, running
from holdfast.executors.clean_state import CleanState
from holdfast.executors.frames import HEADER, Page, body_size, framed
from holdfast.executors.linux import die_with, end_descendants, inherit_orphans
from holdfast.executors.logs import log_to_stderr
from holdfast.executors.memory import Upkeep, Wear, prefer_to_kill
from holdfast.executors.recorders import PipeRecorder
from holdfast.executors.streams import Standard, text_to
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import CANNOT_ISOLATE, UNISOLATED, Invocation
from holdfast.model.task import Usage
from holdfast.model.values import Value
from holdfast.modules.guard import as_worker
from holdfast.modules.pipelines import Source, apply_path, load_pipeline, unpacked
from holdfast.store import StoreAddress
from holdfast.stores.opening import open_store


class Setup(msgspec.Struct, array_like=True):
    """The first frame: what a worker needs to know.

    Attributes:
        code: where users' code is: :meth:`holdfast.modules.pipelines.Code.packed`.
        artifacts: where artifacts lie.
        runner: process id of the runner.
        upkeep: when it is to be replaced.
    """

    code: bytes
    artifacts: StoreAddress
    runner: int
    upkeep: Upkeep = Upkeep()


class Call(msgspec.Struct, array_like=True):
    """One call: an invocation, or the elements of a batch."""

    number: int
    invocations: list[Invocation]


class Effect(msgspec.Struct, array_like=True, tag=1):
    """A sub-effect of the call that is under way; the worker waits for ``True`` (it is durable) or
    ``False`` (the item has another owner)."""

    number: int
    label: str
    value: bytes


class Answer(msgspec.Struct, array_like=True, tag=0):
    """What became of a call: one result per invocation, or ``whole``: the call failed before any
    verdict.

    ``retire``: why this worker asks to be replaced after this call, or empty. It begins no other
    call. ``faulty``: because of what the step did to it.
    """

    number: int
    results: list[Value | Failure]
    whole: bool
    ran_s: float
    usage: Usage
    retire: str = ""
    faulty: bool = False


class Skipped(msgspec.Struct, array_like=True, tag=2):
    """A call that the worker has not begun: it was forbidden, or the worker is to be replaced."""

    number: int


class Ready(msgspec.Struct, array_like=True, tag=3):
    """The first answer: the worker has imported what it could.

    Attributes:
        failed: what it could not: pipeline, version and the error, in one line.
    """

    failed: list[tuple[str, str, str]]


Message = Answer | Effect | Skipped | Ready
"""What a worker sends."""


class Worker:
    """The loop of a worker process.

    Args:
        requests: file descriptor that shipments come from.
        answers: file descriptor that answers go to.
        page: file descriptor of the shared page.
        standard: its standard streams.
    """

    def __init__(self, requests: int, answers: int, page: int, standard: Standard) -> None:
        self._standard = standard
        for file in (requests, answers, page):
            os.set_inheritable(file, False)  # they are not for what a step starts
        self._in = os.fdopen(requests, "rb", buffering=1 << 18)
        self._out = answers
        self._page = Page(page)
        os.close(page)
        self._decode: Callable[[bytes], list[Call] | bool] = msgspec.msgpack.Decoder(
            list[Call] | bool
        ).decode
        self._calls: deque[Call] = deque()
        self._encode = msgspec.msgpack.Encoder().encode
        self._memory = Memory()
        self._graphs: dict[tuple[str, str], Graph] = {}
        self._later: dict[tuple[str, str], Source] = {}
        self._used_before: resource.struct_rusage | None = (
            None  # by the end of the call before this one
        )
        self._retiring = False
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._let_go)

    def run(self) -> None:
        """Work until the pipe closes."""
        setup = msgspec.msgpack.decode(self._frame(), type=Setup)
        die_with(setup.runner)
        inherit_orphans()
        code = unpacked(setup.code)
        apply_path(code)
        failed = self._load(code.sources)
        self._store = open_store(setup.artifacts.place, setup.artifacts.ledger)
        media.here(self._store)
        self._clean, self._wear = CleanState(self._standard), Wear(setup.upkeep)
        self._send(Ready(failed))
        while frame := self._frame():
            shipment = self._decode(frame)
            self._calls.extend(shipment if isinstance(shipment, list) else ())
            self._used_before = None
            while self._calls:  # more may come in while a call waits for the record of a sub-effect
                self._turn(self._calls.popleft())
            self._clean.before_waiting()

    def _load(self, sources: list[Source]) -> list[tuple[str, str, str]]:
        """Import every pipeline with steps for workers; returns those that could not be, each with
        its error. The mark says which is being imported."""
        failed = []
        for number, source in enumerate(sources, 1):
            key = source.pipeline, source.version
            if not source.needed:
                self._later[key] = source
                continue
            self._page.begin(number, time.monotonic())
            try:
                self._graphs[key] = load_pipeline(source).graph
            except ModuleError as error:
                failed.append((*key, str(error)))
        self._page.begin(0, 0.0)
        return failed

    def _graph_of(self, invocation: Invocation) -> Graph:
        """The graph of a call; of a pipeline without steps for workers, whose attempts run here
        only alone, imported at its first call."""
        key = invocation.pipeline, invocation.version
        if key not in self._graphs:
            with self._clean.belongs():
                self._graphs[key] = load_pipeline(self._later[key]).graph
        return self._graphs[key]

    def _turn(self, call: Call) -> None:
        """Perform a call and answer, unless it must not begin."""
        self._page.begin(call.number, time.monotonic())
        if self._retiring or self._page.forbidden(call.number):
            self._send(Skipped(call.number))
            return
        answer = self._perform(call)
        if os.getpid() != self._pid:
            _leave_fork()
        try:
            frame = framed(self._encode(answer))
        except Exception as error:
            failure = failure_of(error)
            answer = Answer(
                call.number,
                [failure for _ in call.invocations],
                False,
                answer.ran_s,
                answer.usage,
                answer.retire,
            )
            frame = framed(self._encode(answer))
        self._retiring = bool(answer.retire)
        self._page.end(call.number, time.monotonic())
        self._write(frame)

    def _record(self, number: int, label: str, value: bytes) -> bool:
        """Have the runner record a sub-effect; what else it sends meanwhile is kept for later."""
        self._send(Effect(number, label, value))
        while frame := self._frame():
            answer = self._decode(frame)
            if isinstance(answer, bool):
                return answer
            self._calls.extend(answer)
        os._exit(1)  # the runner is gone

    def _perform(self, call: Call) -> Answer:
        first = call.invocations[0]
        try:
            graph = self._graph_of(first)
        except ModuleError as error:
            why = Failure("crash", UNISOLATED, f"{CANNOT_ISOLATE}: {error}")
            return Answer(call.number, [why for _ in call.invocations], False, 0.0, Usage())
        node = graph.nodes[first.node]
        context = self._clean.context()
        context.run(running.set, (node.name, first))
        self._memory.reset()
        before = self._used_before or resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        recorder = (
            PipeRecorder(first.effects, partial(self._record, call.number))
            if node.step.wants_context
            else None
        )
        if node.step.kind == "batched":
            results, whole = context.run(
                run_batch, graph, node, call.invocations, self._store, self._clean
            )
        else:
            results, whole = (
                [
                    context.run(
                        run_attempt, graph, node, first, self._store, recorder, (), self._clean
                    )
                ],
                False,
            )
        if recorder is not None:
            recorder.close()
        ran = time.monotonic() - began
        after = self._used_before = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        short = any(isinstance(one, Failure) and one.error_class == "memory" for one in results)
        spoiled = self._clean.retire()
        retire = (
            "a call ran out of memory"
            if short
            else spoiled or self._wear.after_call(began + ran, node.step.memory)
        )
        return Answer(
            call.number,
            results,
            whole,
            ran,
            self._used(cpu, ran, after.ru_maxrss, 0 if recorder is None else recorder.spent),
            retire,
            bool(spoiled),
        )

    def _used(self, cpu_s: float, ran_s: float, process_peak_kib: int, spent: int) -> Usage:
        return Usage(
            round(cpu_s, 6), self._memory.peak_kib(ran_s, process_peak_kib), os.getpid(), spent
        )

    def _frame(self) -> bytes:
        header = self._in.read(HEADER.size)
        if len(header) < HEADER.size:
            return b""
        size = body_size(header)
        body = self._in.read(size)
        return body if len(body) == size else b""

    def _send(self, message: Message) -> None:
        if os.getpid() != self._pid:
            _leave_fork()
        self._write(framed(self._encode(message)))

    def _write(self, frame: bytes) -> None:
        data = memoryview(frame)
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError as error:  # the step closed what is not its own, or the runner is gone
            print(
                f"worker process {self._pid} cannot answer ({error.strerror}) and ends",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)

    def _let_go(self) -> None:
        """In a fork that a step has made: the pipes are the worker's alone."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._in.fileno(), inheritable=False)
        os.dup2(null, self._out, inheritable=False)
        os.close(null)


def _leave_fork() -> None:
    """A step forked, and its child returned from it as well: the attempt is the parent's, so the
    child ends here."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)


class Memory:
    """Peak resident memory per call, from Linux's high-water mark, which is reset before each
    (proc(5), clear_refs).

    A call of under a millisecond is not worth two system calls: it is given the process's peak.
    """

    def __init__(self) -> None:
        try:
            self._clear: int | None = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            self._status: int | None = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._clear = self._status = None
        self._dirty = True

    def reset(self) -> None:
        """Begin a new high-water mark, unless nothing long has run since the last."""
        if self._clear is not None and self._dirty:
            os.write(self._clear, b"5")
            self._dirty = False

    def peak_kib(self, ran_s: float, process_peak_kib: int) -> int:
        """KiB of peak resident memory since :meth:`reset`."""
        if self._status is None or ran_s < 0.001:
            return process_peak_kib
        self._dirty = True
        try:
            text = os.pread(self._status, 4096, 0)
        except OSError:  # the step closed it
            return process_peak_kib
        at = text.find(b"VmHWM:")
        return int(text[at + 6 : text.index(b"kB", at)]) if at >= 0 else process_peak_kib


def main(arguments: list[str]) -> None:
    """A worker process's main function; the arguments are the file descriptors of requests, answers
    and shared page."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which drains
    standard = Standard()
    log_to_stderr(os.environ.get("HOLDFAST_LOG", ""), stream=text_to(2))
    prefer_to_kill()
    requests, answers, page = (int(number) for number in arguments)
    atexit.register(end_descendants)  # the first that is registered runs last
    as_worker(Worker(requests, answers, page, standard).run)
