"""A failure is retried, taken up, borne, flagged, or parked with its whole story. Nothing
disappears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast import App
from tests.conftest import Run
from tests.samples import Order, batches, enriched, fallback, hurried, retried, routed, squares


def test_a_transient_failure_is_retried(run: Run, app: App, tmp_path: Path) -> None:
    assert run(retried, Order("a", numbers=[2], folder=str(tmp_path)))["completed"] == 1
    item = app.reads().item(app.reads().item_by_key("a") or 0)
    failed = [one for one in item["timeline"] if one["state"] == "failed"]
    assert [one["message"] for one in failed] == ["try 1", "try 2"]
    assert [
        one["attempt"]
        for one in item["timeline"]
        if one["step"] == "flaky" and one["state"] == "succeeded"
    ] == [3]


def test_when_retries_are_exhausted_it_is_a_dead_letter_with_every_attempt(
    run: Run, app: App, tmp_path: Path
) -> None:
    assert run(retried, Order("a", numbers=[9], folder=str(tmp_path)))["dead"] == 1
    dead_letter = app.reads().dead_letter(1)
    assert (
        dead_letter["step"],
        dead_letter["error_class"],
        dead_letter["attempts"],
        dead_letter["state"],
    ) == (
        "flaky",
        "transient",
        3,
        "open",
    )
    assert [one["message"] for one in dead_letter["tries"] if one["state"] == "failed"] == [
        "try 1",
        "try 2",
        "try 3",
    ]
    assert "TransientError" in dead_letter["traceback"]
    assert all(
        one["host"] and one["body"] for one in dead_letter["tries"] if one["state"] == "failed"
    )


def test_a_redrive_runs_only_what_had_not_succeeded(run: Run, app: App, tmp_path: Path) -> None:
    run(retried, Order("a", numbers=[3], folder=str(tmp_path)))
    assert app.redrive([1]).changed == 1
    assert app.redrive([1]).changed == 0
    status = run(retried)
    assert (status["completed"], status["dead"]) == (1, 0)
    item = app.reads().item(app.reads().item_by_key("a") or 0)
    assert item["generation"] == 2
    assert app.reads().audit(0)["balanced"]


def test_a_discard_closes_it_with_a_reason(run: Run, app: App, tmp_path: Path) -> None:
    run(retried, Order("a", numbers=[9], folder=str(tmp_path)))
    assert app.discard([1], "the client withdrew it").changed == 1
    assert app.reads().dead_letter(1)["reason"] == "the client withdrew it"
    assert app.reads().status()[0]["discarded"] == 1
    assert app.reads().audit(0)["balanced"]


def test_each_bears_some_failures_and_says_so(
    run: Run, app: App, output: Callable[[str], Any]
) -> None:
    run(
        squares,
        Order("a", numbers=[1, 2, -3, 4]),
        Order("b", numbers=[-1, -2, 3, 4]),
        Order("c", numbers=[]),
    )
    assert output("a") == 21
    assert output("c") == 0
    states = {row["key"]: (row["state"], row["flags"]) for row in app.reads().items(None, None, 9)}
    assert states["a"] == ("completed", ["elements-missing"])
    assert states["b"][0] == "dead"
    assert {
        dead_letter["element_path"]
        for dead_letter in app.reads().dead_letters(None, "open", 9)
        if dead_letter["key"] == "a"
    } == {"2"}


def test_a_borne_element_can_be_redriven_in_a_completed_item(run: Run, app: App) -> None:
    run(squares, Order("a", numbers=[1, 2, -3, 4]))
    assert app.redrive([1]).changed == 1
    assert run(squares)["completed"] == 1
    steps = [
        (one["step"], one["element_path"], one["state"])
        for one in app.reads().item(app.reads().item_by_key("a") or 0)["timeline"]
    ]
    assert steps.count(("each/square", "2", "failed")) == 2
    assert steps.count(("each/square", "0", "succeeded")) == 1


def test_a_fallback_takes_up_a_failure_and_leaves_a_flag(
    run: Run, app: App, output: Callable[[str], Any]
) -> None:
    run(fallback, Order("a"), Order("b", kind="fancy"), Order("c", kind="hopeless"))
    assert (output("a"), output("b")) == ("small", "big")
    rows = {row["key"]: row for row in app.reads().items(None, None, 9)}
    assert (rows["a"]["flags"], rows["b"]["flags"], rows["c"]["state"]) == (
        ["fallback-small"],
        [],
        "dead",
    )
    assert [dead_letter["step"] for dead_letter in app.reads().dead_letters(None, None, 9)] == [
        "first_ok/small"
    ]


def test_an_optional_step_that_fails_leaves_none_and_a_flag(
    run: Run, app: App, output: Callable[[str], Any]
) -> None:
    run(enriched, Order("a"), Order("b", numbers=[5]))
    assert (output("a"), output("b")) == ("a None", "b 5")
    assert {row["key"]: row["flags"] for row in app.reads().items(None, None, 9)} == {
        "a": ["no-extra"],
        "b": [],
    }
    assert app.reads().dead_letters(None, None, 9) == []


def test_a_route_without_a_case_is_a_dead_letter_that_says_so(
    run: Run, app: App, output: Callable[[str], Any]
) -> None:
    run(routed, Order("a"), Order("b", kind="fancy"), Order("c", kind="odd"))
    assert (output("a"), output("b")) == ("plain", "fancy")
    (dead_letter,) = app.reads().dead_letters(None, None, 9)
    assert dead_letter["message"] == "no case for 'odd': the route knows plain, fancy"
    app.redrive([dead_letter["dead_letter"]])
    assert run(routed)["dead"] == 1


def test_a_batch_that_fails_as_a_whole_is_bisected_until_one_stands_alone(
    run: Run, app: App
) -> None:
    status = run(batches, *range(10, 20))
    assert (status["completed"], status["dead"]) == (7, 3)
    causes = {
        dead_letter["key"]: (dead_letter["error_class"], dead_letter["attempts"])
        for dead_letter in app.reads().dead_letters(None, None, 9)
    }
    assert causes == {"13": ("transient", 2), "14": ("bad-input", 1), "15": ("crash", 3)}


def test_a_missed_deadline_says_what_it_cut_off(run: Run, app: App) -> None:
    assert run(hurried, Order("a"))["dead"] == 1
    (dead_letter,) = app.reads().dead_letters(None, None, 9)
    assert (dead_letter["step"], dead_letter["error_class"]) == ("slow", "deadline")
    assert app.reads().audit(0)["balanced"]
