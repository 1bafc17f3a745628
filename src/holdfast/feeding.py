"""Payloads from the caller of a run into the ledger: admitted as they gather, and answered by
receipts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from holdfast.clock import Clock
from holdfast.door import Door, Entry, Judged, parted, receipts_of
from holdfast.engine.committer import RETRY_S, Committer
from holdfast.engine.intake import Intake
from holdfast.errors import BacklogFullError, LedgerUnavailableError
from holdfast.ledger import Ledger
from holdfast.model.item import Receipt, Refusal, Submission
from holdfast.model.pipeline import Pipeline
from holdfast.revising import Revising, revised

log = logging.getLogger("holdfast")

T = TypeVar("T")


class Feeding:
    """Admits entries through the committer.

    Args:
        committer: what the ledger is changed by.
        clock: all time.
        backlog: most items that may wait; 0: any number.
        door: what entries came in by: it judges conflicts.
        pipelines: by name, those that are served.
        beside: runs what must not hold the loop.
        revising: that items are revised whose key comes with other content; None: they are left as
            they are.
    """

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        backlog: int,
        door: Door,
        pipelines: dict[str, Pipeline[Any, Any]],
        beside: Executor,
        revising: Revising | None = None,
    ) -> None:
        self._committer, self._clock, self._backlog = committer, clock, backlog
        self._door, self._pipelines, self._beside, self._revising = (
            door,
            pipelines,
            beside,
            revising,
        )

    async def feed(
        self,
        intake: Intake[Entry],
        goes_on: Callable[[], bool],
        accepted: Callable[[list[Receipt]], None],
    ) -> None:
        """Admit what gathers until its end, or until ``goes_on`` says no; each part is answered
        once it is durable."""
        while goes_on() and (batch := await intake.next()):
            size = max(self._backlog // 4, 1) if self._backlog else len(batch)
            receipts = [
                one
                for at in range(0, len(batch), size)
                for one in await self._answered(batch[at : at + size])
            ]
            intake.done()
            accepted(receipts)

    async def admit(
        self, submissions: list[Submission], refusals: Sequence[Refusal] = ()
    ) -> list[Receipt]:
        """Admit items, and keep refusals, through the committer; returns once they are durable.

        Raises:
            LedgerUnavailableError: disk full or failing; none was accepted.
            BacklogFullError: too many wait; none was accepted.
        """
        receipts: list[Receipt] = await self._verb(
            lambda ledger: ledger.admit(submissions, self._clock.now_ms(), self._backlog, refusals)
        )
        return receipts

    async def _verb(self, verb: Callable[[Ledger], T]) -> T:
        """Run a verb of the ledger in the committer, and wait for its answer."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._committer.call(verb, lambda answer: None if done.done() else done.set_result(answer))
        answer = await done
        if isinstance(answer, Exception):
            raise answer
        given: T = answer
        return given

    async def _answered(self, batch: list[Entry]) -> list[Receipt]:
        """The receipts of a batch; conflicts are looked at beside the loop, and kept as refused
        inputs."""
        submissions, refusals = parted(batch)
        receipts = await self._patiently(partial(self.admit, submissions, refusals))
        if any(one.status == "conflict" for one in receipts):
            judge = partial(self._door.judged, self._pipelines, submissions, receipts)
            loop = asyncio.get_running_loop()
            judged = await self._patiently(lambda: loop.run_in_executor(self._beside, judge))
            judged = await self._patiently(partial(self._revised, judged, submissions))
            await self._patiently(partial(self.admit, judged.known, judged.refusals))
            receipts = judged.receipts
        return receipts_of(batch, receipts)

    async def _revised(self, judged: Judged, submissions: list[Submission]) -> Judged:
        return await self._verb(
            lambda ledger: revised(
                ledger, self._revising, judged, submissions, self._clock.now_ms()
            )
        )

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it; while the disk or the backlog is full, wait (for a disk, say so once), and go on
        when there is space."""
        said = False
        while True:
            try:
                return await work()
            except BacklogFullError as error:
                await asyncio.sleep(min(error.retry_after, RETRY_S))
            except LedgerUnavailableError as error:
                if not said:
                    log.warning("%s", error)
                said = True
                self._committer.trouble = str(error)
                await asyncio.sleep(RETRY_S)
