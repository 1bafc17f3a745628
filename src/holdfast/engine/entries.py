"""What is handed to the committer: plans to write, and questions to the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan, TaskKey
from holdfast.ledger import Ledger
from holdfast.transaction import OpenTransaction

if TYPE_CHECKING:
    from holdfast.engine.dispatch import Call


class Entry(msgspec.Struct, eq=False):
    """A plan on its way into the ledger.

    Attributes:
        run: the item.
        plan: what is written.
        granted: tasks that start once it is durable; their slots are reserved.
        call: the batched call to which its start belongs.
        transaction: of a transactional step that succeeded, the open transaction that the plan goes
            into.
        reply: told whether the plan was written.
        final: it ends the item whatever was refused before.
        usual: all that follows once it is durable is that one task starts.
    """

    run: ItemRun
    plan: Plan
    granted: Sequence[TaskKey] = ()
    call: Call | None = None
    transaction: OpenTransaction | None = None
    reply: Callable[[bool], None] | None = None
    final: bool = False
    usual: bool = False


class Question:
    """A verb that the ledger runs, and its answer.

    Args:
        verb: gets the ledger.

    Attributes:
        done: whether it is answered.
        answer: what the verb returned, or the :class:`HoldfastError` that it raised.
        sequence: its number among all verbs of this committer, in the order in which they ran.
    """

    __slots__ = ("answer", "done", "sequence", "verb")

    def __init__(self, verb: Callable[[Ledger], Any]) -> None:
        self.verb = verb
        self.done = False
        self.answer: Any = None
        self.sequence = 0
