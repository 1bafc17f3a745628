"""``step``: an ordinary typed function, class or batched class becomes a node that the engine can run."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, get_origin, overload

import msgspec

from holdfast.errors import BadInputError, DefinitionError, InputError, StepError
from holdfast.model.context import Context
from holdfast.model.dependency import Dependency
from holdfast.model.media import by_reference
from holdfast.model.plain import wait_for
from holdfast.model.policy import Batch, Effects, Exhausted, Policy, Retry, Runs, Timeout
from holdfast.model.size import Size
from holdfast.model.tracing import tracer
from holdfast.model.transaction import Transaction, given_transaction

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
Kind = Literal["function", "class", "batched"]


class Failed(msgspec.Struct, frozen=True):
    """A batched step's verdict on one element that failed; the others are kept.

    Attributes:
        message: what is wrong with this element.
        retry: False when trying again is pointless (bad input).
    """

    message: str
    retry: bool = True

    def error(self) -> StepError:
        """The verdict as the exception that a single call would have raised."""
        return StepError(self.message) if self.retry else BadInputError(self.message)


class Step:
    """One declared step. Called while a pipeline is traced it becomes a node; called otherwise it just runs.

    Attributes:
        name: the function's or class's name.
        policy: how it is run.
        parameters: the types of its parameters by name, without the context.
        references: by place, the types of parameters that take artifacts, loaded or by reference.
        returns: the type of its (awaited) result, or of one element's when batched; without ``None`` for optional.
        wants_context: it takes a :class:`Context` first.
        runs: ``loop``, ``process``, ``threads`` or ``transaction``.
        timeout_s: seconds that an attempt may run at most.
        learns: its timeout is learned.
        cached: its successes are kept.
        depends: what it calls, or None.
        gpus: GPUs that an attempt holds.
        memory: bytes of resident memory that its worker and its children may hold; 0: no limit.
    """

    def __init__(self, body: Callable[..., Any], policy: Policy, kind: Kind, names: dict[str, Any], name: str = "") -> None:
        self.name: str = name or getattr(body, "__name__", type(body).__name__)
        if not re.fullmatch(r"[A-Za-z_][\w-]*", self.name):
            raise DefinitionError(f"step name {self.name!r}: use letters, digits, '_' and '-', beginning with a letter")
        self.__name__, self.__doc__, self.__module__ = self.name, body.__doc__, body.__module__
        self.policy = policy
        self.kind = kind
        self.body = body
        self._names = names
        self._instance: Any = None
        function = body if kind == "function" else getattr(body, "__call__")  # noqa: B004 - the class's method, not callable()
        self.is_async = inspect.iscoroutinefunction(function)
        self.runs: Runs = ("loop" if self.is_async else "process") if policy.runs == "auto" else policy.runs
        if self.runs == "loop" and not self.is_async:
            raise DefinitionError(f"step {self.name!r} is a plain def, which would block the event loop: leave runs='auto', or take 'threads'")
        if self.runs == "transaction" and self.is_async:
            raise DefinitionError(f"step {self.name!r} is transactional and runs in a thread: make it a plain def")
        self.timeout_s = policy.timeout.seconds
        # looked at for every attempt
        self.learns, self.cached, self.depends, self.gpus = policy.timeout.learn, policy.cache, policy.depends, policy.gpus
        self.memory = self._memory_limit()
        self._read_signature(function)

    def _memory_limit(self) -> int:
        try:
            limit = self.policy.memory_bytes
        except DefinitionError as error:
            raise DefinitionError(f"step {self.name!r}, memory=: {error}") from None
        if limit and self.runs != "process":
            raise DefinitionError(
                f"step {self.name!r}: memory={self.policy.memory!r} limits a worker process, and this step runs inside the runner "
                f"(runs={self.runs!r}): use a plain def with runs='auto', or runs='process'"
            )
        return limit

    def _read_signature(self, function: Callable[..., Any]) -> None:
        try:
            hints = typing.get_type_hints(function, localns=self._names, include_extras=True)
        except NameError as error:
            raise DefinitionError(f"step {self.name!r}: {error}; define or import the type before the step") from None
        parameters = list(inspect.signature(function).parameters.values())
        if self.kind != "function":
            parameters = parameters[1:]
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise DefinitionError(f"step {self.name!r} takes *args or **kwargs: name its parameters, so that its edges can be checked")
        if self.runs == "transaction":
            if not parameters or hints.get(parameters[0].name) is not Transaction:
                raise DefinitionError(f"step {self.name!r} is transactional: its first parameter is the transaction, (tx: holdfast.Transaction, …)")
            parameters = parameters[1:]
        self.wants_context = bool(parameters) and hints.get(parameters[0].name) is Context
        self.signature = inspect.Signature(parameters[1:] if self.wants_context else parameters)
        self.parameters = {name: hints.get(name, Any) for name in self.signature.parameters}
        self.references = {place: kind for place, kind in enumerate(self.parameters.values()) if by_reference(kind)}
        self.returns = hints.get("return", Any)
        if self.kind == "batched":
            self._read_batched()

    def _read_batched(self) -> None:
        if len(self.parameters) != 1 or self.is_async:
            raise DefinitionError(f"step.batched({self.name}): __call__ must be a plain def that takes one list and returns one list")
        (name, taken), given = next(iter(self.parameters.items())), self.returns
        if (get_origin(taken) or taken) is not list or (get_origin(given) or given) is not list:
            raise DefinitionError(f"step.batched({self.name}): annotate __call__ as (self, {name}: list[A]) -> list[B | Failed]")
        self.parameters = {name: (get_args(taken) or (Any,))[0]}
        element = (get_args(given) or (Any,))[0]
        verdicts = tuple(kind for kind in get_args(element) if kind is not Failed)
        self.returns = typing.Union[verdicts] if Failed in get_args(element) else element  # noqa: UP007

    @property
    def output_type(self) -> Any:
        """The type that the next step sees: ``returns``, or ``None`` too when the step is optional."""
        returns: Any = self.returns
        return returns | None if self.policy.optional and returns is not Any else returns

    def kinds(self, keywords: tuple[str, ...], count: int) -> list[Any]:
        """The types of the arguments of a call with ``count`` of them, the last ones of which it passes under these keywords."""
        names = [name for name in self.parameters if name not in keywords][: count - len(keywords)]
        return [self.parameters[name] for name in (*names, *keywords)]

    def instance(self) -> Callable[..., Any]:
        """The callable itself; a class is built once per process, on first use."""
        if self.kind == "function":
            return self.body
        if self._instance is None:
            self._instance = self.body()
        return typing.cast(Callable[..., Any], self._instance)

    def body_hash(self) -> str:
        """SHA-256 of the body's source (of its name where there is none), recorded with every attempt."""
        try:
            text = inspect.getsource(self.body)
        except (OSError, TypeError):
            text = f"{self.body.__module__}.{self.name}"
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        active = tracer()
        if active is None:
            return self._run_plainly(args, kwargs)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise DefinitionError(f"step {self.name!r}: {error}") from None
        known = self.signature.parameters.values()
        first = next((p.name for p in known if p.kind is p.KEYWORD_ONLY or p.name not in bound.arguments), None)
        names, given = list(self.parameters), list(bound.arguments)
        ordered = given if first is None else [name for name in given if names.index(name) < names.index(first)]
        keywords = given[len(ordered) :]  # those behind a parameter that keeps its default, too
        inputs = tuple(active.argument(bound.arguments[name], f"step {self.name!r}", name, self.parameters[name]) for name in (*ordered, *keywords))
        return active.output(active.add("step", self.name, inputs, self.output_type, keywords=tuple(keywords), step=self))

    def _run_plainly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            if self.kind == "batched":
                bound = self.signature.bind(*args, **kwargs)
                verdict = self.instance()([next(iter(bound.arguments.values()))])[0]
                if isinstance(verdict, Failed):
                    raise verdict.error()
                return verdict
            leading: tuple[Any, ...] = (Context(step=self.name),) if self.wants_context else ()
            if self.runs == "transaction":
                leading = (self._plain_transaction(), *leading)
            result = self.instance()(*leading, *args, **kwargs)
            return wait_for(result) if self.is_async else result
        except Exception:
            if self.policy.optional:
                return None
            raise

    def _plain_transaction(self) -> Transaction:
        given = given_transaction()
        if given is None:
            raise InputError(
                f"step {self.name!r} is transactional: in plain Python, give it a connection by "
                "`with holdfast.testing.plain_transaction(connection):`"
            )
        return given

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class _Decorator:
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...
    def __call__(self, fn: Any, /) -> Any: ...


class _OptionalDecorator:
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /) -> Callable[P, T | None]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], T], /) -> Callable[P, T | None]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T | None]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | None]: ...
    def __call__(self, fn: Any, /) -> Any: ...


class _TransactionDecorator:
    @overload
    def __call__(self, fn: Callable[Concatenate[Transaction, Context, P], T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Transaction, P], T], /) -> Callable[P, T]: ...
    def __call__(self, fn: Any, /) -> Any: ...


class _StepFactory:
    """``@step(...)`` on a function, ``step.of(Class)`` for a model built once per worker, ``step.batched(Class)`` for batches."""

    @overload
    def __call__(
        self,
        *,
        optional: Literal[True],
        flag: str,
        retry: Retry = ...,
        timeout: Timeout = ...,
        name: str = ...,
        exhausted: Exhausted = ...,
        effects: Effects = ...,
        runs: Runs = ...,
        pool: str = ...,
        depends: str | Dependency = ...,
        cache: bool = ...,
        gpus: float = ...,
        memory: Size = ...,
    ) -> _OptionalDecorator: ...
    @overload
    def __call__(
        self,
        *,
        optional: Literal[False] = ...,
        retry: Retry = ...,
        timeout: Timeout = ...,
        name: str = ...,
        exhausted: Literal["bury", "review"] = ...,
        effects: Effects = ...,
        runs: Runs = ...,
        pool: str = ...,
        depends: str | Dependency = ...,
        cache: bool = ...,
        gpus: float = ...,
        memory: Size = ...,
    ) -> _Decorator: ...
    def __call__(self, **options: Any) -> Any:
        """Declare a function as a step.

        Args:
            retry: when a failed attempt is tried again; by default 5 attempts with full jitter.
            timeout: how long an attempt may run before it is killed; by default 10 minutes.
            optional: failure gives ``None`` and leaves ``flag`` on the item instead of failing it.
            flag: the quality mark that a failed optional step leaves.
            exhausted: ``"bury"`` opens a dead letter; ``"skip"`` (the default of optional steps) keeps only the flag and the failure;
                ``"review"`` asks a person: run it again, go on with a value, or make it a dead letter.
            effects: ``"safe"``: it may run again after a failure (it has no effects, or they are keyed by ``ctx.idempotency_key`` or recorded by
                ``ctx.once``). ``"unsafe"``: an attempt that began and did not succeed goes to a person, never to a blind retry.
            runs: ``"auto"``: ``async def`` on the event loop, ``def`` in a worker process that can be killed. ``"threads"``: in a
                thread, which cannot be killed. ``"process"`` also takes ``async def``.
            pool: the name of the capacity that it will use; recorded, not limited yet.
            depends: the service that it calls, whose breaker and retry budget it shares: see :class:`Dependency`.
            cache: a success is kept by body and inputs, and given to every later task of the same body with the same inputs, of any item,
                pipeline and version: for reprocessing. Only for steps without effects.
            gpus: GPUs that an attempt holds while it runs, or a part of one: their time is measured and priced. Nobody is kept from using them.
            memory: resident memory, such as ``"2GB"``, that the worker process and its children may hold during an attempt. Above it the worker is
                killed and the attempt fails with class ``memory``. Only for steps in worker processes.
            name: what the step is called, by default as the function or class.

        Raises:
            DefinitionError: keywords that contradict each other, or a signature that cannot be read.
        """
        name = options.pop("name", "")
        policy, names = _policy(options), _caller_names()
        return lambda fn: _make(fn, policy, "function", names, name)

    def transactional(self, **options: Any) -> _TransactionDecorator:
        """A plain ``def`` whose first parameter is a :class:`Transaction` in the ledger's own PostgreSQL: what it writes there to your
        tables commits together with the step's settlement, so exactly once. One at a time per runner, on a connection of its own.

        Keywords as for ``@step``, but ``runs``. Refused with any other ledger.

        Raises:
            DefinitionError: as for ``@step``; or the first parameter is no transaction.
        """
        if "runs" in options:
            raise DefinitionError("step.transactional() takes no runs=: it runs in a thread of the runner")
        name = options.pop("name", "")
        policy, names = _policy({**options, "runs": "transaction"}), _caller_names()
        made: _TransactionDecorator = lambda fn: _make(fn, policy, "function", names, name)  # type: ignore[assignment]  # noqa: E731
        return made

    def of(self, model: Callable[[], Callable[P, T]], **options: Any) -> Callable[P, T]:
        """A step from a class whose instance is called: it is built once per worker, so it may load a model. Keywords as for ``@step``."""
        name = options.pop("name", "")
        made: Callable[P, T] = _make(model, _policy(options), "class", _caller_names(), name)
        return made

    def batched(self, model: Callable[[], Callable[[list[A]], list[B | Failed]]], *, batch: Batch = Batch(), **options: Any) -> Callable[[A], B]:
        """A step ``A -> B`` from a class that takes ``list[A]`` and returns one verdict per element, gathered across items.

        Keywords as for ``@step``, and ``batch``: how many elements a call takes and how long it waits for them.
        """
        name = options.pop("name", "")
        made: Callable[[A], B] = _make(model, _policy({**options, "batch": batch}), "batched", _caller_names(), name)
        return made


def _make(body: Any, policy: Policy, kind: Kind, names: dict[str, Any], name: str) -> Any:
    if not callable(body) or (kind != "function" and not inspect.isclass(body)):
        raise DefinitionError(
            f"{body!r} is no {'function' if kind == 'function' else 'class'}: step.of and step.batched take a class, @step() a function"
        )
    return Step(body, policy, kind, names, name)


def _policy(options: dict[str, Any]) -> Policy:
    unknown = set(options) - set(Policy.__struct_fields__)
    if unknown:
        raise DefinitionError(f"step() takes no {sorted(unknown)[0]!r}: it takes {', '.join(Policy.__struct_fields__)}, name")
    optional = options.get("optional", False)
    if optional and not options.get("flag"):
        raise DefinitionError("an optional step needs flag='…': the mark that its failure leaves on the item")
    if not optional and options.get("flag"):
        raise DefinitionError("flag= is for optional steps: add optional=True")
    if not optional and options.get("exhausted") == "skip":
        raise DefinitionError("exhausted='skip' gives None to the next step: add optional=True and flag='…', so that the types say so")
    if options.get("effects", "safe") not in ("safe", "unsafe"):
        raise DefinitionError(f"effects={options['effects']!r}: say 'safe' or 'unsafe'")
    if options.get("batch") is not None and (options.get("effects") == "unsafe" or options.get("exhausted") == "review"):
        raise DefinitionError("step.batched() takes neither effects='unsafe' nor exhausted='review': elements of a call cannot be told apart")
    if not 0 <= options.get("gpus", 0) < 1e6:
        raise DefinitionError(f"gpus={options['gpus']!r}: say how many GPUs an attempt holds, such as 1 or 0.5")
    if isinstance(options.get("depends"), str):
        options = {**options, "depends": Dependency(options["depends"])}
    if options.get("cache") and (options.get("effects") == "unsafe" or options.get("runs") == "transaction"):
        raise DefinitionError("cache=True is for steps without effects: what is taken from the cache does not run")
    return Policy(**{"exhausted": "skip" if optional else "bury", **options})


def _caller_names() -> dict[str, Any]:
    """Local names where the step is declared, so that annotations inside a function resolve."""
    return dict(sys._getframe(2).f_locals)


step = _StepFactory()
