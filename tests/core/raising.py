"""Makes any function raise, once, while a certain item is driven."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import holdfast.core
from holdfast.core.item_run import ItemRun
from holdfast.engine import values
from holdfast.model.claimed import Claimed

MADE = (
    "__init__",
    "__eq__",
    "__repr__",
    "__hash__",
    "__setattr__",
    "__delattr__",
    "__replace__",
    "__getstate__",
    "__setstate__",
)
"""What a dataclass or an enumeration makes; nobody wrote it."""


class AlienError(Exception):
    """Of nobody's code, and it cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("it cannot be shown")


ERRORS: tuple[type[Exception], ...] = (KeyError, RecursionError, MemoryError, AlienError)


def functions() -> dict[str, FunctionType]:
    """Every function and method of the core, and of what the I/O pool does for it."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(holdfast.core.__path__, "holdfast.core.")
    ]
    found: dict[str, FunctionType] = {}
    for module in [*modules, values]:
        short = module.__name__.removeprefix("holdfast.")
        for name, one in _functions(module, module).items():
            found[f"{short}.{name}"] = one
    return found


def _functions(space: ModuleType | type, module: ModuleType) -> dict[str, FunctionType]:
    found: dict[str, FunctionType] = {}
    for name, one in vars(space).items():
        inner = one.fget if isinstance(one, property) else getattr(one, "__wrapped__", one)
        if inspect.isclass(one) and space is module and one.__module__ == module.__name__:
            if not getattr(one, "_is_protocol", False):
                found |= {
                    f"{name}.{method}": function
                    for method, function in _functions(one, module).items()
                }
        elif (
            isinstance(inner, FunctionType)
            and inner.__module__ == module.__name__
            and name not in MADE
            and inner.__code__.co_filename == module.__file__
            and not inner.__code__.co_freevars
        ):
            found[name] = inner
    return found


Hook = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@contextmanager
def hooked(function: FunctionType, hook: Hook) -> Iterator[None]:
    """Call a hook instead of a function, whoever holds the function, with the function as it
    was."""
    name = f"hook_{id(function)}"
    made: dict[str, Any] = {}
    exec(f"def hooked(*given, **named):\n    return {name}(given, named)", made)  # noqa: S102 - the function stays the same object
    kept = function.__code__, function.__defaults__, function.__kwdefaults__
    original = FunctionType(kept[0], function.__globals__, function.__name__, kept[1])
    original.__kwdefaults__ = kept[2]
    function.__globals__[name] = lambda given, named: hook(original, given, named)
    function.__defaults__ = function.__kwdefaults__ = None
    function.__code__ = made["hooked"].__code__
    try:
        yield
    finally:
        function.__code__, function.__defaults__, function.__kwdefaults__ = kept
        del function.__globals__[name]


def driven(given: tuple[Any, ...]) -> str:
    """The key of the item for which a function is called, or nothing."""
    for one in given:
        if isinstance(one, ItemRun | Claimed):
            return one.key
    frame = sys._getframe(2)
    while frame is not None:
        seen = frame.f_locals
        for name in ("run", "claimed", "job"):
            one = getattr(seen.get(name), "run", None) if name == "job" else seen.get(name)
            if isinstance(one, ItemRun | Claimed):
                return one.key
        frame = frame.f_back  # type: ignore[assignment]
    return ""


class Fault:
    """Raises once, before or after what the function does, when it is called for an item.

    Args:
        key: the item's.
        error: what is raised.
        after: the function does its work first.
    """

    def __init__(self, key: str, error: Exception, after: bool) -> None:
        self.key, self.error, self.after = key, error, after
        self.raised = False

    def __call__(
        self, original: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        if self.raised or driven(given) != self.key:
            return original(*given, **named)
        if self.after:
            original(*given, **named)
        self.raised = True
        raise self.error
