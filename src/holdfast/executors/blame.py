"""Which call counts as failed when its worker is no more, and why."""

from __future__ import annotations

from holdfast.executors.slots import Job, Slot
from holdfast.model.failure import Failure
from holdfast.model.size import show_size

LOST = 3
"""How often a worker may end just before a call before that call counts as the cause."""


def blamed(slot: Slot, begun: Job | None, how: str, peak: int) -> tuple[Job | None, Failure]:
    """The call that counts as failed, or None, and its failure.

    Args:
        slot: the worker that has ended, with what it held.
        begun: the call that it had begun.
        how: how it ended, in words.
        peak: bytes, the most that it was seen to hold.
    """
    why = Failure("crash", how, f"the worker process {slot.pid} died while the step ran: {how}")
    if slot.starved:
        why = Failure(
            "memory",
            how,
            f"Linux ran out of memory and killed the worker process {slot.pid}, last seen "
            f"with {show_size(peak)}",
        )
    if slot.doomed is not None:
        return slot.doomed
    if slot.spoiled and slot.ready and not slot.deaf:
        return slot.head(), Failure(
            "crash", "WorkerUnusable", f"the worker process {slot.pid} was killed: {slot.spoiled}"
        )
    if begun is None and slot.ready and (head := slot.head()) is not None:
        head.lost += 1
        if head.lost >= LOST:
            return head, Failure(
                "crash", how, f"{LOST} worker processes died just before the step began: {how}"
            )
    return begun, why
