"""How an item ended, or how far it is: what somebody who waits for its result is told."""

from __future__ import annotations

import msgspec

from holdfast.errors import HoldfastError
from holdfast.model.values import Value


class Ending(msgspec.Struct, frozen=True):
    """One look at an item.

    Attributes:
        item: its id.
        key: its key.
        pipeline: the pipeline's name.
        version: the label of the version that it goes under.
        state: its state now: see :data:`holdfast.model.states.ITEM_STATES`.
        output: its result, once it is completed; None otherwise, and where retention has cleared
            it.
    """

    item: int
    key: str
    pipeline: str
    version: str
    state: str
    output: Value | None = None


class Failing(msgspec.Struct, frozen=True):
    """The dead letter of a dead item, in short.

    Attributes:
        dead_letter: its number: ``holdfast dead show NUMBER``.
        step: the step that failed.
        element_path: the element that failed, or empty.
        error_class: the class of its failure, such as ``bad-input``.
        error: the type of the error.
        message: what it said.
        attempts: how many attempts were made.
    """

    dead_letter: int
    step: str
    element_path: str
    error_class: str
    error: str
    message: str
    attempts: int


class ItemEnded(HoldfastError):
    """The item whose result was asked for has ended without one: cancelled, discarded or archived,
    or retention has cleared the result.

    Args:
        message: what happened, and what to do.
        item: its id.
        key: its key.
        state: its state.
    """

    def __init__(self, message: str = "", item: str = "", key: str = "", state: str = "") -> None:
        super().__init__(message)
        self.item, self.key, self.state = item, key, state


class ItemDead(ItemEnded):
    """The item whose result was asked for is dead.

    Args:
        message: what happened, and what to do.
        item: its id.
        key: its key.
        dead_letter: the open dead letter (:class:`Failing`), or None where
            it was closed meanwhile.
    """

    def __init__(
        self, message: str = "", item: str = "", key: str = "", dead_letter: Failing | None = None
    ) -> None:
        super().__init__(message, item, key, "dead")
        self.dead_letter = dead_letter


class ResultNotReady(HoldfastError, TimeoutError):
    """The item has not ended within the timeout. It goes on: ask again.

    Args:
        message: how far it is.
        item: its id.
        key: its key.
        state: its state.
    """

    def __init__(self, message: str = "", item: str = "", key: str = "", state: str = "") -> None:
        super().__init__(message)
        self.item, self.key, self.state = item, key, state
