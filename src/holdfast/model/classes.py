"""Which kind of failure an exception is: a registry by the exception's name, so that no library
need be imported to be known.

Names are ``module.Class``, or ``Class`` alone for any module; the nearest ancestor that is known
decides. Rules for the usual clients are here; :func:`holdfast.error_class` adds to them. An
exception that no rule knows takes the class of what it was raised ``from``; of a group, the inner
exceptions decide. Public names and status attributes of those libraries: httpx 0.28, requests 2.32,
aiohttp 3.14, openai 3, anthropic 0.7x, torch 2, onnxruntime 1.32.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Literal, cast, get_args

import msgspec

from holdfast.errors import (
    BadInputError,
    DefinitionError,
    InputError,
    LedgerUnavailableError,
    ModelError,
    OutOfMemoryError,
    ResultError,
    TransientError,
)
from holdfast.model.bounded import TookTooLongError, bounded
from holdfast.model.exceptions import cause_of, isinstance_of, members_of, name_of, seconds_of

ErrorClass = Literal[
    "transient",
    "model",
    "bad-input",
    "bug",
    "memory",
    "crash",
    "timeout",
    "deadline",
    "budget",
    "infrastructure",
    "internal",
    "cancelled",
    "child",
]

OfException = Literal[
    "transient", "model", "bad-input", "bug", "memory", "timeout", "infrastructure"
]
"""Classes that an exception of a step body may have; the others are what the engine itself sees."""

Rule = OfException | Callable[[Any], OfException | None]

RULE_S = 1.0
"""Seconds that a class rule, or reading an exception's fields, may take."""

_MOST = 1_000
"""Exceptions of one failure that are looked at: groups, their members and causes together."""

_PATIENCE: tuple[ErrorClass, ...] = (
    "infrastructure",
    "memory",
    "transient",
    "timeout",
    "model",
    "bug",
    "bad-input",
)
"""Which member of a group decides: the first class of these that any of them has. As long as one of
them may pass by itself, trying again makes sense; ``bad-input`` only if every one is."""


class UserRule(msgspec.Struct, frozen=True):
    """A function that :func:`error_class` was given, and for which exceptions."""

    name: str
    rule: Callable[[Any], Any]


class Judgement(msgspec.Struct, frozen=True):
    """What an exception comes to.

    Attributes:
        error_class: its class.
        error: the exception that decided: itself, a member of the group, or what it was raised
            from.
        retry_after: seconds before which a retry is pointless, or None.
        trouble: what a class rule did wrong, or empty. The failure is the rule's then.
    """

    error_class: ErrorClass
    error: BaseException
    retry_after: float | None = None
    trouble: str = ""


class BrokenRuleError(Exception):
    """A class rule raised, took too long, or returned what is no class."""


_AGAIN = {408, 409, 423, 425, 429}
"""Statuses below 500 that pass by themselves (RFC 9110, RFC 6585, RFC 8470). 401, 402, 403 and 407
concern our credentials, not the item: they are tried again too, since an item must not be buried as
bad input for an expired key."""
_OURS = {401, 402, 403, 407}


def by_status(status: int) -> OfException:
    """The class of an HTTP answer."""
    return (
        "transient"
        if status >= 500 or status in _AGAIN or status in _OURS or status < 400
        else "bad-input"
    )


def _status_of(error: Any) -> OfException | None:
    status = _first(error, "status_code", "status", "code")
    response = getattr(error, "response", None)
    status = (
        _first(response, "status_code", "status")
        if not isinstance(status, int) and response is not None
        else status
    )
    return by_status(status) if isinstance(status, int) else None


def _onnx(error: Any) -> OfException:
    text = str(error).lower()
    return (
        "memory"
        if "failed to allocate" in text or "out of memory" in text or "bad_alloc" in text
        else "model"
    )


def _torch(error: Any) -> OfException | None:
    return "memory" if "out of memory" in str(error).lower() else None


def _json(error: Any) -> OfException:
    """What a model wrote is no JSON; or a client read a page (of a proxy, as a rule) where a
    service should have answered."""
    at = error.__traceback__
    while at is not None:
        if str(at.tb_frame.f_globals.get("__name__")).partition(".")[0] in _CLIENTS:
            return "transient"
        at = at.tb_next
    return "model"


def _os(error: Any) -> OfException:
    if error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
    ):
        return "infrastructure"
    return "memory" if error.errno == errno.ENOMEM else "transient"


def _client(error: Any) -> OfException:
    return _status_of(error) or "transient"


_CLIENTS = {"httpx", "httpx2", "requests", "aiohttp"}
"""Libraries whose ``response.json()`` raises what the standard library's parser raises."""

_HTTPX: dict[str, Rule] = {
    "TimeoutException": "timeout",
    "HTTPStatusError": _client,
    "InvalidURL": "bad-input",
    "UnsupportedProtocol": "bad-input",
    "HTTPError": "transient",
}

_RULES: dict[str, Rule | UserRule] = {
    "TimeoutError": "timeout",
    "MemoryError": "memory",
    "RuntimeError": lambda error: _torch(error),  # CUDA says so in a plain RuntimeError
    "OSError": _os,
    # What a model or a service answered does not parse, or does not fit what the step expects of
    # it.
    "ValidationError": "model",  # pydantic, msgspec, jsonschema, marshmallow
    "JSONDecodeError": lambda error: _json(error),
    "DecodeError": "model",
    "ParseError": "model",  # XML: a SyntaxError to Python
    "YAMLError": "model",
    "TOMLDecodeError": "model",
    "UnicodeError": "bad-input",
    # Programming errors.
    "TypeError": "bug",
    "AttributeError": "bug",
    "NameError": "bug",
    "LookupError": "bug",
    "AssertionError": "bug",
    "NotImplementedError": "bug",
    "ImportError": "bug",
    "SyntaxError": "bug",
    "ArithmeticError": "bug",
    "RecursionError": "bug",
    "StopIteration": "bug",
    "StopAsyncIteration": "bug",
    "BufferError": "bug",
    "ReferenceError": "bug",
    "SystemError": "bug",
    # What is no Exception: it was meant to end the program, or a task. See _UNKNOWN for the others.
    "asyncio.exceptions.CancelledError": "transient",
    "gevent.timeout.Timeout": "timeout",
    "eventlet.timeout.Timeout": "timeout",
    "torch.OutOfMemoryError": "memory",
    "torch.cuda.OutOfMemoryError": "memory",
    "OutOfMemoryError": "memory",
    "onnxruntime.capi.onnxruntime_pybind11_state.OnnxRuntimeException": _onnx,
    "onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException": _onnx,
    "onnxruntime.capi.onnxruntime_pybind11_state.Fail": _onnx,
    "onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument": "bad-input",
    # openai 3 comes with httpx2
    **{f"{module}.{name}": rule for module in ("httpx", "httpx2") for name, rule in _HTTPX.items()},
    "requests.exceptions.Timeout": "timeout",
    "requests.exceptions.HTTPError": _client,
    "requests.exceptions.InvalidURL": "bad-input",
    "requests.exceptions.MissingSchema": "bad-input",
    "requests.exceptions.InvalidSchema": "bad-input",
    "requests.exceptions.RequestException": "transient",
    "aiohttp.client_exceptions.ClientResponseError": _client,
    "aiohttp.client_exceptions.InvalidURL": "bad-input",
    "aiohttp.client_exceptions.ServerTimeoutError": "timeout",
    "aiohttp.client_exceptions.ClientError": "transient",
    "urllib.error.HTTPError": _client,
    "urllib.error.URLError": "transient",
    "http.client.HTTPException": "transient",
    "urllib3.exceptions.HTTPError": "transient",
    "openai.APITimeoutError": "timeout",
    "openai.APIConnectionError": "transient",
    "openai.APIStatusError": _client,
    "openai.LengthFinishReasonError": "model",
    "openai.ContentFilterFinishReasonError": "model",
    "anthropic.APITimeoutError": "timeout",
    "anthropic.APIConnectionError": "transient",
    "anthropic.APIStatusError": _client,
}


def declare(name: str, rule: Rule) -> None:
    """Add a rule for the exceptions of a name: see :func:`holdfast.error_class`."""
    _RULES[name] = UserRule(name, rule) if callable(rule) else rule


def classify(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> ErrorClass:
    """Return the class of an exception that a step body raised; unknown ones count as transient.
    ``never``: bad input for this step."""
    return judge(error, never).error_class


def judge(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> Judgement:
    """Decide which class an exception has, and which exception of its group or of its causes says
    so.

    Its own rule comes first. Without one, the members of a group decide together, and any other
    exception is what it was raised ``from``. What was merely being handled (``__context__``)
    decides nothing.
    """
    try:
        return _judged(error, never, set(), 0)
    except BrokenRuleError as broken:
        return Judgement("bug", error, trouble=str(broken))


def _judged(
    error: BaseException, never: tuple[type[BaseException], ...], seen: set[int], depth: int
) -> Judgement:
    seen.add(id(error))
    own = _declared(error, never)
    said = _retry_after(error)
    if own is not None or depth >= 20 or len(seen) > _MOST:
        return Judgement(own or _unknown(error), error, said)
    members: list[BaseException] = list(members_of(error))
    cause = cause_of(error)
    if not members and cause is not None:
        members = [cause]
    found = []
    for one in members:
        if len(seen) > _MOST:
            break
        if id(one) not in seen:
            found.append(_judged(one, never, seen, depth + 1))
    if not found:
        return Judgement(_unknown(error), error, said)
    foreign = [
        one for one in found if not _cancelled(one.error)
    ] or found  # the others were cancelled for it
    decides = min(foreign, key=lambda one: _PATIENCE.index(one.error_class))
    waits = [one.retry_after for one in foreign if one.retry_after is not None]
    return Judgement(
        decides.error_class,
        decides.error,
        max([*waits, *([] if said is None else [said])], default=None),
    )


def _cancelled(error: BaseException) -> bool:
    return any(name_of(kind) == "asyncio.exceptions.CancelledError" for kind in type(error).__mro__)


def _unknown(error: BaseException) -> ErrorClass:
    """What no rule knows may pass. What is no Exception was not meant to be survived: exits, panics
    of native extensions."""
    return "transient" if isinstance_of(error, Exception) else "bug"


def _declared(error: BaseException, never: tuple[type[BaseException], ...]) -> ErrorClass | None:
    try:
        if never and isinstance_of(error, never):
            return "bad-input"
    except BaseException as trouble:
        raise BrokenRuleError(
            f"Retry(never=…) could not be asked: {name_of(type(trouble))}"
        ) from None
    for kind, known in _OWN:
        if isinstance_of(error, kind):
            return known
    for ancestor in type(error).__mro__:
        for name in (name_of(ancestor), _public(ancestor), ancestor.__name__):
            rule = _RULES.get(name)
            found = None if rule is None else _asked(rule, error)
            if found is not None:
                return found
    return None


_OWN: tuple[tuple[type[BaseException], ErrorClass], ...] = (
    (BadInputError, "bad-input"),
    # the disk of the artifact store is full: no fault of the step
    (
        LedgerUnavailableError,
        "infrastructure",
    ),
    (OutOfMemoryError, "memory"),
    (ModelError, "model"),
    (TransientError, "transient"),
    (ResultError, "bug"),
    (InputError, "bug"),  # the step called something of ours wrongly
    (DefinitionError, "bug"),
)


def _asked(rule: Rule | UserRule, error: BaseException) -> ErrorClass | None:
    if isinstance(rule, str):
        return cast("ErrorClass", rule)
    if not isinstance(rule, UserRule):
        try:
            return rule(error)
        except BaseException:
            return None  # the exception's fields are broken: its ancestors decide
    called = f"the error_class rule for {rule.name}"
    try:
        found = bounded(lambda: rule.rule(error), RULE_S)
        known = found is None or (type(found) is str and found in get_args(OfException))
    except TookTooLongError:
        raise BrokenRuleError(f"{called} took longer than {RULE_S:g} s") from None
    except BaseException as trouble:
        raise BrokenRuleError(f"{called} raised {name_of(type(trouble))}") from None
    if not known:
        what = repr(found[:40]) if type(found) is str else f"a value of type {name_of(type(found))}"
        raise BrokenRuleError(f"{called} returned {what}, which is no error class")
    return found  # type: ignore[no-any-return]


def retry_after(error: BaseException, now_s: float | None = None) -> float | None:
    """Seconds before which a server said that a retry is pointless: of a :class:`TransientError`,
    or of a ``Retry-After`` header (RFC 9110, 10.2.3: seconds or a date) that the exception carries;
    at most a day. None for what is neither number nor date.

    Args:
        error: the exception.
        now_s: Unix seconds to count a date from; when left out, the answer's own ``Date`` header
            says.
    """
    if isinstance_of(error, TransientError):
        return seconds_of(error.retry_after, now_s)  # type: ignore[attr-defined]
    headers = _first(error, "headers", "hdrs") or getattr(
        getattr(error, "response", None), "headers", None
    )
    try:
        said = headers.get("retry-after") or headers.get("Retry-After")  # type: ignore[union-attr]
    except AttributeError:
        return None
    if now_s is None and isinstance(said, str):
        try:
            now_s = parsedate_to_datetime(headers["date"]).timestamp()  # type: ignore[index]
        except Exception:
            now_s = None
    return seconds_of(said, now_s)


def _retry_after(error: BaseException) -> float | None:
    try:
        return retry_after(error)
    except BaseException:
        return None


def _public(kind: type) -> str:
    """The name under which a library offers a class: ``httpx.ReadTimeout`` is made in
    ``httpx._exceptions``."""
    return f"{name_of(kind).partition('.')[0]}.{kind.__qualname__}"


def _first(thing: Any, *names: str) -> Any:
    for name in names:
        value = getattr(thing, name, None)
        if value is not None and not callable(value):
            return value
    return None
