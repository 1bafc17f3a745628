"""Every ledger that must pass; a new one is added here and changes no test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.ledger import Ledger
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.sqlite import SqliteLedger
from tests.conformance.test_ledger import NOW, SPEC


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    made: Ledger
    made = (
        SqliteLedger(str(tmp_path / "ledger.db"))
        if request.param == "sqlite"
        else PostgresLedger(request.getfixturevalue("postgres"))
    )
    yield made
    made.close()


@pytest.fixture
def version(ledger: Ledger) -> int:
    return ledger.register(SPEC, NOW).version
