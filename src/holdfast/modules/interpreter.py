"""The command that starts a worker: this very interpreter, this very Holdfast, and no user's folder
before both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from holdfast.errors import WorkersError
from holdfast.modules.path import absolute_path
from holdfast.modules.place import HOLDFAST

_MAIN = """\
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
count = int(sys.argv[1])
root, *path = sys.argv[2 : 2 + count]
del sys.argv[1 : 2 + count]
sys.path += [one for one in path if one not in sys.path]
spec = PathFinder.find_spec("holdfast", [root])
sys.modules["holdfast"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["holdfast"])
from holdfast.executors.worker import main
main(sys.argv[1:])
"""
"""What a worker runs. Holdfast comes from where the runner has it, whatever is installed; what it
needs comes from the standard library and the interpreter's own libraries before the runner's
path."""

_ASKED = (
    "import os, sys; print(sys.hexversion, sys.implementation.cache_tag, "
    "os.path.realpath(os.__file__))"
)

ASK_S = 10.0
"""Seconds within which an interpreter must say what it is."""


def worker_command() -> list[str]:
    """The command line that starts a worker, without the arguments of its ``main``.

    Raises:
        WorkersError: no interpreter can be started that is like this one.
    """
    given = [str(HOLDFAST.parent), *absolute_path()]
    # as multiprocessing does
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [_interpreter(sys.executable or ""), *flags, "-P", "-c", _MAIN, str(len(given)), *given]


@lru_cache(maxsize=4)
def _interpreter(named: str) -> str:
    """The interpreter that this process runs in. What ``sys.executable`` names may be another one,
    or a program that embeds Python."""
    if named and _is_this_process(named):
        return named
    mine = (
        str(sys.hexversion),
        str(sys.implementation.cache_tag),
        os.path.realpath(os.__file__ or ""),
    )
    answers = []
    for candidate in dict.fromkeys(_candidates(named)):
        answer = _ask(candidate)
        if answer == mine:
            return candidate
        answers.append(
            f"{candidate} "
            f"{f'is another Python ({answer[2]})' if answer else 'does not answer as Python does'}"
        )
    version = ".".join(map(str, sys.version_info[:3]))
    raise WorkersError(
        f"workers cannot start: sys.executable is {named!r}, and no interpreter was found "
        f"that is this process's Python {version} "
        f"({'; '.join(answers) or 'there is no candidate'}): run your program with python "
        "itself, or declare its steps with "
        f'runs="threads" or as async def'
    )


def _is_this_process(named: str) -> bool:
    try:
        return os.path.samefile(named, "/proc/self/exe")
    except OSError:
        return not os.path.exists("/proc/self/exe") and os.access(named, os.X_OK)


def _candidates(named: str) -> Iterator[str]:
    try:
        yield os.readlink("/proc/self/exe")
    except OSError:
        pass
    yield from (one for one in (getattr(sys, "_base_executable", ""), named) if one)
    major, minor = sys.version_info[:2]
    yield from (
        str(Path(root) / "bin" / f"python{major}.{minor}")
        for root in (sys.exec_prefix, sys.base_exec_prefix)
    )


def _ask(candidate: str) -> tuple[str, ...] | None:
    """Version, kind and standard library of an interpreter; None if it is none."""
    try:
        done = subprocess.run(
            [candidate, "-I", "-S", "-c", _ASKED],
            capture_output=True,
            text=True,
            check=False,
            timeout=ASK_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split(maxsplit=2)
    return (
        tuple(word.strip() for word in words) if done.returncode == 0 and len(words) == 3 else None
    )
