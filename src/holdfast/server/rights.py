"""What a route needs: every one says which right, or the server does not start."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from holdfast.server.access import Person
from holdfast.server.problems import Refused

ANYBODY = "anybody"


class Right:
    """A dependency that lets through who has the right, and gives the person.

    Args:
        right: which one, or ``anybody``.
    """

    def __init__(self, right: str) -> None:
        self.right = right

    def __call__(self, request: Request) -> Person | None:
        """The person of a request.

        Raises:
            Refused: the person may not.
        """
        person: Person | None = request.scope.get("holdfast.person")
        if self.right != ANYBODY and (person is None or not person.may(self.right)):
            role = person.role if person is not None else "nobody"
            raise Refused(
                403, "Not allowed", f"a {role} may not do this: it needs the right to {self.right}"
            )
        return person


def needs(right: str) -> Any:
    """Declare what a route needs: ``person: Annotated[Person, needs("view")]``."""
    return Depends(Right(right))


def right_of(route: APIRoute) -> str:
    """The right that a route needs.

    Raises:
        AssertionError: it does not say so, once.
    """
    found = [one.call.right for one in route.dependant.dependencies if isinstance(one.call, Right)]
    if len(found) != 1:
        raise AssertionError(
            f"route {route.path} must say which right it needs, once: it says {found or 'nothing'}"
        )
    return str(found[0])
