"""Errors as RFC 9457 problems: what went wrong, and what to do."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from holdfast.errors import (
    RETRY_AFTER_S,
    BacklogFullError,
    ConflictError,
    DefinitionError,
    HoldfastError,
    InputError,
    LedgerError,
    LedgerUnavailableError,
    LedgerUnknownError,
    NotFoundError,
    StoreError,
)


class Refused(Exception):
    """A request that is refused.

    Args:
        status: the HTTP status.
        title: what it is, in a few words, the same for all of its kind.
        detail: what to do.
        headers: of the answer.
    """

    def __init__(
        self, status: int, title: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers or {}


def problem(
    status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """A problem as an answer."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers, "application/problem+json")


def refusal(error: HoldfastError) -> Refused:
    """One of Holdfast's errors as a refused request."""
    if isinstance(error, NotFoundError):
        return Refused(404, "Not found", str(error))
    if isinstance(error, BacklogFullError):
        return Refused(
            429,
            "The backlog is full",
            str(error),
            {"Retry-After": str(max(round(error.retry_after), 1))},
        )
    if isinstance(error, LedgerUnavailableError):
        unknown = isinstance(error, LedgerUnknownError)
        title = "It is not known whether this was written" if unknown else "The ledger cannot serve"
        return Refused(
            503, title, str(error), {"Retry-After": str(max(round(error.retry_after), 1))}
        )
    if isinstance(error, LedgerError):
        return Refused(
            503, "The ledger cannot serve", str(error), {"Retry-After": str(round(RETRY_AFTER_S))}
        )
    if isinstance(error, ConflictError):
        return Refused(409, "Conflict", str(error))
    if isinstance(error, InputError | DefinitionError):
        return Refused(422, "Refused", str(error))
    if isinstance(error, StoreError):
        return Refused(404, "Not found", str(error))
    return Refused(500, "Failed", str(error))
