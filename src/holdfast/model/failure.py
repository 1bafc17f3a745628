"""What went wrong in an attempt, as data: error class, type, message, traceback."""

from __future__ import annotations

import traceback
from typing import Literal

import msgspec

from holdfast.errors import BadInputError, LedgerUnavailableError, ModelError, OutOfMemoryError, TransientError

ErrorClass = Literal["transient", "model", "bad-input", "memory", "crash", "timeout", "deadline", "infrastructure", "cancelled", "child"]

_MESSAGE_LIMIT = 2_000
_TRACE_LIMIT = 16_000


class Failure(msgspec.Struct, frozen=True, tag="failure", array_like=True):
    """One failed attempt's cause.

    Attributes:
        error_class: what kind of failure it is; decides whether it is retried.
        error: the exception's qualified type, or what happened to the process.
        message: the exception's text, cut to 2,000 characters.
        traceback: the formatted traceback, cut to its last 16,000 characters.
        retry_after: seconds before which a retry is pointless, or None.
    """

    error_class: ErrorClass
    error: str
    message: str
    traceback: str = ""
    retry_after: float | None = None


def classify(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> ErrorClass:
    """Return the class of an exception that a step body raised; unknown ones count as transient."""
    if isinstance(error, never) or isinstance(error, BadInputError | msgspec.ValidationError):
        return "bad-input"
    if isinstance(error, LedgerUnavailableError):
        return "infrastructure"  # the disk of the artifact store is full: no fault of the step
    if isinstance(error, MemoryError | OutOfMemoryError):
        return "memory"
    if isinstance(error, ModelError):
        return "model"
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):  # pydantic, without importing it
        return "bad-input"
    return "transient"


def failure_of(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> Failure:
    """Describe an exception; item text in it is kept as text, with lone surrogates replaced."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    trace = "".join(traceback.format_exception(error))
    after = error.retry_after if isinstance(error, TransientError) else None
    return Failure(classify(error, never), name, clean(str(error))[:_MESSAGE_LIMIT], clean(trace)[-_TRACE_LIMIT:], after)


def clean(text: str) -> str:
    """Return ``text`` as valid UTF-8: a lone surrogate (model output has them) becomes ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")
