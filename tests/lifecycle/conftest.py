"""Operations are tested on both ledgers, with a live runner beside the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.lifecycle_samples import Job
from tests.patterns.conftest import Patterns, app, run

__all__ = ["Patterns", "app", "log_of", "run", "until"]


def until(what: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def log_of(job: Job) -> list[str]:
    """What its steps wrote down."""
    path = Path(job.folder) / f"{job.id}.log"
    return path.read_text().splitlines() if path.exists() else []
