"""Operations on items, dead letters and pipelines: the contract in ``holdfast.lifecycle``, one way
for every driver."""

from __future__ import annotations

from holdfast.errors import InputError, NotFoundError
from holdfast.ledgers import generations
from holdfast.ledgers.beyond import Run, Transact
from holdfast.ledgers.generations import Asking, Content, redrive
from holdfast.ledgers.health import HEARD_MS
from holdfast.ledgers.redriving import redrive_by_rule
from holdfast.ledgers.verbs import Listed, cancel, note
from holdfast.lifecycle import Paused, Wished
from holdfast.model.audit_log import Entry
from holdfast.model.changes import (
    Cancel,
    Change,
    Discard,
    Move,
    Obstacle,
    OfItems,
    Operation,
    Pause,
    Redrive,
    Restart,
    Resume,
    Revise,
)
from holdfast.model.domain import check_name, check_text
from holdfast.model.redriving import RedriveRule
from holdfast.model.states import LIVE_ITEM_STATES

PARKED_MS = 5_000
"""Items that wait for a probe wake within so long after it; see ``SPREAD_MS`` of
``engine/gates.py``."""


class LedgerLifecycle:
    """Implements :class:`holdfast.lifecycle.Lifecycle`.

    Args:
        transact: runs work in a transaction.
        listed: makes one value of a list of numbers, for queries over many.
    """

    def __init__(self, transact: Transact, listed: Listed) -> None:
        self._transact, self._listed = transact, listed

    def begin_operation(self, operation: Operation, now_ms: int) -> int:
        """Write down who asks for what."""
        operation.check()

        def work(run: Run) -> int:
            note(
                run,
                Entry(now_ms, operation.who, operation.verb, operation.target, operation.reason),
            )
            return int(
                run(
                    "add_operation",
                    now_ms,
                    operation.who,
                    operation.verb,
                    operation.target,
                    operation.reason,
                )[0][0]
            )

        return self._transact(work)

    def note(self, entry: Entry) -> None:
        """Write down what somebody did."""
        check_name("name of a person", entry.who)
        check_text("reason", entry.reason)
        self._transact(lambda run: note(run, entry))

    def change(self, operation: int, change: Change, targets: list[int], now_ms: int) -> list[int]:
        """Change items or dead letters."""
        return self._transact(
            lambda run: self._change(run, operation, change, targets, now_ms), tell=True
        )

    def obstacles(self, change: Change, targets: list[int]) -> list[Obstacle]:
        """What stands in the way."""
        return self._transact(
            lambda run: [
                one for target in sorted(targets) for one in _obstacles(run, change, target)
            ]
        )

    def stopping(self, incarnation: int) -> list[int]:
        """Items whose attempts an incarnation is to stop."""
        return [item for (item,) in self._transact(lambda run: run("stopping_here", incarnation))]

    def stopped(self, incarnation: int, items: list[int]) -> None:
        """They are stopped."""
        self._transact(
            lambda run: [run("stopped", item, incarnation) for item in sorted(items)], tell=True
        )

    def end_operation(self, operation: int, state: str, now_ms: int) -> None:
        """The operation has ended."""
        self._transact(lambda run: run("end_operation", state, now_ms, operation))

    def pause_pipeline(
        self, operation: int, pipeline: str, step: str, paused: bool, now_ms: int
    ) -> bool:
        """Pause a pipeline or a step, or let it go on."""

        def work(run: Run) -> bool:
            known = run("pipeline_of", pipeline)
            if not known:
                raise NotFoundError(
                    f"there is no pipeline {pipeline!r} in this ledger: `holdfast status` "
                    "lists them"
                )
            (number,) = known[0]
            changed = (
                run("pause_pipeline", number, step, now_ms, operation)
                if paused
                else run("resume_pipeline", number, step)
            )
            run("operation_changed", int(bool(changed)), operation)
            return bool(changed)

        return self._transact(work, tell=True)

    def close_dependency(self, operation: int, dependency: str, now_ms: int) -> bool:
        """Close the breaker of a dependency."""

        def work(run: Run) -> bool:
            closed = run("close_breaker", dependency)
            for (probe_at,) in closed:
                # those that have failed before
                run("wake_tasks_between", now_ms + HEARD_MS, probe_at, probe_at + PARKED_MS)
                run("wake_until", now_ms + HEARD_MS, now_ms, probe_at + PARKED_MS)
            run("operation_changed", len(closed), operation)
            return bool(closed)

        return self._transact(work, tell=True)

    def redrive_by_rule(
        self, pipeline: str, rule: RedriveRule, after: int, now_ms: int
    ) -> tuple[int, int]:
        """Send back what a rule concerns."""
        return self._transact(
            lambda run: redrive_by_rule(run, self._listed, pipeline, rule, after, now_ms), tell=True
        )

    def wishes(self, incarnation: int) -> list[Wished]:
        """What is asked of the items that an incarnation drives."""
        return [
            Wished(item, fence, wish == "pause")
            for item, fence, wish in self._transact(lambda run: run("wishes", incarnation))
        ]

    def paused(self) -> list[Paused]:
        """What is paused."""
        return [Paused(*row) for row in self._transact(lambda run: run("pauses"))]

    def _change(
        self, run: Run, operation: int, change: Change, targets: list[int], now_ms: int
    ) -> list[int]:
        if not run("operation_known", operation):
            raise InputError(f"there is no operation {operation}: begin one first")
        if isinstance(change, Redrive | Discard):
            changed = self._change_dead_letters(run, operation, change, sorted(targets), now_ms)
        else:
            # in the order in which commits lock them too
            run("lock_items", self._listed(sorted(targets)))
            changed = []
            for item in sorted(targets):
                if self._change_item(run, operation, change, item, now_ms):
                    run("note_operated", operation, item, 0)
                    changed.append(item)
        run("operation_changed", len(changed), operation)
        return changed

    def _change_dead_letters(
        self,
        run: Run,
        operation: int,
        change: Redrive | Discard,
        dead_letters: list[int],
        now_ms: int,
    ) -> list[int]:
        rows = {row[0]: row for row in run("dead_letters_now", self._listed(dead_letters))}
        run("lock_items", self._listed(sorted({row[1] for row in rows.values()})))
        if isinstance(change, Redrive):
            changed = redrive(run, self._listed, list(rows), now_ms)
            if change.arguments is not None:
                for dead_letter in changed:
                    run("edit_arguments", *rows[dead_letter][1:4], change.arguments)
        else:
            changed = []
            for dead_letter, item, _, _, state, item_state in run(
                "dead_letters_now", self._listed(dead_letters)
            ):
                if state == "open" and item_state in ("dead", "completed"):
                    run("close_dead_letter_because", now_ms, operation, dead_letter)
                    if run("open_dead_letters_left", item)[0][0] == 0:
                        run("discard_item", item)
                    changed.append(dead_letter)
        run("note_operated_dead_letters", operation, self._listed(changed))
        return changed

    def _change_item(
        self, run: Run, operation: int, change: OfItems, item: int, now_ms: int
    ) -> bool:
        """Whether it changed the item."""
        known = run("item_now", item)
        if not known:
            return False
        _, state, version, generation, fence, wish = known[0]
        if isinstance(change, Restart) and change.payload is None:
            return generations.restart(
                run, item, change.nodes.get(version, ()) if change.nodes else (-1,), now_ms
            )
        if isinstance(change, Restart | Revise):
            return self._revise(run, operation, change, item, now_ms)
        if isinstance(change, Pause):
            return bool(run("pause_item", item) or run("wish_pause", item))
        if isinstance(change, Resume):
            if state == "paused":
                run("queue_item", item)
            return state == "paused" or (wish is not None and bool(run("forget_wish", item)))
        if isinstance(change, Cancel):
            return cancel(run, item, now_ms)
        return self._move(run, change, item, state, version, generation, fence, now_ms)

    def _revise(
        self, run: Run, operation: int, change: Restart | Revise, item: int, now_ms: int
    ) -> bool:
        """Replace the item's payload, unless it is this one already, or effects of the old one
        forbid it."""
        content = _content(run, change, item)
        if isinstance(change, Revise) and generations.has_payload(run, item, content):
            return False
        if generations.unrevisable(run, item, change.repeat_effects):
            return False
        ((who, reason),) = run("who_asks", operation)
        return generations.revise(run, item, content, Asking(who, reason, operation), now_ms)

    def _move(
        self,
        run: Run,
        change: Move,
        item: int,
        state: str,
        version: int,
        generation: int,
        fence: int,
        now_ms: int,
    ) -> bool:
        same = change.same.get(version)
        if same is None or version == change.to or state not in (*LIVE_ITEM_STATES, "dead"):
            return False
        rows = [] if fence == 0 else run("results_of", item)
        if change.seen.get(item, (generation, len(rows))) != (generation, len(rows)):
            return False  # it has other values than those that were checked
        if fence == 0:  # nothing of it has begun
            run("move_item", change.to, item)
            return True
        results = {(row[0], row[1]): row for row in rows}  # the newest of each task
        generations.stop(run, item, now_ms)
        run("close_dead_letters_of", now_ms, "moved to another version", item)
        run("note_move", item, generation + 1, version)
        run("move_item", change.to, item)
        for (node, element_path), row in results.items():
            there = same.get(node)
            if there is not None and (row[8] is None or change.bodies.get(there, row[8]) == row[8]):
                run("add_result", item, there, element_path, generation + 1, *row[3:])
        run("drop_all_parts", item)
        run("drop_restarts", item)
        edits = run("edits_of_item", item)
        run("drop_edits_of", item)
        for _, node, element_path, arguments in edits:
            if node in same:
                run("edit_arguments", item, same[node], element_path, arguments)
        _take_effects_along(run, item, change.named.get(version, same))
        if state == "paused":
            run("next_generation", now_ms, item)
            run("pause_item", item)
        else:
            run("next_generation", now_ms, item)
        return True


def _content(run: Run, change: Restart | Revise, item: int) -> Content:
    assert change.payload is not None
    if isinstance(change, Restart):
        return Content(change.payload, change.digest, fields=change.fields)
    version: int | None = None
    if change.version:
        found = run("version_labelled", item, change.version)
        if not found:
            raise InputError(
                f"the item's pipeline has no version {change.version!r} here: `holdfast "
                "deploy` registers one"
            )
        ((version,),) = found
    return Content(change.payload, change.digest, version, change.fields)


def _obstacles(run: Run, change: Change, target: int) -> list[Obstacle]:
    """What stands in the way of one item, or of the item of a dead letter."""
    item = target
    nodes: tuple[int, ...] = ()
    if isinstance(change, Redrive):
        found = run("dead_letter_item", target)
        if not found:
            return []
        ((item, node),) = found
        nodes = (node,)
    if not (known := run("item_now", item)):
        return []
    if isinstance(change, Revise) or (isinstance(change, Restart) and change.payload is not None):
        same = isinstance(change, Revise) and generations.has_payload(
            run, item, _content(run, change, item)
        )
        why = "" if same else generations.unrevisable(run, item, change.repeat_effects)
    elif isinstance(change, Restart):
        why = generations.obstacle(run, item, change.nodes.get(known[0][2], ()))
    else:
        why = generations.obstacle(run, item, nodes) if isinstance(change, Redrive) else ""
    return [Obstacle(item, run("key_of", item)[0][0], why)] if why else []


def _take_effects_along(run: Run, item: int, named: dict[int, int]) -> None:
    """What steps have recorded of their effects belongs to them in the other version, where they
    have other numbers."""
    effects = run("effects_of_item", item)
    if all(named.get(node) == node for node, *_ in effects):
        return
    run("drop_effects_of", item)
    for node, element_path, label, at, value in effects:
        if node in named:
            run("add_effect", item, named[node], element_path, label, at, value)
