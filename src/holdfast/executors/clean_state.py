"""Every attempt in a worker begins from a clean state: what the one before it did to the process is
undone, or the process is replaced.

What a module does when it is imported, and the class of a step when it is built, belongs to the
process and stays. What an attempt does beyond that ends with it.

Looking at everything takes about 13 µs, as long as several trivial steps. So it is done after every
attempt of more than 0.1 ms, after the first 20 attempts of each step, after an attempt that has
changed something, before the worker waits, and otherwise after each millisecond of work: whatever
starts a process takes longer than that. Environment, working directory and umask are looked at
after every attempt.
"""

from __future__ import annotations

import faulthandler
import importlib.abc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

from holdfast.executors.facets import Facet, facets, stop_timers
from holdfast.executors.left_behind import Children, Leaks
from holdfast.executors.streams import Standard
from holdfast.model.step import Step

T = TypeVar("T")

log = logging.getLogger("holdfast")

SHORT_S = 0.0001
"""Seconds up to which an attempt is short."""
NEW = 20
"""Attempts of a step that must have changed nothing, one after the other, before it is trusted to
be short and harmless."""
DUE_S = 0.001
"""Seconds of short attempts after which everything is looked at."""


class CleanState:
    """The state of this process as its modules have made it, to which it returns after each
    attempt.

    Args:
        standard: its streams.
    """

    def __init__(self, standard: Standard) -> None:
        self._standard = standard
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        sys.meta_path.insert(0, _Imports(self))
        self._facets = [(facet, facet.read, facet.copy(facet.read())) for facet in facets()]
        self._children, self._leaks = Children(), Leaks()
        self._context = copy_context()
        self._said: set[str] = set()
        self._built: set[Step] = set()
        self._retire = ""
        self._sort()
        # seconds of short attempts since everything was looked at, and the step of the last of them
        self._short_s = 0.0
        self._last = ""
        self._calm: dict[str, int] = {}

    def _sort(self) -> None:
        """What is looked at after every attempt, as a flat list, and the rest."""
        self._first = [(facet, facet.read, kept) for facet, _, kept in self._facets if facet.first]
        self._often = [(facet, facet.read, kept) for facet, _, kept in self._facets if facet.always]
        self._seldom = [
            (facet, facet.read, kept) for facet, _, kept in self._facets if not facet.always
        ]

    def context(self) -> Context:
        """Context variables for an attempt: those of the process, in a copy."""
        return self._context.copy()

    def build(self, step: Step) -> None:
        """Build the class of a step, once: what it does then belongs to the process."""
        if step not in self._built:
            with self.belongs():
                step.instance()
            self._built.add(step)

    def run(self, body: Callable[[], T], step: str) -> T:
        """Run the body of an attempt, and clean up behind it.

        Args:
            body: what to call.
            step: its step's name, for messages.
        """
        began = time.perf_counter()
        try:
            return body()
        finally:
            # else the body forked and its child came back too: the caller ends that
            if os.getpid() == self._pid:
                self.restore(step, time.perf_counter() - began)

    def restore(self, step: str, ran_s: float = DUE_S) -> None:
        """Put back what can be put back. What cannot is a reason to replace the worker: see
        :meth:`retire`.

        Args:
            step: the name of the step that ran, for messages.
            ran_s: seconds that it ran.
        """
        self._short_s += ran_s
        self._last = step
        calm = self._calm.get(step, 0)
        everything = ran_s > SHORT_S or self._short_s > DUE_S or calm < NEW
        if everything:
            self._short_s = 0.0
        elif self._untouched():
            return
        for last in (False, False, True):
            try:
                changed = self._restore(step, everything)
                if changed or calm < NEW:
                    self._calm[step] = 0 if changed else calm + 1
                return
            except (
                BaseException
            ) as error:  # a handler of a signal that the attempt has set may raise anywhere
                everything = True
                with suppress(BaseException):
                    stop_timers()
                if last:
                    self._retire = f"its state could not be restored ({type(error).__name__})"

    def before_waiting(self) -> None:
        """Look at everything that short attempts have left unseen: the next attempt may come much
        later, and be another step's."""
        if self._short_s:
            self.restore(self._last)

    def _untouched(self) -> bool:
        """Whether environment, working directory and umask are what they were: all that is asked
        after a short attempt of a calm step."""
        try:
            umask = os.umask(self._umask)
            if umask != self._umask:
                os.umask(umask)  # it is put back where it is said
                return False
            # a list is faster here than a generator
            return all([read() == kept for _, read, kept in self._first])  # noqa: C419
        except BaseException:  # a handler of a signal that the attempt has set
            return False

    def _restore(self, step: str, everything: bool) -> bool:
        """Returns whether anything was changed."""
        changed = self._standard.restore(everything)
        if os.umask(self._umask) != self._umask:
            changed.append("the umask")
        for facet, read, kept in self._often:
            if read() != kept:
                stop_timers()  # first: one may ring when its handler is gone
                changed.append(facet.name)
                self._put_back(facet, kept)
        if changed:
            everything = True  # whoever changes one thing may have changed others
        if everything:
            self._restore_rest(changed)
        if changed:
            self._say(step, changed)
            if not self._standard.sound():
                self._retire = self._retire or "its standard descriptors could not be restored"
        return bool(changed)

    def _restore_rest(self, changed: list[str]) -> None:
        """Look at everything else; what was changed is added to the list."""
        faulthandler.cancel_dump_traceback_later()
        for facet, read, kept in self._seldom:
            if read() != kept:
                changed.append(facet.name)
                self._put_back(facet, kept)
        ended, why = self._children.sweep()
        if ended:
            changed.append("the processes below it")
        self._retire = self._retire or why or self._leaks.look()

    def here(self) -> bool:
        """Whether this is the thread, and the process, that attempts run in."""
        return threading.get_ident() == self._thread and os.getpid() == self._pid

    def retire(self) -> str:
        """Why this worker is to be replaced, or nothing."""
        return self._retire

    @contextmanager
    def belongs(self) -> Iterator[None]:
        """What is done inside belongs to the process and stays."""
        if not self.here():
            yield  # of another thread, nobody knows what it did meanwhile
            return
        umask = os.umask(self._umask)
        os.umask(umask)
        before = [facet.copy(read()) for facet, read, _ in self._facets]
        streams, children, leaks = self._standard.objects(), self._children.now(), self._leaks.now()
        variables = dict(copy_context().items())
        try:
            yield
        finally:
            self._facets = [
                (facet, read, merged(was, then, facet.copy(read())))
                for (facet, read, was), then in zip(self._facets, before, strict=True)
            ]
            self._sort()
            now = os.umask(umask)
            if now != umask:
                self._umask = now
                os.umask(now)
            for variable, value in copy_context().items():
                if variable not in variables or variables[variable] is not value:
                    self._context.run(variable.set, value)
            self._standard.belong(streams)
            self._children.belong(children)
            self._leaks.belong(leaks)

    def _put_back(self, facet: Facet, kept: Any) -> None:
        try:
            facet.restore(facet.copy(kept))
            if facet.read() == kept:
                return
        except (OSError, ValueError, TypeError):
            pass
        self._retire = self._retire or f"a call changed {facet.name}, which cannot be restored"

    def _say(self, step: str, changed: list[str]) -> None:
        for what in changed:
            said = (
                f"step {step!r} changed {what} of its worker process; it was restored, so "
                "that the next attempt begins from a clean state"
            )
            if said not in self._said:
                self._said.add(said)
                log.info(said)


def merged(was: Any, before: Any, after: Any) -> Any:
    """What belongs to the process after something that belongs to it has made ``after`` of
    ``before``."""
    if before == after:
        return was
    if isinstance(was, dict) and isinstance(before, dict) and isinstance(after, dict):
        gone = before.keys() - after.keys()
        fresh = {name: value for name, value in after.items() if before.get(name) != value}
        return {name: value for name, value in was.items() if name not in gone} | fresh
    if (
        isinstance(was, tuple)
        and isinstance(before, tuple)
        and isinstance(after, tuple)
        and len(was) == len(before) == len(after)
    ):
        return tuple(
            own if now == then else now for own, then, now in zip(was, before, after, strict=True)
        )
    if (
        isinstance(was, list)
        and isinstance(before, list)
        and isinstance(after, list)
        and was != before
    ):
        return [one for one in after if one in was or one not in before]
    return after


class _Imports(importlib.abc.MetaPathFinder):
    """Sees which modules are executed, so that what they do belongs to the process. It finds none
    itself."""

    def __init__(self, state: CleanState) -> None:
        self._state = state
        self._inside = False

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The other finders' answer, with a loader that tells when it executes the module."""
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = (
                None if finder is self or find is None else find(name, path, target)
            )
            if spec is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader: Any) -> None:
        if loader is None or isinstance(loader, type) or not hasattr(loader, "exec_module"):
            return
        try:
            loader.exec_module = partial(self._execute, loader, loader.exec_module)
        except AttributeError:
            return  # it takes no attributes: its modules are those of the interpreter

    def _execute(
        self, loader: Any, execute: Callable[[ModuleType], None], module: ModuleType
    ) -> None:
        try:
            del loader.exec_module
        except AttributeError:
            pass
        if self._inside or not self._state.here():
            execute(module)
            return
        self._inside = True
        try:
            with self._state.belongs():
                execute(module)
        finally:
            self._inside = False
