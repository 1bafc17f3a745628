"""Does the output type of one step fit the input type of the next? Asked once per edge, at
definition."""

from __future__ import annotations

import types
from typing import Any, TypeVar, Union, get_args, get_origin, is_typeddict

from holdfast.errors import EdgeTypeError
from holdfast.model.codec import describe
from holdfast.model.media import Artifact, by_reference, is_media

_LISTS = "list, tuple, set, frozenset, Sequence, Iterable or Collection"


def fits(produced: Any, wanted: Any) -> bool:
    """Whether a value of ``produced`` may be passed where ``wanted`` is annotated.

    Beyond subtyping: ``Any`` and bare generics fit everything, and an int fits a float (PEP 484).
    """
    if (
        produced == wanted
        or produced is Any
        or wanted is Any
        or wanted is object
        or isinstance(produced, TypeVar)
        or isinstance(wanted, TypeVar)
    ):
        return True
    if get_origin(produced) in (Union, types.UnionType):
        return all(fits(member, wanted) for member in get_args(produced))
    if get_origin(wanted) in (Union, types.UnionType):
        return any(fits(produced, member) for member in get_args(wanted))
    if produced is int and wanted is float:
        return True
    if Artifact in (produced, wanted) and is_media(produced) and is_media(wanted):
        return True  # the reference is passed on and not loaded, or loaded by who takes it
    if (
        by_reference(wanted)
        and get_origin(produced) is get_origin(wanted)
        and len(get_args(produced)) == len(get_args(wanted))
    ):
        return all(fits(given, taken) for given, taken in zip(get_args(produced), get_args(wanted)))
    if (
        isinstance(produced, type)
        and not get_args(produced)
        and get_origin(wanted) is not None
        and isinstance(get_origin(wanted), type)
    ):
        return issubclass(produced, get_origin(wanted))
    if is_typeddict(produced) and not is_typeddict(wanted):
        return fits(dict[str, Any], wanted)  # which is what it is when it runs
    # a quarter of a second to import, so only where edges are checked
    from beartype.door import (
        is_subhint,
    )

    try:
        return bool(is_subhint(_known(produced), _known(wanted)))
    except TypeError:  # typed dicts know no subclasses
        return is_typeddict(produced) == is_typeddict(wanted)


def _known(kind: Any) -> Any:
    return type(None) if kind is None else kind


def check_edge(producer: str, produced: Any, consumer: str, parameter: str, wanted: Any) -> None:
    """Raise :class:`EdgeTypeError` when the edge does not fit; the message names both steps and
    both types."""
    if not fits(produced, wanted):
        raise EdgeTypeError(
            f"{producer} gives {describe(produced)}, but {consumer} takes {describe(wanted)} "
            f"as {parameter!r}: "
            f"change one of the two annotations or put a step between them"
        )


def element_type(produced: Any) -> Any:
    """The type of an iterable's elements; None when it is no list."""
    if produced is Any:
        return Any
    origin, arguments = get_origin(produced) or produced, get_args(produced)
    if (
        not isinstance(origin, type)
        or issubclass(origin, str | bytes | dict)
        or not hasattr(origin, "__iter__")
    ):
        return None
    if not arguments:
        return Any if origin in (list, tuple, set, frozenset) else None
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return Union[arguments]  # noqa: UP007 - built at run time
    return arguments[0]
