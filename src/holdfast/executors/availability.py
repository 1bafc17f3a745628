"""Which pipelines the workers can run. Where one cannot be imported, or no worker starts, its steps
are unavailable: they wait, and new workers are tried at growing intervals, so that a repaired
environment is noticed without a restart."""

from __future__ import annotations

import logging
import shlex
import sys

from holdfast.model.alerts import Alert
from holdfast.model.secrets import redacted
from holdfast.modules.pipelines import Source

log = logging.getLogger("holdfast")

FIRST_S = 1.0
MOST_S = 30.0
"""Seconds between two tries, at first and at most."""

MESSAGE_LIMIT = 600


class Availability:
    """What the last starts of workers have said.

    Args:
        modules: every pipeline.
    """

    def __init__(self, modules: list[Source]) -> None:
        self._modules = modules
        self._needed = {one.pipeline for one in modules if one.needed}
        self._failed: dict[tuple[str, str], str] = {}
        self._deadly: set[str] = set()
        self._said: dict[str, str] = {}
        self._tries = 0
        self._next = 0.0
        self.unavailable: dict[tuple[str, str], str] = {}
        """Pipelines, by name and version, that no worker can run now, with the reason."""

    @property
    def troubled(self) -> bool:
        """Whether the last start that tried has not loaded everything."""
        return bool(self._failed)

    def modules(self) -> list[Source]:
        """What an ordinary worker is to import: all but what ends the process that imports it."""
        return [one for one in self._modules if one.where not in self._deadly]

    def all_modules(self) -> list[Source]:
        """What a worker imports that tries whether everything works again."""
        return self._modules

    def worth_it(self) -> bool:
        """Whether an ordinary worker can run anything."""
        return any((one.pipeline, one.version) not in self._failed for one in self.modules())

    def may_try(self, now: float) -> bool:
        """Whether it is time for another try."""
        return now >= self._next

    def next_s(self, now: float) -> float:
        """Seconds until the next try."""
        return max(self._next - now, 0.0)

    def loaded(
        self, modules: list[Source], failed: list[tuple[str, str, str]], now: float
    ) -> set[tuple[str, str]]:
        """A worker is ready that was to import these; returns the pipelines that it lacks."""
        lacks = {(name, version): error for name, version, error in failed}
        for one in modules:
            key = one.pipeline, one.version
            if key in lacks:
                self._failed[key] = import_failed(one.where, lacks[key])
            else:
                self._failed.pop(key, None)
                self._deadly.discard(one.where)
        if lacks:
            self._wait(now)
        if not self._failed:
            self._tries, self._next = 0, 0.0
        there = {(one.pipeline, one.version) for one in modules}
        return set(lacks) | ({(one.pipeline, one.version) for one in self._modules} - there)

    def broken(self, modules: list[Source], importing: int, why: str, now: float) -> None:
        """A worker ended, or was killed, before it was ready.

        Args:
            modules: what it was to import.
            importing: which of them it was importing, counted from 1; 0: none.
            why: how it ended.
            now: monotonic seconds.
        """
        self._wait(now)
        if 0 < importing <= len(modules):
            culprit = modules[importing - 1].where
            self._deadly.add(culprit)
            for one in self._modules:
                if one.where == culprit:
                    self._failed[one.pipeline, one.version] = import_failed(culprit, why)
        else:
            for one in self._modules:
                self._failed[one.pipeline, one.version] = start_failed(one.where, why)

    def served(self, there: set[tuple[str, str]]) -> bool:
        """Say which pipelines the workers that are up have imported; True when that has changed
        what is unavailable. What is new is logged, once."""
        now = {key: why for key, why in self._failed.items() if key not in there}
        if now == self.unavailable:
            return False
        self.unavailable = now
        for why in dict.fromkeys(why for (name, _), why in now.items() if name in self._needed):
            if why not in self._said.values():
                log.error(
                    "%s. Its steps wait, no attempt is used up, and new workers try it again "
                    "by themselves",
                    why,
                )
        back = [key for key in self._said if not any(name == key for name, _ in now)]
        for name in back:
            log.warning("workers can run pipeline %s again", name)
        self._said = {name: why for (name, _), why in now.items() if name in self._needed}
        return True

    def alerts(self) -> list[Alert]:
        """One per pipeline whose steps for workers are unavailable."""
        return [
            Alert("workers", name, f"steps of {name} wait: {why}")
            for name, why in self._said.items()
        ]

    def _wait(self, now: float) -> None:
        if now >= self._next:
            self._next = now + min(FIRST_S * 2**self._tries, MOST_S)
            self._tries = min(self._tries + 1, 10)


def import_failed(module: str, error: str) -> str:
    """What to tell people when a worker cannot import a module."""
    text = redacted(error)[:MESSAGE_LIMIT].rstrip(".")
    return f"worker processes cannot import {module}: {text}. {_check(module)}"


def start_failed(module: str, why: str) -> str:
    """What to tell people when a worker cannot start at all."""
    return f"worker processes cannot start: {why}. See what they printed. {_check(module)}"


def _check(module: str) -> str:
    """What to do about it."""
    python = shlex.quote(sys.executable)
    command = (
        f"{python} {shlex.quote(module)}"
        if module.endswith(".py")
        else f"{python} -c {shlex.quote(f'import {module}')}"
    )
    return f"Check with `{command}`"
