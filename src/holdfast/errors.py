"""Every error that Holdfast raises, in one tree.

::

    HoldfastError
    ├── DefinitionError            a step or pipeline is declared wrongly; raised at import
    │   └── EdgeTypeError          two steps are joined whose types do not fit
    ├── InputError                 what the caller handed in is refused
    │   ├── ModuleError            a module cannot be imported, or has no such pipeline
    │   ├── NotFoundError          no such item, pipeline, step or dead letter
    │   └── ConflictError          an event's producer has used its id for another event
    ├── LedgerError                the ledger cannot serve
    │   ├── LedgerRefusedError     it must not be opened: unsafe, newer, or not ours
    │   │   └── LedgerRestoredError  it is an older copy of itself
    │   ├── LedgerUnavailableError disk full, I/O error or server away: nothing was written
    │   │   ├── LedgerLockedError  another process is the writer
    │   │   └── LedgerUnknownError no answer came: it may have been written
    │   ├── LeaseLostError         this runner's incarnation is over
    │   │   └── LedgerMovedError   the ledger's file was moved, replaced or removed
    │   └── BacklogFullError       as many items wait as the settings allow
    ├── WorkersError               workers cannot start, or cannot import a pipeline
    ├── BusError                   a broker has not taken an event; it waits in the ledger
    │   ├── EventRefusedError      a broker does not take this event
    │   └── StreamRefusedError     a broker would discard messages that nobody has read
    ├── StoreError                 an artifact is missing or damaged
    ├── ItemEnded                  the item whose result was asked for ended without one
    │   └── ItemDead               it is dead: ``dead_letter`` says why
    ├── ResultNotReady             the item has not ended within the timeout
    └── StepError                  raised by step bodies to classify a failure
        ├── TransientError         try again, not before ``retry_after`` seconds if given
        ├── ModelError             a model failed: a brief retry, then the fallback
        ├── BadInputError          this input can never work: no retry
        ├── OutOfMemoryError       too large for this worker
        └── ResultError            the result does not fit its annotation, or cannot be stored

Every message is one line that says what to do.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """The root: ``except HoldfastError`` catches everything that Holdfast itself raises."""


class DefinitionError(HoldfastError):
    """A step, combinator or pipeline is declared wrongly. Raised when the module is imported.

    Attributes:
        placed: the message begins with the file and line of what is wrong.
    """

    placed = False


class EdgeTypeError(DefinitionError):
    """The output type of one step does not fit the input type of the next; the message names
    both."""


class InputError(HoldfastError):
    """A payload, key, module name or argument was refused; nothing was stored."""


class ModuleError(InputError):
    """A module cannot be imported, by this process or by its workers, or has no such pipeline;
    nothing was accepted."""


class NotFoundError(InputError):
    """No such item, pipeline, step or dead letter in this ledger."""


class ConflictError(InputError):
    """An event's producer has used its id for another event: nothing was kept."""


class LedgerError(HoldfastError):
    """The ledger cannot do what was asked."""


class LedgerRefusedError(LedgerError):
    """The ledger must not be opened as it is: unsafe SQLite, newer schema, or a file that is not a
    ledger."""


class LedgerRestoredError(LedgerRefusedError):
    """The ledger does not know what it has acknowledged: it is an older copy.
    ``holdfast ledger accept-restore`` goes on with it."""


RETRY_AFTER_S = 5.0
"""Seconds after which it is worth asking a ledger again that could not serve."""


class LedgerUnavailableError(LedgerError):
    """The disk is full or failing, or the server away. Nothing was written: the same may be asked
    again.

    Args:
        message: why, and what to do.
        retry_after: seconds before which asking again is pointless.
    """

    def __init__(self, message: str = "", retry_after: float = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LedgerLockedError(LedgerUnavailableError):
    """Another process is this ledger's writer.

    Args:
        message: which, and what to do.
        starting: it is a runner that starts, and soon listens.
    """

    def __init__(self, message: str = "", starting: bool = False) -> None:
        super().__init__(message, 1.0)
        self.starting = starting


class LedgerUnknownError(LedgerUnavailableError):
    """It was handed to the ledger, and no answer came in time: it may have been written, or be
    written yet.

    The same may be asked again: what is handed in has keys, events have ids, and a command that a
    runner still knows by its identity is not carried out twice.

    Args:
        message: what happened.
        command: the identity of the command, or empty.
        retry_after: seconds before which asking again is pointless.
    """

    def __init__(
        self, message: str = "", command: str = "", retry_after: float = RETRY_AFTER_S
    ) -> None:
        super().__init__(message, retry_after)
        self.command = command


class LeaseLostError(LedgerError):
    """This runner's incarnation is over: its lease ended, and what it held is for others to
    claim."""


class LedgerMovedError(LeaseLostError):
    """The ledger's file is not where it was: moved, replaced or removed while this process wrote to
    it."""


class BacklogFullError(LedgerError):
    """As many items wait as ``HOLDFAST_BACKLOG`` allows. None of these was accepted; those before
    them are safe.

    Args:
        limit: the setting.
        retry_after: seconds after which there should be room, going by how long the foremost item
            has waited.
    """

    def __init__(self, limit: int, retry_after: float) -> None:
        self.limit, self.retry_after = limit, retry_after
        super().__init__(
            f"the backlog is full: {limit} items wait; come back in {retry_after:g} s, add "
            "runners, or raise HOLDFAST_BACKLOG"
        )


class WorkersError(HoldfastError):
    """Worker processes cannot start, or cannot import the module of a pipeline. Raised at the start
    of a run, before anything is accepted."""


class BusError(HoldfastError):
    """A broker cannot be reached, or has not taken an event: it waits in the ledger."""


class EventRefusedError(BusError):
    """A broker does not take this event, whatever else it takes: it is too large, or its name is
    none there."""


class StreamRefusedError(BusError, InputError):
    """A broker keeps messages in a way that would discard some that nobody has read."""


class StoreError(HoldfastError):
    """An artifact is missing, or its bytes do not match its digest."""


class StepError(HoldfastError):
    """Base of the errors that a step body raises to classify its own failure."""


class TransientError(StepError):
    """A failure that passes: rate limit, timeout, service away.

    Args:
        message: what happened.
        retry_after: seconds before which a retry is pointless (a server's ``Retry-After``), or
            None.
    """

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelError(StepError):
    """Model inference failed; retried briefly, then the fallback is taken."""


class BadInputError(StepError):
    """This input can never succeed: it is not retried."""


class OutOfMemoryError(StepError):
    """The input did not fit into memory."""


class ResultError(StepError):
    """A step returned what its annotation does not allow or what cannot be stored faithfully."""
