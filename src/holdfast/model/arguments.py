"""Arguments of public calls: checked where they are written, refused with the file and line of the
caller.

A :class:`Kind` says what an argument may be. It stands in the annotation,
``attempts: Annotated[int, whole(1)]``, of a function under :func:`checked` or of a field of a
:class:`Declared` struct, and nowhere else.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

import msgspec
from typing_extensions import Unpack

from holdfast.errors import DefinitionError, HoldfastError
from holdfast.model import where
from holdfast.model.kinds import SWITCH, Kind, UnfitError, choice, meant, shown

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

Subject = str | Callable[[], str]
"""What was called, as messages name it; a function where that takes reading the caller's source."""


def refusal(
    subject: Subject, problem: str, error: type[HoldfastError] = DefinitionError
) -> HoldfastError:
    """The error that refuses what a caller wrote, beginning with ``FILE:LINE``.

    Args:
        subject: what was called, such as ``step 'ocr'`` or ``Retry``.
        problem: what is wrong with it and what to do.
        error: its class.
    """
    frame = where.caller()
    place = f"{where.place(frame)}: " if frame is not None else ""
    subject = subject if isinstance(subject, str) else subject()
    about = where.surrounding(frame) if frame is not None and "'" not in subject else ""
    made = error(f"{place}{subject}{about}: {problem}")
    if isinstance(made, DefinitionError):
        made.placed = True
    return made


def refuse(subject: Subject, problem: str) -> NoReturn:
    """Raise :func:`refusal`.

    Raises:
        DefinitionError: always.
    """
    raise refusal(subject, problem)


def placed(work: Callable[[], T]) -> T:
    """Do something; what is refused meanwhile begins with file and line of the user's own code,
    whoever refuses it."""
    try:
        return work()
    except DefinitionError as error:
        place = "" if error.placed else where.raised_at(error)
        if place:
            error.args = (f"{place}: {error}",)
            error.placed = True
        raise


# -- reading calls -------------------------------------------------------------------------------


class Reader:
    """Reads the arguments of one function or struct.

    Args:
        signature: what it takes.
        kinds: what each argument may be; what has no kind is taken as it is.
    """

    def __init__(self, signature: inspect.Signature, kinds: Mapping[str, Kind]) -> None:
        self.signature, self.kinds = signature, kinds

    def read(
        self, subject: Subject, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> inspect.BoundArguments:
        """Bind a call and convert its arguments.

        Raises:
            DefinitionError: an unknown keyword, a missing argument, or a value that does not fit.
        """
        parameters = self.signature.parameters
        named = [
            one.name
            for one in parameters.values()
            if one.kind not in (one.POSITIONAL_ONLY, one.VAR_POSITIONAL) and one.name != "self"
        ]
        for name in kwargs:
            if name not in named:
                takes = f"it takes {', '.join(named)}" if named else "it takes no keywords"
                refuse(subject, f"there is no argument {name!r}{meant(name, named) or ';'} {takes}")
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            problem = f"{error}; it needs {self._needs()}"
            raise refusal(subject, problem) from None
        for name, value in bound.arguments.items():
            kind = self.kinds.get(name)
            if kind is None or value is parameters[name].default:
                continue
            if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(
                    self._value(subject, f"{name}[{at}]", kind, one) for at, one in enumerate(value)
                )
            else:
                bound.arguments[name] = self._value(subject, name, kind, value)
        return bound

    def _value(self, subject: Subject, name: str, kind: Kind, value: Any) -> Any:
        try:
            return kind.read(value)
        except UnfitError as error:
            problem = f"{name}={shown(value)} is not allowed: {error}"
            raise refusal(subject, problem) from None

    def _needs(self) -> str:
        """What must be given: "version=…, a label"."""
        needed = []
        for one in self.signature.parameters.values():
            if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
                name = f"{one.name}=" if one.kind is one.KEYWORD_ONLY else one.name
                kind = self.kinds.get(one.name)
                needed.append(f"{name} ({kind.expects})" if kind else name)
        return " and ".join(needed) or "no argument but keywords"


def checked(
    subject: str | Callable[[tuple[Any, ...], dict[str, Any]], str],
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Decorate a function whose arguments are checked by the kinds in their annotations.

    Keywords that are declared as ``**options: Unpack[SomeTypedDict]`` become part of the signature
    that ``help()`` shows.

    Args:
        subject: what messages call it, or a function from its arguments to that.
        defaults: of the keywords of the typed dictionary.
    """

    def decorate(fn: F) -> F:
        hints = typing.get_type_hints(fn, include_extras=True)
        parameters = []
        for one in inspect.signature(fn).parameters.values():
            packed = (
                get_args(hints.get(one.name)) if get_origin(hints.get(one.name)) is Unpack else ()
            )
            if packed:
                inner = typing.get_type_hints(packed[0], include_extras=True)
                hints |= inner
                parameters += [
                    inspect.Parameter(
                        name,
                        one.KEYWORD_ONLY,
                        default=(defaults or {})[name],
                        annotation=inner[name],
                    )
                    for name in inner
                ]
            else:
                parameters.append(one.replace(annotation=hints.get(one.name, one.annotation)))
        reader = Reader(inspect.Signature(parameters), kinds_in(hints))

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            named = (
                subject if isinstance(subject, str) else functools.partial(subject, args, kwargs)
            )
            bound = reader.read(named, args, kwargs)
            return fn(*bound.args, **bound.kwargs)

        displayed = inspect.Signature([_displayed(one) for one in parameters])
        call.__signature__ = displayed  # type: ignore[attr-defined]
        return typing.cast(F, call)

    return decorate


def kinds_in(hints: Mapping[str, Any]) -> dict[str, Kind]:
    """The kinds that annotations name; a ``Literal`` is a choice, a ``bool`` a switch."""
    found = {}
    for name, hint in hints.items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Kind):
                found[name] = extra
        if name not in found and get_origin(hint) is Literal:
            found[name] = choice(*get_args(hint))
        elif name not in found and hint is bool:
            found[name] = SWITCH
    return found


def _displayed(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter as ``help()`` shows it: by its type."""
    annotation = parameter.annotation
    return parameter.replace(
        annotation=get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    )


if TYPE_CHECKING:

    class Declared(msgspec.Struct, frozen=True):
        """Base of the structs that users write: their arguments are checked by the kinds in their
        annotations."""

else:

    class _Checking(type(msgspec.Struct)):
        """Checks the arguments before a struct is made of them."""

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            bound = reader_of(cls).read(cls.__name__, args, kwargs)
            return super().__call__(**bound.arguments)

    class Declared(msgspec.Struct, frozen=True, metaclass=_Checking):
        """Base of the structs that users write: their arguments are checked by the kinds in their
        annotations."""


@functools.cache
def reader_of(struct: type[Declared]) -> Reader:
    """The reader of a struct's arguments."""
    hints = typing.get_type_hints(struct, include_extras=True)
    parameters = []
    for one in msgspec.structs.fields(struct):
        default = one.default if one.default is not msgspec.NODEFAULT else one.default_factory
        missing = default is msgspec.NODEFAULT
        parameters.append(
            inspect.Parameter(
                one.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if missing else default,
            )
        )
    return Reader(inspect.Signature(parameters), kinds_in(hints))


def instance(struct: type[Declared], expects: str) -> Kind:
    """A struct, or the value of its first field: ``retry=3`` means ``Retry(3)``."""
    alternative = f"{expects} or {struct.__name__}(…)"

    def read(value: Any) -> Any:
        if isinstance(value, struct):
            return value
        reader = reader_of(struct)
        first = next(iter(reader.signature.parameters))
        try:
            return struct(**{first: reader.kinds[first].read(value)})
        except UnfitError:
            raise UnfitError(
                f"give {alternative}; {first} is {reader.kinds[first].expects}"
            ) from None

    return Kind(alternative, read)
