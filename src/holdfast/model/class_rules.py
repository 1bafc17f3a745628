"""``error_class``: users' rules for which kind of failure an exception is."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

from holdfast.model.arguments import checked
from holdfast.model.classes import OfException, Rule, declare
from holdfast.model.exceptions import name_of
from holdfast.model.kinds import Kind, UnfitError, choice, function


def _exception(value: Any) -> str:
    """The name of an exception class."""
    if isinstance(value, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", value):
        return str(value)
    if isinstance(value, type) and issubclass(value, BaseException):
        return name_of(value)
    raise UnfitError(f"give {_EXCEPTION.expects}")


_EXCEPTION = Kind(
    "an exception class, or its name: 'module.Class', or 'Class' for any module", _exception
)
_CLASS = choice(*get_args(OfException))
_FUNCTION = function(1, "a class, or a function from an exception to a class or None")


def _rule(value: Any) -> Any:
    """A class, or a function that says one."""
    return _FUNCTION.read(value) if callable(value) else _CLASS.read(value)


@checked("error_class()")
def error_class(
    exception: Annotated[type[BaseException] | str, _EXCEPTION],
    rule: Annotated[
        Rule,
        Kind(f"{_CLASS.expects}, or a function from an exception to one of these or None", _rule),
    ],
) -> None:
    """Say which kind of failure an exception is, for every step of this program. Call it where the
    steps are declared: workers import that module too.

    Args:
        exception: the type, or its name: ``"module.Class"``, or ``"Class"`` for any module. Its
            descendants are meant as well.
        rule: the class (``"transient"``, ``"model"``, ``"bad-input"``, ``"bug"``, ``"memory"``,
            ``"timeout"``, ``"infrastructure"``), or a function from the exception to a class, or to
            None for "ask the next ancestor". A function that raises, returns anything else or takes
            over a second fails the attempt that it was asked about, as a ``bug`` that names the
            rule.

    Raises:
        DefinitionError: no exception, no such class, or a function that cannot be called with an
            exception.
    """
    declare(str(exception), rule)  # made a name by `checked`
