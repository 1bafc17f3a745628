"""Which kind of failure an exception is: a registry by the exception's name, so that no library need be imported to be known.

Names are ``module.Class``, or ``Class`` alone for any module; the nearest ancestor that is known decides. Rules for the usual
clients are here; :func:`error_class` adds to them. Public names and status attributes of those libraries: httpx 0.28, requests 2.32,
aiohttp 3.14, openai 3, anthropic 0.7x, torch 2, onnxruntime 1.32.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Literal, get_args

import msgspec

from holdfast.errors import BadInputError, DefinitionError, LedgerUnavailableError, ModelError, OutOfMemoryError, TransientError

ErrorClass = Literal["transient", "model", "bad-input", "memory", "crash", "timeout", "deadline", "budget", "infrastructure", "cancelled", "child"]

OfException = Literal["transient", "model", "bad-input", "memory", "timeout", "infrastructure"]
"""Classes that an exception of a step body may have; the others are what the engine itself sees."""

Rule = OfException | Callable[[Any], OfException | None]

_AGAIN = {408, 409, 423, 425, 429}
"""Statuses below 500 that pass by themselves (RFC 9110, RFC 6585, RFC 8470). 401, 402, 403 and 407 concern our credentials, not the
item: they are tried again too, since an item must not be buried as bad input for an expired key."""
_OURS = {401, 402, 403, 407}


def by_status(status: int) -> OfException:
    """The class of an HTTP answer."""
    return "transient" if status >= 500 or status in _AGAIN or status in _OURS or status < 400 else "bad-input"


def _status_of(error: Any) -> OfException | None:
    status = _first(error, "status_code", "status", "code")
    response = getattr(error, "response", None)
    status = _first(response, "status_code", "status") if not isinstance(status, int) and response is not None else status
    return by_status(status) if isinstance(status, int) else None


def _onnx(error: Any) -> OfException:
    text = str(error).lower()
    return "memory" if "failed to allocate" in text or "out of memory" in text or "bad_alloc" in text else "model"


def _torch(error: Any) -> OfException | None:
    return "memory" if "out of memory" in str(error).lower() else None


def _os(error: Any) -> OfException:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE):
        return "infrastructure"
    return "memory" if error.errno == errno.ENOMEM else "transient"


def _client(error: Any) -> OfException:
    return _status_of(error) or "transient"


_HTTPX: dict[str, Rule] = {
    "TimeoutException": "timeout",
    "HTTPStatusError": _client,
    "InvalidURL": "bad-input",
    "UnsupportedProtocol": "bad-input",
    "HTTPError": "transient",
}

_RULES: dict[str, Rule] = {
    "TimeoutError": "timeout",
    "MemoryError": "memory",
    "RuntimeError": lambda error: _torch(error),  # CUDA says so in a plain RuntimeError
    "OSError": _os,
    "ValidationError": "bad-input",  # msgspec and pydantic
    "UnicodeError": "bad-input",
    "torch.OutOfMemoryError": "memory",
    "torch.cuda.OutOfMemoryError": "memory",
    "OutOfMemoryError": "memory",
    "onnxruntime.capi.onnxruntime_pybind11_state.OnnxRuntimeException": _onnx,
    "onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException": _onnx,
    "onnxruntime.capi.onnxruntime_pybind11_state.Fail": _onnx,
    "onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument": "bad-input",
    **{f"{module}.{name}": rule for module in ("httpx", "httpx2") for name, rule in _HTTPX.items()},  # openai 3 comes with httpx2
    "requests.exceptions.Timeout": "timeout",
    "requests.exceptions.HTTPError": _client,
    "requests.exceptions.InvalidURL": "bad-input",
    "requests.exceptions.RequestException": "transient",
    "aiohttp.client_exceptions.ClientResponseError": _client,
    "aiohttp.client_exceptions.InvalidURL": "bad-input",
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


def error_class(exception: type[BaseException] | str, rule: Rule) -> None:
    """Say which kind of failure an exception is, for every step of this program. Call it where the steps are declared: workers import
    that module too.

    Args:
        exception: the type, or its name: ``"module.Class"``, or ``"Class"`` for any module. Its descendants are meant as well.
        rule: the class (``"transient"``, ``"model"``, ``"bad-input"``, ``"memory"``, ``"timeout"``, ``"infrastructure"``), or a function
            from the exception to a class, or to None for "ask the next ancestor".

    Raises:
        DefinitionError: no such class.
    """
    if not callable(rule) and rule not in get_args(OfException):
        raise DefinitionError(f"there is no error class {rule!r}: it is one of {', '.join(get_args(OfException))}")
    _RULES[exception if isinstance(exception, str) else _name(exception)] = rule


def classify(error: BaseException, never: tuple[type[BaseException], ...] = ()) -> ErrorClass:
    """Return the class of an exception that a step body raised; unknown ones count as transient. ``never``: bad input for this step."""
    if isinstance(error, (*never, BadInputError, msgspec.ValidationError)):
        return "bad-input"
    if isinstance(error, LedgerUnavailableError):
        return "infrastructure"  # the disk of the artifact store is full: no fault of the step
    if isinstance(error, OutOfMemoryError):
        return "memory"
    if isinstance(error, ModelError):
        return "model"
    if isinstance(error, TransientError):
        return "transient"
    for ancestor in type(error).__mro__:
        for name in (_name(ancestor), _public(ancestor), ancestor.__name__):
            rule = _RULES.get(name)
            found = rule(error) if callable(rule) else rule
            if found is not None:
                return found
    return "transient"


def retry_after(error: BaseException, now_s: float | None = None) -> float | None:
    """Seconds before which a server said that a retry is pointless: of a :class:`TransientError`, or of a ``Retry-After`` header (RFC 9110,
    10.2.3: seconds or a date) that the exception carries. ``now_s``: Unix seconds, for a date."""
    if isinstance(error, TransientError):
        return error.retry_after
    headers = _first(error, "headers", "hdrs") or getattr(getattr(error, "response", None), "headers", None)
    try:
        said = headers.get("retry-after") or headers.get("Retry-After")  # type: ignore[union-attr]
    except AttributeError:
        return None
    if not isinstance(said, str):
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - (now_s if now_s is not None else parsedate_to_datetime(headers["date"]).timestamp())  # type: ignore[index]
        except (ValueError, TypeError, KeyError):
            return None
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else None


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _public(kind: type) -> str:
    """The name under which a library offers a class: ``httpx.ReadTimeout`` is made in ``httpx._exceptions``."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _first(thing: Any, *names: str) -> Any:
    for name in names:
        value = getattr(thing, name, None)
        if value is not None and not callable(value):
            return value
    return None
