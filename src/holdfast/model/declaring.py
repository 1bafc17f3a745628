"""``step``: what declares a step. Its keywords are declared once, in :class:`StepOptions`."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import msgspec
from typing_extensions import TypedDict, Unpack

from holdfast.model.arguments import Subject, checked, refuse
from holdfast.model.bodies import of_a_model, of_a_step
from holdfast.model.context import Context
from holdfast.model.dependency import Dependency
from holdfast.model.duration import Duration
from holdfast.model.kinds import UnfitError, choice, number, shown, text
from holdfast.model.policy import (
    BATCH,
    DEPENDS,
    RETRY,
    TIMEOUT,
    Batch,
    Effects,
    Exhausted,
    Policy,
    Retry,
    Runs,
    Timeout,
)
from holdfast.model.size import SIZE, Size
from holdfast.model.step import Failed, Kind, Step
from holdfast.model.transaction import Transaction
from holdfast.model.where import caller, caller_names, decorated

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class _Decorator:
    @overload
    def __call__(
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /
    ) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...
    def __call__(self, fn: Any, /) -> Any: ...


class _OptionalDecorator:
    @overload
    def __call__(
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /
    ) -> Callable[P, T | None]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], T], /) -> Callable[P, T | None]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T | None]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | None]: ...
    def __call__(self, fn: Any, /) -> Any: ...


class _TransactionDecorator:
    @overload
    def __call__(
        self, fn: Callable[Concatenate[Transaction, Context, P], T], /
    ) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Transaction, P], T], /) -> Callable[P, T]: ...
    def __call__(self, fn: Any, /) -> Any: ...


NAME = text(
    re.compile(r"[^\W\d][\w-]{0,99}").fullmatch,
    "a name of letters, digits, '_' and '-', at most 100, beginning with a letter",
)
_NAME_OR_NONE = text(
    lambda name: not name or re.fullmatch(r"[^\W\d][\w-]{0,99}", name), NAME.expects
)
_MARK = text(
    re.compile(r"([^\W_][\w.-]{0,99})?").fullmatch,
    "a mark of letters, digits, '_', '-' and '.', such as 'no-entities'",
)


class CommonOptions(TypedDict, total=False):
    """Keywords that every kind of step takes; :meth:`_StepFactory.__call__` says what they mean."""

    retry: Annotated[Retry | int, RETRY]
    timeout: Annotated[Timeout | Duration, TIMEOUT]
    name: Annotated[str, _NAME_OR_NONE]
    effects: Effects
    runs: Annotated[Runs, choice("auto", "loop", "process", "threads")]
    pool: Annotated[
        str, text(re.compile(r"[^\W\d][\w.-]{0,99}").fullmatch, "the name of a pool, such as 'ocr'")
    ]
    depends: Annotated[str | Dependency | None, DEPENDS]
    cache: bool
    gpus: Annotated[float, number(0, 1e5, "how many GPUs an attempt holds, such as 1 or 0.5")]
    memory: Annotated[Size | None, SIZE]


class StepOptions(CommonOptions, total=False):
    """And those of which one asks for another."""

    optional: bool
    flag: Annotated[str, _MARK]
    exhausted: Exhausted


DEFAULTS: dict[str, Any] = {
    **{one.name: one.default for one in msgspec.structs.fields(Policy)},
    "name": "",
}
"""What is not given, by keyword."""


def _subject(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The step, as messages name it: by ``name=``, by what is decorated, or by the class."""
    given = (
        kwargs.get("name")
        or getattr(args[1] if args[1:] else None, "__name__", "")
        or decorated(caller())
    )
    return f"step {given!r}" if isinstance(given, str) and given else "step"


class _StepFactory:
    """``@step`` on a function, ``step.of(Class)`` for a model built once per worker,
    ``step.batched(Class)`` for batches."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /
    ) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...
    @overload
    def __call__(
        self,
        *,
        optional: Literal[True],
        flag: str,
        exhausted: Exhausted = ...,
        **options: Unpack[CommonOptions],
    ) -> _OptionalDecorator: ...
    @overload
    def __call__(
        self,
        *,
        optional: Literal[False] = ...,
        exhausted: Literal["bury", "review"] = ...,
        **options: Unpack[CommonOptions],
    ) -> _Decorator: ...
    @checked(_subject, DEFAULTS)  # type: ignore[misc]  # mypy sees no keywords in what it gives
    def __call__(  # pyright: ignore[reportInconsistentOverload]
        self, fn: Any = None, /, **options: Unpack[StepOptions]
    ) -> Any:
        """Declare a function as a step: ``@step``, or ``@step(retry=3)``.

        Args:
            fn: the function, of ``@step`` without parentheses.
            retry: when a failed attempt is tried again; by default 5 attempts with full jitter.
                ``3`` means ``Retry(3)``.
            timeout: how long an attempt may run before it is killed; by default 10 minutes.
                ``"30s"`` means ``Timeout("30s")``.
            optional: failure gives ``None`` and leaves ``flag`` on the item instead of failing it.
            flag: the quality mark that a failed optional step leaves.
            exhausted: ``"bury"`` opens a dead letter; ``"skip"`` (the default of optional steps)
                keeps only the flag and the failure; ``"review"`` asks a person: run it again, go on
                with a value, or make it a dead letter.
            effects: ``"safe"``: it may run again after a failure (it has no effects, or they are
                keyed by ``ctx.idempotency_key`` or recorded by ``ctx.once``). ``"unsafe"``: an
                attempt that began and did not succeed goes to a person, never to a blind retry.
            runs: ``"auto"``: ``async def`` on the event loop, ``def`` in a worker process that can
                be killed. ``"threads"``: in a thread, which cannot be killed. ``"process"`` also
                takes ``async def``.
            pool: the name of the capacity that it will use; recorded, not limited yet.
            depends: the service that it calls, whose breaker and retry budget it shares: see
                :class:`Dependency`. ``"ocr"`` means ``Dependency("ocr")``.
            cache: a success is kept by body and inputs, and given to every later task of the same
                body with the same inputs, of any item, pipeline and version: for reprocessing. Only
                for steps without effects.
            gpus: GPUs that an attempt holds while it runs, or a part of one: their time is measured
                and priced. Nobody is kept from using them.
            memory: resident memory, such as ``"2GB"``, that the worker process and its children may
                hold during an attempt. Above it the worker is killed and the attempt fails with
                class ``memory``. Only for steps in worker processes.
            name: what the step is called, by default as the function or class.

        Raises:
            DefinitionError: an argument that does not fit, keywords that contradict each other, or
                a function that cannot be a step. The message begins with file and line.
        """
        subject = partial(_subject, (self, fn), options)
        if fn is not None and not callable(fn) and not isinstance(fn, staticmethod):
            refuse(
                subject,
                f"{shown(fn)} is not a function; give keywords by name: @step(name='ocr', retry=3)",
            )
        policy, name, names = _policy(subject, options), options.get("name", ""), caller_names()
        return (
            (lambda fn: _make(fn, policy, "function", names, name))
            if fn is None
            else _make(fn, policy, "function", names, name)
        )

    @overload
    def transactional(
        self, fn: Callable[Concatenate[Transaction, Context, P], T], /
    ) -> Callable[P, T]: ...
    @overload
    def transactional(self, fn: Callable[Concatenate[Transaction, P], T], /) -> Callable[P, T]: ...
    @overload
    def transactional(self, **options: Unpack[StepOptions]) -> _TransactionDecorator: ...
    @checked(_subject, DEFAULTS)  # type: ignore[misc]
    def transactional(  # pyright: ignore[reportInconsistentOverload]
        self, fn: Any = None, /, **options: Unpack[StepOptions]
    ) -> Any:
        """Declare a plain ``def`` whose first parameter is a :class:`Transaction` in the ledger's
        own PostgreSQL. What it writes to your tables commits together with the step's settlement,
        so exactly once. One runs at a time per runner, on a connection of its own.

        Keywords as for ``@step``, but ``runs``. Refused with any other ledger.

        Args:
            fn: the function, of ``@step.transactional`` without parentheses.

        Raises:
            DefinitionError: as for ``@step``; or the first parameter is no transaction.
        """
        subject = partial(_subject, (self, fn), options)
        if "runs" in options:
            refuse(
                subject, "step.transactional() takes no runs=: it runs in a thread of the runner"
            )
        policy, name, names = (
            _policy(subject, options, runs="transaction"),
            options.get("name", ""),
            caller_names(),
        )
        return (
            (lambda fn: _make(fn, policy, "function", names, name))
            if fn is None
            else _make(fn, policy, "function", names, name)
        )

    @checked(_subject, DEFAULTS)
    def of(
        self, model: Callable[[], Callable[P, T]], /, **options: Unpack[StepOptions]
    ) -> Callable[P, T]:
        """Declare a step from a class whose instances are called. It is built once per worker, so
        it may load a model. Keywords as for ``@step``.

        Args:
            model: the class; it is built without arguments.

        Raises:
            DefinitionError: as for ``@step``; or it is no class that can be built without
                arguments and called.
        """
        policy = _policy(partial(_subject, (self, model), options), options)
        made: Callable[P, T] = _make(
            model, policy, "class", caller_names(), options.get("name", "")
        )
        return made

    @checked(_subject, DEFAULTS)
    def batched(
        self,
        model: Callable[[], Callable[[list[A]], list[B | Failed]]],
        /,
        *,
        batch: Annotated[Batch | int, BATCH] = Batch(),
        **options: Unpack[StepOptions],
    ) -> Callable[[A], B]:
        """Declare a step ``A -> B`` from a class that takes ``list[A]`` and returns one verdict per
        element. Elements are gathered across items. Keywords as for ``@step``, and ``batch``.

        Args:
            model: the class; it is built without arguments, once per worker.
            batch: how many elements a call takes and how long it waits for them. ``8`` means
                ``Batch(8)``.

        Raises:
            DefinitionError: as for :meth:`of`.
        """
        policy = _policy(partial(_subject, (self, model), options), options, batch=batch)
        made: Callable[[A], B] = _make(
            model, policy, "batched", caller_names(), options.get("name", "")
        )
        return made


def _make(body: Any, policy: Policy, kind: Kind, names: dict[str, Any], name: str) -> Any:
    subject = f"step {name or getattr(body, '__name__', type(body).__name__)!r}"
    try:
        body = of_a_step(body) if kind == "function" else of_a_model(body, kind == "batched")
        if not name and body.__name__ == "<lambda>":
            raise UnfitError("a lambda has no name: write a def, or set name=")
        NAME.read(name or body.__name__)
    except UnfitError as error:
        refuse(subject, str(error))
    return Step(body, policy, kind, names, name)


def _policy(subject: Subject, given: Mapping[str, Any], **more: Any) -> Policy:
    """How the step is run, where its keywords do not contradict each other."""
    options = {**{name: value for name, value in given.items() if name != "name"}, **more}
    optional, unsafe = options.get("optional", False), options.get("effects") == "unsafe"
    if optional and not options.get("flag"):
        refuse(
            subject, "an optional step needs flag='…': the mark that its failure leaves on the item"
        )
    if not optional and options.get("flag"):
        refuse(subject, "flag= is for optional steps: add optional=True")
    if not optional and options.get("exhausted") == "skip":
        refuse(
            subject,
            "exhausted='skip' gives None to the next step: add optional=True and flag='…', so "
            "that the types say so",
        )
    if options.get("batch") is not None and (unsafe or options.get("exhausted") == "review"):
        refuse(
            subject,
            "step.batched() takes neither effects='unsafe' nor exhausted='review': elements "
            "of a call cannot be told apart",
        )
    if options.get("cache") and (unsafe or options.get("runs") == "transaction"):
        refuse(
            subject,
            "cache=True is for steps without effects: what is taken from the cache does not run",
        )
    return Policy(**{"exhausted": "skip" if optional else "bury", **options})


step = _StepFactory()
