"""What went wrong in an attempt, as data: error class, type, message, traceback.

``failure_of`` is total: whatever an exception is and does when it is looked at, it becomes a
failure of bounded size in bounded time that every ledger can store. ``storable`` gives the same for
a failure that came from elsewhere.
"""

from __future__ import annotations

import linecache
from collections import deque
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from holdfast.model.bounded import TookTooLongError, bounded
from holdfast.model.classes import RULE_S, ErrorClass, Judgement, judge
from holdfast.model.exceptions import cause_of, isinstance_of, members_of, name_of, seconds_of
from holdfast.model.secrets import redacted

_MESSAGE_LIMIT = 2_000
_TRACE_LIMIT = 16_000
_NAME_LIMIT = 300
_ROOM = 2_000
"""Characters that are read beyond a limit, so that a secret is hidden before it is cut."""

_SHOWN = 8
"""Exceptions of one failure whose tracebacks are shown: members of groups and causes together."""

_FIRST_FRAMES, _LAST_FRAMES = 5, 25
"""Frames of a traceback that are shown."""

_CLASSES = frozenset(get_args(ErrorClass))


class Failure(msgspec.Struct, frozen=True, tag="failure", array_like=True):
    """One failed attempt's cause.

    Attributes:
        error_class: what kind of failure it is; decides whether it is retried.
        error: the exception's qualified type, or what happened to the process.
        message: the exception's text, cut to 2,000 characters.
        traceback: the formatted traceback, cut to its last 16,000 characters.
        retry_after: seconds before which a retry is pointless, at most a day; or None.
    """

    error_class: ErrorClass
    error: str
    message: str
    traceback: str = ""
    retry_after: float | None = None


def failure_of(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> Failure:
    """Describe an exception. Never raises, and ends within seconds.

    Class, type, message and Retry-After are those of the exception that decides: see
    :func:`holdfast.model.classes.judge`. Item text is kept as text; lone surrogates and NUL are
    replaced visibly, secrets that were read are hidden.

    Args:
        error: what was raised.
        never: types that are bad input for this step.
    """
    aside = not _plain(error)
    try:
        judged = _beside(partial(judge, error, never), aside)
    except BaseException as trouble:
        judged = Judgement("bug", error, trouble=f"its class could not be found ({_why(trouble)})")
    try:
        message, trace = _beside(partial(_texts, error, judged), aside)
    except BaseException as trouble:
        message, trace = f"its text could not be read ({_why(trouble)})", ""
    return Failure(
        judged.error_class,
        _cut(name_of(type(judged.error)), _NAME_LIMIT),
        _cut(message, _MESSAGE_LIMIT),
        _cut_front(trace, _TRACE_LIMIT),
        judged.retry_after,
    )


def storable(failure: Failure) -> Failure:
    """A failure that came from another process, checked again: every field of its type, its size
    and its alphabet."""
    known = failure.error_class if failure.error_class in _CLASSES else "internal"
    wait = failure.retry_after
    if (
        known == failure.error_class
        and (wait is None or wait == seconds_of(wait))
        and len(failure.error) <= _NAME_LIMIT
        and len(failure.message) <= _MESSAGE_LIMIT
        and len(failure.traceback) <= _TRACE_LIMIT
        and _clean_already(failure.error)
        and _clean_already(failure.message)
        and _clean_already(failure.traceback)
    ):
        return failure
    return replace(
        failure,
        error_class=known,
        error=_cut(failure.error, _NAME_LIMIT),
        message=_cut(failure.message, _MESSAGE_LIMIT),
        traceback=_cut_front(failure.traceback, _TRACE_LIMIT),
        retry_after=seconds_of(wait),
    )


def clean(text: str) -> str:
    """Return ``text`` as every ledger takes it: valid UTF-8 (a lone surrogate, as model output has
    them, becomes ``?``) without NUL, which becomes the four characters ``\\x00``."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\\x00")


def _clean_already(text: str) -> bool:
    return "\0" not in text and (
        text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)
    )


def _cut(text: str, limit: int) -> str:
    return redacted(clean(str.__getitem__(text, slice(0, limit + _ROOM))))[:limit]


def _cut_front(text: str, limit: int) -> str:
    return redacted(clean(str.__getitem__(text, slice(-limit - _ROOM, None))))[-limit:]


def _beside(work: Any, aside: bool) -> Any:
    """Run it here, or where it can be given up: an exception's own code may run."""
    return bounded(work, 2 * RULE_S) if aside else work()


def _why(trouble: BaseException) -> str:
    if isinstance_of(trouble, TookTooLongError):
        return "it took too long"
    return f"{name_of(type(trouble))} while it was looked at"


_FOREIGN = frozenset(
    (
        "__str__",
        "__repr__",
        "__getattribute__",
        "__getattr__",
        "__class__",
        "__dict__",
        "args",
        "response",
        "code",
    )
    + ("status", "status_code", "headers", "hdrs", "retry_after", "errno")
)
_SCALARS = frozenset((str, int, float, bool, bytes, type(None)))
_args = BaseException.__dict__["args"].__get__
_context = BaseException.__dict__["__context__"].__get__
_suppressed = BaseException.__dict__["__suppress_context__"].__get__
_traceback = BaseException.__dict__["__traceback__"].__get__


def _plain(error: BaseException) -> bool:
    """Whether nothing of others runs when it is looked at: most exceptions, which need no
    thread."""
    kind: type = type(error)
    if not _plain_type(kind) or cause_of(error) is not None or _context(error) is not None:
        return False
    fields = error.__dict__
    return (
        all(type(one) in _SCALARS for one in (*_args(error)[:20], *list(fields.values())[:20]))
        and len(fields) <= 20
    )


@lru_cache(1_000)
def _plain_type(kind: type) -> bool:
    if type(kind) is not type or issubclass(kind, BaseExceptionGroup):
        return False
    return not any(
        _FOREIGN & vars(one).keys()
        for one in kind.__mro__
        if one.__flags__ & (1 << 9)  # made by Python code
    )


# -- texts ---------------------------------------------------------------------------------------


def _texts(error: BaseException, judged: Judgement) -> tuple[str, str]:
    """Message and traceback."""
    message = said(judged.error)
    if judged.trouble:
        message = f"{judged.trouble}; the attempt failed with {name_of(type(error))}: {message}"
    elif judged.error is not error:
        outer = said(error)[:300]
        message = f"{message} (in {_cut(name_of(type(error)), 100)}: {outer})"
    return message, "".join(_trace(error, judged.error))


def said(error: BaseException) -> str:
    """An exception's text, or why it has none; at most some thousand characters."""
    try:
        text = str(error)
    except BaseException as trouble:
        return f"its text cannot be read: __str__ raised {name_of(type(trouble))}"
    return str.__getitem__(text, slice(0, _MESSAGE_LIMIT + _ROOM))


def _trace(error: BaseException, last: BaseException) -> list[str]:
    """The traceback as Python prints it, causes and members of groups first; of each the first and
    the last frames, of the whole so many exceptions, and in any case the one that decided."""
    chain: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    todo: list[tuple[BaseException, str]] = [(error, "")]
    while todo and len(chain) < _SHOWN:
        one, link = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        chain.append((one, link))
        cause = cause_of(one)
        if cause is not None:
            todo.append(
                (
                    cause,
                    "\nThe above exception was the direct cause of the following exception:\n\n",
                )
            )
        elif _context(one) is not None and not _suppressed(one):
            todo.append(
                (
                    _context(one),
                    "\nDuring handling of the above exception, another exception occurred:\n\n",
                )
            )
        members = members_of(one)
        todo += [
            (member, "\nIt is a member of the following group:\n\n")
            for member in reversed(members[:_SHOWN])
        ]
    lines: list[str] = []
    for one, link in reversed(chain):
        lines += [*_one(one), link]
    if id(last) not in seen:
        lines += ["\nWhat decided, further inside:\n\n", *_one(last)]
    return lines


def _one(error: BaseException) -> list[str]:
    lines = []
    at: TracebackType | None = _traceback(error)
    if at is not None:
        lines.append("Traceback (most recent call last):\n")
        first, rest, count = [], deque[TracebackType](maxlen=_LAST_FRAMES), 0
        while at is not None:
            if count < _FIRST_FRAMES:
                first.append(at)
            else:
                rest.append(at)
            count += 1
            at = at.tb_next
        lines += [_frame(frame) for frame in first]
        left_out = count - len(first) - len(rest)
        if left_out:
            lines.append(f"  [{left_out} frames are left out]\n")
        lines += [_frame(frame) for frame in rest]
    text = said(error)[:_MESSAGE_LIMIT]
    name = _cut(name_of(type(error)), _NAME_LIMIT)
    lines.append(f"{name}: {text}\n" if text else f"{name}\n")
    notes = getattr(error, "__notes__", None)
    if type(notes) is list:
        lines += [
            f"{str.__getitem__(note, slice(0, 500))}\n"
            for note in notes[:10]
            if isinstance(note, str)
        ]
    return lines


def _frame(at: TracebackType) -> str:
    code = at.tb_frame.f_code
    file = code.co_filename
    line = ""
    if file.endswith(".py") or file in linecache.cache:
        line = linecache.getline(file, at.tb_lineno, at.tb_frame.f_globals).strip()[:300]
    return f'  File "{file[:500]}", line {at.tb_lineno}, in {code.co_name[:200]}\n' + (
        f"    {line}\n" if line else ""
    )
