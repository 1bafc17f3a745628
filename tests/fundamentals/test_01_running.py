"""A pipeline is a function of steps. It runs as plain Python, and durably."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast import App, each
from tests.conftest import Run
from tests.samples import Order, asked, average, nested, square


def test_called_with_real_values_it_is_plain_python() -> None:
    assert average(Order("a", numbers=[1, 2, 3])) == 2.0
    assert each(square, tolerate=1)([1, -1, 3]) == [1, 9]


def test_run_durably_every_item_ends_with_the_same_result(
    run: Run, output: Callable[[str], Any]
) -> None:
    status = run(average, Order("a", numbers=[1, 2, 3]), Order("b", numbers=[]))
    assert (status["received"], status["completed"]) == (2, 2)
    assert output("a") == 2.0


def test_one_key_is_one_item(run: Run, app: App) -> None:
    run(average, Order("a", numbers=[1]))
    again = run(average, Order("a", numbers=[1]))
    assert (again["received"], again["completed"]) == (1, 1)
    (receipt,) = app.submit_many(average, [Order("a", numbers=[1])])
    assert receipt.status == "same"
    assert receipt.state == "completed"


def test_what_is_submitted_waits_for_a_runner(app: App, run: Run) -> None:
    (receipt,) = app.submit_many(average, [Order("a", numbers=[4])], manifest="monday")
    assert receipt.status == "new"
    assert app.reads().keys("average", "monday") == ["a"]
    assert run(average)["completed"] == 1


def test_a_body_may_be_a_plain_function_of_steps(run: Run, output: Callable[[str], Any]) -> None:
    run(nested, Order("a", numbers=[1, 2]))
    assert output("a") == 17


def test_a_step_may_ask_for_its_context(run: Run, output: Callable[[str], Any]) -> None:
    run(asked, Order("a"))
    assert output("a") == "a who 1 64"


def test_no_items_is_no_error(run: Run, app: App) -> None:
    app.run([average])
    assert app.reads().status()[0]["received"] == 0
