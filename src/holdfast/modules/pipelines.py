"""Where a pipeline is, so that a worker imports the very same one."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from holdfast.errors import HoldfastError, ModuleError
from holdfast.model.pipeline import Pipeline
from holdfast.modules.guard import REMEDY, is_only_guarded, unguarded_line
from holdfast.modules.loading import load
from holdfast.modules.path import absolute_path, own_files, take_own_files
from holdfast.modules.place import MAIN, Module, file_of, is_found, is_standard, private, same

At = tuple[str | int, ...]


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Where a worker finds a pipeline.

    Attributes:
        pipeline: its name.
        version: its version label.
        module: the module.
        at: the variable that holds it; for one in a list or dict, also its index or key.
        fingerprint: of its graph: what the worker finds must have the same.
        needed: it has steps that run in workers; the others are loaded there only if an attempt has
            to run alone.
    """

    pipeline: str
    version: str
    module: Module
    at: At
    fingerprint: str
    needed: bool

    @property
    def where(self) -> str:
        """Its module as messages name it."""
        return self.module.file or self.module.name


class Code(msgspec.Struct, frozen=True):
    """All that a worker must know to import users' code as its runner does.

    Attributes:
        path: the runner's ``sys.path``, absolute.
        own: names that users' files import from the folders beside them.
        sources: where each pipeline is.
    """

    path: list[str]
    own: dict[str, str]
    sources: list[Source]

    def packed(self) -> bytes:
        """As JSON in ASCII: file names need not be UTF-8."""
        return json.dumps(msgspec.to_builtins(self)).encode()


def unpacked(data: bytes) -> Code:
    """What :meth:`Code.packed` gave."""
    return msgspec.convert(json.loads(data), Code)


def sources_of(pipelines: list[Pipeline[Any, Any]]) -> list[Source]:
    """Where workers find these pipelines. One without ``def`` steps is left out if they cannot
    import it.

    Raises:
        ModuleError: workers cannot import a pipeline with steps that run there; the message says
            why, and what to do.
    """
    sources = []
    for one in pipelines:
        try:
            sources.append(source_of(one))
        except ModuleError as error:
            step = needs_workers(one)
            if step is not None:
                raise ModuleError(
                    f"step {step!r} of pipeline {one.name!r} is a plain def, which runs in a "
                    "worker process, and workers cannot import "
                    f'it: {error}. Or declare the step with runs="threads", or make it async def'
                ) from None
    return sources


def code_for(sources: list[Source]) -> Code:
    """What a worker that starts now must know to import these."""
    own = own_files()
    return Code(absolute_path(), {} if own is None else dict(own.folders), sources)


def needs_workers(pipeline: Pipeline[Any, Any]) -> str | None:
    """The name of its first step that runs in a worker process, or None."""
    return next((node.name for node in pipeline.graph.steps() if node.step.runs == "process"), None)


def apply_path(code: Code) -> None:
    """Find modules as the runner does."""
    sys.path[:] = code.path
    if code.own:
        take_own_files(code.own)


def load_pipeline(source: Source) -> Pipeline[Any, Any]:
    """Import a pipeline in a worker.

    Raises:
        ModuleError: its module cannot be imported, or has another pipeline there.
    """
    shown = source.where
    try:
        module = load(source.module)
    except ModuleError:
        raise
    except HoldfastError as error:
        raise ModuleError(f"{shown}: {error}") from error
    except KeyboardInterrupt:
        raise ModuleError(f"{shown} cannot be imported: KeyboardInterrupt") from None
    found = dict(held(module)).get(source.at)
    if found is None or (found.name, found.version) != (source.pipeline, source.version):
        raise ModuleError(
            f"{shown} has no pipeline {source.pipeline!r} version {source.version!r} when a "
            "worker imports it: what it declares must not "
            f"depend on the process that imports it"
        )
    if found.graph.fingerprint() != source.fingerprint:
        raise ModuleError(
            f"pipeline {source.pipeline!r} of {shown} has another graph in a worker than in "
            "the runner: what it declares must not depend "
            f"on the process that imports it (environment, arguments, time)"
        )
    return found


def held(module: ModuleType) -> Iterator[tuple[At, Pipeline[Any, Any]]]:
    """The pipelines that a module's variables hold, themselves or in a list, tuple or dict."""
    for name, value in list(vars(module).items()):
        if isinstance(value, Pipeline):
            yield (name,), value
        elif type(value) is list or type(value) is tuple:
            yield from (
                ((name, index), one) for index, one in enumerate(value) if isinstance(one, Pipeline)
            )
        elif type(value) is dict and not name.startswith("__"):
            yield from (
                ((name, key), one)
                for key, one in value.items()
                if isinstance(one, Pipeline) and isinstance(key, str | int)
            )


def source_of(pipeline: Pipeline[Any, Any]) -> Source:
    """Where a pipeline is: in the module that declares it, or in any other that is loaded and holds
    it.

    Raises:
        ModuleError: in none that another process can import; the message says why.
    """
    reason: ModuleError | None = None
    for module in _modules(pipeline):
        at = next((at for at, one in held(module) if one is pipeline), None)
        if at is None:
            continue
        try:
            if module is sys.modules.get(MAIN):
                _check_main(module, pipeline, str(at[0]))
            where = module_of(module)
        except ModuleError as error:
            reason = reason or error
            continue
        needed = needs_workers(pipeline) is not None
        return Source(
            pipeline.name, pipeline.version, where, at, pipeline.graph.fingerprint(), needed
        )
    raise reason or ModuleError(_not_held(pipeline))


def _modules(pipeline: Pipeline[Any, Any]) -> Iterator[ModuleType]:
    """The module that declares it first, then all others."""
    loaded = [one for one in list(sys.modules.values()) if isinstance(one, ModuleType)]
    yield from sorted(loaded, key=lambda one: one.__dict__.get("__name__") != pipeline.__module__)


def _not_held(pipeline: Pipeline[Any, Any]) -> str:
    if (
        sys.modules.get(pipeline.__module__) is sys.modules.get(MAIN)
        and file_of(sys.modules[MAIN]) is None
    ):
        return NO_FILE
    inside = " (it is made inside a function)" if "<locals>" in pipeline.fn.__qualname__ else ""
    return (
        f"no variable of module {pipeline.__module__!r} holds it{inside}: assign it to one "
        "at the module's level"
    )


NO_FILE = (
    "it is defined in a notebook, at a prompt, on stdin or with -c: put pipeline and "
    "steps into a .py file and import them from there"
)


def module_of(module: ModuleType) -> Module:
    """Where another process finds a module of this one.

    Raises:
        ModuleError: it has no file that could be imported.
    """
    file = file_of(module)
    spec = module.__dict__.get("__spec__")
    name = spec.name if module.__name__ == MAIN and spec is not None else module.__name__
    if name != MAIN and is_found(name, file):
        return Module(name)
    if file is None or not (Path(file).is_file() or _in_archive(Path(file))):
        known = module.__name__ == MAIN
        raise ModuleError(
            NO_FILE
            if known
            else (
                f"its module {name!r} has no file: put it into a .py file, and import it from there"
            )
        )
    path = Path(file).absolute()
    if name == MAIN:
        natural = path.stem != MAIN and is_found(path.stem, file)
        return Module(path.stem) if natural else private(path, (path.stem,))
    top = sys.modules.get(name.partition(".")[0])
    first = None if top is None or is_standard(top.__name__) else file_of(top)
    return Module(name, str(Path(first).absolute())) if first else private(path, (path.stem,))


def _in_archive(file: Path) -> bool:
    return file.name == f"{MAIN}.py" and file.parent.is_file()


def _check_main(main: ModuleType, pipeline: Pipeline[Any, Any], variable: str) -> None:
    """Importing the main program's file must give the pipeline, and must not run the program
    again."""
    file = file_of(main)
    code = getattr(inspect.unwrap(pipeline.fn), "__code__", None)
    if (
        pipeline.__module__ == MAIN
        and code is not None
        and file
        and not same(code.co_filename, file)
    ):
        raise ModuleError(NO_FILE)  # a cell or a prompt, in a process that ran a script before
    if file and is_only_guarded(file, variable):
        raise ModuleError(
            f'{variable!r} is assigned below `if __name__ == "__main__":`, which a worker '
            f"that imports {file} does not run: assign it above"
        )
    line = unguarded_line()
    if line is not None:
        raise ModuleError(
            f"line {line} of {file} would run again when a worker imports that file: {REMEDY}"
        )


def shown_module(pipeline: Pipeline[Any, Any]) -> str:
    """A pipeline's module as the command line takes it."""
    try:
        module = source_of(pipeline).module
    except ModuleError:
        return pipeline.__module__
    return shlex.quote(module.file or module.name)
