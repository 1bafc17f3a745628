"""What becomes of what is handed in: name what is not accepted as it happens, and count it."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from holdfast.cli.output import complain
from holdfast.errors import HoldfastError
from holdfast.inputs import Handed, Input, Refused, Skipped, rooted
from holdfast.model.domain import cleaned
from holdfast.model.ids import show
from holdfast.model.item import REASON_LIMIT, SOURCE_LIMIT, Receipt
from holdfast.model.visible import one_line

NAMED = 20
"""So many inputs that were not accepted are named on the terminal; the ledger has them all."""

NOT_ACCEPTED = 4
"""Exit code: something that was handed in was not accepted."""


class Accepting:
    """Counts receipts and what is skipped.

    Args:
        target: MODULE:PIPELINE, for the commands that messages name.
        arguments: what was given: of a file below one of these folders, messages say how it is
            given alone, under the same name.
        keep: keep everything that was not accepted, for JSON; else only counts.
    """

    def __init__(self, target: str, arguments: list[str], keep: bool) -> None:
        self._target, self._arguments, self._keep = target, arguments, keep
        self.counts: Counter[str] = Counter()
        self.skips: Counter[str] = Counter()
        self.conflicts: list[Receipt] = []
        self.refused: list[Receipt] = []
        self.skipped: list[Skipped] = []

    def reading(self, handed: Iterable[Handed]) -> Iterator[Input | Refused]:
        """Pass on payloads and refusals, and note what is skipped."""
        for one in handed:
            if isinstance(one, Skipped):
                self.skips[one.reason] += 1
                if self._keep:
                    self.skipped.append(one)
            else:
                yield one

    def receipt(self, receipt: Receipt) -> None:
        """Count a receipt; name it if nothing was accepted."""
        self.counts[receipt.status] += 1
        if receipt.accepted:
            return
        if self._keep:
            (self.conflicts if receipt.status == "conflict" else self.refused).append(receipt)
        if self.not_accepted <= NAMED:
            complain(
                f"not accepted: {one_line(receipt.source)}: {receipt.reason}{self._remedy(receipt)}"
            )

    @property
    def not_accepted(self) -> int:
        """How many payloads were not accepted."""
        return self.counts["conflict"] + self.counts["refused"]

    def told(self) -> str:
        """The counts, in brackets behind a line."""
        names = {
            "new": "new",
            "same": "known",
            "revised": "revised",
            "conflict": "in conflict",
            "refused": "refused",
        }
        shown = [
            f"{self.counts[status]} {name}"
            for status, name in names.items()
            if self.counts[status] or status in ("new", "same")
        ]
        return ", ".join(shown)

    def sum_up(self) -> None:
        """Say on stderr what was skipped, what was not accepted, and how to go on."""
        if self.skips:
            shown = ", ".join(
                f"{number} × {reason}" for reason, number in sorted(self.skips.items())
            )
            complain(f"skipped: {shown} (--json names each)")
        if self.not_accepted > NAMED:
            complain(
                f"and {self.not_accepted - NAMED} more that were not accepted: "
                "`holdfast refused` lists all of them"
            )
        if self.not_accepted:
            accepted = self.counts["new"] + self.counts["same"] + self.counts["revised"]
            complain(
                f"accepted {accepted}, not accepted {self.not_accepted} ({self.told()}). "
                "`holdfast refused` says why. Put them right and give "
                f"the same command again: what was accepted is not taken twice"
            )
        elif not self.counts:
            complain("nothing was handed in")

    @contextmanager
    def broken_off(self) -> Iterator[None]:
        """Say how far the command came, and how to go on, when it ends before all was read."""
        try:
            yield
        except (HoldfastError, KeyboardInterrupt):
            if self.counts:
                self.sum_up()
                complain(
                    f"stopped before everything was read ({self.told()}); the same command "
                    "goes on from here"
                )
            raise

    def as_json(self) -> dict[str, Any]:
        """What was not accepted and what was skipped, each by name."""
        return {
            "conflicts": [receipt_json(one) for one in self.conflicts],
            "refused": [receipt_json(one) for one in self.refused],
            "skipped": [skipped_json(one) for one in self.skipped],
        }

    def end(self) -> None:
        """Raise the exit code if something was not accepted.

        Raises:
            typer.Exit: with code 4.
        """
        if self.not_accepted:
            raise typer.Exit(NOT_ACCEPTED)

    def _remedy(self, receipt: Receipt) -> str:
        if receipt.status != "conflict":
            return ""
        item = show(receipt.item)
        kind, _, argument = receipt.source.partition(" ")
        given = (
            self._alone(receipt.source)
            if os.path.isabs(receipt.source)
            else argument
            if kind == "argument" and len(argument) <= 80
            else ""
        )
        # what a terminal would not show cannot be copied from it
        file = shlex.quote(given) if given.isprintable() and given else "FILE"
        return (
            f". Compare: `holdfast items show {item}`. To run that item again with this input: "
            f"`holdfast restart {item} --input {file} -m {self._target}`, or give the same "
            "command with --on-conflict revise"
        )

    def _alone(self, source: str) -> str:
        """A file from below a folder, as it is given alone: its name is what is behind ``/./``."""
        for root, name in (rooted(one) for one in self._arguments):
            if source == root or source.startswith(os.path.join(root, "")):
                below = (
                    os.path.join(name, os.path.relpath(source, root)) if source != root else name
                )
                return f"{source[: -len(below)]}./{below}" if "/" in below else source
        return source


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt as JSON: ``item`` is null when there is none."""
    found = {
        "status": receipt.status,
        "item": show(receipt.item) if receipt.item else None,
        "key": receipt.key,
        "state": receipt.state,
    }
    return (
        found if receipt.accepted else {**found, "source": receipt.source, "reason": receipt.reason}
    )


def skipped_json(one: Skipped) -> dict[str, str]:
    """Something that was skipped, as JSON."""
    return {"path": cleaned(one.path, SOURCE_LIMIT), "reason": cleaned(one.reason, REASON_LIMIT)}
