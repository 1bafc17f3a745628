"""The same key with other content is never silent: at the door, in one file, after a restart, by
event, as a child."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline, child, on, pipeline, step
from holdfast.model.ids import parse
from tests.command_line import Line
from tests.intake_samples import Row, book, rows

TARGET = "tests.intake_samples:rows"


@pytest.fixture
def line(app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    monkeypatch.setenv("HOLDFAST_WORKERS", "1")
    return Line(capsys)


def test_two_lines_of_one_key_and_a_corrected_file(line: Line, app: App, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(
        '{"id": "r-1", "amount": 1}\n{"id": "r-1", "amount": 2}\n{"id": "r-2", "amount": -5}\n'
    )
    assert "(2 new, 0 known, 1 in conflict)" in line("run", TARGET, str(file), code=4)
    item = app.reads().items("rows", None, 9)[1]["item"]
    assert f"line 2 of {file}: its key '1' is item {item}" in line.err
    assert f"holdfast restart {item} --input FILE -m {TARGET}" in line.err
    file.write_text('{"id": "r-1", "amount": 1}\n{"id": "r-2", "amount": 5}\n')
    answer = json.loads(line("run", TARGET, str(file), "--json", code=4))
    assert (answer["received"], answer["known"], [one["key"] for one in answer["conflicts"]]) == (
        0,
        1,
        ["2"],
    )
    assert answer["conflicts"][0]["state"] == "dead"
    (kept,) = json.loads(line("refused", "--json"))
    assert (kept["kind"], kept["key"], kept["source"]) == ("conflict", "2", f"line 2 of {file}")
    assert json.loads(line("audit", "--json"))["refused"] == {"rows": {"open": 1, "accepted": 0}}


def test_a_restart_with_another_input_takes_what_run_takes(
    line: Line, app: App, tmp_path: Path
) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"id": "r-2", "amount": 5}')
    line("run", TARGET, '{"id": "r-2", "amount": -5}', '{"id": "r-3"}')
    line("submit", TARGET, str(file), code=4)
    assert f"--input {file} -m {TARGET}" in line.err
    for words, says in (
        (("restart", "2", "--input", str(file)), "--input needs --module"),
        (("restart", "2", "3", "--input", str(file), "-m", TARGET), "for one item"),
        (("restart", "pipeline:rows", "--input", str(file), "-m", TARGET), "for one item"),
        (("restart", "3", "--input", str(file), "-m", TARGET), "has the key '2'"),
        (("restart", "2", "--input", "nonsense", "-m", TARGET), "give JSON"),
        (
            ("restart", "2", "--input", str(tmp_path), "-m", "tests.intake_samples:filed"),
            "belongs to pipeline 'rows'",
        ),
        (
            ("restart", "2", "--input", str(file), "--from", "book", "-m", TARGET),
            "leave out the step",
        ),
    ):
        assert says in line(*words, code=2), words
    line("restart", "2", "--input", str(file), "-m", TARGET)
    assert json.loads(line("refused", "--json")) == [], "the conflict is over"
    line("run", TARGET, str(file))
    assert json.loads(line("items", "show", "2", "--json"))["output"] == 10.0
    line("submit", TARGET, '{"id": "r-2", "amount": -5}', code=4)
    assert json.loads(line("audit", "--json"))["balanced"]


def test_a_program_sees_it_in_the_receipt(app: App) -> None:
    first, second = (next(app.submit_many(rows, [Row("r-1", amount)])) for amount in (1.0, 2.0))
    assert (first.status, second.status, second.item) == ("new", "conflict", first.item)
    assert not second.accepted
    result = app.run(
        [rows], [(rows, Row("r-1", 1.0)), (rows, Row("r-1", 2.0)), (rows, Row("r-4", 2.0))]
    )
    assert (result.received, result.known, result.conflicts) == (1, 1, 1)


@on("row.told")
@pipeline(version="1", key=lambda row: row.id)
def hearing(row: Row) -> float:
    """Started by an event."""
    return book(row)


@step()
async def same(row: Row) -> Row:
    """What it is given."""
    return row


@pipeline(version="1", key=lambda row: row.id)
def parent(row: Row) -> float:
    """Has a child."""
    return child(rows)(same(row))


def kept(app: App) -> list[tuple[str, str]]:
    return [
        (row["pipeline"], row["source"].partition(",")[0])
        for row in app.reads().refused_inputs(None, "open", 9)
    ]


@pytest.mark.parametrize("postgresql", [False, True])
def test_an_event_whose_key_has_other_content_is_logged_and_kept(
    postgresql: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App(
        home=tmp_path, ledger=request.getfixturevalue("postgres") if postgresql else "", workers=1
    )
    app.register([hearing])
    for number, amount in enumerate((1, 1.0, 2)):
        app.publish("row.told", {"amount": amount, "id": "r-1"}, id=f"e{number}")
    with caplog.at_level(logging.WARNING, "holdfast"):
        app.run([hearing])
    assert (
        "event e2 of holdfast for pipeline hearing is not accepted: its key 'r-1' is item"
        in caplog.text
    )
    assert kept(app) == [("hearing", "event e2 of holdfast")]
    assert (app.reads().status()[0]["received"], app.reads().audit(0)["balanced"]) == (1, True)


def test_a_child_whose_parent_was_restarted_with_another_input_is_revised(app: App) -> None:
    served: list[Pipeline[Any, Any]] = [parent, rows]
    app.run(served, [(parent, Row("r-1", 1.0))])
    (item,) = (app.reads().item_by_key("r-1"),)
    assert item is not None
    app.restart([item])
    app.run(served)
    assert kept(app) == [], "the same input again is the same child"
    app.restart([item], payload=b'{"id": "r-1", "amount": 2}')
    app.run(served)
    assert kept(app) == [], (
        "a parent's own child is no conflict: it begins anew with what it is given now"
    )
    reads = app.reads()
    (child_row,) = reads.item(item)["children"]
    known = reads.item(parse(child_row["item"]))
    assert (known["revision"], json.loads(known["payload"])["amount"], known["state"]) == (
        1,
        2.0,
        "completed",
    )
    assert app.reads().audit(0)["balanced"]
