"""``pipeline``: a function of steps, traced once at definition into a graph."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from holdfast.errors import DefinitionError, InputError
from holdfast.model.alerts import ALERTS, Alerts
from holdfast.model.arguments import Declared, checked, instance, placed, refusal, refuse
from holdfast.model.bodies import of_a_pipeline
from holdfast.model.codec import decode
from holdfast.model.domain import NAME_LIMIT, is_name
from holdfast.model.duration import KEEPING, Duration, OptionalSpan, seconds
from holdfast.model.failure import said
from holdfast.model.kinds import Kind, UnfitError, function, several, shown, text
from holdfast.model.prices import BUDGET, Budget
from holdfast.model.redriving import REDRIVE, RedriveRule
from holdfast.model.tracing import trace
from holdfast.model.where import caller, caller_names, decorated

A = TypeVar("A")
T = TypeVar("T")


class KeyRefusedError(InputError):
    """A payload fits its type, and the key function gives no key for it."""


class Listener(msgspec.Struct, frozen=True):
    """An event that starts a pipeline, and which of them are of interest (all, without
    ``where``)."""

    event: str
    where: Callable[[Any], bool] | None = None


class Keep(Declared, frozen=True):
    """How long an item's values are kept after it has ended: what steps gave each other, and what
    the item gave.

    Args:
        intermediates: a duration such as ``"7d"``, or ``"forever"``. Which steps ran, how long and
            with what end stays known.
        outputs: the same for the result; then the item is ``archived``.

    Nothing of an item with an open dead letter is ever cleared, nor payloads, decisions and
    failures. In a pipeline, ``keep="7d"`` means ``Keep("7d")``: intermediates for a week, outputs
    for ever.
    """

    intermediates: Annotated[Duration, KEEPING] = "forever"
    outputs: Annotated[Duration, KEEPING] = "forever"


KEEP = instance(Keep, "how long intermediates are kept (keep='7d')")


class Pipeline(Generic[A, T]):
    """A traced pipeline. Called with a real payload it runs as plain Python.

    Attributes:
        name: its name in the ledger: the function's, or ``name=``.
        version: the label that items are admitted under.
        graph: nodes, edges and types.
        deadline: seconds that an item may take from admission, or None.
        inputs: turns one argument of ``holdfast run`` into payloads, or None.
        listeners: the events that start it.
        keep: how long values are kept.
        search: fields of the payload by which items are found.
        alerts: thresholds.
        budget: how much it may spend.
        redrive: which of its dead letters go back by themselves.
    """

    def __init__(
        self,
        fn: Callable[[A], T],
        version: str,
        key: Callable[[Any], str],
        deadline: Duration | None,
        name: str | None,
        inputs: Callable[[str], Iterable[A]] | None,
        names: dict[str, Any],
        keep: Keep = Keep(),
        search: tuple[str, ...] = (),
        alerts: Alerts = Alerts(),
        budget: Budget = Budget(),
        redrive: tuple[RedriveRule, ...] = (),
    ) -> None:
        try:
            fn = of_a_pipeline(fn)
            self.name: str = NAME.read(name or fn.__name__)
        except UnfitError as error:
            known = name or getattr(fn, "__name__", shown(fn))
            raise refusal(
                f"pipeline {known!r}", f"{error}{'' if name else ', or set name='}"
            ) from None
        self.fn = fn
        self.__name__, self.__doc__, self.__module__ = fn.__name__, fn.__doc__, fn.__module__
        self.version = version
        self.key = key
        self.deadline = None if deadline is None else seconds(deadline)
        self.inputs = inputs
        self.keep = keep
        self.search = search
        self.alerts = alerts
        self.budget = budget
        self.redrive = redrive
        self.listeners: tuple[Listener, ...] = ()
        try:
            hints = typing.get_type_hints(fn, localns=names, include_extras=True)
        except (NameError, TypeError, SyntaxError) as error:
            refuse(
                f"pipeline {self.name!r}", f"{error}; define or import the type before the pipeline"
            )
        self.input_type = hints.get(next(iter(inspect.signature(fn).parameters)), Any)
        self._check_search()
        self.graph = placed(lambda: trace(fn, self.name, self.input_type))
        placed(self._check_steps)

    def _check_search(self) -> None:
        """The first part of each path is a field of the payload's type, where that type has
        declared ones."""
        declared = getattr(self.input_type, "__struct_fields__", None) or getattr(
            self.input_type, "__dataclass_fields__", None
        )
        declared = declared or getattr(self.input_type, "model_fields", None)
        for path in self.search:
            if declared and path.partition(".")[0] not in declared:
                refuse(
                    f"pipeline {self.name!r}",
                    f"search={path!r}: the payload has {', '.join(declared)}",
                )

    def _check_steps(self) -> None:
        """Steps that alerts and rules name are there, and no two steps have one name."""
        known = [node.name for node in self.graph.steps()]
        for name in (*self.alerts.steps, *(rule.step for rule in self.redrive if rule.step)):
            if name not in known:
                raise DefinitionError(
                    f"pipeline {self.name!r} has no step {name!r} to watch or redrive: it has "
                    f"{', '.join(known)}"
                )
        steps: dict[str, Any] = {}
        for node in self.graph.steps():
            other = steps.setdefault(node.step.name, node.step)
            if (
                other is not node.step
                and other.body.__module__ != "holdfast.model.combinators.refine"
            ):
                refuse(
                    f"pipeline {self.name!r}",
                    f"two different steps are called {other.name!r} "
                    f"({other.__module__}.{other.body.__qualname__} and "
                    f"{node.step.__module__}.{node.step.body.__qualname__}): limits, pauses "
                    "and learned timeouts go by the name; "
                    f"give one of them another: @step(name='…')",
                )

    def __call__(self, payload: A) -> T:
        """Run as plain Python: no retries, no deadlines. Inside another pipeline, its steps are
        traced inline."""
        return self.fn(payload)

    def _repr_svg_(self) -> str:
        """In a notebook: its graph."""
        from holdfast.model.drawing import svg

        return svg(self)

    def key_of(self, payload: bytes) -> str:
        """The key of a stored payload.

        Raises:
            KeyRefusedError: the key function failed, or gave no text of 1 to 512 characters without
                NUL and lone surrogates.
        """
        try:
            key = self.key(decode(payload, self.input_type))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a library written in another language may panic
            raise KeyRefusedError(
                f"the key function of pipeline {self.name!r} failed: {type(error).__name__}: "
                f"{said(error)}"
            ) from error
        if not is_name(key, least=1):
            given = f"{key!r:.100}" if isinstance(key, str) else f"a {type(key).__name__}"
            wanted = f"a text of 1 to {NAME_LIMIT} characters without NUL and lone surrogates"
            raise KeyRefusedError(
                f"the key function of pipeline {self.name!r} gave {given}: give {wanted}"
            )
        return str(key)

    def bodies(self) -> dict[str, str]:
        """The SHA-256 of each step's body, by the step's name in the graph."""
        return {node.name: node.step.body_hash() for node in self.graph.steps()}

    def __repr__(self) -> str:
        return f"<pipeline {self.name} version {self.version}>"


NAME = text(
    re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}").fullmatch,
    "a name of letters, digits, '_', '-' and '.', at most 100, beginning with a letter",
)


def _version(value: Any) -> str:
    label = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if (
        not isinstance(label, str)
        or not re.fullmatch(r"\S(.{0,98}\S)?", label)
        or not label.isprintable()
    ):
        raise UnfitError(f"give {VERSION.expects}")
    return label


VERSION = Kind(
    "a label under which items are admitted, such as '1': text of 1 to 100 characters, or a "
    "whole number",
    _version,
)

_key = function(
    1, "a function from the payload to a text that names it, such as lambda upload: upload.claim_id"
)


def _subject(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    given = (
        kwargs.get("name")
        or (getattr(args[0], "__name__", "") if args else "")
        or decorated(caller())
    )
    return f"pipeline {given!r}" if isinstance(given, str) and given else "pipeline"


@checked(_subject)
def pipeline(
    *,
    version: Annotated[str | int, VERSION],
    key: Annotated[Callable[[Any], str], _key],
    deadline: OptionalSpan = None,
    name: Annotated[str | None, NAME] = None,
    inputs: Annotated[
        Callable[[str], Iterable[Any]] | None,
        function(1, "a function from one argument of `holdfast run` to payloads", yields=True),
    ] = None,
    keep: Annotated[Keep | Duration, KEEP] = Keep(),
    search: Annotated[
        str | Iterable[str],
        several(
            text(
                re.compile(r"(?=.{1,200}\Z)\w+(\.\w+)*").fullmatch,
                "a path of field names, such as 'customer.name', of at most 200 characters",
            ),
            "a path of field names, such as 'customer.name', or several",
        ),
    ] = (),
    alerts: Annotated[Alerts | int, ALERTS] = Alerts(),
    budget: Annotated[Budget | float, BUDGET] = Budget(),
    redrive: Annotated[RedriveRule | Iterable[RedriveRule], REDRIVE] = (),
) -> Callable[[Callable[[A], T]], Pipeline[A, T]]:
    """Declare a function of steps as a pipeline; it is traced at once.

    Args:
        version: label of this graph; the same label with another shape is refused by the runner.
            ``1`` means ``"1"``.
        key: names a payload; two payloads with one key are one item.
        deadline: how long an item may take from admission, a duration such as ``"2h"``.
        name: its name, by default the function's.
        inputs: turns one command-line argument into payloads, for ``holdfast run`` and
            ``holdfast submit``.
        keep: how long values are kept after an item has ended: ``Keep(intermediates="7d")``; by
            default for ever. ``"7d"`` means ``Keep("7d")``.
        search: fields of the payload by which items can be found, as paths:
            ``("claim_id", "customer.name", "pages.kind")``; or one path.
        alerts: when dead letters and hanging items become somebody's business.
        budget: how much an item, and a day of the pipeline, may cost. ``5`` means
            ``Budget(item_usd=5)``.
        redrive: rules by which dead letters go back by themselves, such as
            ``[RedriveRule(error="timeout", after="1h")]``, or one.

    Raises:
        DefinitionError: it computes over steps' outputs, or an edge does not fit; the message says
            what to write instead.
    """
    # Made what their annotations promise by `checked`, as the arguments came in.
    made: dict[str, Any] = {
        "keep": keep,
        "search": search,
        "alerts": alerts,
        "budget": budget,
        "redrive": redrive,
    }
    names = caller_names()
    return lambda fn: Pipeline(fn, str(version), key, deadline, name, inputs, names, **made)


def _pipeline(value: Any) -> Pipeline[Any, Any]:
    if not isinstance(value, Pipeline):
        raise UnfitError(f"give {PIPELINE.expects}; {shown(value)} is none")
    return value


PIPELINE = Kind("a pipeline: a function under @pipeline(…)", _pipeline)
PIPELINES = several(PIPELINE, "a pipeline, or a list of them")


def _payloads(value: Any) -> Any:
    """Many payloads; one alone, though it can be iterated over, would be taken apart."""
    one = (
        isinstance(value, str | bytes | bytearray | Mapping)
        or hasattr(type(value), "model_fields")
        or hasattr(type(value), "_fields")
    )
    if one or not isinstance(value, Iterable):
        raise UnfitError(f"give {PAYLOADS.expects}")
    return value


PAYLOADS = Kind("a list of payloads, or what yields them: one alone is [payload]", _payloads)
