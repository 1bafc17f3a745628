"""A full disk stops intake with a clear error, loses nothing that was acknowledged, and work
resumes when space returns."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.errors import LedgerUnavailableError
from holdfast.ledgers.sqlite import SqliteLedger
from tests.samples import Order, average


def _pages(ledger: SqliteLedger, spare: int | None) -> None:
    """Let the file grow by so many pages only, or freely: SQLite then answers as on a full disk."""
    (used,) = next(ledger.connection.execute("pragma page_count"))
    ledger.connection.execute(
        f"pragma max_page_count = {1 << 30 if spare is None else used + spare}"
    )


def test_intake_is_refused_and_goes_on_when_there_is_space(app: App) -> None:
    ledger = app.open_ledger()
    assert isinstance(ledger, SqliteLedger)
    acknowledged: list[str] = []
    from holdfast.app import version_spec

    ledger.register(version_spec(average), app.clock.now_ms())
    _pages(ledger, 20)
    submissions = list(
        app.submissions(average, [Order(f"order-{n}", numbers=[1] * 300) for n in range(2000)], "")
    )
    with pytest.raises(LedgerUnavailableError, match=r"disk .* is full: intake has stopped"):
        for start in range(0, 2000, 10):
            acknowledged += [
                one.key for one in ledger.admit(submissions[start : start + 10], app.clock.now_ms())
            ]
    assert acknowledged
    _pages(ledger, None)
    receipts = ledger.admit(submissions, app.clock.now_ms())
    assert [one.key for one in receipts if one.status == "same"] == acknowledged
    ledger.close()
    assert len(app.reads().keys("average", None)) == 2000


def test_a_run_waits_for_space_and_then_completes(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    original = SqliteLedger.commit
    refused: list[int] = []

    def commit(self: SqliteLedger, incarnation: int, command: int, transitions: Any) -> list[bool]:
        if not full.is_set():
            _pages(self, 0)
            refused.append(command)
            if len(refused) >= 3:
                full.set()
                _pages(self, None)
        return original(self, incarnation, command, transitions)

    monkeypatch.setattr(SqliteLedger, "commit", commit)
    payloads = [(average, Order(f"order-{n}", numbers=[1] * 300)) for n in range(60)]
    app.run([average], payloads)
    (row,) = app.reads().status()
    assert (row["completed"], app.reads().audit(0)["balanced"]) == (60, True)
    assert len(refused) >= 3


def test_artifacts_that_cannot_be_written_are_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.stores.directory import DirectoryStore

    store = DirectoryStore(tmp_path / "artifacts")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(LedgerUnavailableError, match="No space left"):
        store.put(b"x" * 100)
    assert [file for file in (tmp_path / "artifacts").rglob("*") if file.is_file()] == []


def test_a_run_can_be_stopped_while_its_payloads_wait_for_space(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.session import Session
    from holdfast.stores.directory import DirectoryStore

    asked = threading.Event()

    def keep(*_: Any) -> Any:
        asked.set()
        raise LedgerUnavailableError("the disk of the artifacts is full")

    def stop(session: Session) -> None:
        if asked.is_set():
            session.stop_now()

    monkeypatch.setattr(DirectoryStore, "keep", keep)
    result = app.run([average], [(average, Order("order-1", numbers=[1] * 300))], each_tick=stop)
    assert (result.stopped, result.received) == (True, 0)


def test_no_claimed_item_is_forgotten_when_the_ledger_fails_beside_the_claim(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SqliteLedger.next_wake
    failed: list[int] = []

    def next_wake(self: SqliteLedger, versions: list[int]) -> int | None:
        if len(failed) < 3:
            failed.append(1)
            raise LedgerUnavailableError("the disk failed for a moment")
        return original(self, versions)

    monkeypatch.setattr(SqliteLedger, "next_wake", next_wake)
    list(app.submit_many(average, [Order(f"order-{n}", numbers=[n]) for n in range(20)]))
    app.run([average])
    (row,) = app.reads().status()
    assert (row["completed"], len(failed)) == (20, 3)
