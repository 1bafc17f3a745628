"""Which callables can be a step or a pipeline, and why others cannot: asked once, where they are
declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from holdfast.model.kinds import Kind, UnfitError, shown

PLAIN = "a function (def or async def) with a name and annotations"


def of_a_step(body: Any) -> Callable[..., Any]:
    """The function that a step runs.

    Raises:
        UnfitError: it cannot be run as a step; the text says what to do.
    """
    body = body.__func__ if isinstance(body, staticmethod) else body
    if _ours(body):
        what = (
            "is a step already: decorate it once"
            if hasattr(body, "policy")
            else "is not a function of yours: call it in a pipeline"
        )
        raise UnfitError(f"{shown(body)} {what}")
    if inspect.isclass(body):
        raise UnfitError(
            f"{shown(body)} is a class: write step.of({shown(body)}), whose __call__ takes "
            "the input"
        )
    _plain(body, "def {name}(…): … that calls it")
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise UnfitError(
            f"{shown(body)} has yield: return a list, each element of which each(step)(…) can take"
        )
    inner = inspect.unwrap(body)
    if inspect.iscoroutinefunction(inner) and not inspect.iscoroutinefunction(body):
        raise UnfitError(
            f"the wrapper of {shown(body)} is a plain def around an async def: make the "
            "wrapper async"
        )
    _no_shared_defaults(body)
    return body  # type: ignore[no-any-return]


def of_a_model(model: Any, batched: bool) -> type[Any]:
    """The class that a step builds once per worker.

    Raises:
        UnfitError: it cannot be built or called so; the text says what to do.
    """
    how = "step.batched" if batched else "step.of"
    if not inspect.isclass(model):
        name = type(model).__name__
        if inspect.isroutine(model):
            raise UnfitError(
                f"{shown(model)} is a function: {how}() takes a class, @step a function"
            )
        raise UnfitError(
            f"{shown(model)} is no class: write {how}({name}), the class; it is built once "
            "per worker"
        )
    if inspect.isabstract(model) or "__call__" not in {
        name for one in model.__mro__ for name in vars(one)
    }:
        raise UnfitError(
            f"class {shown(model)} needs a method __call__(self, …) with annotations, which "
            "is the step"
        )
    try:
        inspect.signature(model).bind()
    except ValueError:
        pass
    except TypeError as error:
        raise UnfitError(
            f"class {shown(model)} is built without arguments, and its __init__ takes some "
            f"({error}): give them defaults"
        ) from None
    call = model.__call__
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise UnfitError(f"{shown(model)}.__call__ has yield: return a list")
    _no_shared_defaults(call)
    return model


def of_a_pipeline(fn: Any) -> Callable[..., Any]:
    """The function that is traced as a pipeline.

    Raises:
        UnfitError: it cannot be traced; the text says what to do.
    """
    fn = fn.__func__ if isinstance(fn, staticmethod) else fn
    if _ours(fn):
        raise UnfitError(
            f"{shown(fn)} is not a function of yours: write def name(payload): return "
            f"{_name(fn)}(payload)"
        )
    if inspect.isclass(fn):
        raise UnfitError(f"{shown(fn)} is a class: a pipeline is {PLAIN}")
    _plain(fn, "def {name}(payload): … that calls it")
    if inspect.iscoroutinefunction(fn):
        raise UnfitError(
            f"{shown(fn)} is async: a pipeline is a plain def, it only declares; its steps "
            "may be async"
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UnfitError(f"{shown(fn)} has yield: a pipeline returns the output of its last step")
    parameters = list(inspect.signature(fn).parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in (
        parameters[0].POSITIONAL_ONLY,
        parameters[0].POSITIONAL_OR_KEYWORD,
    ):
        raise UnfitError(
            f"it must take one parameter, the payload; it takes {inspect.signature(fn)}"
        )
    return fn  # type: ignore[no-any-return]


def _branch(value: Any) -> Any:
    inner = getattr(value, "func", value)  # functools.partial
    if not callable(inner) or inspect.isclass(inner):
        hint = "; of a class, step.of(…) makes a step" if inspect.isclass(inner) else ""
        raise UnfitError(f"give {BRANCH.expects}{hint}")
    if getattr(inner, "only_in_gather", False):
        raise UnfitError(f"branch(…) is for gather(): give {BRANCH.expects}")
    if _ours(inner):
        return value
    if not inspect.isfunction(inner) and not inspect.ismethod(inner):
        raise UnfitError(
            f"give {BRANCH.expects}; {shown(inner)} becomes a step by a def with @step that "
            "calls it"
        )
    if (
        inspect.iscoroutinefunction(inner)
        or inspect.isgeneratorfunction(inner)
        or inspect.isasyncgenfunction(inner)
    ):
        raise UnfitError(
            f"give {BRANCH.expects}; {shown(inner)} is async or has yield, so decorate it "
            "with @step"
        )
    return value


BRANCH = Kind("a step, a pipeline, a combinator, or a plain function of them", _branch)


def _plain(body: Any, instead: str) -> None:
    """A function of the user's own, or what looks like one (a cached or a compiled function)."""
    name = _name(body)
    remedy = "write " + instead.format(name=name if name.isidentifier() else "name")
    if inspect.ismethod(body):
        raise UnfitError(
            f"{shown(body)} is a method of an object, which every worker would need: {remedy}"
        )
    if (
        not callable(body)
        or not isinstance(getattr(body, "__name__", None), str)
        or not isinstance(getattr(body, "__annotations__", None), dict)
    ):
        what = type(body).__name__ if not inspect.isbuiltin(body) else "a built-in function"
        raise UnfitError(f"{shown(body)} ({what}) is not {PLAIN}: {remedy}")
    try:
        parameters = list(inspect.signature(body).parameters)
    except (TypeError, ValueError):
        raise UnfitError(f"the parameters of {shown(body)} cannot be read: {remedy}") from None
    owner = str(getattr(body, "__qualname__", "")).rpartition(".")[0]
    if parameters[:1] in (["self"], ["cls"]) and owner and not owner.endswith("<locals>"):
        raise UnfitError(
            f"{shown(body)} is a method: write a function outside the class, or "
            "step.of(Class) with __call__"
        )


def _no_shared_defaults(body: Callable[..., Any]) -> None:
    """A list, dict or set as default would be one for all items of a worker."""
    for name, one in inspect.signature(body).parameters.items():
        if isinstance(one.default, list | dict | set | bytearray):
            raise UnfitError(
                f"parameter {name!r} has a {type(one.default).__name__} as default, which all "
                "items of a worker would share: write None"
            )


def _ours(value: Any) -> bool:
    """Whether a callable is Holdfast's own: a step, a pipeline, or what a combinator has made."""
    home = (
        value.__globals__.get("__name__") if inspect.isfunction(value) else type(value).__module__
    )
    return str(home).startswith("holdfast.model.")


def _name(value: Any) -> str:
    return str(
        getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__
    )
