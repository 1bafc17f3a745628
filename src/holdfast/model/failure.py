"""What went wrong in an attempt, as data: error class, type, message, traceback."""

from __future__ import annotations

import traceback

import msgspec

from holdfast.model.classes import ErrorClass, classify, retry_after
from holdfast.model.secrets import redacted

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


def failure_of(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> Failure:
    """Describe an exception; item text in it is kept as text, with lone surrogates replaced, secrets that were read are hidden."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    trace = "".join(traceback.format_exception(error))
    message, trace = redacted(clean(str(error))), redacted(clean(trace))
    return Failure(classify(error, never), name, message[:_MESSAGE_LIMIT], trace[-_TRACE_LIMIT:], retry_after(error))


def clean(text: str) -> str:
    """Return ``text`` as valid UTF-8: a lone surrogate (model output has them) becomes ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")
