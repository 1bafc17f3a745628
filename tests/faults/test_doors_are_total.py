"""Whatever code of the user runs at the door does, it concerns one input; what crosses a socket or
a ledger stays what it is."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, InputError, on, pipeline, step
from holdfast.control import RemoteLedger, Reply
from holdfast.errors import (
    BacklogFullError,
    HoldfastError,
    LeaseLostError,
    LedgerUnavailableError,
    NotFoundError,
)
from holdfast.inputs import Input, Refused, files
from holdfast.model.holdings import Held
from holdfast.session import Session
from tests.command_line import Line
from tests.door_samples import HOW, handed, keyed
from tests.intake_samples import Row, rows

TARGET = "tests.door_samples:handed"


@pytest.fixture
def line(app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("HOLDFAST_HOME", str(app.settings.home))
    monkeypatch.setenv("HOLDFAST_WORKERS", "1")
    return Line(capsys)


@pytest.mark.parametrize("how", HOW)
def test_a_key_function_that_fails_in_whatever_way_refuses_one_payload(app: App, how: str) -> None:
    given = [Row("before"), Row(how), Row("after")]
    assert [one.status for one in app.submit_many(keyed, given, refused="keep")] == [
        "new",
        "refused",
        "new",
    ]
    result = app.run([keyed], [(keyed, one) for one in (*given, Row("more"))], refused="keep")
    assert (result.received, result.known, result.refused) == (1, 2, 1)
    (kept,) = app.reads().refused_inputs(None, None, 9)
    assert (kept["kind"], kept["count"]) == ("key", 2)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("at_once", ["", "at once "])
def test_an_inputs_function_that_fails_in_whatever_way_ends_one_argument(
    line: Line, how: str, at_once: str
) -> None:
    out = line("submit", TARGET, f"{at_once}{how}", "fine", code=4)
    assert out.count("\taccepted") == (2 if at_once else 3)
    assert (
        f"not accepted: {at_once}{how}: the inputs= function of pipeline 'handed' failed: "
        in line.err
    )
    answer = json.loads(line("run", TARGET, f"{at_once}{how}", "fine", "--json", code=4))
    assert (answer["received"], len(answer["refused"])) == (0, 1)


def test_a_file_whose_payload_cannot_be_made_in_whatever_way_stops_no_other(
    line: Line, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for how in (*HOW, "a fine one", "z"):
        (folder / f"{how}.txt").write_text(how)
    answer = json.loads(line("submit", TARGET, str(folder), "--json", code=4))
    assert sorted(one["status"] for one in answer) == ["new"] * 2 + ["refused"] * len(HOW)


def test_paths_and_exceptions_serve_as_texts_and_what_cannot_serve_names_itself(
    line: Line, app: App
) -> None:
    out = line("submit", TARGET, "paths", "kinds", "numbers", code=4)
    assert out.count("\taccepted") == 5, "two of paths and between, one each of the others"
    assert "not accepted: /x/b: " in line.err
    assert "not accepted: /x/z: ValueError: it is torn" in line.err
    assert "Refused(kind='weird'): give one of conflict, unreadable" in line.err
    assert "Input(source=…) is a int: give a text, a path or an exception" in line.err
    assert "skipped: 1 × Mute: its text cannot be read" in line.err
    assert {row["source"] for row in app.reads().refused_inputs(None, None, 9)} == {
        "/x/b",
        "/x/z",
        "kinds",
        "numbers",
    }


@pytest.mark.parametrize(
    "error",
    [
        LedgerUnavailableError("the disk is full"),
        LeaseLostError("over"),
        BacklogFullError(7, 1.5),
        NotFoundError("no such"),
        InputError("not so"),
        KeyError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_the_socket_as_what_it_is(tmp_path: Path, error: Exception) -> None:
    import asyncio

    from holdfast import control

    class CommitQueue:
        """Answers every verb with the error."""

        def call(self, verb: Any, then: Any) -> None:
            then(error)

        def commit(self, *given: Any) -> None:
            raise AssertionError

    caught: list[BaseException] = []

    def ask() -> None:
        remote = RemoteLedger(tmp_path / "s")
        try:
            remote.admit([], 0)
        except HoldfastError as got:
            caught.append(got)
        finally:
            remote.close()

    async def serve() -> None:
        server = await control.serve(
            tmp_path / "s",
            CommitQueue(),  # type: ignore[arg-type]
            lambda: 0,
            lambda: None,
            0,
            lambda: Held(0, []),
        )
        await asyncio.to_thread(ask)
        server.close()

    asyncio.run(serve())
    (got,) = caught
    expected = {LeaseLostError: "LedgerError", KeyError: "HoldfastError"}.get(
        type(error), type(error).__name__
    )
    assert type(got).__name__ == expected
    assert str(error) in str(got)
    assert Reply("x").kind == ""


@pytest.fixture
def running(app: App) -> Iterator[App]:
    """A live runner, reached over its socket."""
    sessions: list[Session] = []
    began = threading.Event()

    def tick(session: Session) -> None:
        sessions[:] = [session]
        began.set()

    thread = threading.Thread(
        target=app.run, args=([handed, rows], [], False), kwargs={"each_tick": tick}
    )
    thread.start()
    assert began.wait(60)
    yield app
    sessions[0].stop_now()
    thread.join(60)


def test_sources_of_whatever_bytes_and_length_go_over_a_live_runner(running: App) -> None:
    odd = ["/in/caf\udce9/a.txt", "/in/lone \ud800/a.txt", "x" * 100_000, "nul \x00"]
    receipts = list(
        running.submit_many(rows, [Input(Row(f"r-{n}"), source) for n, source in enumerate(odd)])
    )
    assert [one.status for one in receipts] == ["new"] * 4
    bad = [Refused(source, "torn") for source in odd]
    assert [one.status for one in running.submit_many(rows, bad, refused="keep")] == ["refused"] * 4
    assert running.reads().refused_counts()["rows"] == {"open": 4, "accepted": 0}
    list(running.submit_many(rows, [Input(Row(f"r-{n}"), source) for n, source in enumerate(odd)]))
    assert running.reads().refused_counts()["rows"] == {"open": 0, "accepted": 4}, (
        "the same sources, however they are sent"
    )


@pytest.mark.parametrize("name", ["m\udcff", "nul\x00", "x" * 600])
def test_a_manifest_that_no_ledger_can_store_is_refused_at_once(app: App, name: str) -> None:
    with pytest.raises(InputError, match="the name of a manifest"):
        list(app.submit_many(rows, [Row("r-1")], name))
    with pytest.raises(InputError, match="the name of a manifest"):
        app.run([rows], [(rows, Row("r-1"))], manifest=name)
    assert app.reads().keys("rows", None) == [] or list(app.reads().keys("rows", None)) == []
    with pytest.raises(InputError, match="the key of an event"):
        app.publish("row.told", {}, name)
    with pytest.raises(InputError, match="the id of an event"):
        app.publish("row.told", {}, id=name)


@pytest.mark.parametrize("postgresql", [False, True])
def test_an_event_is_refused_with_whatever_its_key_function_says(
    postgresql: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App(
        home=tmp_path, ledger=request.getfixturevalue("postgres") if postgresql else "", workers=1
    )
    app.register([keyed])
    for number, how in enumerate((*HOW, "fine")):
        app.publish("row.heard", {"id": how}, id=f"e{number}")
    with caplog.at_level(logging.WARNING, "holdfast"):
        app.run([keyed])
    told = [n for n in range(len(HOW)) if re.search(rf"event e{n}\b[^\n]*keyed", caplog.text)]
    assert told == list(range(len(HOW))), (
        "one that fails is tried again, one whose key is none is refused: each is named"
    )
    assert list(app.reads().keys("keyed", None)) == ["fine"]


def test_what_was_accepted_under_another_manifest_is_not_missing(app: App) -> None:
    list(app.submit_many(rows, [Row("r-1"), Row("r-2")], "monday"))
    assert [one.status for one in app.submit_many(rows, [Row("r-2"), Row("r-3")], "tuesday")] == [
        "same",
        "new",
    ]
    found = app.reconcile("rows", ["2", "3", "4"], "tuesday")
    assert (found["missing"], found["unexpected"]) == (["4"], [])
    assert app.reconcile("rows", ["2"], "monday")["unexpected"] == ["1"]


def test_a_clock_that_was_set_back_unbalances_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in (5_000_000, 3_000_000, 4_000_000):
        monkeypatch.setattr(app.clock, "now_ms", lambda now=now: now)
        list(app.submit_many(rows, [Refused("/x", "torn")], refused="keep"))
    (row,) = app.reads().refused_inputs(None, None, 9)
    assert (row["first_at"], row["last_at"], row["count"]) == (5_000_000, 5_000_000, 3)
    assert app.reads().audit(0)["balanced"]


def test_what_has_no_source_is_known_by_its_content_and_closed_when_it_is_accepted(
    app: App,
) -> None:
    list(app.submit_many(rows, [Row("r-1", 1.0)]))
    for payloads in ([{"id": 5}, Row("r-1", 2.0)], [Row("r-1", 2.0), {"id": 5}]):
        list(app.submit_many(rows, payloads, refused="keep"))
    assert [row["count"] for row in app.reads().refused_inputs("rows", "open", 9)] == [2, 2]
    item = app.reads().item_by_key("1")
    assert item is not None
    app.restart([item], payload=b'{"id": "r-1", "amount": 2}')
    list(app.submit_many(rows, [Row("r-1", 2.0)]))
    assert app.reads().refused_counts()["rows"] == {"open": 1, "accepted": 1}


def test_what_is_the_same_only_by_its_type_closes_its_refusal_too(app: App) -> None:
    list(
        app.submit_many(
            rows, [Row("r-1", 1.0), Input(Row("r-1", 0.0), "line 2 of a")], refused="keep"
        )
    )
    item = app.reads().item_by_key("1")
    assert item is not None
    app.restart([item], payload=b'{"id": "r-1"}')
    for _ in range(2):
        assert [
            one.status for one in app.submit_many(rows, [Input(Row("r-1", 0.0), "line 2 of a")])
        ] == ["same"]
    assert app.reads().refused_counts()["rows"] == {"open": 0, "accepted": 1}
    list(app.submit_many(rows, [Input(Row("r-1", 5.0), "line 2 of a")]))
    assert app.run([rows], [(rows, Input(Row("r-1", 0.0), "line 2 of a"))]).known == 1
    assert app.reads().refused_counts()["rows"] == {"open": 0, "accepted": 1}


def test_the_remedy_that_a_conflict_names_works_for_a_file_in_a_subfolder(
    line: Line, tmp_path: Path
) -> None:
    import shlex

    for sub in ("a", "b c"):
        (tmp_path / "in" / sub).mkdir(parents=True)
        (tmp_path / "in" / sub / "same.txt").write_text("x")
    line("run", TARGET, str(tmp_path / "in"))
    (tmp_path / "in" / "b c" / "same.txt").write_text("xyz")
    line("submit", TARGET, str(tmp_path / "in"), code=4)
    (command,) = [part for part in line.err.split("`") if part.startswith("holdfast restart")]
    line(*shlex.split(command)[1:])
    assert '"accepted"' not in line("refused", "--json")
    out = line("run", TARGET, str(tmp_path / "in"))
    assert "(0 new, 2 known)" in out
    out = line(
        "submit",
        TARGET,
        f"{tmp_path}/in/./a",
        f"{tmp_path}/in/./b c/same.txt",
        f"{tmp_path}/in/b c/./same.txt",
    )
    assert [one.split("\t")[1:] for one in out.splitlines()] == [
        ["a/same.txt", "known, completed"],
        ["b c/same.txt", "known, completed"],
        ["same.txt", "accepted"],
    ]


def test_no_argument_means_the_folder_where_one_is_by_accident(line: Line) -> None:
    line("submit", TARGET, "", code=4)
    assert "is empty: name a file or folder" in line.err
    assert [type(one).__name__ for one in files("", lambda found: found.name)] == ["Refused"]


def test_one_suffix_is_a_suffix(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.f", "c.PDF"):
        (tmp_path / name).touch()
    found = [
        getattr(one, "payload", "")
        for one in files(str(tmp_path), lambda found: found.name, suffixes=".pdf")
    ]
    assert found == ["a.pdf", "", "c.PDF"]


def test_names_with_blanks_and_line_breaks_are_shown_as_they_are(
    line: Line, tmp_path: Path
) -> None:
    for name in ("two  blanks", "line\nbreak"):
        (tmp_path / name).write_text("panic")
    line("submit", TARGET, str(tmp_path / "two  blanks"), str(tmp_path / "line\nbreak"), code=4)
    assert f"not accepted: {tmp_path}/two  blanks: " in line.err
    assert f"not accepted: {tmp_path}/line\\nbreak: " in line.err


def test_a_command_that_ends_early_says_what_was_accepted(
    line: Line, app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from holdfast.ledgers.sqlite import SqliteLedger

    real, calls = SqliteLedger.admit, []

    def admit(self: SqliteLedger, *given: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise LedgerUnavailableError("the disk is full")
        return real(self, *given)

    file = tmp_path / "in.jsonl"
    file.write_text("bad\n" + "".join(f'{{"id": "r-{n}"}}\n' for n in range(1_999)))
    for words in (("submit",), ("submit", "--json")):
        calls.clear()
        with monkeypatch.context() as full:
            full.setattr(SqliteLedger, "admit", admit)
            assert (
                line(words[0], "tests.intake_samples:rows", str(file), *words[1:], code=2)
                == "the disk is full"
            )
        assert "stopped before everything was read (" in line.err
        assert (
            "999 new, 0 known, 1 refused" in line.err or "0 new, 999 known, 1 refused" in line.err
        )
    assert app.reads().status()[0]["received"] == 999


@dataclass
class Bag:
    """A payload with a set, and fields that may be left out."""

    id: str
    tags: set[str] = field(default_factory=set)
    inner: list[Row] = field(default_factory=list)


@step()
async def count(bag: Bag) -> int:
    """How many tags."""
    return len(bag.tags)


@on("bag.seen")
@pipeline(version="1", key=lambda bag: bag.id)
def bags(bag: Bag) -> int:
    """Takes bags."""
    return count(bag)


def test_sets_and_fields_left_at_their_default_are_compared_by_value(app: App) -> None:
    dead_letters = [chr(97 + n) for n in range(20)]
    given: list[Any] = [
        {"id": "a", "tags": dead_letters, "inner": [{"id": "r-1"}]},
        {"id": "a", "tags": dead_letters[::-1], "inner": [{"id": "r-1", "amount": 0}]},
        Bag("a", set(dead_letters), [Row("r-1")]),
        {"id": "a", "tags": dead_letters[1:], "inner": [{"id": "r-1"}]},
        {"id": "b"},
        {"id": "b", "tags": []},
        Bag("b"),
    ]
    expected = ["new", "same", "same", "conflict", "new", "same", "same"]
    assert [one.status for one in app.submit_many(bags, given)] == expected
    for number, one in enumerate(given[4:6]):
        app.publish("bag.seen", one, id=str(number))
    assert app.run([bags], [(bags, one) for one in given]).conflicts == 1
    assert [row["kind"] for row in app.reads().refused_inputs(None, None, 9)] == ["conflict"]
