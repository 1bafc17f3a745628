"""A step: an ordinary typed function, class or batched class becomes a node that the engine can
run."""

from __future__ import annotations

import hashlib
import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import msgspec

from holdfast.errors import BadInputError, DefinitionError, InputError, StepError
from holdfast.model.arguments import refuse
from holdfast.model.context import Context
from holdfast.model.media import by_reference
from holdfast.model.plain import wait_for
from holdfast.model.policy import Policy, Runs
from holdfast.model.tracing import tracer
from holdfast.model.transaction import Transaction, given_transaction

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
    """One declared step. Called while a pipeline is traced it becomes a node; called otherwise it
    just runs.

    Attributes:
        name: the function's or class's name.
        policy: how it is run.
        parameters: the types of its parameters by name, without the context.
        references: by place, the types of parameters that take artifacts, loaded or by reference.
        returns: the type of its (awaited) result, or of one element's when batched; without
            ``None`` for optional.
        wants_context: it takes a :class:`Context` first.
        runs: ``loop``, ``process``, ``threads`` or ``transaction``.
        timeout_s: seconds that an attempt may run at most.
        learns: its timeout is learned.
        cached: its successes are kept.
        depends: what it calls, or None.
        simple: it is called for one task at a time, and depends on nothing.
        gpus: GPUs that an attempt holds.
        memory: bytes of resident memory that its worker and its children may hold; 0: no limit.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        policy: Policy,
        kind: Kind,
        names: dict[str, Any],
        name: str = "",
    ) -> None:
        self.name: str = name or getattr(body, "__name__", type(body).__name__)
        self.__name__, self.__doc__, self.__module__ = self.name, body.__doc__, body.__module__
        self.policy = policy
        self.kind = kind
        self.body = body
        self._names = names
        self._instance: Any = None
        self._body_hash = ""
        # the class's method, not whether it can be called
        function = body if kind == "function" else getattr(body, "__call__")  # noqa: B004
        self.is_async = inspect.iscoroutinefunction(function)
        self.runs: Runs = (
            ("loop" if self.is_async else "process") if policy.runs == "auto" else policy.runs
        )
        if self.runs == "loop" and not self.is_async:
            refuse(
                f"step {self.name!r}",
                "it is a plain def, which would block the event loop: leave runs='auto', or "
                "take 'threads'",
            )
        if self.runs == "transaction" and self.is_async:
            refuse(
                f"step {self.name!r}",
                "it is transactional and runs in a thread: make it a plain def",
            )
        self.timeout_s = policy.timeout.seconds
        # looked at for every attempt
        self.learns, self.cached, self.depends, self.gpus = (
            policy.timeout.learn,
            policy.cache,
            policy.depends,
            policy.gpus,
        )
        self.simple = policy.batch is None and policy.depends is None
        self.memory = self._memory_limit()
        self._read_signature(function)

    def _memory_limit(self) -> int:
        try:
            limit = self.policy.memory_bytes
        except DefinitionError as error:
            refuse(f"step {self.name!r}", f"memory=: {error}")
        if limit and self.runs != "process":
            refuse(
                f"step {self.name!r}",
                f"memory={self.policy.memory!r} limits a worker process, and this step runs "
                "inside the runner "
                f"(runs={self.runs!r}): use a plain def with runs='auto', or runs='process'",
            )
        return limit

    def _read_signature(self, function: Callable[..., Any]) -> None:
        try:
            hints = typing.get_type_hints(function, localns=self._names, include_extras=True)
        except (NameError, TypeError, SyntaxError) as error:
            refuse(f"step {self.name!r}", f"{error}; define or import the type before the step")
        for name, kind in hints.items():
            try:
                hash(kind)
            except TypeError as error:
                refuse(
                    f"step {self.name!r}",
                    f"the annotation of {name!r} has metadata that cannot be compared "
                    f"({error}): give a tuple, or leave it out",
                )
        parameters = list(inspect.signature(function).parameters.values())
        if self.kind != "function":
            parameters = parameters[1:]
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            refuse(
                f"step {self.name!r}",
                "it takes *args or **kwargs: name its parameters, so that its edges can be "
                "checked (a decorator keeps them by functools.wraps)",
            )
        if self.runs == "transaction":
            if not parameters or hints.get(parameters[0].name) is not Transaction:
                refuse(
                    f"step {self.name!r}",
                    "it is transactional: its first parameter is the transaction, (tx: "
                    "holdfast.Transaction, …)",
                )
            parameters = parameters[1:]
        self.wants_context = bool(parameters) and hints.get(parameters[0].name) is Context
        self.signature = inspect.Signature(parameters[1:] if self.wants_context else parameters)
        self.parameters = {name: hints.get(name, Any) for name in self.signature.parameters}
        self.references = {
            place: kind for place, kind in enumerate(self.parameters.values()) if by_reference(kind)
        }
        self.returns = hints.get("return", Any)
        if self.kind == "batched":
            self._read_batched()

    def _read_batched(self) -> None:
        if len(self.parameters) != 1 or self.is_async:
            refuse(
                f"step {self.name!r}",
                "step.batched: __call__ must be a plain def that takes one list and returns "
                "one list",
            )
        (name, taken), given = next(iter(self.parameters.items())), self.returns
        if (get_origin(taken) or taken) is not list or (get_origin(given) or given) is not list:
            refuse(
                f"step {self.name!r}",
                f"step.batched: annotate __call__ as (self, {name}: list[A]) -> list[B | Failed]",
            )
        self.parameters = {name: (get_args(taken) or (Any,))[0]}
        element = (get_args(given) or (Any,))[0]
        verdicts = tuple(kind for kind in get_args(element) if kind is not Failed)
        self.returns = element
        if Failed in get_args(element):
            self.returns = typing.Union[verdicts]  # noqa: UP007

    @property
    def output_type(self) -> Any:
        """The type that the next step sees: ``returns``, or ``None`` too when the step is
        optional."""
        returns: Any = self.returns
        return returns | None if self.policy.optional and returns is not Any else returns

    def kinds(self, keywords: tuple[str, ...], count: int) -> list[Any]:
        """The types of the arguments of a call with ``count`` of them, the last ones of which it
        passes under these keywords."""
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
        """SHA-256 of the body's source (of its name where there is none), recorded with every
        attempt. It is read once."""
        if not self._body_hash:
            try:
                text = inspect.getsource(self.body)
            except (OSError, TypeError):
                text = f"{self.body.__module__}.{self.name}"
            self._body_hash = hashlib.sha256(text.encode()).hexdigest()
        return self._body_hash

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        active = tracer()
        if active is None:
            return self._run_plainly(args, kwargs)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            refuse(f"step {self.name!r}", str(error))
        known = self.signature.parameters.values()
        first = next(
            (p.name for p in known if p.kind is p.KEYWORD_ONLY or p.name not in bound.arguments),
            None,
        )
        names, given = list(self.parameters), list(bound.arguments)
        ordered = (
            given
            if first is None
            else [name for name in given if names.index(name) < names.index(first)]
        )
        keywords = given[len(ordered) :]  # those behind a parameter that keeps its default, too
        inputs = tuple(
            active.argument(
                bound.arguments[name], f"step {self.name!r}", name, self.parameters[name]
            )
            for name in (*ordered, *keywords)
        )
        return active.output(
            active.add(
                "step", self.name, inputs, self.output_type, keywords=tuple(keywords), step=self
            )
        )

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
