"""The door: payloads become submissions or refusals, and what the ledger takes for a conflict is
looked at once more.

What is wrong with one payload concerns that payload. What is wrong with the disk or the ledger
concerns none: it is raised or waited for.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from holdfast.engine.committer import RETRY_S
from holdfast.errors import HoldfastError, InputError, LedgerUnavailableError, StoreError
from holdfast.inputs import Input, Refused, Skipped, said
from holdfast.ledgers.reads import LedgerReads
from holdfast.model import media
from holdfast.model.codec import check_payload, describe, encode
from holdfast.model.content import content_digest, typed_digest
from holdfast.model.domain import check_name
from holdfast.model.ids import show
from holdfast.model.item import Receipt, Refusal, Submission, portable, refusal, unnamed
from holdfast.model.pipeline import KeyRefusedError, Pipeline
from holdfast.model.search import fields_of
from holdfast.model.values import Value, refers_to
from holdfast.store import Store

log = logging.getLogger("holdfast")

T = TypeVar("T")

OnRefused = Literal["raise", "keep"]
"""What becomes of a payload that is not accepted: an :class:`InputError` ends the reading, or it is
kept as a refused input."""

Entry = Submission | Refusal
"""What the door lets through, and what it does not."""


class Judged(msgspec.Struct, frozen=True):
    """What became of submissions, once conflicts have been looked at.

    Attributes:
        receipts: one for each, in order.
        known: those that are the same after all, as the ledger has them: admitting them closes
            earlier refusals of their sources.
        refusals: of those that are in conflict, to keep.
    """

    receipts: list[Receipt]
    known: list[Submission]
    refusals: list[Refusal]


class Door:
    """Checks, encodes and stores payloads.

    Args:
        store: where large ones are kept.
        reads: opens the reading side of the ledger.
    """

    def __init__(self, store: Store, reads: Callable[[], LedgerReads]) -> None:
        self._store, self._reads = store, reads

    def entries(
        self,
        pipeline: Pipeline[Any, Any],
        payloads: Iterable[Any],
        manifest: str = "",
        priority: int = 0,
        refused: OnRefused = "raise",
        patient: Callable[[], bool] = lambda: False,
    ) -> Iterator[Entry]:
        """Turn payloads into submissions, in order; each is read when it is asked for.

        Args:
            pipeline: for which.
            payloads: payloads, or what :mod:`holdfast.inputs` describes. What is skipped is left
                out.
            manifest: the client's name for the list of them.
            priority: from -1000 to 1000.
            refused: what becomes of a payload that does not fit.
            patient: whether to wait while the disk is full, asked again and again.

        Raises:
            InputError: the priority is out of range, or (with ``raise``) a payload does not fit.
            LedgerUnavailableError: the disk is full, and ``patient`` says not to wait.
        """
        if not -1000 <= priority <= 1000:
            raise InputError(f"priority {priority} is out of range: give one from -1000 to 1000")
        check_name("name of a manifest", manifest)
        rest = iter(payloads)
        while True:
            with media.using(self._store):  # an inputs= function may make artifacts
                one = next(rest, _END)
            if one is _END:
                return
            if isinstance(one, Skipped):
                continue
            given = one if isinstance(one, Input) else Input(one)
            try:
                if isinstance(one, Refused):
                    raise _Refusing(one)
                yield self._submission(pipeline, given, manifest, priority, patient)
            except InputError as error:
                if refused == "raise":
                    raise
                if isinstance(error, _Refusing):
                    problem = error.refused
                else:
                    kind = "key" if isinstance(error, KeyRefusedError) else "type"
                    problem = Refused(
                        given.source or _described(given.payload), str(error), kind, given.key
                    )
                yield refusal(
                    pipeline.name,
                    problem.source,
                    problem.reason,
                    problem.kind,
                    problem.key,
                    manifest,
                )

    def mixed(
        self,
        payloads: Iterable[tuple[Pipeline[Any, Any], Any]],
        manifest: str,
        priority: int,
        refused: OnRefused,
        patient: Callable[[], bool],
    ) -> Iterator[Entry]:
        """The same as :meth:`entries` for payloads of several pipelines, each with its own."""
        for pipeline, pairs in groupby(payloads, key=lambda pair: pair[0]):
            yield from self.entries(
                pipeline, (payload for _, payload in pairs), manifest, priority, refused, patient
            )

    def judged(
        self,
        pipelines: Mapping[str, Pipeline[Any, Any]],
        submissions: list[Submission],
        receipts: list[Receipt],
    ) -> Judged:
        """Look once more at what the ledger takes for conflicts.

        The ledger compares JSON. A payload that reads as the same value of the pipeline's type is
        the same: it was written before a field with a default was added, or by another client. What
        stays a conflict gets its reason, and a refusal to keep.
        """
        judged: list[Receipt] = []
        refusals: list[Refusal] = []
        known: list[Submission] = []
        if all(one.status != "conflict" for one in receipts):
            return Judged(receipts, known, refusals)
        reads = self._reads()
        try:
            for given, receipt in zip(submissions, receipts, strict=True):
                there = reads.payload_of(receipt.item) if receipt.status == "conflict" else None
                if there is not None and self._same(
                    pipelines[given.pipeline], there, given.payload
                ):
                    receipt = replace(receipt, status="same")
                    known.append(replace(given, payload=there, digest=""))
                elif receipt.status == "conflict":
                    reason = (
                        f"its key {given.key!r} is item {show(receipt.item)} "
                        f"({receipt.state}), which has other content"
                    )
                    source = given.source or unnamed(given.key, given.digest)
                    refusals.append(
                        refusal(
                            given.pipeline,
                            source,
                            reason,
                            "conflict",
                            given.key,
                            given.manifest,
                            receipt.item,
                        )
                    )
                    receipt = replace(
                        receipt, source=refusals[-1].source, reason=refusals[-1].reason
                    )
                judged.append(receipt)
        finally:
            reads.close()
        return Judged(judged, known, refusals)

    def checked(self, pipeline: Pipeline[Any, Any], payload: Any) -> bytes:
        """A payload as JSON, read back as the pipeline's type. What its own code raises says that
        it does not fit.

        Raises:
            InputError: it does not fit; the message says where.
            LedgerUnavailableError: an artifact in it cannot be kept now.
        """
        try:
            with media.using(self._store):
                data = check_payload(payload, pipeline.input_type)
            # as it was given
            _check_integers(encode(payload) if type(payload) in (dict, list) else data)
            return data
        except (HoldfastError, KeyboardInterrupt):
            raise
        except (
            BaseException
        ) as error:  # the payload's own code runs, and may panic in another language
            raise InputError(
                f"the payload is not a {describe(pipeline.input_type)}: {said(error)}"
            ) from error

    def _submission(
        self,
        pipeline: Pipeline[Any, Any],
        given: Input,
        manifest: str,
        priority: int,
        patient: Callable[[], bool],
    ) -> Submission:
        data = _patiently(lambda: self.checked(pipeline, given.payload), patient)
        try:
            with media.using(self._store):
                key, fields = (
                    pipeline.key_of(data),
                    fields_of(data, pipeline.search, pipeline.input_type),
                )
                digest = content_digest(_as_given(given.payload, data))
        except (HoldfastError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise InputError(
                f"the payload cannot be read back as a {describe(pipeline.input_type)}: "
                f"{said(error)}"
            ) from error
        try:
            value = _patiently(lambda: self._store.keep(data), patient)
        except StoreError as error:
            raise InputError(
                f"the payload refers to what is not in the artifact store: {error}"
            ) from None
        return Submission(
            pipeline.name,
            pipeline.version,
            key,
            value,
            pipeline.deadline,
            manifest,
            priority,
            fields=fields,
            digest=digest,
            source=portable(given.source),
        )

    def _same(self, pipeline: Pipeline[Any, Any], known: Value, given: Value) -> bool:
        """Whether two stored payloads read as the same value of the pipeline's type."""
        try:
            with media.using(self._store):
                return self._typed(pipeline, known) == self._typed(pipeline, given)
        except LedgerUnavailableError:
            raise
        except Exception:  # what is there does not fit the type any more: it is something else
            return False

    def _typed(self, pipeline: Pipeline[Any, Any], value: Value) -> str:
        return typed_digest(
            value if isinstance(value, bytes) else self._store.fetch(value), pipeline.input_type
        )


_END: Any = object()


class _Refusing(InputError):
    """An input that was refused where it was read."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused.source}: {refused.reason}")
        self.refused = refused


def batches(source: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    """Parts of a source. What it raises comes after what it gave before."""
    error: Exception | None = None
    while error is None:
        batch: list[Entry] = []
        try:
            for one in islice(source, size):
                batch.append(one)  # one by one: what came before an error is kept
        except Exception as raised:
            error = raised
        if batch:
            yield batch
        elif error is None:
            return
    raise error


def receipts_of(entries: list[Entry], receipts: list[Receipt]) -> list[Receipt]:
    """The receipts of entries, in their order: the ledger's for submissions, and one for each
    refusal."""
    given = iter(receipts)
    return [
        Receipt(0, one.key, "refused", "", one.source, one.reason)
        if isinstance(one, Refusal)
        else next(given)
        for one in entries
    ]


def parted(entries: list[Entry]) -> tuple[list[Submission], list[Refusal]]:
    """Submissions and refusals among entries."""
    submissions = [one for one in entries if isinstance(one, Submission)]
    return submissions, [one for one in entries if isinstance(one, Refusal)]


_WIDE = re.compile(rb"(?:^|[:,\[\s])-?[0-9]{19}")


def _check_integers(data: bytes) -> None:
    """Refuse integers that 64 bits do not hold: not every reader of the JSON keeps their digits.

    Raises:
        InputError: there is one.
    """
    if _WIDE.search(data) is None:
        return
    todo = [msgspec.json.decode(data)]
    while todo:
        one = todo.pop()
        if isinstance(one, dict | list):
            todo += one.values() if isinstance(one, dict) else one
        elif isinstance(one, int) and not -(1 << 63) <= one < 1 << 64:
            raise InputError(
                f"the payload has the integer {str(one)[:40]}, and 64 bits are kept: write it "
                "as text"
            )


def _as_given(payload: Any, data: bytes) -> bytes:
    """What the digest of a payload is of: what the client sent, without defaults that are made anew
    for each, such as ids and times."""
    if refers_to(data):
        return data  # no artifact is written again
    try:
        return encode(payload)
    except (TypeError, ValueError, RecursionError):
        return data


def _described(payload: Any) -> str:
    """A payload that has no source: its content, so that the same is the same refusal, and another
    payload is another one."""
    try:
        text = encode(payload).decode("utf-8", "replace")
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"of type {type(payload).__name__}"
    return (
        "payload "
        f"{text if len(text) <= 200 else f'{text[:200]}… ({content_digest(text.encode())[:12]})'}"
    )


def _patiently(work: Callable[[], T], patient: Callable[[], bool]) -> T:
    while True:
        try:
            return work()
        except LedgerUnavailableError as error:
            if not patient():
                raise
            log.warning("%s", error)
            time.sleep(RETRY_S)
