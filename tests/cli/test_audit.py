"""``holdfast audit``, ``verify`` and ``ledger key`` as a person uses them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.command_line import Line
from tests.spoilt import Ledger


@pytest.fixture
def line(
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Line:
    """The command line on a filled ledger, in a folder of its own."""
    monkeypatch.setenv("HOLDFAST_HOME", str(ledger.app.settings.home))
    monkeypatch.setenv("HOLDFAST_LEDGER", ledger.app.settings.ledger)
    monkeypatch.chdir(tmp_path)
    return Line(capsys)


def test_without_a_key_the_end_is_not_anchored_and_a_head_is_refused(line: Line) -> None:
    assert "end not anchored" in line("audit")
    assert "HOLDFAST_SIGNING_KEY" in line("audit", "--head", "head", code=2)
    assert not Path("head").exists()
    assert "--key" in line("audit", "--against", __file__, code=2)


def test_the_end_is_anchored_by_a_signed_head(
    line: Line, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = json.loads(line("ledger", "key", "key", "--json"))
    assert stat.S_IMODE(Path("key").stat().st_mode) == 0o600
    assert "PRIVATE" not in Path(made["public"]).read_text()
    assert "is there already" in line("ledger", "key", "key", code=2)
    monkeypatch.setenv("HOLDFAST_SIGNING_KEY", "key")
    assert "wrote the signed head to head" in line("audit", "--head", "head")
    assert "goes on from the signed head" in line("audit", "--against", "head")
    assert "verified: ledger" in line("verify", "head", "--key", "key.pub")
    ledger.spoil("delete from audit_log where id = (select max(id) from audit_log)")
    said = line("audit", "--against", "head", code=1)
    assert "broken: head-not-extended" in said
    assert "broken: audit-log-changed" in said
    found = json.loads(line("audit", "--against", "head", "--json", code=1))
    assert found["audit_log"]["anchored"] is None


def test_verify_needs_no_ledger_and_says_no(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line("ledger", "key", "key")
    line("ledger", "key", "other")
    monkeypatch.setenv("HOLDFAST_SIGNING_KEY", "key")
    line("audit", "--head", "head", "--deep")
    monkeypatch.setenv("HOLDFAST_HOME", "nowhere")
    monkeypatch.setenv("HOLDFAST_LEDGER", "")
    monkeypatch.delenv("HOLDFAST_SIGNING_KEY")
    assert json.loads(line("verify", "head", "--key", "other.pub", "--key", "key.pub", "--json"))[
        "verified"
    ]
    assert "NOT verified" in line("verify", "head", "--key", "other.pub", code=1)
    Path("head").write_text(
        Path("head").read_text().replace('"balanced": true', '"balanced": false')
    )
    answer = json.loads(line("verify", "head", "--key", "key.pub", "--json", code=1))
    assert (answer["verified"], "changed" in answer["why"]) == (False, True)
    assert "--key" in line("verify", "head", code=2)
    assert "cannot be read" in line("verify", "nothing", "--key", "key.pub", code=2)
    assert "no public key" in line("verify", "head", "--key", "key", code=2)
    assert not Path("nowhere").exists()


def test_what_is_broken_says_what_to_do(line: Line, ledger: Ledger) -> None:
    ledger.spoil("update items set state = 'waiting', due = 0 where key = 'good'")
    said = line("audit", code=1)
    assert "broken: waiting-without-wake" in said
    assert "holdfast restart" in said
    assert said.rstrip().endswith("NOT balanced")
    (row,) = json.loads(line("stuck", "--json", code=1))
    assert (row["bound"], row["past_bound_s"]) == ("waiting-without-wake", None)
    assert f"holdfast restart {row['item']}" in row["remedy"]
    assert "at once" in line("stuck", code=1)


def test_conservation_by_manifest_and_hour(line: Line) -> None:
    assert "monday" in line("audit", "--by", "manifest")
    rows = json.loads(line("audit", "--by", "hour", "--json"))["by_hour"]
    assert sum(row["received"] for row in rows if row["pipeline"] == "everything") == 2
    assert all(row["balanced"] and row["hour"] % 3_600_000 == 0 for row in rows)
