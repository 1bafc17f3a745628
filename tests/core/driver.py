"""A driver of the core that has no runner: whatever is outstanding may happen next, in any order,
and every plan is written.

The ledger is the real one, in memory, so that it can be copied after every plan: a copy is what a
crash would have left.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from holdfast import Pipeline
from holdfast.app import version_spec, with_children
from holdfast.cli.export import output_of
from holdfast.core.apply import apply, start
from holdfast.core.conclude import goes_on, rest
from holdfast.core.events import (
    Answered,
    CacheAnswered,
    DeadlinePassed,
    Event,
    Failed,
    Returned,
    Succeeded,
    TimerDue,
    ValueLoaded,
)
from holdfast.core.item_run import ItemRun
from holdfast.core.loaded import look_up
from holdfast.core.plan import Plan, TaskKey
from holdfast.core.restore import begin, fresh, restore
from holdfast.core.values import arguments
from holdfast.engine.io_pool import _failure
from holdfast.engine.serving import Loaded
from holdfast.engine.values import checked, provide
from holdfast.executors.attempt import call_of, checked_output
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
from holdfast.model.claimed import Claimed
from holdfast.model.events import Event as Published
from holdfast.model.failure import Failure, failure_of
from holdfast.model.ids import show
from holdfast.model.item import Submission
from holdfast.model.outcome import Invocation
from holdfast.model.prices import MICRO
from holdfast.model.task import NOTHING, Answer, Usage
from holdfast.model.values import decode_reference
from holdfast.testing.clock import FakeClock
from holdfast.testing.memory_store import MemoryStore

Order = Literal["immediate", "permuted", "delayed", "any"]
"""Which of what is outstanding happens next. ``immediate``: jobs first, in order; ``permuted``:
jobs first, in any order; ``delayed``: jobs last; all three take everything else in one order.
``any``: anything."""

LEASE_MS = 10**12

LIMIT = 20_000
"""Events after which a run is taken to have no end."""

DUMP = {
    "tasks": (
        "select item, node, element_path, generation, state, attempt, flag, output, artifact "
        "from tasks"
    ),
    "attempts": (
        "select item, node, element_path, generation, attempt, error_class, error, message, "
        "charged from attempts"
    ),
    "dead_letters": (
        "select item, node, element_path, generation, error_class, error, message, attempts, "
        "state from dead_letters"
    ),
    "waits": (
        "select item, node, element_path, generation, round, kind, state, name, shown, "
        "shown_artifact from waits"
    ),
    "events": "select type, data, artifact from events",
    "parts": "select item, node, element_path, part, generation, failed from each_parts",
    "live": "select item, node, element_path, state, attempt from live_tasks",
}


@dataclass
class World:
    """What outlives a crash: the ledger, the store, the time, and who answers from outside.

    Attributes:
        decide: what a person answers to a review that shows this.
        tell: what an event with this key says.
        costs: millionths of a dollar that an attempt of a step costs.
        fault: the share of tasks whose first attempt fails in a way that ends nothing.
        succeeded: tasks whose success is durable, with their generation.
    """

    pipelines: list[Pipeline[Any, Any]]
    decide: Callable[[Any], Any] = lambda shown: None
    tell: Callable[[str], Any] = lambda key: None
    costs: Callable[[str], int] = lambda step: 0
    fault: float = 0.0
    ledger: SqliteLedger = field(default_factory=lambda: SqliteLedger(":memory:"))
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: FakeClock = field(default_factory=FakeClock)
    loaded: dict[int, Loaded] = field(default_factory=dict)
    succeeded: set[tuple[int, int, int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.loaded:
            for one in with_children(self.pipelines):
                registered = self.ledger.register(version_spec(one), self.clock.now_ms())
                self.loaded[registered.version] = Loaded(one, registered.version, registered.bodies)

    def admit(self, one: Pipeline[Any, Any], payload: Any) -> int:
        """Hand an item in."""
        data = msgspec.json.encode(payload)
        submission = Submission(
            one.name, one.version, one.key_of(data), self.store.keep(data), one.deadline
        )
        return self.ledger.admit([submission], self.clock.now_ms())[0].item

    def fork(self, ledger: SqliteLedger) -> World:
        """What would be left after a crash now, in another ledger, whose content is replaced."""
        with ledger.connection.backup("main", self.ledger.connection, "main") as copying:
            copying.step()
        ledger._sums.forget()  # they were those of what it held before
        store, clock = MemoryStore(), FakeClock(self.clock.now_ms() + 1)
        store._data = dict(self.store._data)
        given = self.pipelines, self.decide, self.tell, self.costs, self.fault
        return World(*given, ledger, store, clock, self.loaded, set(self.succeeded))

    def found(self, item: int) -> dict[str, Any]:
        """What became of an item."""
        row = sqlite_reads(":memory:", self.ledger.connection).item(item)
        done = row["state"] == "completed"
        result = json.loads(output_of(row["output"], self.store)) if done else None
        return {"state": row["state"], "result": result, "flags": sorted(row["flags"])}

    def rows(self) -> dict[str, list[str]]:
        """All that is written, without times and ids, and with the content of what lies in the
        store."""
        keys = {
            item: (key, parent)
            for item, key, parent in self.query("select id, key, parent from items")
        }
        return {
            name: sorted(repr(self._plain(row, keys)) for row in self.query(query))
            for name, query in DUMP.items()
        }

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger."""
        return self.ledger.connection.execute(query).fetchall()

    def balanced(self) -> bool:
        """What the audit says."""
        audit = sqlite_reads(":memory:", self.ledger.connection).audit(self.clock.now_ms())
        assert audit["balanced"], audit
        return True

    def _plain(self, row: tuple[Any, ...], keys: dict[int, tuple[str, int | None]]) -> list[Any]:
        plain: list[Any] = []
        for one in row:
            if isinstance(one, int) and one in keys:
                plain.append(_name(one, keys))
            elif isinstance(one, bytes):
                plain.append(json.loads(one))
            elif (
                isinstance(one, str)
                and one.startswith('["')
                and one[2:].startswith(("stored", "listing", "element"))
            ):
                plain.append(json.loads(self.store.fetch(decode_reference(one))))
            elif one is not None:
                plain.append(one)
        return plain


def _name(item: int, keys: dict[int, tuple[str, int | None]]) -> str:
    key, parent = keys[item]
    return key if not parent else f"{_name(parent, keys)}>{key.partition('.')[2]}"


class Todo(NamedTuple):
    """Something outstanding: it can happen once its time has come."""

    kind: Literal["job", "task", "end", "wake", "look", "answer"]
    run: ItemRun
    key: TaskKey
    what: Any = None

    def order(self, world: World) -> tuple[Any, ...]:
        """The one order of what is no job."""
        return (
            self.kind == "wake",
            self.run.key if not self.run.parent else "~" + show(self.run.item),
            self.key,
            self.kind,
        )


class Driver:
    """One incarnation. It ends with the world at rest, or is thrown away: that is a crash.

    Args:
        world: what outlives it.
        rng: decides what happens next.
        order: what happens next.
        written: called after every plan that was written.
    """

    def __init__(
        self,
        world: World,
        rng: random.Random,
        order: Order = "any",
        written: Callable[[], None] = lambda: None,
    ) -> None:
        self.world, self.rng, self.order, self.written = world, rng, order, written
        self.runs: dict[int, ItemRun] = {}
        self.todo: list[Todo] = []
        self.command = 0
        self.jobs = 0
        self.incarnation = world.ledger.begin("driver", 1, world.clock.now_ms(), LEASE_MS)

    def run(self) -> None:
        """Go on until nothing is outstanding."""
        self.hear()
        for _ in range(LIMIT):
            if not self.turn():
                return
        raise AssertionError(
            f"no end: {[(one.kind, one.run.key, one.key) for one in self.todo[:10]]}"
        )

    def turn(self) -> bool:
        """One thing happens; False at the end."""
        self.world.clock.advance(1)
        self.todo = [one for one in self.todo if self._matters(one)]
        now = self.world.clock.now_ms()
        ready = [
            one for one in self.todo if one.kind != "wake" or one.run.live[one.key].wake_at <= now
        ]
        overdue = [
            run for run in self.runs.values() if run.deadline is not None and run.deadline <= now
        ]
        if overdue:
            self.apply(overdue[0], DeadlinePassed())
        elif ready and not (self.order == "any" and self.rng.random() < 0.1 and self._outside()):
            one = self._next(ready)
            self.todo.remove(one)
            self._do(one)
        elif not ready and not self._outside() and not self._pass_time():
            return False
        self.hear()
        return True

    def apply(self, run: ItemRun, event: Event) -> None:
        """An event happens to an item."""
        plan = Plan(run.item, run.fence, self.world.clock.now_ms())
        assert apply(run, event, plan) is plan
        self.carry(run, plan, type(event).__name__)
        if (
            self.order == "any"
            and self.rng.random() < 0.1
            and not run.closed
            and type(event) in (Succeeded, Failed, ValueLoaded)
        ):
            again = Plan(run.item, run.fence, self.world.clock.now_ms())
            if not (isinstance(event, ValueLoaded) and event.want in run.wanted):
                apply(run, event, again)
                assert not any((again.anything, again.ready, again.jobs)), (
                    f"{type(event).__name__} was heard twice"
                )

    def carry(self, run: ItemRun, plan: Plan, what: str) -> None:
        """As the runner does, without capacity: what is ready may start now, or later."""
        ready, plan.ready, granted = plan.ready, (), []
        for key in ready:
            step = run.graph.nodes[key[0]].step
            if step.cached and key not in run.digests:
                look_up(run, key, plan)
            elif self.order == "any" and self.rng.random() < 0.3 and not run.held:
                granted.append(key)
            else:
                run.ready.add(key)
                self.todo.append(Todo("task", run, key))
        if granted:
            start(run, granted, plan.at, plan)
        self.todo += [Todo("look", run, key, digest) for key, digest in plan.lookups]
        self.todo = [
            one
            for one in self.todo
            if not (
                one.kind == "end" and one.run is run and (one.key, one.what.attempt) in plan.stop
            )
        ]
        self.todo += [
            Todo("job", run, (want.node, want.path), (want, need)) for want, need in plan.jobs
        ]
        self.todo += [Todo("wake", run, key) for key in plan.wakes]
        if not granted and not run.running:
            rest(run, plan)
        assert run.closed or granted or goes_on(run), f"nothing of {run.key} goes on after {what}"
        check(run)
        self.write(run, plan)
        for key in granted:
            self._begin(run, key)

    def write(self, run: ItemRun, plan: Plan) -> None:
        """Write a plan."""
        if not plan.anything:
            return
        self.command += 1
        if self.world.ledger.commit(self.incarnation, self.command, [plan]) != [True]:
            ((state,),) = self.world.query(f"select state from items where id = {run.item}")
            assert (bool(run.parent), state) == (True, "cancelled"), (
                "a write under its fence was refused"
            )
            run.closed = True
            del self.runs[run.item]
            return
        self.world.succeeded |= {(run.item, run.generation, row[1], row[2]) for row in plan.plain}
        self.world.succeeded |= {
            (run.item, run.generation, row.node, row.element_path)
            for row in plan.settled
            if row.state == "succeeded"
        }
        if plan.state is not None:
            assert run.closed
            del self.runs[run.item]
        self.written()

    def hear(self) -> None:
        """Hand out what is new, claim what is claimable, and hear answers."""
        ledger, now = self.world.ledger, self.world.clock.now_ms()
        while True:
            while ledger.mail.distribute(now):
                pass
            claimed = ledger.claim(self.incarnation, list(self.world.loaded), 100, now)
            for one in claimed:
                self._claim(one)
            if not claimed:
                break
        for answer in ledger.mail.answers(self.incarnation):
            if answer.item in self.runs:
                self._answer(self.runs[answer.item], answer)

    def _claim(self, claimed: Claimed) -> None:
        loaded = self.world.loaded[claimed.version]
        run = fresh(claimed, loaded.pipeline)
        restore(run, claimed)
        run.bodies, run.incarnation, run.spent = (
            loaded.bodies,
            self.incarnation,
            claimed.used.cost / MICRO,
        )
        self.runs[run.item] = run
        plan = begin(run, self.world.clock.now_ms())
        for answer in claimed.answers:
            self._answer(run, answer)
        self.carry(run, plan, "its claim")

    def _answer(self, run: ItemRun, answer: Answer) -> None:
        key = answer.node, answer.element_path
        if key not in run.checking and (key not in run.live or run.live[key].state == "waiting"):
            run.checking.add(key)
            self.todo.append(Todo("answer", run, key, answer))

    def _matters(self, one: Todo) -> bool:
        if one.run.closed:
            return False
        if one.kind == "wake":
            live = one.run.live.get(one.key)
            return (
                live is not None
                and live.state != "running"
                and live.wake_at > 0
                and one.key not in one.run.ready
            )
        return one.kind != "task" or (one.key in one.run.ready and not one.run.held)

    def _next(self, ready: list[Todo]) -> Todo:
        if self.order == "any":
            return self.rng.choice(ready)
        jobs = [one for one in ready if one.kind == "job"]
        others = [one for one in ready if one.kind != "job"]
        if jobs and (self.order != "delayed" or not others):
            return self.rng.choice(jobs) if self.order == "permuted" else jobs[0]
        return min(others, key=lambda one: one.order(self.world))

    def _do(self, one: Todo) -> None:
        run, key = one.run, one.key
        if one.kind == "job":
            self._provide(run, *one.what)
        elif one.kind == "task":
            run.ready.discard(key)
            plan = Plan(run.item, run.fence, self.world.clock.now_ms())
            start(run, [key], plan.at, plan)
            self.write(run, plan)
            self._begin(run, key)
        elif one.kind == "end":
            self._end(run, key, one.what)
        elif one.kind == "wake":
            self.apply(run, TimerDue(key))
        elif one.kind == "look":
            self.apply(
                run,
                CacheAnswered(
                    key, one.what, self.world.ledger.health.cached([one.what]).get(one.what)
                ),
            )
        else:
            self.apply(run, _checked(one, self.world.store))

    def _begin(self, run: ItemRun, key: TaskKey) -> None:
        run.starting.discard(key)
        run.running.add(key)
        live, node = run.live[key], run.graph.nodes[key[0]]
        given = arguments(run, node, key[1])
        invocation = Invocation(
            run.item,
            run.fence,
            run.pipeline,
            run.version,
            *key,
            live.attempt,
            run.generation,
            run.key,
            given,
            60.0,
            run.deadline,
        )
        self.todo.append(Todo("end", run, key, invocation))

    def _end(self, run: ItemRun, key: TaskKey, invocation: Invocation) -> None:
        """An attempt ends: the body is really called."""
        node = run.graph.nodes[key[0]]
        assert (run.item, run.generation, *key) not in self.world.succeeded, (
            f"{node.name} at {key[1]!r} had succeeded, and runs again"
        )
        drawn = random.Random(f"{run.key.partition('.')[2] or run.key} {key}").random()
        live, attempt = run.live[key], invocation.attempt
        if self.order == "any" and self.rng.random() < 0.05:
            self.apply(run, Returned(key, attempt))
            return
        if drawn < self.world.fault and not live.failures and not live.crashes:
            fails = node.step.policy.retry.attempts > 1 and (
                node.step.policy.effects == "unsafe" or drawn * 1e6 % 2 < 1
            )
            kind: Any = "transient" if fails else "crash"
            self.apply(run, Failed(key, attempt, Failure(kind, "Drawn", "drawn"), 0.5))
            return
        cost = self.world.costs(node.name)
        usage = Usage(cost=cost) if cost else NOTHING
        try:
            output = self._call(run, invocation)
        except Exception as error:
            failure = failure_of(error, node.step.policy.retry.never)
            self.apply(run, Failed(key, attempt, failure, 0.5, usage=usage, cost=cost / MICRO))
        else:
            # always small
            judges = any(
                one.kind == "refine" and one.spec.until == node.index for one in run.graph.nodes
            )
            value = (
                self.world.store.keep(output, node.listed) if drawn > 0.8 and not judges else output
            )
            self.apply(run, Succeeded(key, attempt, value, 0.0, usage, cost / MICRO))

    def _call(self, run: ItemRun, invocation: Invocation) -> bytes:
        node = run.graph.nodes[invocation.node]
        value = call_of(run.graph, node, invocation, self.world.store)()
        if node.step.is_async:
            try:
                value.send(None)
            except StopIteration as done:
                value = done.value
        return checked_output(node, value)

    def _provide(self, run: ItemRun, want: Any, need: Any) -> None:
        self.jobs += 1
        if self.order == "any" and self.rng.random() < 0.05:
            self.apply(run, ValueLoaded(want, need, unavailable=True))
            return
        try:
            event = ValueLoaded(want, need, provide(need, run.graph, self.world.store))
        except Exception as error:
            event = ValueLoaded(want, need, failure=_failure(error))
        self.apply(run, event)

    def _outside(self) -> bool:
        """A person decides, or an event comes; whether there was anything to answer."""
        mail, now = self.world.ledger.mail, self.world.clock.now_ms()
        open_ = self.world.query(
            "select id, digest, shown, shown_artifact from waits where kind = 'review' and "
            "state = 'open'"
        )
        for review, digest, inline, artifact in open_:
            shown = (
                inline if artifact is None else self.world.store.fetch(decode_reference(artifact))
            )
            answer = self.world.decide(json.loads(shown))
            if mail.decide(review, answer, digest, "anna", ("boss",), now) != "decided":
                mail.decide(review, answer, digest, "ben", (), now)
        keys = self.world.query(
            "select distinct key, name from waits where kind = 'event' and state = 'open' and "
            "fresh = 0"
        )
        for key, name in keys:
            data = json.dumps(self.world.tell(key)).encode()
            mail.publish([Published(f"{name} {key} {now}", name, "test", key, now, data)])
        return bool(open_ or keys)

    def _pass_time(self) -> bool:
        """Let time pass until something wakes; False when nothing will."""
        wakes = [one.run.live[one.key].wake_at for one in self.todo if one.kind == "wake"]
        wakes += [run.deadline for run in self.runs.values() if run.deadline is not None]
        wake = self.world.ledger.next_wake(list(self.world.loaded))
        if wake is not None:
            wakes.append(wake)
        if not wakes or min(wakes) >= 1 << 52:
            assert not self.runs, (
                f"{[run.key for run in self.runs.values()]} are held, and nothing happens"
            )
            return False
        self.world.clock.advance(max(min(wakes) - self.world.clock.now_ms(), 0))
        return True


def check(run: ItemRun) -> None:
    """What is true of a run between two events."""
    if run.closed:
        return
    sets = [
        run.ready,
        run.starting,
        run.running,
        {key for key, live in run.live.items() if live.state == "waiting"},
    ]
    for number, one in enumerate(sets):
        for other in sets[number + 1 :]:
            assert not one & other, f"{run.key}: a task is twice: {one & other}"
    assert not run.todo, run.key
    assert run.ending != "dead" or run.unstored, run.key
    for (region, path), scope in run.scopes.items():
        assert 0 <= scope.active <= scope.left, (run.key, region, path, scope)
    assert set(run.unstored) <= {
        (want.node, want.path) for want in run.wanted if want.purpose == "output"
    }


def _checked(one: Todo, store: MemoryStore) -> Answered:
    answer: Answer = one.what
    try:
        return checked(answer, one.run.graph.nodes[answer.node], store)
    except Exception as error:
        return Answered(one.key, answer.generation, failure=failure_of(error))
