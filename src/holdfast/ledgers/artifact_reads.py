"""Which artifacts a ledger needs, and how long what is not in it yet may be on its way."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import InputError
from holdfast.model.values import Chunk, decode_reference, digests, refers_to


class ArtifactReads:
    """A part of :class:`holdfast.ledgers.reads.LedgerReads`."""

    def _rows(self, query: str, *values: Any) -> list[Any]:
        raise AssertionError("the reads of a ledger say how to run a query")

    def identity(self) -> str:
        """Which ledger this is."""
        ((found,),) = self._rows("ledger_identity")
        return str(found)

    def artifact_digests(self) -> set[str]:
        """Every artifact that something in the ledger refers to."""
        found: set[str] = set()
        for (text,) in self._rows("artifact_references"):
            found.update(digests(decode_reference(text)))
        for (text,) in self._rows("part_references"):
            chunk = msgspec.json.decode(text, type=Chunk)
            found.update((chunk.digest, *chunk.refs))
        for (value,) in self._rows("values_in_rows"):
            found.update(refers_to(bytes(value)))
        return found

    def longest_attempt_s(self) -> float:
        """Seconds that the longest attempt may take, of all versions that have been registered.

        Raises:
            InputError: it is not known of a version that a runner serves.
        """
        unknown = self._rows("unknown_attempts")
        if unknown:
            names = ", ".join(f"{name} {label}" for name, label in unknown)
            raise InputError(
                f"runners of an older release serve {names}, and how long their attempts may "
                "take is not known: bring them up to date first"
            )
        return float(self._rows("longest_attempt")[0][0])
