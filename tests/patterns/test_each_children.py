"""Eaches flow element by element, also a hundred thousand of them; a child is an item of its
own."""

from __future__ import annotations

import pytest

from holdfast import App, DefinitionError, child
from holdfast.model.ids import parse
from tests.pattern_samples import Claim, added, chained, family, only_child
from tests.patterns.conftest import Patterns


def test_chained_eaches_have_no_barrier(run: Patterns) -> None:
    run(chained, Claim("a", 200))
    assert run.output("a") == [n + 1 for n in range(200) if n != 5]
    timeline = [one for one in run.item("a")["timeline"] if one["step"].startswith("each")]
    order = [(one["step"], one["element_path"]) for one in timeline]
    assert len({step for step, _ in order}) == 2
    assert chained.graph.nodes[1].kind == "each"
    assert sum(node.kind == "each" for node in chained.graph.nodes) == 1, (
        "they are one each of two steps"
    )


def test_a_long_each_is_kept_in_stretches_and_every_element_can_be_redriven(
    run: Patterns, app: App
) -> None:
    run(chained, Claim("a", 3000))
    assert run.output("a") == [n + 1 for n in range(3000) if n % 1000 != 5]
    dead_letters = app.reads().dead_letters("chained", "open", 9)
    assert sorted(one["element_path"] for one in dead_letters) == ["1005", "2005", "5"]
    (one,) = [
        dead_letter["dead_letter"]
        for dead_letter in dead_letters
        if dead_letter["element_path"] == "1005"
    ]
    app.redrive([one])
    run(chained)
    assert run.output("a") == [n + 1 for n in range(3000) if n % 1000 != 5], (
        "it failed again, and only it"
    )
    assert (
        sum(
            step.endswith("second") and element_path == "1005" and state == "failed"
            for step, element_path, state in run.steps("a")
        )
        == 2
    )
    assert (
        sum(
            step.endswith("second") and element_path == "1006"
            for step, element_path, _ in run.steps("a")
        )
        == 1
    )
    assert len(app.reads().dead_letters("chained", "open", 9)) == 3


def test_a_child_is_an_item_of_its_own(run: Patterns, app: App) -> None:
    run(family, Claim("a", 8))
    assert run.output("a") == sum(n * 10 for n in range(8) if n != 5)
    assert run.state("a")[1] == ["elements-missing"]
    children = run.item("a")["children"]
    lineage = app.reads().lineage(parse(children[3]["item"]))["items"]
    assert lineage[0]["key"] == "a", "what set it off comes first, whichever one asks about"
    assert [one["item"] for one in lineage[1:]] == [one["item"] for one in children]
    assert {one["parent"] for one in lineage[1:]} == {run.item("a")["item"]}
    assert [one["state"] for one in children].count("completed") == 7
    mother = run.item("a")["item"]
    assert {
        app.reads().item(app.reads().item_by_key(one["key"]) or 0)["parent"] for one in children
    } == {mother}
    assert {
        app.reads().item(app.reads().item_by_key(one["key"]) or 0)["correlation"]
        for one in children
    } == {mother}


def test_a_dead_child_fails_its_parent_and_a_redrive_sends_both_back(
    run: Patterns, app: App
) -> None:
    run(only_child, Claim("a", 5), Claim("b", 7))
    assert run.output("only a") == 100
    assert run.state("only b")[0] == "dead"
    dead_letters = app.reads().dead_letters(None, "open", 9)
    assert {one["pipeline"] for one in dead_letters} == {"only_child", "strict", "tens"}
    (parent,) = [one["dead_letter"] for one in dead_letters if one["pipeline"] == "only_child"]
    app.redrive([parent])
    run(only_child)
    assert len(app.reads().dead_letters("strict", "redriven", 9)) == 1, (
        "the parent's redrive sent the child's letter back, and so on"
    )
    assert len(app.reads().dead_letters("tens", "redriven", 9)) == 1
    assert len(app.reads().dead_letters(None, "open", 9)) == 3


def test_cancelling_reaches_children(run: Patterns, app: App) -> None:
    list(app.submit_many(family, [Claim("a", 4)]))
    item = app.reads().item_by_key("a") or 0
    assert app.cancel([item]).changed == 1
    assert app.cancel([item]).changed == 0
    run(family)
    assert run.state("a")[0] == "cancelled"


def test_only_a_pipeline_can_be_a_child() -> None:
    with pytest.raises(DefinitionError, match="takes a pipeline"):
        child(added)  # type: ignore[arg-type]
