"""Read the source of a pipeline function before it is traced: what would compute over traced values
is an error.

The stand-ins catch most of it when it runs; ``is``, ``try`` and code behind a branch they cannot
see. So the source is read first, following plain functions that the pipeline calls.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NoReturn

from holdfast.errors import DefinitionError
from holdfast.model.source import parse

_ROUTE = "route(case(key, step), …)(key, value)"
_EACH = "each(step)(values)"
_STEP = "a step that computes it"

_FORBIDDEN: tuple[tuple[tuple[type[ast.AST], ...], str, str, str], ...] = (
    ((ast.If, ast.IfExp), "test", "`if`", _ROUTE),
    ((ast.While,), "test", "`while`", "refine(draft, judge, …), or a step that loops"),
    ((ast.For, ast.AsyncFor), "iter", "`for`", _EACH),
    ((ast.comprehension,), "iter", "a comprehension", _EACH),
    ((ast.Match,), "subject", "`match`", _ROUTE),
    ((ast.Compare,), "", "a comparison", f"{_STEP}, and {_ROUTE}"),
    ((ast.BoolOp,), "", "`and` or `or`", _ROUTE),
    ((ast.JoinedStr,), "", "an f-string", _STEP),
    ((ast.BinOp,), "", "an operator", _STEP),
)


def check_source(
    fn: Callable[..., Any], arguments: tuple[Any, ...], pipeline: str, traced: type
) -> None:
    """Raise :class:`DefinitionError`, with file and line, if ``fn`` computes over a traced
    argument.

    Functions whose source cannot be read (made in a shell, or by ``exec``) are left to the
    stand-ins.
    """
    keywords = getattr(fn, "keywords", {})
    bound = tuple(getattr(fn, "args", ())) if hasattr(fn, "func") else ()
    inner = getattr(fn, "func", fn)
    if isinstance(inner, FunctionType):
        values = (*bound, *arguments)
        names = inspect.getfullargspec(inner).args
        tainted = {
            name for name, value in zip(names, values, strict=False) if isinstance(value, traced)
        }
        tainted |= {name for name, value in keywords.items() if isinstance(value, traced)}
        _check(inner, tainted, pipeline, set())


def _check(fn: FunctionType, tainted: set[str], pipeline: str, seen: set[FunctionType]) -> None:
    if fn in seen or not tainted or fn.__name__ == "<lambda>":
        return
    seen.add(fn)
    try:
        lines, start = inspect.getsourcelines(fn)
        tree = parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return
    body = tree.body[0]
    if not isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if isinstance(body, ast.AsyncFunctionDef):
        raise _refusal(
            fn,
            start,
            f"pipeline {pipeline!r} must be a plain `def`: it only declares; steps may be async",
        )
    _Checker(fn, start, pipeline, tainted, seen).check(body.body)


def _refusal(fn: FunctionType, line: int, problem: str) -> DefinitionError:
    error = DefinitionError(f"{fn.__code__.co_filename}:{line}: {problem}")
    error.placed = True
    return error


class _Checker:
    """Walks one function in source order, following which names hold traced values."""

    def __init__(
        self,
        fn: FunctionType,
        start: int,
        pipeline: str,
        tainted: set[str],
        seen: set[FunctionType],
    ) -> None:
        self.fn, self.start, self.pipeline, self.tainted, self.seen = (
            fn,
            start,
            pipeline,
            set(tainted),
            seen,
        )

    def check(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            for node in ast.walk(statement):
                self.refuse(node)
            for node in ast.walk(statement):
                self.follow(node)

    def refuse(self, node: ast.AST) -> None:
        for kinds, part, what, instead in _FORBIDDEN:
            if isinstance(node, kinds) and self.touches(getattr(node, part) if part else node):
                self.error(node, what, instead)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and self.touches(node):
            self.error(node, "`not`", _ROUTE)
        if isinstance(node, ast.Try) and self.touches(node):
            self.error(node, "`try`", "first_ok(step, fallback), or @step(optional=True, flag=…)")

    def follow(self, node: ast.AST) -> None:
        """Names assigned from traced values hold traced values; plain functions called with them
        are read too."""
        if (
            isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr)
            and node.value is not None
            and self.touches(node.value)
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            self.tainted |= {
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = self.resolve(node.func.id)
            if (
                isinstance(called, FunctionType)
                and called.__module__.partition(".")[0] != "holdfast"
            ):
                names = inspect.getfullargspec(called).args
                passed = {
                    name
                    for name, value in zip(names, node.args, strict=False)
                    if self.touches(value)
                }
                passed |= {
                    keyword.arg
                    for keyword in node.keywords
                    if keyword.arg and self.touches(keyword.value)
                }
                _check(called, passed, self.pipeline, self.seen)

    def resolve(self, name: str) -> Any:
        closure = inspect.getclosurevars(self.fn).nonlocals if self.fn.__closure__ else {}
        return closure.get(name, self.fn.__globals__.get(name))

    def touches(self, node: ast.AST) -> bool:
        return any(
            isinstance(name, ast.Name) and name.id in self.tainted
            for name in _outside_lambdas(node)
        )

    def error(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        line = (
            self.start
            + getattr(node, "lineno", getattr(getattr(node, "target", node), "lineno", 1))
            - 1
        )
        raise _refusal(
            self.fn,
            line,
            f"{what} over a step's output in pipeline {self.pipeline!r}: use {instead}",
        )


def _outside_lambdas(node: ast.AST) -> Iterator[ast.AST]:
    """Like ``ast.walk``, but not into lambdas, whose parameters hide outer names."""
    todo = [node]
    while todo:
        current = todo.pop()
        yield current
        todo.extend(
            child for child in ast.iter_child_nodes(current) if not isinstance(child, ast.Lambda)
        )
