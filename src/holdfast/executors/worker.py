"""A worker process: reads shipments of invocations from a pipe, marks each as begun in shared memory, answers one by one.

It holds no database connection and decides nothing. Every answer is written as soon as it is there, so that a hang
behind it takes nothing along. It ends when its runner does: its pipe closes, and Linux kills it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from holdfast.errors import HoldfastError
from holdfast.executors.attempt import run_attempt, run_batch, running
from holdfast.executors.logs import log_to_stderr
from holdfast.executors.recorders import PipeRecorder
from holdfast.model import media
from holdfast.model.failure import Failure
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation
from holdfast.model.pipeline import Pipeline
from holdfast.model.task import Usage
from holdfast.model.values import Value
from holdfast.stores.opening import open_store

MARK = struct.Struct("<Qd")
"""What shared memory holds: the number of the call that has begun (0: none), and when, in monotonic seconds."""

LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1


class Setup(msgspec.Struct, array_like=True):
    """The first frame: what a worker needs to know.

    Attributes:
        path: ``sys.path`` of the runner.
        modules: where each pipeline is: name, version, module and attribute.
        artifacts: where artifacts lie.
        runner: process id of the runner.
    """

    path: list[str]
    modules: list[tuple[str, str, str, str]]
    artifacts: str
    runner: int


class Call(msgspec.Struct, array_like=True):
    """One call: an invocation, or the elements of a batch."""

    number: int
    invocations: list[Invocation]


class Effect(msgspec.Struct, array_like=True, tag=1):
    """A sub-effect of the call that is under way; the worker waits for ``True`` (it is durable) or ``False`` (the item has another owner)."""

    number: int
    label: str
    value: bytes


class Answer(msgspec.Struct, array_like=True, tag=0):
    """What became of a call: one result per invocation, or ``whole``: the call failed before any verdict.

    ``retire``: why this worker asks to be replaced after this call, or empty. It begins no other call.
    """

    number: int
    results: list[Value | Failure]
    whole: bool
    ran_s: float
    usage: Usage
    retire: str = ""


def load_pipeline(module: str, attribute: str) -> Pipeline[Any, Any]:
    """Import a module (a dotted name, or a file of the runner's main program) and return its pipeline."""
    if module.endswith(".py"):
        spec = importlib.util.spec_from_file_location("__holdfast_main__", module)
        if spec is None or spec.loader is None:
            raise HoldfastError(f"{module} cannot be imported")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules["__holdfast_main__"] = loaded
        spec.loader.exec_module(loaded)
    else:
        loaded = importlib.import_module(module)
    found = getattr(loaded, attribute)
    if not isinstance(found, Pipeline):
        raise HoldfastError(f"{module}:{attribute} is no pipeline")
    return found


class Worker:
    """The loop of a worker process.

    Args:
        requests: file descriptor that shipments come from.
        answers: file descriptor that answers go to.
        mark: file descriptor of the shared page.
    """

    def __init__(self, requests: int, answers: int, mark: int) -> None:
        self._in = os.fdopen(requests, "rb", buffering=1 << 18)
        self._out = answers
        self._mark = mmap.mmap(mark, mmap.PAGESIZE)
        self._decode: Callable[[bytes], list[Call] | bool] = msgspec.msgpack.Decoder(list[Call] | bool).decode
        self._calls: deque[Call] = deque()
        self._encode = msgspec.msgpack.Encoder().encode
        self._memory = Memory()
        self._graphs: dict[tuple[str, str], Graph] = {}

    def run(self) -> None:
        """Work until the pipe closes."""
        setup = msgspec.msgpack.decode(self._frame(), type=Setup)
        _die_with(setup.runner)
        sys.path[:] = setup.path
        for name, version, module, attribute in setup.modules:
            self._graphs[name, version] = load_pipeline(module, attribute).graph
        self._store = open_store(setup.artifacts)
        media.here(self._store)
        self._send(Answer(0, [], False, 0.0, Usage()))  # ready
        while frame := self._frame():
            shipment = self._decode(frame)
            self._calls.extend(shipment if isinstance(shipment, list) else ())
            while self._calls:  # more may come in while a call waits for the record of a sub-effect
                self._send(self._perform(self._calls.popleft()))

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
        graph = self._graphs[first.pipeline, first.version]
        node = graph.nodes[first.node]
        running.set((node.name, first))
        self._memory.reset()
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        self._mark[: MARK.size] = MARK.pack(call.number, began)
        recorder = PipeRecorder(first.effects, partial(self._record, call.number))
        if node.step.kind == "batched":
            results, whole = run_batch(graph, node, call.invocations, self._store)
        else:
            results, whole = [run_attempt(graph, node, first, self._store, recorder)], False
        ran = time.monotonic() - began
        self._mark[: MARK.size] = MARK.pack(0, 0.0)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Answer(call.number, results, whole, ran, self._used(cpu, ran, after.ru_maxrss, recorder.spent))

    def _used(self, cpu_s: float, ran_s: float, process_peak_kib: int, spent: int) -> Usage:
        return Usage(round(cpu_s, 6), self._memory.peak_kib(ran_s, process_peak_kib), os.getpid(), spent)

    def _frame(self) -> bytes:
        header = self._in.read(LENGTH.size)
        return self._in.read(LENGTH.unpack(header)[0]) if len(header) == LENGTH.size else b""

    def _send(self, answer: Answer | Effect) -> None:
        body = self._encode(answer)
        data = memoryview(LENGTH.pack(len(body)) + body)
        while data:
            data = data[os.write(self._out, data) :]


class Memory:
    """Peak resident memory per call, from Linux's high-water mark, which is reset before each (proc(5), clear_refs).

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
        text = os.pread(self._status, 4096, 0)
        at = text.find(b"VmHWM:")
        return int(text[at + 6 : text.index(b"kB", at)]) if at >= 0 else process_peak_kib


def _die_with(runner: int) -> None:
    """Ask Linux to kill this process with its runner, whatever the runner dies of."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != runner:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """A worker process's main function; the arguments are the file descriptors of requests, answers and mark."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which drains
    log_to_stderr(os.environ.get("HOLDFAST_LOG", ""))
    requests, answers, mark = (int(number) for number in arguments)
    os.dup2(2, 1)  # what a step prints goes to the log, never into a pipe of ours
    Worker(requests, answers, mark).run()
