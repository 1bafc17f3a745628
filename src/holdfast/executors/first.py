"""The first worker of a run: it is started before anything is accepted, imports the pipelines while
the ledger is opened, and is then taken over by the session."""

from __future__ import annotations

import os
from types import TracebackType

from holdfast.errors import WorkersError
from holdfast.executors.memory import Upkeep
from holdfast.executors.starting import Launched, launch, unusable
from holdfast.executors.worker import Setup
from holdfast.modules.pipelines import Source, code_for
from holdfast.store import StoreAddress


class FirstWorker:
    """A worker that no session has taken over yet; none, where no step needs one. It ends with the
    ``with`` block.

    Args:
        sources: where workers find the pipelines.
        artifacts: where artifacts lie.
        upkeep: when it is to be replaced.

    Raises:
        WorkersError: no process can be started.
    """

    def __init__(
        self, sources: list[Source], artifacts: StoreAddress, upkeep: Upkeep = Upkeep()
    ) -> None:
        self._sources = sources
        self._launched: Launched | None = None
        if any(one.needed for one in sources):
            try:
                self._launched = launch(
                    Setup(code_for(sources).packed(), artifacts, os.getpid(), upkeep)
                )
            except OSError as error:
                raise WorkersError(
                    f"worker processes cannot start: {error}. Nothing was accepted"
                ) from None

    def __enter__(self) -> FirstWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        launched = self.take()
        if launched is not None:
            launched.close()

    def check(self) -> None:
        """Wait until it has imported the pipelines.

        Raises:
            WorkersError: it cannot import one that has steps for workers.
        """
        why = "" if self._launched is None else unusable(self._launched, self._sources)
        if why:
            raise WorkersError(f"{why}. Nothing was accepted")

    def take(self) -> Launched | None:
        """Hand it over; once."""
        launched, self._launched = self._launched, None
        return launched
