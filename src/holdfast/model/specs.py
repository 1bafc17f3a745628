"""What a combinator declares, as a value on its node. Changing one changes no shape: it applies to
items under way."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.model.graph import Ref

Rule = Literal["fail", "wait", "proceed"]
Late = Literal["cancel", "record"]


class GatherSpec(msgspec.Struct, frozen=True):
    """How branches are joined.

    Attributes:
        rules: for each branch: without it the join fails, it is waited for, or it is taken if it is
            there.
        quorum: branches that must succeed, or None.
        deadline_s: seconds after which the join takes what is there, or None.
        late: what becomes of branches that the join did not wait for.
    """

    rules: tuple[Rule, ...]
    quorum: int | None = None
    deadline_s: float | None = None
    late: Late = "cancel"


class RefineSpec(msgspec.Struct, frozen=True):
    """How often a draft is made again.

    Attributes:
        maximum: most passes.
        verdict: the judge's result within a pass: the feedback of the next one.
        until: the node that decides whether a pass was the last, and how good it was.
        bury: an exhausted refinement is a dead letter.
    """

    maximum: int
    verdict: Ref
    until: int
    bury: bool = False


class ReviewSpec(msgspec.Struct, frozen=True):
    """What a person is asked.

    Attributes:
        form: the type that the answer must have.
        title: what the reviewer reads first.
        by: names of people or roles who may decide; empty: anybody.
        within_s: seconds until it is escalated, or given up, or None.
        escalate: who may decide from then on, for as long again; empty: nobody, it is a dead
            letter.
        four_eyes: a second person must give the same answer.
    """

    form: Any
    title: str
    by: tuple[str, ...] = ()
    within_s: float | None = None
    escalate: tuple[str, ...] = ()
    four_eyes: bool = False


class WaitSpec(msgspec.Struct, frozen=True):
    """Which event a task waits for, how long at most (seconds, or None), and the flag left when it
    does not come (empty: a dead letter)."""

    event: str
    timeout_s: float | None = None
    flag: str = ""


class EmitSpec(msgspec.Struct, frozen=True):
    """Which event is emitted; its data are the first input, its key the second, if there is one."""

    event: str


class ChildSpec(msgspec.Struct, frozen=True):
    """Which pipeline runs as an item of its own."""

    pipeline: Any
