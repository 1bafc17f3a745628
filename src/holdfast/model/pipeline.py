"""``pipeline``: a function of steps, traced once at definition into a graph."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from holdfast.errors import DefinitionError, InputError
from holdfast.model.alerts import Alerts
from holdfast.model.codec import decode
from holdfast.model.duration import Duration, seconds
from holdfast.model.prices import Budget
from holdfast.model.redriving import RedriveRule
from holdfast.model.tracing import trace

A = TypeVar("A")
T = TypeVar("T")

KEY_LIMIT = 512


def storable(text: str) -> bool:
    """Whether a text is Unicode: lone surrogates stand for bytes of a name that are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Listener(msgspec.Struct, frozen=True):
    """An event that starts a pipeline, and which of them are of interest (all, without ``where``)."""

    event: str
    where: Callable[[Any], bool] | None = None


class Keep(msgspec.Struct, frozen=True):
    """How long an item's values are kept after it has ended: what steps gave each other, and what the item gave.

    Args:
        intermediates: a duration such as ``"7d"``, or ``"forever"``. Which steps ran, how long and with what end stays known.
        outputs: the same for the result; then the item is ``archived``.

    Nothing of an item with an open dead letter is ever cleared, nor payloads, decisions and failures.
    """

    intermediates: Duration = "forever"
    outputs: Duration = "forever"

    def __post_init__(self) -> None:
        for duration in (self.intermediates, self.outputs):
            if duration != "forever":
                seconds(duration)


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
        self.fn = fn
        self.name = name or fn.__name__
        self.__name__, self.__doc__, self.__module__ = fn.__name__, fn.__doc__, fn.__module__
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", self.name):
            raise DefinitionError(f"pipeline name {self.name!r}: use letters, digits, '_', '-' and '.', at most 100, beginning with a letter")
        if not isinstance(version, str) or not version:
            raise DefinitionError(f"pipeline {self.name!r} needs version='…', the label under which items are admitted")
        if not callable(key):
            raise DefinitionError(f"pipeline {self.name!r} needs key=, a function from the payload to a text that names it")
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
        parameters = list(inspect.signature(fn).parameters)
        if len(parameters) != 1:
            raise DefinitionError(f"pipeline {self.name!r} must take one parameter, the payload; it takes {len(parameters)}")
        try:
            hints = typing.get_type_hints(fn, localns=names, include_extras=True)
        except NameError as error:
            raise DefinitionError(f"pipeline {self.name!r}: {error}; define or import the type before the pipeline") from None
        self.input_type = hints.get(parameters[0], Any)
        self._check_search()
        self.graph = trace(fn, self.name, self.input_type)
        self._check_steps()

    def _check_search(self) -> None:
        """The first part of each path is a field of the payload's type, where that type has declared ones."""
        declared = getattr(self.input_type, "__struct_fields__", None) or getattr(self.input_type, "__dataclass_fields__", None)
        declared = declared or getattr(self.input_type, "model_fields", None)
        for path in self.search:
            if not re.fullmatch(r"\w+(\.\w+)*", path):
                raise DefinitionError(f"pipeline {self.name!r}: search={path!r}: write a path of field names, such as 'customer.name'")
            if declared and path.partition(".")[0] not in declared:
                raise DefinitionError(f"pipeline {self.name!r}: search={path!r}: the payload has {', '.join(declared)}")

    def _check_steps(self) -> None:
        """Steps that alerts and rules name are there."""
        known = [node.name for node in self.graph.steps()]
        for name in (*self.alerts.steps, *(rule.step for rule in self.redrive if rule.step)):
            if name not in known:
                raise DefinitionError(f"pipeline {self.name!r} has no step {name!r} to watch or redrive: it has {', '.join(known)}")

    def __call__(self, payload: A) -> T:
        """Run as plain Python: no retries, no deadlines. Inside another pipeline, its steps are traced inline."""
        return self.fn(payload)

    def _repr_svg_(self) -> str:
        """In a notebook: its graph."""
        from holdfast.model.drawing import svg

        return svg(self)

    def key_of(self, payload: bytes) -> str:
        """The key of a stored payload.

        Raises:
            InputError: the key function failed, or gave no text of 1 to 512 characters without NUL and lone surrogates.
        """
        try:
            key = self.key(decode(payload, self.input_type))
        except Exception as error:
            raise InputError(f"the key function of pipeline {self.name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT or "\x00" in key or not storable(key):
            given = f"{key!r:.100}" if isinstance(key, str) else f"a {type(key).__name__}"
            raise InputError(
                f"the key function of pipeline {self.name!r} gave {given}: give a text of 1 to {KEY_LIMIT} characters without NUL and lone surrogates"
            )
        return str(key)

    def bodies(self) -> dict[str, str]:
        """The SHA-256 of each step's body, by the step's name in the graph."""
        return {node.name: node.step.body_hash() for node in self.graph.steps()}

    def __repr__(self) -> str:
        return f"<pipeline {self.name} version {self.version}>"


def pipeline(
    *,
    version: str,
    key: Callable[[Any], str],
    deadline: Duration | None = None,
    name: str | None = None,
    inputs: Callable[[str], Iterable[Any]] | None = None,
    keep: Keep = Keep(),
    search: Iterable[str] = (),
    alerts: Alerts = Alerts(),
    budget: Budget = Budget(),
    redrive: Iterable[RedriveRule] = (),
) -> Callable[[Callable[[A], T]], Pipeline[A, T]]:
    """Declare a function of steps as a pipeline; it is traced at once.

    Args:
        version: label of this graph; the same label with another shape is refused by the runner.
        key: names a payload; two payloads with one key are one item.
        deadline: how long an item may take from admission, a duration such as ``"2h"``.
        name: its name, by default the function's.
        inputs: turns one command-line argument into payloads, for ``holdfast run`` and ``holdfast submit``.
        keep: how long values are kept after an item has ended: ``Keep(intermediates="7d")``; by default for ever.
        search: fields of the payload by which items can be found, as paths: ``("claim_id", "customer.name", "pages.kind")``.
        alerts: when dead letters and hanging items become somebody's business.
        budget: how much an item, and a day of the pipeline, may cost.
        redrive: rules by which dead letters go back by themselves, such as ``[RedriveRule(error="timeout", after="1h")]``.

    Raises:
        DefinitionError: it computes over steps' outputs, or an edge does not fit; the message says what to write instead.
    """
    names = dict(sys._getframe(1).f_locals)
    return lambda fn: Pipeline(fn, version, key, deadline, name, inputs, names, keep, tuple(search), alerts, budget, tuple(redrive))
