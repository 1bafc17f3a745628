"""While a dependency is unavailable, a ``first_ok`` takes its next branch at once; ``when_open``
says otherwise."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline
from holdfast.errors import NotFoundError
from tests.failing_over_samples import (
    Ask,
    alone,
    in_backoff,
    joined,
    last_waits,
    long_branch,
    nested,
    optional,
    outside,
    probed,
    waits,
)
from tests.patterns.conftest import Patterns

pytestmark = pytest.mark.slow


def opened(app: App, name: str, probe_in_ms: int = 3_600_000) -> None:
    """The breaker of a dependency is open."""
    with closing(app.open_ledger()) as ledger:
        now = app.clock.now_ms()
        ledger.health.trip(name, "holdfast.errors.TransientError: 503", now + probe_in_ms, now)


def item(app: App, key: str) -> dict[str, Any]:
    """An item by its key."""
    with closing(app.reads()) as reads:
        return reads.item(reads.item_by_key(key) or 0)


def states(app: App, *keys: str) -> set[str]:
    """The states of items."""
    return {str(item(app, key)["state"]) for key in keys}


def calls(folder: Path, name: str) -> int:
    """How often a step's body ran."""
    path = folder / f"{name}.log"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_branch_fails_over_at_once_without_an_attempt(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    opened(app, "slow-probe")
    run(long_branch, Ask("a", str(tmp_path)))
    assert run.state("a") == ("completed", ["fallback-small"])
    assert run.output("a") == "small a"
    assert calls(tmp_path, "remote") == 0, "its body never ran"
    failed = [
        one for one in item(app, "a")["timeline"] if one.get("error") == "DependencyUnavailable"
    ]
    assert failed
    assert all(one["error_class"] == "transient" and not one["charged"] for one in failed)
    assert "dependency slow-probe is unavailable since" in failed[0]["message"]
    assert "503" in failed[0]["message"]


@pytest.mark.parametrize("flow", [in_backoff, nested], ids=lambda one: one.name)
def test_no_dead_letter_is_left_for_a_branch_that_failed_over(
    flow: Pipeline[Any, Any], run: Patterns, app: App, tmp_path: Path
) -> None:
    opened(app, "slow-probe")
    run(flow, Ask("a", str(tmp_path)))
    assert run.output("a") == "small a"
    with closing(app.reads()) as reads:
        assert reads.dead_letters(None, "open", 9) == []


def test_a_branch_in_backoff_fails_over_when_the_breaker_opens(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    """Each of three items fails once; the second opens the breaker, and none waits the hour of its
    backoff, also not the first, which was parked by then."""
    asks = [Ask(name, str(tmp_path)) for name in "abc"]
    with run.runner(in_backoff):
        list(app.submit_many(in_backoff, asks[:1]))
        run.wait(lambda: states(app, "a") == {"waiting"})
        list(app.submit_many(in_backoff, asks[1:]))
        run.wait(lambda: states(app, "a", "b", "c") == {"completed"})
    assert [run.output(one.id) for one in asks] == ["small a", "small b", "small c"]
    assert calls(tmp_path, "patient") <= 3


def test_branches_are_the_probes_and_the_first_branch_is_taken_again(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    count = 0

    def one_more() -> str:
        nonlocal count
        count += 1
        list(app.submit_many(probed, [Ask(f"n{count}", str(tmp_path))]))
        run.wait(lambda: states(app, f"n{count}") == {"completed"})
        return str(run.output(f"n{count}"))

    with run.runner(probed):
        assert {one_more() for _ in range(4)} == {"small n1", "small n2", "small n3", "small n4"}
        before = calls(tmp_path, "big")
        run.wait(lambda: one_more().startswith("small") and calls(tmp_path, "big") > before)
        (tmp_path / "up").touch()
        run.wait(lambda: one_more().startswith("big"))
    with closing(app.reads()) as reads:
        assert reads.breakers() == []


def test_the_last_branch_waits_and_closing_by_hand_lets_it_go_on(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    opened(app, "slow-probe")
    (tmp_path / "up").touch()
    with run.runner(last_waits, alone):
        list(app.submit_many(last_waits, [Ask("a", str(tmp_path))]))
        list(app.submit_many(alone, [Ask("b", str(tmp_path))]))
        run.wait(lambda: states(app, "a", "b") == {"waiting"})
        assert app.close_dependency("slow-probe", "the provider says so", "anna").changed == 1
        run.wait(lambda: states(app, "a", "b") == {"completed"}, 10)
        assert app.close_dependency("slow-probe", who="anna").changed == 0, "closed already"
    assert (run.output("a"), run.output("b")) == ("patient a", "remote b")
    with closing(app.reads()) as reads:
        said = [(one["verb"], one["target"], one["who"]) for one in reads.operations(9)]
        assert ("close", "dependency slow-probe", "anna") in said


def test_closing_by_hand_lets_go_on_what_had_failed_before(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    """Two items fail, which opens the breaker; they are parked until the probe like those that
    never began."""
    keys = ("a", "b", "c")
    with run.runner(alone):
        list(app.submit_many(alone, [Ask(key, str(tmp_path)) for key in keys]))
        run.wait(lambda: states(app, *keys) == {"waiting"})
        (tmp_path / "up").touch()
        assert app.close_dependency("slow-probe").changed == 1
        run.wait(lambda: states(app, *keys) == {"completed"}, 10)
    assert calls(tmp_path, "remote") > len(keys)


def test_without_a_fallback_it_fails_as_its_step_says(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    opened(app, "failing")
    run(outside, Ask("a", str(tmp_path)))
    run(optional, Ask("b", str(tmp_path)))
    run(joined, Ask("c", str(tmp_path)))
    assert run.state("a")[0] == "dead"
    with closing(app.reads()) as reads:
        (dead_letter,) = [
            one for one in reads.dead_letters("outside", "open", 9) if one["key"] == "a"
        ]
    assert (dead_letter["step"], dead_letter["error_class"], dead_letter["error"]) == (
        "failing",
        "transient",
        "DependencyUnavailable",
    )
    assert (run.state("b"), run.output("b")) == (("completed", ["no-extra"]), "None")
    assert run.output("c") == "None and small c"


def test_a_dead_letter_of_it_can_be_redriven(run: Patterns, app: App, tmp_path: Path) -> None:
    opened(app, "failing")
    run(outside, Ask("a", str(tmp_path)))
    (tmp_path / "up").touch()
    app.close_dependency("failing")
    with closing(app.reads()) as reads:
        dead_letters = [one["dead_letter"] for one in reads.dead_letters(None, "open", 9)]
    app.redrive(dead_letters)
    run(outside)
    assert run.output("a") == "failing a"


def test_waiting_can_be_asked_for(run: Patterns, app: App, tmp_path: Path) -> None:
    opened(app, "waiting", 300)
    (tmp_path / "up").touch()
    run(waits, Ask("a", str(tmp_path)))
    assert run.output("a") == "waiting a"
    assert run.state("a")[1] == []


def test_an_unknown_dependency_is_refused_with_those_that_are_known(app: App) -> None:
    opened(app, "slow-probe")
    with pytest.raises(
        NotFoundError, match="no dependency 'slow-prove'.*did you mean 'slow-probe'"
    ):
        app.close_dependency("slow-prove")
