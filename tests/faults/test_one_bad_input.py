"""One bad input stops no other: each is named, kept, counted, part of the answer to a manifest;
exit code 4."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast import App, InputError
from tests.command_line import Line
from tests.intake_samples import Row, rows

TARGET = "tests.intake_samples:rows"
GOOD = '{"id": "r-%d", "amount": 1}\n'


@pytest.fixture
def line(app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    monkeypatch.setenv("HOLDFAST_WORKERS", "1")
    return Line(capsys)


@pytest.mark.parametrize(
    "bad",
    ['{"id": "r-500", "amount": "n/a"}', '{"id": "r-500", ', '{"id": "nodash"}', '{"id": "r-"}'],
)
def test_the_good_rows_of_a_thousand_run_and_the_bad_one_is_named(
    line: Line, app: App, tmp_path: Path, bad: str
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f"{bad}\n" if n == 500 else GOOD % n for n in range(1000)))
    out = line("submit", TARGET, str(file), code=4)
    assert out.count("\taccepted") == 999
    assert line.err.count("not accepted: ") == 1
    assert f"not accepted: line 501 of {file}: " in line.err
    assert "accepted 999, not accepted 1" in line.err
    assert app.reads().status()[0]["received"] == 999
    file.write_text("".join(GOOD % n for n in range(1000)))
    out = line("submit", TARGET, str(file))
    assert (out.count("\taccepted"), out.count("\tknown, queued")) == (1, 999)
    assert "no refused inputs" in line("refused")
    assert "accepted as" in line("refused", "--all")


def test_many_are_bounded_on_the_terminal_and_whole_in_the_ledger(
    line: Line, app: App, tmp_path: Path
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("nonsense\n" * 90 + GOOD % 1)
    line("submit", TARGET, str(file), code=4)
    assert line.err.count("not accepted: line") == 20
    assert "and 70 more that were not accepted" in line.err
    assert len(line("refused").splitlines()) == 21
    assert "20 of 90" in line.err or line("refused") is not None
    line("refused")
    assert "20 of 90" in line.err
    assert (
        len(json.loads(line("refused", "--limit", "200", "--json"))),
        app.reads().refused_counts()["rows"]["open"],
    ) == (90, 90)
    assert len(json.loads(line("submit", TARGET, str(file), "--json", code=4))) == 91
    assert app.reads().refused_counts()["rows"]["open"] == 90, "the same again does not pile up"
    assert app.reads().refused_inputs("rows", "open", 1)[0]["count"] == 2


def test_nothing_but_bad_inputs_is_exit_4_and_an_unknown_module_is_2(line: Line, app: App) -> None:
    answer = json.loads(line("run", TARGET, '{"id": 7}', "missing.jsonl", "--json", code=4))
    assert (
        [one["kind"] if "kind" in one else one["status"] for one in answer["refused"]],
        answer["received"],
    ) == (["refused"] * 2, 0)
    assert "no module" in line("run", "no_such_module:x", '{"id": "r-1"}', code=2)
    assert "refused" in line("status") or "2 inputs were not accepted" in line("status")


def test_a_manifest_is_answered_with_what_was_refused(line: Line, app: App, tmp_path: Path) -> None:
    for name in ("good.txt", "raise.txt"):
        (tmp_path / name).write_text(name.removesuffix(".txt"))
    line("submit", "tests.intake_samples:filed", str(tmp_path), code=4)
    (tmp_path / "manifest").write_text("good.txt\nraise.txt\n")
    out = line("audit", "--manifest", str(tmp_path / "manifest"), code=4)
    assert "2 keys, 1 refused, 0 missing, 0 unexpected" in out
    assert "refused: raise.txt: the inputs= function failed: RuntimeError" in out
    assert "filed: 1 received = 1 queued; beside them 1 refused inputs" in out
    (tmp_path / "raise.txt").write_text("mended")
    line("submit", "tests.intake_samples:filed", str(tmp_path / "raise.txt"))
    assert "1 accepted later" in line("audit")


class Hostile:
    """A payload whose own code raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def model_dump(self, **given: object) -> object:
        raise self.error

    def __repr__(self) -> str:
        raise self.error


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "bad",
    [
        Hostile(Mute()),
        Hostile(RecursionError()),
        {"id": "r-\ud800"},
        {"id": "r-" + "x" * 600},
        {"id": "r-\x00"},
        {"id": "r-1", "amount": 2**70},
        object(),
        None,
        float("nan"),
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_whatever_a_payload_is_the_next_one_is_accepted(app: App, bad: object) -> None:
    receipts = list(app.submit_many(rows, [Row("r-1"), bad, Row("r-2")], refused="keep"))
    assert [one.status for one in receipts] == ["new", "refused", "new"]
    assert receipts[1].reason
    with pytest.raises(InputError):
        list(app.submit_many(rows, [bad]))
    result = app.run([rows], [(rows, bad), (rows, Row("r-3"))], refused="keep")
    assert (result.received, result.refused) == (1, 1)
    assert app.reads().audit(0)["balanced"]
