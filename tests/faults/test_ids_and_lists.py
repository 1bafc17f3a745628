"""What one command prints, every command takes; a list says how it is cut; a condition that names
nothing is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline
from holdfast.cli import app as commands
from holdfast.cli.exits import carried_out
from holdfast.errors import InputError, NotFoundError
from holdfast.model.ids import parse, show
from holdfast.model.search import Exact, Filter, equal, exactly, read_filter
from tests.lists_samples import Paper, letters, papers

HOSTILE = (
    "plain",
    "two words",
    'a "quoted" one',
    "it's",
    "'",
    '"',
    "\\",
    "back\\slash",
    "star*",
    "*",
    "**",
    "state:dead",
    "a=b",
    "=x",
    ":x",
    "-dash",
    "--limit",
    "a/b/../c",
    "50%",
    "%2F",
    "a+b",
    "ünïcode ✓",
    "\u202eevil",
    "tab\tin it",
    "line\nend",
    "\u00a0",
    "\ud7ff",
    "\U0010ffff",
    "x" * 199,
    "item:0000000000000",
    "key:x",
    "dead-letter:1",
    "other:plain",
    "#1",
    "1",
    "0sbd000000000",
    "q" * 13,
    "a,b",
    "/output",
    "x/lineage",
)

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A hundred items: keys and values of every kind, one key in two pipelines, dead letters of two
    causes."""
    app = App(home=tmp_path_factory.mktemp("home"), workers=1)
    made: list[tuple[Pipeline[Any, Any], Paper]] = [
        (papers, Paper(text, customer=text)) for text in HOSTILE
    ]
    made += [(papers, Paper(f"many {n}", "ACME GmbH")) for n in range(40)]
    made += [(papers, Paper(f"untitled {n}")) for n in range(2)]
    made += [(papers, Paper(f"broken {n}", bad="value")) for n in range(3)]
    made += [
        (letters, Paper("plain", "Beta")),
        (letters, Paper("sealed", "Beta", bad="sealed")),
    ]
    app.run([papers, letters], made)
    return app


@pytest.fixture
def holdfast(
    ledger: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("HOLDFAST_HOME", str(ledger.settings.home))

    def run(*words: str) -> tuple[int, str, str]:
        code = carried_out(lambda: commands(list(words), standalone_mode=False))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_of_any_text_is_found_by_the_condition_that_we_write(
    ledger: App, text: str
) -> None:
    with closing(ledger.reads()) as reads:
        for words in (
            equal("customer", text),
            exactly("key", text),
            Filter(key=Exact(text)).text(),
        ):
            found = [
                row["key"] for row in reads.search(read_filter(f"pipeline:papers {words}"), 9, 0)
            ]
            assert found == [text], words
        beginning = Filter(pipeline="papers", key=text[:1] + "*")
        assert text in [row["key"] for row in reads.search(read_filter(beginning.text()), 99, 0)], (
            beginning.text()
        )


@pytest.mark.parametrize("text", HOSTILE)
def test_an_item_of_any_key_is_shown_by_id_and_by_key(
    ledger: App, holdfast: Command, text: str
) -> None:
    with closing(ledger.reads()) as reads:
        (row,) = reads.search(Filter(pipeline="papers", key=Exact(text)), 2, 0)
        for named in (
            f"papers:{text}",
            exactly("key", text),
            row["item"],
            f" {row['item'].upper()} ",
            f"item:{row['item']}",
        ):
            assert show(reads.naming.item(named, prefer="papers")) == row["item"], named
    code, out, err = holdfast("items", "show", "--json", "--", f"papers:{text}")
    assert (code, json.loads(out)["key"]) == (0, text), err


def test_a_key_in_two_pipelines_is_refused_with_both_and_how_to_name_each(
    holdfast: Command,
) -> None:
    code, _, err = holdfast("items", "show", "plain")
    assert code == 2
    assert "'plain' names 2 items" in err
    assert "of pipeline papers" in err
    assert "of pipeline letters" in err
    for words in (("letters:plain",), ("plain", "--pipeline", "letters")):
        code, out, _ = holdfast("items", "show", "--json", *words)
        assert (code, json.loads(out)["pipeline"]) == (0, "letters")
    assert holdfast("pause", "plain")[0] == 2
    assert holdfast("operations", "letters:plain")[0] == 0


def test_a_text_that_is_an_id_and_a_key_is_refused(tmp_path: Path) -> None:
    app = App(home=tmp_path)
    (first,) = app.submit_many(papers, [Paper("first")])
    (second,) = app.submit_many(papers, [Paper(show(first.item))])
    with closing(app.reads()) as reads:
        with pytest.raises(InputError, match="names 2 items"):
            reads.naming.item(show(first.item))
        assert reads.naming.item(f"item:{show(first.item)}") == first.item
        assert reads.naming.item(f"key:{show(first.item)}") == second.item
        assert reads.naming.item(f"papers:{show(first.item)}") == second.item


def test_a_word_that_is_a_condition_and_a_key_is_refused(holdfast: Command) -> None:
    code, _, err = holdfast("pause", "state:dead")
    assert code == 2
    assert "is a condition, and the key of an item" in err
    code, out, _ = holdfast("find", 'key:"state:dead"', "--json")
    assert (code, [row["key"] for row in json.loads(out)]) == (0, ["state:dead"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["find", "flag:no-titel"], "did you mean 'no-title'"),
        (["find", "step:orc"], "no step 'orc'"),
        (["find", "pipeline:papres"], "did you mean 'papers'"),
        (["find", "custmer=x"], "did you mean 'customer'"),
        (
            ["find", "pipeline:papers", "kind=x"],
            "no searchable field 'kind'".replace("no ", "no item of pipeline papers has a ", 1),
        ),
        (["find", "state:ded"], "did you mean 'dead'"),
        (["find", "error:ValueErorr"], "did you mean 'ValueError'"),
        (["find", "group:ffffffffffffffff"], "there is no group"),
        (["find", "version:7"], "no version '7'"),
        (["find", "operation:77"], "no operation 77"),
        (["find", "customer!=x"], "no operator '!='"),
        (["find", "customer>5"], "no operator '>'"),
        (["find", "sate:dead"], "did you mean 'state'"),
        (["find", 'customer="open'], "the quote is not closed"),
        (["find", "state:dead", "state:waiting"], "asked for twice"),
        (["dead", "find", "step:orc"], "no step 'orc'"),
        (["dead", "redrive", "flag:nothing"], "no item here has the flag 'nothing'"),
        (["dead", "--pipeline", "papres"], "did you mean 'papers'"),
        (["dead", "--state", "opne"], "did you mean 'open'"),
        (["dead", "groups", "--pipeline", "x"], "no pipeline 'x'"),
        (["items", "--pipeline", "papres"], "did you mean 'papers'"),
        (["items", "--state", "ded"], "did you mean 'dead'"),
        (["items", "export", "papres", "-o", "x"], "did you mean 'papers'"),
        (["reviews", "--pipeline", "papres"], "did you mean 'papers'"),
        (["metrics", "papres"], "did you mean 'papers'"),
        (["funnel", "papres"], "did you mean 'papers'"),
        (["costs", "papres"], "did you mean 'papers'"),
        (["costs", "papers", "--by", "custmer"], "did you mean 'customer'"),
        (["status", "papres"], "did you mean 'papers'"),
        (["steps", "show", "papers", "orc"], "no step 'orc'"),
        (["events", "--type", "paid"], "no event 'paid'"),
        (["pause", "--pipeline", "papers", "--step", "orc"], "no step 'orc'"),
        (["restart", "--from", "orc", "sealed"], "no step 'orc'"),
        (["audit", "--manifest", "/dev/null", "--pipeline", "papres"], "did you mean 'papers'"),
        (["find", "step:ocr"], "2 steps of this ledger are called 'ocr'"),
        (["find", "--after", "nobody"], "no item has the id or key 'nobody'"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_the_nearest(
    holdfast: Command, words: list[str], says: str
) -> None:
    code, out, err = holdfast(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_steps_error_types_and_groups_are_named_in_short(holdfast: Command) -> None:
    def keys(*words: str) -> list[str]:
        code, out, err = holdfast("find", "--json", *words)
        assert code == 0, err
        return [row["key"] for row in json.loads(out)]

    broken = ["broken 2", "broken 1", "broken 0"]
    assert (
        keys("pipeline:papers", "step:ocr")
        == keys("step:route/ocr")
        == keys("error:ValueError")
        == broken
    )
    assert keys("step:each/ocr") == keys("error:BadInputError") == ["sealed"]
    _, out, _ = holdfast("dead", "groups", "--json")
    (group,) = [one["group"] for one in json.loads(out) if one["step"] == "route/ocr"]
    assert (
        keys(f"group:{group}")
        == keys(f"group:{group[:8]}")
        == keys(f"group:{group.upper()}")
        == broken
    )
    assert (
        keys("customer=ACME GmbH", "key:many 3*")
        == keys('customer="ACME GmbH"', 'key:"many 3"*')
        == keys('customer="ACME G"*', "key:'many 3'*")
    )


def test_dead_letters_are_named_by_number_by_item_and_by_key(
    ledger: App, holdfast: Command
) -> None:
    with closing(ledger.reads()) as reads:
        (row,) = reads.find_dead_letters(Filter(key="sealed"), 9, 0)
    for word in (
        str(row["dead_letter"]),
        f"#{row['dead_letter']}",
        f"dead-letter:{row['dead_letter']}",
        f" {row['dead_letter']} ",
        row["item"],
        row["item"].upper(),
        "sealed",
    ):
        code, out, err = holdfast("dead", "show", "--json", word)
        assert (code, json.loads(out)["dead_letter"]) == (0, row["dead_letter"]), err
    assert holdfast("items", "show", f"dead-letter:{row['dead_letter']}")[1].startswith(
        f"item {row['item']}"
    )
    for word, says in (
        ("0", "a dead letter has a number"),
        ("9" * 30, "a dead letter has a number"),
        ("99", "no dead letter 99"),
        ("two words", "no open dead letter"),
    ):
        code, _, err = holdfast("dead", "show", word)
        assert (code, says in err) == (2, True), err
    assert holdfast("reviews", "show", "review:7")[2].startswith("holdfast: there is no review 7")
    assert "a review has a number" in holdfast("reviews", "show", "0")[2]
    assert "waits for no review" in holdfast("reviews", "show", "sealed")[2]


def test_a_list_says_of_how_many_it_is_the_beginning(holdfast: Command) -> None:
    total = len(HOSTILE) + 47
    code, out, err = holdfast("items")
    assert (code, len(out.splitlines())) == (0, 21)
    assert err == f"20 of {total}: --limit {total} shows all\n", (
        "on stderr, so that what a program reads stays a table"
    )
    _, out, err = holdfast("items", "--json")
    assert (len(json.loads(out)), err) == (total, ""), "a program gets all"
    _, out, err = holdfast("items", "--json", "--limit", "5")
    assert (len(json.loads(out)), json.loads(err)) == (
        5,
        {"shown": 5, "total": total, "more": True},
    )
    for words, found in (
        (("items", "--pipeline", "papers", "--limit", "3"), f"3 of {total - 2}"),
        (("find", 'customer="ACME GmbH"'), "20 of 40"),
        (("dead", "--limit", "1"), "1 of 4"),
        (("dead", "find", "state:dead", "--limit", "2"), "2 of 4"),
        (("dead", "groups", "--limit", "1"), "1 of 2"),
        (("items", "--state", "dead", "--limit", "3"), "3 of 4"),
    ):
        _, _, err = holdfast(*words)
        assert err.startswith(f"{found}: "), err
    assert holdfast("items", "--limit", str(total))[2] == ""


def test_pages_of_a_list_are_all_of_it(holdfast: Command) -> None:
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while True:
        _, out, err = holdfast("find", "customer=ACME GmbH", "--limit", "7", "--json", *after)
        page: list[dict[str, Any]] = json.loads(out)
        seen += [row["key"] for row in page]
        if not err:
            break
        after = ("--after", page[-1]["key"])
    assert seen == [f"many {n}" for n in reversed(range(40))]


def test_more_than_ten_thousand_are_not_counted(tmp_path: Path) -> None:
    app = App(home=tmp_path)
    assert sum(1 for _ in app.submit_many(papers, (Paper(str(n)) for n in range(10_050)))) == 10_050
    with closing(app.reads()) as reads:
        rows = reads.search(Filter(), 20, 0)
        assert (len(rows), rows.more, rows.total()) == (20, True, None)
        rows = reads.items("papers", "queued", 10_049)
        assert (len(rows), rows.more, rows.total()) == (10_049, True, None)
        rows = reads.items("papers", None, 10_050)
        assert (len(rows), rows.more, rows.total()) == (10_050, False, 10_050)


def test_nothing_is_changed_by_a_condition_that_names_nothing(ledger: App) -> None:
    with closing(ledger.reads()) as reads:
        before = len(reads.operations(1_000))
        with pytest.raises(NotFoundError, match="no item here has the flag 'x'"):
            ledger.restart(Filter(flag="x"))
        assert len(reads.operations(1_000)) == before


@pytest.mark.parametrize("text", HOSTILE)
def test_a_key_is_accepted_as_a_list_shows_it(ledger: App, holdfast: Command, text: str) -> None:
    with closing(ledger.reads()) as reads:
        (row,) = reads.search(Filter(pipeline="papers", key=Exact(text)), 2, 0)
    _, out, _ = holdfast("find", f"item:{row['item']}")
    (line,) = out.splitlines()[1:]
    shown = line.split("\t")[3]
    assert not set(shown) & set("\u202e\n\t")
    code, out, err = holdfast("items", "show", "--json", "--pipeline", "papers", "--", shown)
    if text == "dead-letter:1":
        assert (code, "names 2 items" in err) == (2, True), (
            "it names the dead letter's item as well"
        )
        return
    assert (code, json.loads(out or "{}").get("item")) == (0, row["item"]), err


def test_a_condition_that_we_write_is_one_line_and_is_read_back() -> None:
    for text in (
        "a\nb",
        "\t",
        "C:\\new",
        "\u202e\u2066",
        "\x1b[31m",
        "\x9b\r",
        '\\"',
        "\\n",
        "\\u202e",
        "\U000e0001*",
    ):
        for wanted in (
            Filter(key=Exact(text)),
            Filter(fields=((text.strip() or "name", text + "*"),)),
        ):
            assert wanted.text().isprintable()
            read = read_filter(wanted.text())
            assert read.text() == wanted.text()
            found = read.key.text if isinstance(read.key, Exact) else read.key
            assert found == text or [value for _, value in read.fields] == [text + "*"]


def test_a_key_that_looks_like_another_items_name_is_refused(tmp_path: Path) -> None:
    app = App(home=tmp_path, workers=1)
    app.run([papers], [(papers, Paper("dies", bad="value"))])
    for key in ("dead-letter:1", "key:dies", "papers:dies", "a\nb", "a\\nb"):
        list(app.submit_many(papers, [Paper(key)]))
    with closing(app.reads()) as reads:
        named = {row["key"]: row["item"] for row in reads.items(None, None, 99)}
        for text in ("dead-letter:1", "key:dies", "papers:dies", "a\\nb"):
            with pytest.raises(InputError, match="names 2 items"):
                reads.naming.item(text)
        for key, item in named.items():
            quoted = 'key:"' + key.replace("\\", "\\\\").replace("\n", "\\n") + '"'
            assert (
                show(reads.naming.item(quoted)) == show(reads.naming.item(f"item:{item}")) == item
            )


def test_a_key_that_was_shown_cut_names_the_one_that_begins_so(tmp_path: Path) -> None:
    app = App(home=tmp_path)
    list(
        app.submit_many(papers, [Paper("a" * 300), Paper("b" * 100 + "1"), Paper("b" * 100 + "2")])
    )
    with closing(app.reads()) as reads:
        assert reads.item(reads.naming.item("a" * 59 + "…"))["key"] == "a" * 300
        with pytest.raises(InputError, match="names 2 items"):
            reads.naming.item("b" * 59 + "…")
        with pytest.raises(NotFoundError):
            reads.naming.item("…")


def test_numbers_and_groups_that_lists_print_name_what_they_stand_for(
    ledger: App, holdfast: Command
) -> None:
    with closing(ledger.reads()) as reads:
        (item,) = [row["item"] for row in reads.search(Filter(key="sealed"), 9, 0)]
        (group,) = [row["group"] for row in reads.groups(None, 9) if row["step"] == "each/ocr"]
        (dead_letter,) = [
            row["dead_letter"] for row in reads.find_dead_letters(Filter(key="sealed"), 9, 0)
        ]
    for word in (group, group[:8].upper(), f"group:{group}"):
        code, out, err = holdfast("dead", "show", "--json", word)
        assert (code, json.loads(out or "{}").get("dead_letter")) == (0, dead_letter), err
    done = ledger.pause([parse(item)])
    for word in (f"#{done.operation}", f"operation:{done.operation}"):
        code, out, err = holdfast("operations", "--json", word)
        assert (code, [row["operation"] for row in json.loads(out)]) == (0, [done.operation]), err
    assert holdfast("operations", "#9999")[0] == 2
    code, _, err = holdfast("events", "redeliver", "9999")
    assert (code, "there is no delivery 9999" in err) == (2, True)
