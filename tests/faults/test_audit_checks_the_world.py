"""The audit checks the world, not the rows: artifacts exist, runners know their items, the audit
log's end is anchored; ``stuck`` names it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast import App
from holdfast.auditing import verified_head
from holdfast.control import serve
from holdfast.engine.ownership import Ownership
from holdfast.errors import InputError, LedgerError, LedgerUnavailableError
from holdfast.model.holdings import KEPT, Held, packed, unpacked
from holdfast.signing import make_pair, public_keys
from holdfast.stores.directory import DirectoryStore
from tests.audit_samples import Gate, Sheet, bulky, holding
from tests.spoilt import Ledger

WAITING = "(select id from items where parent is not null)"


def broken(app: App, **how: Any) -> dict[str, list[str]]:
    found = app.audit(**how)
    assert found["balanced"] == (not found["broken"])
    return {one["rule"]: one["items"] for one in found["broken"]}


# -- artifacts -----------------------------------------------------------------------------------


def files(app: App) -> list[Path]:
    return sorted(Path(app.settings.artifacts_place).glob("??/*"))


def test_artifacts_that_are_gone_are_named(ledger: Ledger) -> None:
    gone = files(ledger.app)[0]
    gone.unlink()
    found = broken(ledger.app)
    assert set(found) == {"artifact-missing"}
    assert gone.parent.name + gone.name in found["artifact-missing"][0]


def test_artifacts_that_are_cut_are_named(ledger: Ledger) -> None:
    for file in files(ledger.app):
        file.write_bytes(file.read_bytes()[:-1])
    assert set(broken(ledger.app)) == {"artifact-size"}


def test_artifacts_with_other_bytes_are_named_by_a_deep_audit(ledger: Ledger) -> None:
    file = files(ledger.app)[0]
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert broken(ledger.app) == {}
    assert set(broken(ledger.app, deep=True)) == {"artifact-damaged"}


def test_what_was_cleared_needs_no_artifact(ledger: Ledger) -> None:
    ledger.spoil("update tasks set artifact = null")
    for file in files(ledger.app):
        file.unlink()
    assert "artifact-missing" not in broken(ledger.app)


def test_a_store_that_cannot_be_read_is_said(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not compared is not called balanced in silence."""

    def away(store: DirectoryStore, digest: str) -> int:
        raise LedgerUnavailableError("the bucket cannot be reached")

    monkeypatch.setattr(DirectoryStore, "size", away)
    found = ledger.app.audit()
    assert found["unchecked"] == ["artifacts, after 0: the bucket cannot be reached"]


# -- runners -------------------------------------------------------------------------------------


def owned_by(ledger: Ledger) -> tuple[int, int]:
    """Make the waiting child the item of a runner that lives; its number and the item's."""
    ledger.spoil(
        (
            "insert into incarnations (id, host, pid, started_at, expires_at) values (99, 'here', "
            "1, 1, 9007199254740991)"
        )
        if ledger.app.settings.ledger_path is not None
        else "insert into incarnations (id, host, pid, place, born, started_at, expires_at) "
        "overriding system value "
        "values (99, 'here', 1, '', 0, 1, 9007199254740991)",
        f"update items set state = 'running', due = 99, fence = 5 where id = {WAITING}",
    )
    with closing(ledger.app.reads()) as reads:
        ((item, fence),) = reads.owned(99)
    assert fence == 5
    return 99, item


@contextmanager
def saying(ledger: Ledger, held: Callable[[], list[tuple[int, int]]]) -> Iterator[None]:
    """A runner, as others see it, that says that it holds these: over its socket, or in its row."""
    over = threading.Event()
    path = ledger.app.settings.socket_path

    async def listen() -> None:
        assert path is not None
        server = await serve(path, None, lambda: 0, lambda: None, 0, lambda: Held(99, held()))  # type: ignore[arg-type]
        while not over.is_set():
            await asyncio.sleep(0.01)
        server.close()

    def write() -> None:
        writer = ledger.app.open_ledger()
        while not over.is_set():
            writer.health.hold(99, packed(held()))
            time.sleep(0.05)
        writer.close()

    thread = threading.Thread(target=(lambda: asyncio.run(listen())) if path is not None else write)
    thread.start()
    try:
        while not (path.exists() if path is not None else _beats(ledger)):
            time.sleep(0.01)
        yield
    finally:
        over.set()
        thread.join()


def _beats(ledger: Ledger) -> bool:
    with closing(ledger.app.reads()) as reads:
        return 99 in reads.holdings()


def test_an_item_that_its_runner_knows_is_in_order(ledger: Ledger) -> None:
    _, item = owned_by(ledger)
    with saying(ledger, lambda: [(item, 5)]):
        assert broken(ledger.app) == {}


def test_an_item_that_its_runner_does_not_know_is_named_also_by_stuck(ledger: Ledger) -> None:
    owned_by(ledger)
    with saying(ledger, lambda: []):
        found = broken(ledger.app)
        assert set(found) == {"unknown-to-runner"}
        (row,) = [
            one for one in ledger.app.stuck(3_600_000, 50) if one["bound"] == "unknown-to-runner"
        ]
    assert [row["item"]] == found["unknown-to-runner"]
    assert "restart the runner" in row["remedy"]


def test_an_item_that_its_runner_knows_under_another_fence_is_named(ledger: Ledger) -> None:
    _, item = owned_by(ledger)
    with saying(ledger, lambda: [(item, 4)]):
        assert set(broken(ledger.app)) == {"unknown-to-runner", "not-owned"}


def test_what_a_runner_holds_and_does_not_own_is_named(ledger: Ledger) -> None:
    _, item = owned_by(ledger)
    with saying(ledger, lambda: [(item, 5), (item + 1, 1)]):
        assert set(broken(ledger.app)) == {"not-owned"}


def test_what_is_claimed_and_ended_meanwhile_is_no_finding(ledger: Ledger) -> None:
    """Items come and go between the looks: that is what a busy runner looks like."""
    _, item = owned_by(ledger)
    looks = iter(range(1, 1 << 30))
    with saying(ledger, lambda: [(item, 5), (next(looks) + 1_000, 1)]):
        assert broken(ledger.app) == {}


def test_a_runner_that_says_nothing_is_not_checked(ledger: Ledger) -> None:
    owned_by(ledger)
    found = ledger.app.audit()
    assert found["balanced"]
    if ledger.app.settings.ledger_path is None:
        assert "has not said yet" in found["unchecked"][0]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_runner_at_work_knows_its_items(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run: what it holds is what it owns; an item that is made its own behind its back is
    found."""
    # else the runner takes it up, or hands it on, within seconds
    monkeypatch.setattr(Ownership, "adopt", lambda *given: None)
    app = App(
        home=tmp_path / "home",
        ledger="" if kind == "sqlite" else request.getfixturevalue("postgres"),
        workers=1,
    )
    go = tmp_path / "go"
    payloads = [(holding, Gate(f"h{number}", str(go))) for number in range(5)]
    running = threading.Thread(target=lambda: app.run([holding], payloads))
    running.start()
    try:
        while running.is_alive() and _running(app) < 5:
            time.sleep(0.05)
        found = app.audit()
        while running.is_alive() and "has not said yet" in "".join(found["unchecked"]):
            time.sleep(0.2)
            found = app.audit()
        assert (found["broken"], found["unchecked"]) == ([], [])
        list(app.submit_many(bulky, [Sheet("mine")]))
        Ledger(app).spoil(
            "update items set state = 'running', due = (select max(id) from incarnations), "
            "fence = 1 where key = 'mine'"
        )
        assert set(broken(app)) == {"unknown-to-runner"}
    finally:
        go.write_text("")
        running.join()


def _running(app: App) -> int:
    try:
        with closing(app.reads()) as reads:
            return int(sum(row["running"] for row in reads.status()))
    except LedgerError:
        return 0  # it is being made


def test_many_items_are_packed_and_too_many_are_not() -> None:
    items = {(number * 7_000_003, number % 3 + 1) for number in range(KEPT)}
    data = packed(items)
    assert data is not None
    assert unpacked(data) == items
    assert len(data) < 8 * KEPT
    assert packed((number, 1) for number in range(KEPT + 1)) is None
    assert unpacked(packed([]) or b"") == set()


# -- the end of the audit log --------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private key; its public one beside it."""
    make_pair(tmp_path / "key")
    return tmp_path / "key"


def signed(ledger: Ledger, keys: Path, file: Path) -> App:
    """Write a signed head; the App that has the key."""
    app = App(
        **{
            **ledger.app.settings.model_dump(include={"home", "ledger", "workers"}),
            "signing_key": str(keys),
        }
    )
    file.write_bytes(app.signed_head(app.audit()))
    return app


@pytest.mark.parametrize(
    "statements",
    [
        [
            "delete from audit_log where id = (select max(id) from audit_log)",
            "update meta set value = (select id || ' ' || digest from audit_log order by id "
            "desc limit 1) where name = 'audit-log-end'",
            "delete from operations where id = (select max(id) from operations)",
        ],
        [
            "delete from audit_log",
            "update meta set value = '0 ' where name = 'audit-log-end'",
            "delete from operations",
        ],
    ],
)
def test_entries_taken_out_with_every_trace_are_seen_against_a_signed_head(
    ledger: Ledger, keys: Path, tmp_path: Path, statements: list[str]
) -> None:
    app = signed(ledger, keys, tmp_path / "head")
    assert broken(app, against=tmp_path / "head") == {}
    ledger.spoil(*statements)
    assert broken(app) == {}, "whoever can write to the ledger can make it agree with itself"
    assert set(broken(app, against=tmp_path / "head")) == {"head-not-extended"}


def test_a_log_that_goes_on_is_anchored(ledger: Ledger, keys: Path, tmp_path: Path) -> None:
    app = signed(ledger, keys, tmp_path / "head")
    app.pause_pipeline("doomed", reason="later", who="anna")
    found = app.audit(against=tmp_path / "head")
    assert found["balanced"]
    assert found["audit_log"]["anchored"]["entries"] == found["audit_log"]["entries"] - 1
    assert app.audit()["audit_log"]["anchored"] is None


def test_receipts_taken_out_with_every_trace_are_seen_against_a_signed_head(
    ledger: Ledger, keys: Path, tmp_path: Path
) -> None:
    app = signed(ledger, keys, tmp_path / "head")
    gone = "(select id from items where key = 'w')"
    tables = [
        f"delete from {table} where item = {gone}"
        for table in ("receipts", "tasks", "live_tasks", "waits")
    ]
    version = "(select version from items where key = 'w')"
    ledger.spoil(
        *tables,
        f"delete from measures where version = {version}",
        "delete from items where key = 'w'",
    )
    assert broken(app) == {}
    assert (
        "awaiting had received 1" in broken(app, against=tmp_path / "head")["head-not-extended"][0]
    )


def test_another_ledger_does_not_pass_for_this_one(
    ledger: Ledger, keys: Path, tmp_path: Path
) -> None:
    app = signed(ledger, keys, tmp_path / "head")
    ledger.spoil("update meta set value = 'another' where name = 'ledger-id'")
    assert "of ledger" in broken(app, against=tmp_path / "head")["head-not-extended"][0]


@pytest.mark.parametrize("field", ["entries", "last", "balanced", "at", "ledger", "pipelines"])
def test_a_head_that_was_changed_is_not_verified(
    ledger: Ledger, keys: Path, tmp_path: Path, field: str
) -> None:
    signed(ledger, keys, tmp_path / "head")
    data = msgspec.json.decode((tmp_path / "head").read_bytes())
    value = data["head"][field]
    data["head"][field] = (
        {} if isinstance(value, dict) else not value if isinstance(value, bool) else value * 2
    )
    (tmp_path / "head").write_bytes(msgspec.json.encode(data))
    with pytest.raises(InputError, match="changed after it was signed"):
        verified_head(tmp_path / "head", public_keys([tmp_path / "key.pub"]))


def test_keys_are_rotated(ledger: Ledger, keys: Path, tmp_path: Path) -> None:
    """Heads of an old key are verified beside those of a new one, from several files or one; with
    the new one alone they are not."""
    signed(ledger, keys, tmp_path / "old")
    make_pair(tmp_path / "next")
    app = signed(ledger, tmp_path / "next", tmp_path / "new")
    both = [tmp_path / "key.pub", tmp_path / "next.pub"]
    (tmp_path / "all.pub").write_bytes(b"".join(file.read_bytes() for file in both))
    for head in ("old", "new"):
        assert app.verified(tmp_path / head, both).balanced
        assert app.verified(tmp_path / head, [tmp_path / "all.pub"]).balanced
        assert broken(app, against=tmp_path / head, keys=both) == {}
    with pytest.raises(InputError, match="none of those given"):
        app.verified(tmp_path / "old")
    assert app.verified(tmp_path / "new").balanced


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff" * 100, b'{"head": 1}'])
def test_a_file_that_is_no_head_is_refused(data: bytes, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "head").write_bytes(data)
    with pytest.raises(InputError, match="no signed head"):
        verified_head(tmp_path / "head", public_keys([tmp_path / "key.pub"]))


def test_a_private_key_that_everybody_can_read_is_refused(
    ledger: Ledger, keys: Path, tmp_path: Path
) -> None:
    keys.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        signed(ledger, keys, tmp_path / "head")


def test_a_key_may_be_in_the_environment(
    ledger: Ledger, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", keys.read_text())
    app = App(
        home=ledger.app.settings.home, ledger=ledger.app.settings.ledger, signing_key="env:MY_KEY"
    )
    (tmp_path / "head").write_bytes(app.signed_head(app.audit()))
    assert app.verified(tmp_path / "head", [tmp_path / "key.pub"]).balanced
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(InputError, match="no environment variable MY_KEY"):
        app.signed_head(app.audit())


# -- stuck ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (f"update waits set state = 'withdrawn' where item = {WAITING}", "waiting-without-wake"),
        (f"delete from waits where item = {WAITING}", "task-that-nobody-wakes"),
        (
            f"update items set state = 'running', due = 99 where id = {WAITING}",
            "running-without-owner",
        ),
        ("delete from dead_letters", "dead-without-letter"),
        ("update waits set key = 'nobody' where kind = 'child'", "child-without-item"),
        (
            f"update items set state = 'cancelled', ended_at = 1 where id = {WAITING}",
            "wait-of-ended-child",
        ),
        (f"update waits set state = 'answered' where item = {WAITING}", "answer-that-woke-nobody"),
        (
            "update deliveries set state = 'open'; delete from subscriptions",
            "delivery-without-receiver",
        ),
    ],
)
def test_stuck_names_what_will_not_go_on_by_itself(
    ledger: Ledger, statement: str, rule: str
) -> None:
    before = ledger.app.stuck(3_600_000, 50)
    assert before == []
    ledger.spoil(*statement.split("; "))
    rows = [one for one in ledger.app.stuck(3_600_000, 50) if one["bound"] == rule]
    assert rows
    assert all(one["why"] and one["remedy"] and "ITEM" not in one["remedy"] for one in rows)
